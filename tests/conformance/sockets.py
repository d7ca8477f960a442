"""Ends that are plain sockets: TCP, Unix domain sockets, UDP."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from l7mp.interfaces import Kind
from tests.conformance.ends import Back, End, Front, Traits, Upstream

HOST = "127.0.0.1"
ROOM = 4 << 20
BRIEF = {"linger": 0.1}
"""How long a session waits for late answers of whom it cannot tell that all was said."""

_GONE = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNREFUSED, errno.ENOTCONN})


class SocketEnd:
    """A connected socket, of bytes or of messages."""

    def __init__(self, sock: socket.socket, *, messages: bool = False) -> None:
        sock.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF) if messages else ():
            sock.setsockopt(socket.SOL_SOCKET, option, ROOM)
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock, self._messages = sock, messages
        self.chunks: list[bytes] = []
        self.ended = self.broken = False
        self._unsaid = bytearray()
        self._unsent: deque[bytes] = deque()
        """Messages that the kernel did not take yet."""
        self._finishing = self._leaving = False

    def poll(self) -> None:
        self._flush()
        while not (self.ended or self.broken or self.sock.fileno() < 0):
            try:
                data = self.sock.recv(1 << 18)
            except BlockingIOError:
                return
            except OSError as error:
                self.broken = error.errno in _GONE
                return
            if data:
                self.chunks.append(data)
            else:
                self.ended = True

    def say(self, data: bytes) -> None:
        if self._messages:
            self._unsent.append(data)
        else:
            self._unsaid += data
        self._flush()

    def _flush(self) -> None:
        if not _sent(self._unsent, self.sock.send):
            return
        while self._unsaid:
            try:
                del self._unsaid[: self.sock.send(self._unsaid)]
            except BlockingIOError:
                return
            except OSError:
                self.broken = True
                self._unsaid.clear()
        if self._finishing:
            self._finishing = False
            self.sock.shutdown(socket.SHUT_WR)
        if self._leaving:
            self.close()

    def finish(self) -> None:
        self._finishing = True
        self._flush()

    def leave(self) -> None:
        self._leaving = True
        self._flush()

    def drop(self) -> None:
        if self.sock.family in (socket.AF_INET, socket.AF_INET6):
            now = struct.pack("ii", 1, 0)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


class StreamServer:
    """A listening socket of TCP or of the Unix domain."""

    def __init__(
        self,
        protocol: dict[str, Any],
        where: Any,
        *,
        kind: socket.SocketKind = socket.SOCK_STREAM,
    ) -> None:
        self._family = socket.AF_INET if isinstance(where, tuple) else socket.AF_UNIX
        self._where, self._kind = where, kind
        self._messages = kind is not socket.SOCK_STREAM
        self._ends: list[SocketEnd] = []
        self.start()
        self.cluster: dict[str, Any] = protocol
        if isinstance(where, tuple):
            self._where = self._sock.getsockname()
            self.cluster = {**protocol, "port": self._where[1]}
            self.endpoint: dict[str, Any] | None = {"address": self._where[0]}
        else:
            self.endpoint = {"address": where}

    def start(self) -> None:
        self._sock = socket.socket(self._family, self._kind)
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if isinstance(self._where, str) and os.path.exists(self._where):
            os.unlink(self._where)
        self._sock.bind(self._where)
        self._sock.listen(512)

    def accept(self) -> End | None:
        try:
            sock, _ = self._sock.accept()
        except BlockingIOError:
            return None
        self._ends = [end for end in self._ends if end.sock.fileno() >= 0]
        self._ends.append(SocketEnd(sock, messages=self._messages))
        return self._ends[-1]

    def stop(self) -> None:
        self._sock.close()
        for end in self._ends:
            if end.sock.fileno() >= 0:
                end.drop()
        self._ends.clear()


def tcp_client(address: dict[str, Any], folder: Path) -> End:
    """A TCP connection."""
    return SocketEnd(socket.create_connection((HOST, address["port"])))


def unix_client(kind: socket.SocketKind) -> Any:
    """Connects to the socket file of a listener."""

    def dial(address: dict[str, Any], folder: Path) -> End:
        sock = socket.socket(socket.AF_UNIX, kind)
        if kind is socket.SOCK_DGRAM:
            sock.bind("")  # an abstract name of the kernel's choice
        sock.connect(address["filename"])
        if kind is socket.SOCK_DGRAM:
            sock.setblocking(False)
            return DatagramEnd(sock)
        return SocketEnd(sock, messages=kind is not socket.SOCK_STREAM)

    return dial


def _sent(messages: deque[bytes], send: Callable[[bytes], object]) -> bool:
    """Whether the kernel takes all of them, which it does one by one."""
    while messages:
        try:
            send(messages[0])
        except BlockingIOError:
            return False
        messages.popleft()
    return True


# -- datagrams ------------------------------------------------------------------


class DatagramEnd:
    """One peer of a socket that many share, or a socket of its own."""

    def __init__(self, sock: socket.socket, peer: Any = None) -> None:
        self.sock, self._peer = sock, peer
        self._unsent: deque[bytes] = deque()
        self.chunks: list[bytes] = []
        self.ended = self.broken = False

    def poll(self) -> None:
        if self.sock.fileno() >= 0:
            _sent(self._unsent, self._send)
        while self._peer is None and self.sock.fileno() >= 0:
            try:
                self.chunks.append(self.sock.recv(1 << 17))
            except OSError as error:
                self.broken = self.broken or error.errno == errno.ECONNREFUSED
                return

    def say(self, data: bytes) -> None:
        self._unsent.append(data)
        _sent(self._unsent, self._send)

    def _send(self, data: bytes) -> None:
        if self._peer is None:
            with suppress(ConnectionRefusedError):  # about an earlier one
                self.sock.send(data)
        else:
            self.sock.sendto(data, self._peer)

    def finish(self) -> None:
        """There is no such word."""

    def leave(self) -> None:
        self.close()

    def drop(self) -> None:
        self.close()

    def close(self) -> None:
        if self._peer is None:
            self.sock.close()


class _Shared(DatagramEnd):
    """One peer of a server, which reads for all."""

    def __init__(self, server: DatagramServer, peer: Any) -> None:
        super().__init__(server.sock, peer)
        self._server = server

    def poll(self) -> None:
        super().poll()
        self._server.pump()

    def _send(self, data: bytes) -> None:
        self._server.sock.sendto(data, self._peer)

    def close(self) -> None:
        self._server.forget(self._peer)


class DatagramServer:
    """A bound socket that tells its peers apart."""

    def __init__(self, protocol: dict[str, Any], where: Any) -> None:
        self._family = socket.AF_INET if isinstance(where, tuple) else socket.AF_UNIX
        self._where = where
        self.start()
        self.cluster: dict[str, Any] = protocol
        if isinstance(where, tuple):
            self._where = self.sock.getsockname()
            self.cluster = {**protocol, "port": self._where[1]}
            self.endpoint: dict[str, Any] | None = {"address": self._where[0]}
        else:
            self.endpoint = {"address": where}

    def start(self) -> None:
        self.sock = socket.socket(self._family, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
        if isinstance(self._where, str) and os.path.exists(self._where):
            os.unlink(self._where)
        self.sock.bind(self._where)
        self._peers: dict[Any, _Shared] = {}
        self._fresh: list[_Shared] = []

    def pump(self) -> None:
        """Read what has come, for whomever it is."""
        while self.sock.fileno() >= 0:
            try:
                data, peer = self.sock.recvfrom(1 << 17)
            except OSError:
                return
            end = self._peers.get(peer)
            if end is None:
                end = self._peers[peer] = self._new(peer)
                self._fresh.append(end)
            end.chunks.append(data)

    def _new(self, peer: Any) -> _Shared:
        return _Shared(self, peer)

    def forget(self, peer: Any) -> None:
        """Its port may be somebody else's soon."""
        self._peers.pop(peer, None)

    def accept(self) -> End | None:
        self.pump()
        return self._fresh.pop(0) if self._fresh else None

    def stop(self) -> None:
        self.sock.close()


