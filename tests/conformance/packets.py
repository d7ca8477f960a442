"""Ends that are network interfaces, in a network of their own."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from l7mp.interfaces import Kind
from tests.conformance.ends import Back, End, Front, Traits, Upstream

TYPE = 0x88B5
"""An EtherType for experiments (IEEE 802)."""

MTU = 65535
FRONT, CLIENTS = "front", "clients"
BACK, SERVERS = "back", "servers"
_CLONE_NEWNET = 0x40000000


@contextmanager
def network() -> Iterator[None]:
    """
    A network namespace for this thread, with two cables between four interfaces.

    Sockets that are made meanwhile belong to it, also those of the proxy.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(_CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "cannot make a network namespace")
        script = "link set lo up\n"
        for one, other in ((FRONT, CLIENTS), (BACK, SERVERS)):
            script += (
                f"link add {one} mtu {MTU} type veth peer name {other} mtu {MTU}\n"
            )
            script += f"link set {one} up\nlink set {other} up\n"
        subprocess.run(["ip", "-batch", "-"], input=script.encode(), check=True)
        yield
    finally:
        libc.setns(home, _CLONE_NEWNET)
        os.close(home)


class Interface:
    """One of the interfaces, on which several may speak, each with its address."""

    def __init__(self, name: str, *, lasting: bool = False) -> None:
        self._lasting = lasting
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(TYPE))
        self.sock.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            self.sock.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
        self.sock.bind((name, TYPE))
        self._ends: dict[bytes, Speaker] = {}
        self.strangers: deque[Speaker] = deque()

    def join(self, own: bytes, peer: bytes) -> Speaker:
        """Somebody with this address; ``peer`` may be everybody's."""
        self._ends[own] = Speaker(self, own, peer)
        return self._ends[own]

    def forget(self, own: bytes) -> None:
        """Nobody has that address any more; who is the last turns off the light."""
        self._ends.pop(own, None)
        if not self._ends and not self._lasting:
            self.sock.close()

    def pump(self, *, welcome: bool = False) -> None:
        """Read what has come, for whomever it is; strangers may be met."""
        while self.sock.fileno() >= 0:
            try:
                frame, (_, _, kind, *_) = self.sock.recvfrom(1 << 17)
            except BlockingIOError:
                return
            if kind == socket.PACKET_OUTGOING:
                continue
            target, source = frame[:6], frame[6:12]
            key = source if welcome else target
            end = self._ends.get(key)
            if end is None and welcome:
                end = self.join(source, source)
                self.strangers.append(end)
            if end is not None:
                end.chunks.append(frame[14:])


class Speaker:
    """Somebody at an interface."""

    def __init__(self, interface: Interface, own: bytes, peer: bytes) -> None:
        self._interface, self._own, self._peer = interface, own, peer
        self.chunks: list[bytes] = []
        self.ended = self.broken = False
        self.welcomes = False
        self.source = own

    def poll(self) -> None:
        self._interface.pump(welcome=self.welcomes)

    def say(self, data: bytes) -> None:
        head = self._peer + self.source + TYPE.to_bytes(2, "big")
        self._interface.sock.send(head + data)

    def finish(self) -> None:
        """There is no such word."""

    def leave(self) -> None:
        self.close()

    def drop(self) -> None:
        self.close()

    def close(self) -> None:
        self._interface.forget(self._own)


def _hardware(name: str) -> bytes:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as probe:
        probe.bind((name, 0))
        address: bytes = probe.getsockname()[4]
        return address


class Dialer:
    """
    Clients at one interface, which share a socket while there are any.

    The kernel takes tens of milliseconds to be rid of each such socket.
    """

    def __init__(self) -> None:
        self._interface: Interface | None = None

    def __call__(self, address: dict[str, Any], folder: Path) -> End:
        if self._interface is None or self._interface.sock.fileno() < 0:
            self._interface = Interface(CLIENTS)
            self._peer = _hardware(FRONT)
        own = b"\x02" + os.urandom(5)
        return self._interface.join(own, self._peer)


class _Server:
    """Whoever speaks to the other end of the cable."""

    def __init__(self) -> None:
        self._own = _hardware(SERVERS)
        self.cluster: dict[str, Any] = {
            "protocol": "AF_PACKET",
            "type": "cooked",
            "ethertype": TYPE,
            "destination": self._own.hex(":"),
        }
        self.endpoint: dict[str, Any] | None = {"address": BACK}
        self.start()

    def start(self) -> None:
        self._interface = Interface(SERVERS, lasting=True)

    def accept(self) -> End | None:
        self._interface.pump(welcome=True)
        if not self._interface.strangers:
            return None
        end = self._interface.strangers.popleft()
        end.welcomes, end.source = True, self._own
        return end

    def stop(self) -> None:
        self._interface.sock.close()


def _listener(folder: Path) -> dict[str, Any]:
    return {
        "protocol": "AF_PACKET",
        "type": "cooked",
        "interface": FRONT,
        "ethertype": TYPE,
        "sessions": "per-source",
    }


def _serve(folder: Path) -> Upstream:
    return _Server()


FRAMES = Traits(
    Kind.DATAGRAMS,
    limit=65000,
    half_close=False,
    has_end=False,
    has_reset=False,
    has_empty=False,
)
SHARED = "all sessions speak with the one address of their interface"
BACK_FRAMES = Traits(
    Kind.DATAGRAMS,
    limit=65000,
    half_close=False,
    has_end=False,
    has_reset=False,
    has_empty=False,
    one_at_a_time=SHARED,
)

FRONTS = (Front("AF_PACKET", FRAMES, _listener, Dialer(), network=True),)
BACKS = (Back("AF_PACKET", BACK_FRAMES, _serve, network=True),)
