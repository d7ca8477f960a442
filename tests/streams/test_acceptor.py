"""Accepting connections, also when the process has no room for them."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from l7mp.streams.acceptor import PAUSE, Acceptor
from tests.streams.loopback import turn, until


class House:
    """A listening socket, and those whom it let in."""

    def __init__(self, path: Path, type_: int = socket.SOCK_SEQPACKET) -> None:
        self.path, self.type = str(path), type_
        sock = socket.socket(socket.AF_UNIX, type_)
        sock.bind(self.path)
        sock.listen(64)
        self.clock = Clock()
        self.inside: list[socket.socket] = []
        self.acceptor = Acceptor(reactor, self.clock, sock, self.inside.append)
        self.outside: list[socket.socket] = []

    def knock(self) -> None:
        client = socket.socket(socket.AF_UNIX, self.type)
        self.outside.append(client)
        client.connect(self.path)

    def close(self) -> None:
        self.acceptor.close()
        for sock in (*self.inside, *self.outside):
            sock.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "s")
    yield made
    made.close()


@pytest_twisted.ensureDeferred
async def test_everybody_is_let_in(house: House) -> None:
    """Each connection is handed on once, and does not block."""
    for _ in range(5):
        house.knock()
    await until(lambda: len(house.inside) == 5)
    assert not any(sock.getblocking() for sock in house.inside)
    assert house.acceptor.logPrefix() == "Acceptor"


@pytest_twisted.ensureDeferred
async def test_nobody_is_let_in_afterwards(house: House) -> None:
    """What was closed accepts nothing more; twice is once."""
    house.acceptor.close()
    house.acceptor.close()
    with pytest.raises(ConnectionRefusedError):
        house.knock()


@contextmanager
def full() -> Iterator[None]:
    """A process that cannot open anything more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest_twisted.ensureDeferred
async def test_a_full_process_lets_them_wait(house: House) -> None:
    """Without a descriptor left, who knocks waits, and the reactor does not spin."""
    house.knock()
    with full():
        await until(house.clock.getDelayedCalls)
        await turn(5)
        assert house.inside == []
    house.clock.advance(PAUSE)
    await until(lambda: house.inside)


@pytest_twisted.ensureDeferred
async def test_a_bug_costs_one_connection(house: House) -> None:
    """When the reactor gives up on the socket, it is watched again."""
    house.acceptor.connectionLost(Failure(ZeroDivisionError()))
    reactor.removeReader(house.acceptor)
    house.acceptor.connectionLost(Failure(ZeroDivisionError()))
    house.knock()
    house.clock.advance(PAUSE)
    await until(lambda: house.inside)
    house.acceptor.connectionLost(Failure(ZeroDivisionError()))
    house.acceptor.close()