def udp_client(address: dict[str, Any], folder: Path) -> End:
    """A connected UDP socket."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, ROOM)
    sock.connect((HOST, address["port"]))
    return DatagramEnd(sock)


def _here(protocol: str) -> Any:
    return lambda folder: {"protocol": protocol, "port": 1, "address": HOST}


def _file(name: str, **more: Any) -> Any:
    return lambda folder: {
        "protocol": "UnixDomainSocket",
        "filename": str(folder / name),
        **more,
    }


def _tcp(folder: Path) -> Upstream:
    return StreamServer({"protocol": "TCP"}, (HOST, 0))


def _udp(folder: Path) -> Upstream:
    return DatagramServer({"protocol": "UDP", "options": BRIEF}, (HOST, 0))


def _unix(folder: Path) -> Upstream:
    return StreamServer({"protocol": "UnixDomainSocket"}, str(folder / "up"))


def _unix_packets(folder: Path) -> Upstream:
    spec = {"protocol": "UnixDomainSocket", "type": "seqpacket"}
    return StreamServer(spec, str(folder / "up"), kind=socket.SOCK_SEQPACKET)


def _unix_datagrams(folder: Path) -> Upstream:
    spec = {"protocol": "UnixDomainSocket", "type": "dgram", "options": BRIEF}
    return DatagramServer(spec, str(folder / "up"))


BYTES = Traits(Kind.BYTES)
PACKETS = Traits(Kind.DATAGRAMS, has_reset=False, has_empty=False)
LOCAL_DATAGRAMS = Traits(
    Kind.DATAGRAMS, half_close=False, has_end=False, has_reset=False
)
LOCAL_BYTES = Traits(Kind.BYTES, has_reset=False)
DATAGRAMS = Traits(
    Kind.DATAGRAMS, limit=65507, half_close=False, has_end=False, has_reset=False
)

FRONTS = (
    Front("UDP", DATAGRAMS, _here("UDP"), udp_client),
    Front("TCP", BYTES, _here("TCP"), tcp_client),
    Front(
        "UnixDomainSocket",
        LOCAL_BYTES,
        _file("front"),
        unix_client(socket.SOCK_STREAM),
    ),
    Front(
        "UnixDomainSocket (dgram)",
        LOCAL_DATAGRAMS,
        _file("front", type="dgram"),
        unix_client(socket.SOCK_DGRAM),
    ),
    Front(
        "UnixDomainSocket (seqpacket)",
        PACKETS,
        _file("front", type="seqpacket"),
        unix_client(socket.SOCK_SEQPACKET),
    ),
)

BACKS = (
    Back("UDP", DATAGRAMS, _udp),
    Back("TCP", BYTES, _tcp),
    Back("UnixDomainSocket", LOCAL_BYTES, _unix),
    Back("UnixDomainSocket (dgram)", LOCAL_DATAGRAMS, _unix_datagrams),
    Back("UnixDomainSocket (seqpacket)", PACKETS, _unix_packets),
)
