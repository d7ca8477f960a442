"""Peers on the loopback, and a place for what streams deliver."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from l7mp.errors import Loss
from l7mp.streams.stream import Stream

PATIENCE = 10.0
LARGEST = (bytes(range(256)) * 256)[:65507]
"""The largest datagram of IPv4."""


async def turn(times: int = 1) -> None:
    """Let the reactor do what it can do now."""
    for _ in range(times):
        await deferLater(reactor, 0)


async def until(ready: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Run the reactor until ``ready`` gives something true, which is returned."""
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        await turn()
    return found


class Peer:
    """Somebody who speaks UDP, with a plain socket."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self.sock.setblocking(False)
        self.sock.bind((host, port))
        self.address: tuple[str, int] = self.sock.getsockname()[:2]

    @property
    def port(self) -> int:
        return self.address[1]

    def send(self, data: bytes, to: tuple[str, int]) -> None:
        self.sock.sendto(data, to)

    def _poll(self) -> tuple[bytes, tuple[str, int]] | None:
        try:
            data, source = self.sock.recvfrom(1 << 16)
        except BlockingIOError:
            return None
        return data, source[:2]

    async def receive(self) -> tuple[bytes, tuple[str, int]]:
        """The next datagram, and from where it came."""
        found: tuple[bytes, tuple[str, int]] = await until(self._poll)
        return found

    async def hears_nothing(self) -> bool:
        """Whether nothing comes although the reactor had every opportunity."""
        await turn(5)
        return self._poll() is None

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@contextmanager
def peers(number: int = 1, host: str = "127.0.0.1") -> Iterator[list[Peer]]:
    """Several of them, closed in the end."""
    made = [Peer(host) for _ in range(number)]
    try:
        yield made
    finally:
        for peer in made:
            peer.close()


def unused_port(host: str = "127.0.0.1") -> int:
    """A port where nobody is."""
    peer = Peer(host)
    peer.close()
    return peer.port


class Collector(Stream):
    """Keeps what it is written."""

    def __init__(self, source: Stream) -> None:
        super().__init__()
        self.got: list[bytes] = []
        self.ended = False
        self.lost: Deferred[Loss] = source.when_lost()
        source.deliver_to(self)
        source.release("sink")

    def write(self, data: bytes) -> None:
        self.got.append(data)

    def end(self) -> None:
        self.ended = True


class Faulty(Collector):
    """Fails whenever it is written to."""

    def write(self, data: bytes) -> None:
        raise ZeroDivisionError("on purpose")


def echo(stream: Stream) -> None:
    """Give the peer of ``stream`` back what it sends."""
    stream.deliver_to(stream)
    stream.release("sink")
