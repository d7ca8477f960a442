"""FIFOs and inherited descriptors."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor

from l7mp.errors import LocalError, Reason, RemoteError
from l7mp.streams.access import Access
from l7mp.streams.fifo import (
    Lookout,
    check,
    directions,
    has_reader,
    is_fifo,
    make,
    open_end,
    shown,
    waiting,
)
from tests.streams.loopback import turn, until


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    path = str(tmp_path / "p")
    os.mkfifo(path)
    return path


@pytest.fixture
def inherited() -> Iterator[tuple[int, int]]:
    """A pipe that somebody else has left open."""
    ends = os.pipe()
    for fd in ends:
        os.set_inheritable(fd, True)
    yield ends
    for fd in ends:
        os.close(fd)


def test_what_can_be_an_end(
    fifo: str, inherited: tuple[int, int], tmp_path: Path
) -> None:
    """A FIFO, and what was left open; nothing that we have opened ourselves."""
    check(fifo)
    check(inherited[0])
    (tmp_path / "f").write_text("precious")
    with pytest.raises(LocalError, match=r"f: that is no FIFO"):
        check(str(tmp_path / "f"))
    with pytest.raises(LocalError, match=r"missing: there is no such file.*mkfifo"):
        check(str(tmp_path / "missing"))
    with socket.socket() as ours:
        for fd in (ours.fileno(), 1 << 20):
            with pytest.raises(LocalError, match=f"descriptor {fd} was not left open"):
                check(fd)


def test_ends_are_told_apart(fifo: str, inherited: tuple[int, int]) -> None:
    """What they are, and what they were opened for."""
    assert (shown(fifo), shown(3)) == (fifo, "descriptor 3")
    assert is_fifo(fifo)
    assert is_fifo(inherited[0])
    assert [directions(fd) for fd in inherited] == [(True, False), (False, True)]
    with socket.socket() as sock:
        assert not is_fifo(sock.fileno())
        assert directions(sock.fileno()) == (True, True)


def test_nobody_is_waited_for(fifo: str, inherited: tuple[int, int]) -> None:
    """Reading is always possible; writing only where somebody reads."""
    with pytest.raises(RemoteError, match="nobody reads there") as caught:
        open_end(fifo, os.O_WRONLY)
    assert caught.value.loss.reason is Reason.REFUSED
    reader = open_end(fifo, os.O_RDONLY)
    writer = open_end(fifo, os.O_WRONLY)
    ours = open_end(inherited[1], os.O_WRONLY)
    assert not any(map(os.get_blocking, (reader, writer, ours)))
    assert waiting(reader) == 0
    os.write(writer, b"abc")
    assert waiting(reader) == 3
    assert has_reader(writer)
    os.close(reader)
    assert not has_reader(writer)
    for fd in (writer, ours):
        os.close(fd)
    with pytest.raises(RemoteError) as missing:
        open_end(f"{fifo}.missing", os.O_RDONLY)
    assert missing.value.loss.reason is Reason.UNREACHABLE


def test_fifos_are_made(tmp_path: Path) -> None:
    """Those that are missing, accessible to those who shall; or else none."""
    one, two = str(tmp_path / "1"), str(tmp_path / "2")
    os.mkfifo(one, 0o600)
    (made,) = make([one, two, 0], Access(0o620))
    assert (os.stat(two).st_mode & 0o777, os.stat(one).st_mode & 0o777) == (
        0o620,
        0o600,
    )
    made.remove()
    with pytest.raises(LocalError, match=r"cannot make .*/a/b: No such file"):
        make([two, str(tmp_path / "a" / "b")], Access())
    assert sorted(os.listdir(tmp_path)) == ["1"]


def test_what_cannot_be_given_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When owner or mode cannot be set, there is no file in the end."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(LocalError, match="to user 7"):
        make([str(tmp_path / "p")], Access(uid=7))
    assert os.listdir(tmp_path) == []


# -- waiting for writers -----------------------------------------------------------


@pytest.fixture
def lookout(fifo: str) -> Iterator[Lookout]:
    made = Lookout(reactor, reactor, fifo)
    yield made
    made.close()
    made.close()


async def found_by(lookout: Lookout, fifo: str, data: bytes) -> list[bytes]:
    """What is read from the descriptors that it finds."""
    found: list[int] = []
    lookout.wait(found.append)
    writer = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    await turn(3)
    if data:
        os.write(writer, data)
    os.close(writer)
    await turn(5)
    got = []
    for fd in found:
        got.append(os.read(fd, 100))
        os.close(fd)
    return got


@pytest_twisted.ensureDeferred
async def test_a_writer_is_found(lookout: Lookout, fifo: str) -> None:
    """As soon as it has written, once for each time that it is waited for."""
    assert lookout.logPrefix() == "Lookout"
    assert await found_by(lookout, fifo, b"one") == [b"one"]
    assert await found_by(lookout, fifo, b"two") == [b"two"]


@pytest_twisted.ensureDeferred
async def test_one_who_says_nothing_is_not(lookout: Lookout, fifo: str) -> None:
    """A writer that comes and goes without a word is none, and does not spin."""
    assert await found_by(lookout, fifo, b"") == []
    writer = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    await turn(3)
    assert lookout.fileno() >= 0
    os.write(writer, b"then")
    await until(lambda: lookout.fileno() < 0)
    os.close(writer)


@pytest_twisted.ensureDeferred
async def test_what_came_between_is_found(lookout: Lookout, fifo: str) -> None:
    """What was written while nobody waited is not lost; nor is a removed FIFO."""
    writer = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    os.write(writer, b"between")
    os.close(writer)
    os.unlink(fifo)
    found: list[int] = []
    lookout.wait(found.append)
    await until(lambda: found)
    assert os.read(found[0], 100) == b"between"
    os.close(found[0])


@pytest_twisted.ensureDeferred
async def test_a_writer_is_found_when_there_are_descriptors_again(
    lookout: Lookout, fifo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are none left it is looked for again later."""
    scarce: list[int] = []

    def none(*_: object) -> int:
        scarce.append(1)
        raise OSError(errno.EMFILE, "too many")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", none)
        patch.setattr(os, "dup", none)
        found: list[int] = []
        lookout.wait(found.append)
        assert scarce
    fd = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    os.write(fd, b"x")
    await until(lambda: found)
    for one in (fd, *found):
        os.close(one)


@pytest_twisted.ensureDeferred
async def test_nobody_is_found_afterwards(lookout: Lookout, fifo: str) -> None:
    """A closed lookout gives back what it has opened."""
    before = len(os.listdir("/proc/self/fd"))
    writer = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    os.write(writer, b"x")
    found: list[int] = []
    lookout.wait(found.append)
    lookout.close()
    await turn(3)
    assert found == []
    os.close(writer)
    assert len(os.listdir("/proc/self/fd")) == before - 1
