"""The binding to the user-space stack, by itself."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterator

import pytest

from l7mp.errors import LocalError
from l7mp.streams import usrsctp
from l7mp.streams.usrsctp import READ, Engine, Tuning, engine
from tests.streams.userland import started

TUNING = Tuning(streams=5, heartbeat=0, retransmissions=3)


class Wire:
    """Two paths that lead to each other, and a pile of sockets to look at."""

    def __init__(self, library: Engine) -> None:
        self.library = library
        self.here, self.there = 1 << 40, 1 << 41
        self.packets: list[tuple[int, bytes]] = []
        self.dirty: set[int] = set()
        self.is_broken = False
        for path in (self.here, self.there):
            library.add_path(path, self)

    def output(self, path: int, packet: bytes) -> None:
        if self.is_broken:
            raise ZeroDivisionError("on purpose")
        self.packets.append((path, packet))

    def touched(self, sock: int) -> None:
        if self.is_broken:
            raise ZeroDivisionError("on purpose")
        self.dirty.add(sock)

    def carry(self) -> None:
        """Bring every packet to the other side."""
        while self.packets:
            path, packet = self.packets.pop(0)
            other = self.there if path == self.here else self.here
            self.library.input(other, packet)

    def close(self) -> None:
        for path in (self.here, self.there):
            self.library.forget_path(path)


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire(started())
    yield made
    made.close()


def joined(wire: Wire) -> tuple[int, int, int]:
    """The sockets of an association: listening, client's, server's."""
    library = wire.library
    listening = library.open(wire, TUNING)
    library.bind(listening, 5001)
    library.listen(listening, 5)
    client = library.open(wire, TUNING)
    library.bind(client, 6001)
    library.connect(client, wire.here, 5001)
    wire.carry()
    found = library.accept(listening, wire)
    assert found is not None
    assert found[1:] == (wire.there, 6001)
    assert library.accept(listening, wire) is None
    return listening, client, found[0]


def test_a_message_passes(wire: Wire) -> None:
    """Without a socket of the system: the library takes packets and gives them."""
    library = wire.library
    listening, client, server = joined(wire)
    assert wire.dirty >= {listening, client}
    library.send(client, b"data", 4, 0xA0B0C0D0, False)
    library.send(client, b"more", 4, 1, True)
    wire.carry()
    found = []
    while library.events(server) & READ:
        found.append(library.receive(server))
    data = [one for one in found if one and not one.is_notification]
    assert [(one.data, one.stream, one.ppid) for one in data] == [
        (b"data", 4, 0xA0B0C0D0),
        (b"more", 4, 1),
    ]
    assert all(one.is_whole for one in data)
    assert library.streams(server) == (5, 5)
    with pytest.raises(BlockingIOError):
        library.receive(server)
    for sock in (client, server, listening):
        library.abort(sock)


def test_errors_are_those_of_the_library(wire: Wire) -> None:
    """They come as OSError with its number."""
    library = wire.library
    listening, client, server = joined(wire)
    other = library.open(wire, TUNING)
    with pytest.raises(OSError) as caught:
        library.bind(other, 5001)
    assert caught.value.errno == errno.EADDRINUSE
    with pytest.raises(OSError) as caught:
        library.send(client, bytes(usrsctp.MAX_MESSAGE + 1), 0, 0, False)
    assert caught.value.errno == errno.EMSGSIZE
    half = bytes(usrsctp.MAX_MESSAGE // 2 + 1)
    library.send(client, half, 0, 0, False)
    with pytest.raises(BlockingIOError):
        library.send(client, half, 0, 0, False)
    assert library.streams(other) == (0, 0)
    with pytest.raises(OSError):
        library.connect(listening, wire.here, 5002)
    for sock in (client, server, listening, other):
        library.abort(sock)


def test_an_end_is_read(wire: Wire) -> None:
    """After SHUTDOWN there is nothing more, which is no error."""
    library = wire.library
    listening, client, server = joined(wire)
    library.shutdown(client)
    wire.carry()
    found = []
    while (one := library.receive(server)) is not None:
        found.append(one.is_notification)
    assert all(found)
    for sock in (client, server, listening):
        library.close(sock)


def test_nothing_is_raised_through_the_library(wire: Wire) -> None:
    """Callbacks that fail are counted, and the library goes on."""
    library = wire.library
    listening, client, server = joined(wire)
    before, wire.is_broken = library.faults, True
    library.send(client, b"lost", 0, 0, False)
    assert library.faults == before + 1
    wire.is_broken = False
    library.advance(3000)
    wire.is_broken = True
    server_side = [packet for path, packet in wire.packets if path == wire.here]
    library.input(wire.there, server_side[-1])
    assert library.faults > before + 1
    wire.is_broken = False
    for sock in (client, server, listening):
        library.abort(sock)


def test_what_is_forgotten_is_not_called(wire: Wire) -> None:
    """A packet to a path that is gone is an error to the library, not to us."""
    library = wire.library
    assert library._output(12345, 0, 0, 0, 0) == errno.ENOTCONN
    library._upcall(12345, 0, 0)
    assert not wire.dirty


def test_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is started once; without it, what to install is said."""
    assert started() is engine()

    def missing(name: str, **_: object) -> ctypes.CDLL:
        raise OSError(name)

    for strange in (missing, lambda name, **_: object()):
        monkeypatch.setattr(ctypes, "CDLL", strange)
        with pytest.raises(LocalError, match="apt-get install libusrsctp2"):
            engine.__wrapped__()


def test_a_socket_that_cannot_be_tuned_is_closed(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left of it."""
    library = wire.library
    before = len(library._sockets)

    def fails(*_: object) -> None:
        raise OSError(errno.EINVAL, "on purpose")

    with monkeypatch.context() as patched:
        patched.setattr(library, "_tune", fails)
        with pytest.raises(OSError):
            library.open(wire, TUNING)
    assert len(library._sockets) == before


def test_never_is_no_number_of_milliseconds(wire: Wire) -> None:
    """A heartbeat may be as rare as anybody likes."""
    library = wire.library
    library.close(library.open(wire, Tuning(5, 1e12, 3)))
