"""Somebody who speaks Ethernet on the loopback interface, with a plain socket."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.streams.loopback import turn, until

LO = "lo"
LOCAL1, LOCAL2 = 0x88B5, 0x88B6
A, B, C = b"\x02\0\0\0\0\x0a", b"\x02\0\0\0\0\x0b", b"\x02\0\0\0\0\x0c"
NOBODY = bytes(6)
"""The address of the loopback interface."""

needs_packets = pytest.mark.skipif(
    os.geteuid() != 0, reason="packet sockets need root (CAP_NET_RAW)"
)


def frame(
    source: bytes = A, to: bytes = B, kind: int = LOCAL1, payload: bytes = b"hello"
) -> bytes:
    """A frame without tags."""
    return to + source + struct.pack("!H", kind) + payload


class Wire:
    """Hears frames of one type, and sends any."""

    def __init__(self, kind: int = LOCAL1, interface: str = LO) -> None:
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
        self.sock.setblocking(False)
        self.sock.bind((interface, kind))

    def send(self, *frames: bytes) -> None:
        for one in frames:
            self.sock.send(one)

    def poll(self) -> bytes | None:
        """A frame that came in, which on the loopback went out before."""
        while True:
            try:
                data, peer = self.sock.recvfrom(1 << 17)
            except BlockingIOError:
                return None
            if peer[2] != socket.PACKET_OUTGOING:
                return data

    async def receive(self) -> bytes:
        """The next frame."""
        found: bytes = await until(self.poll)
        return found

    async def hears_nothing(self) -> bool:
        """Whether nothing comes although the reactor had every opportunity."""
        await turn(5)
        return self.poll() is None


@contextmanager
def wire(kind: int = LOCAL1) -> Iterator[Wire]:
    """One of them, closed in the end."""
    made = Wire(kind)
    try:
        yield made
    finally:
        made.sock.close()
