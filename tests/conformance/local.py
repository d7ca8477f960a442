"""Ends that are local to a machine: the other types of Unix sockets, pipes, programs."""

from __future__ import annotations

import os
import socket
from collections import deque
from pathlib import Path
from typing import Any

from twisted.internet import reactor

from l7mp.interfaces import Kind
from tests.conformance.ends import Back, End, Front, Inner, Traits, Upstream
from tests.conformance.sockets import (
    BRIEF,
    DatagramEnd,
    DatagramServer,
    SocketEnd,
    StreamServer,
)

UNIX = "UnixDomainSocket"
SENDER = socket.CMSG_SPACE(12)
AGAIN = 0.002
READ, WRITE = os.O_RDONLY | os.O_NONBLOCK, os.O_WRONLY | os.O_NONBLOCK


class PipeEnd:
    """One FIFO to read from, another to write to."""

    def __init__(self, ear: int, mouth: int) -> None:
        self._ear, self._mouth = ear, mouth
        self.chunks: list[bytes] = []
        self.ended = self.broken = False
        self._unsaid = bytearray()
        self._finishing = self._leaving = self._met = False

    def poll(self) -> None:
        self._flush()
        while not self.ended and self._ear >= 0:
            try:
                data = os.read(self._ear, 1 << 18)
            except BlockingIOError:
                self._met = True  # somebody has it open for writing
                return
            if not data and not self._met:
                return  # nobody has come yet
            self._met = True
            self.ended = not data
            if data:
                self.chunks.append(data)

    def say(self, data: bytes) -> None:
        self._unsaid += data
        self._flush()

    def _flush(self) -> None:
        while self._unsaid:
            try:
                del self._unsaid[: os.write(self._mouth, self._unsaid)]
            except BlockingIOError:
                return
            except OSError:
                self.broken = True
                self._unsaid.clear()
        if self._finishing or self._leaving:
            self._finishing = False
            self._shut()
        if self._leaving:
            self.close()

    def _shut(self) -> None:
        if self._mouth >= 0:
            os.close(self._mouth)
            self._mouth = -1

    def finish(self) -> None:
        self._finishing = True
        self._flush()

    def leave(self) -> None:
        self._leaving = True
        self._flush()

    def drop(self) -> None:
        self.close()

    def close(self) -> None:
        self._shut()
        if self._ear >= 0:
            os.close(self._ear)
            self._ear = -1


def pipe_client(address: dict[str, Any], folder: Path) -> End:
    """Opens what the listener reads, and what it writes."""
    ear = os.open(address["output"], READ)
    return PipeEnd(ear, os.open(address["input"], WRITE))


class PipeServer:
    """Two FIFOs that a session opens; it is met when it has."""

    def __init__(self, folder: Path) -> None:
        self._there, self._back = str(folder / "there"), str(folder / "back")
        for path in (self._there, self._back):
            os.mkfifo(path)
        self.cluster: dict[str, Any] = {
            "protocol": "PIPE",
            "output": self._there,
            "input": self._back,
        }
        self.endpoint: dict[str, Any] | None = None
        self._ends: list[PipeEnd] = []
        self.start()

    def start(self) -> None:
        self._ear = os.open(self._there, READ)

    def accept(self) -> End | None:
        try:
            mouth = os.open(self._back, WRITE)
        except OSError:  # nobody reads there yet
            return None
        self._ends.append(PipeEnd(self._ear, mouth))
        self.start()
        return self._ends[-1]

    def stop(self) -> None:
        for end in self._ends:
            end.close()
        self._ends.clear()
        if self._ear >= 0:
            os.close(self._ear)
            self._ear = -1


def _pipes(folder: Path) -> dict[str, Any]:
    return {
        "protocol": "PIPE",
        "input": str(folder / "in"),
        "output": str(folder / "out"),
        "create": True,
    }


# -- Unix sockets of messages ------------------------------------------------------


class PacketEnd(SocketEnd):
    """A connection where an empty message is no end: only messages have a sender."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, messages=True)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def poll(self) -> None:
        while not (self.ended or self.broken or self.sock.fileno() < 0):
            try:
                data, sender, _, _ = self.sock.recvmsg(1 << 18, SENDER)
            except BlockingIOError:
                return
            except OSError:
                self.broken = True
                return
            if sender:
                self.chunks.append(data)
            else:
                self.ended = True


class PacketServer(StreamServer):
    """A listening socket of such connections."""

    def accept(self) -> End | None:
        found = super().accept()
        if found is not None:
            self._ends[-1] = PacketEnd(self._ends[-1].sock)
        return self._ends[-1] if found is not None else None


def packet_client(address: dict[str, Any], folder: Path) -> End:
    """A connection that keeps messages."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(address["filename"])
    return PacketEnd(sock)


class PatientEnd(DatagramEnd):
    """A sender of datagrams that waits for room in the queue of the other."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._unsaid: deque[bytes] = deque()

    def say(self, data: bytes) -> None:
        self._unsaid.append(data)
        if len(self._unsaid) == 1:
            self._flush()

    def _flush(self) -> None:
        while self._unsaid and self.sock.fileno() >= 0:
            try:
                self.sock.send(self._unsaid[0])
            except BlockingIOError:
                reactor.callLater(AGAIN, self._flush)
                return
            except OSError:
                self.broken = True
            self._unsaid.popleft()


def datagram_client(address: dict[str, Any], folder: Path) -> End:
    """A socket with an abstract name of the kernel's choice."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind("")
    sock.connect(address["filename"])
    return PatientEnd(sock)


def _packets(folder: Path) -> Upstream:
    return PacketServer(
        {"protocol": UNIX, "type": "seqpacket"},
        str(folder / "up"),
        kind=socket.SOCK_SEQPACKET,
    )


def _datagrams(folder: Path) -> Upstream:
    words = {"protocol": UNIX, "type": "dgram", "options": BRIEF}
    return DatagramServer(words, str(folder / "up"))


def _front(type_: str) -> Any:
    return lambda folder: {
        "protocol": UNIX,
        "filename": str(folder / "front"),
        "type": type_,
    }


PIPES = Traits(
    Kind.BYTES,
    has_reset=False,
    one_at_a_time="a FIFO has one session at a time",
)
PACKETS = Traits(Kind.DATAGRAMS, has_reset=False)
DATAGRAMS = Traits(Kind.DATAGRAMS, half_close=False, has_end=False, has_reset=False)

FRONTS = (
    Front(f"{UNIX} (seqpacket)", PACKETS, _front("seqpacket"), packet_client),
    Front(f"{UNIX} (dgram)", DATAGRAMS, _front("dgram"), datagram_client),
    Front("PIPE", PIPES, _pipes, pipe_client),
)

BACKS: tuple[Back | Inner, ...] = (
    Back(f"{UNIX} (seqpacket)", PACKETS, _packets),
    Back(f"{UNIX} (dgram)", DATAGRAMS, _datagrams),
    Back("PIPE", PIPES, PipeServer),
    Inner(
        "STDIO-fork", {"protocol": "STDIO-fork", "command": "cat"}, lambda data: data
    ),
)
