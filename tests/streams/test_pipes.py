"""Ends of pipes, against real ones."""

from __future__ import annotations

import os
import pty
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.python.failure import Failure

from l7mp.errors import Loss, Reason
from l7mp.streams.pipes import FIN, SIZE, Inlet, Outlet, loss_of, own_end
from tests.streams.loopback import turn, until

GONE = Loss(Reason.RESET, "nobody reads any more")


class In:
    """An inlet, and what it says."""

    def __init__(self, fd: int, over: bool = False) -> None:
        self.got: list[bytes] = []
        self.ended: list[Loss] = []
        self.inlet = Inlet(
            reactor, reactor, fd, self.got.append, self.ended.append, over
        )

    @property
    def data(self) -> bytes:
        return b"".join(self.got)


class Out:
    """An outlet, and what it says."""

    def __init__(self, fd: int) -> None:
        self.broken: list[Loss] = []
        self.emptied = 0
        self.outlet = Outlet(reactor, reactor, fd, self.broken.append, self._empty)

    def _empty(self) -> None:
        self.emptied += 1


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends; who takes one over puts another in its place."""
    ours = os.pipe2(os.O_NONBLOCK)
    yield ours
    for fd in ours:
        try:
            os.close(fd)
        except OSError:
            continue


# -- reading -----------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_nothing_is_read_before_its_time(pipe: tuple[int, int]) -> None:
    """A newborn inlet does not read, nor does one that was paused."""
    it = In(pipe[0])
    os.write(pipe[1], b"early")
    await turn(3)
    assert it.got == []
    it.inlet.go()
    await until(lambda: it.data == b"early")
    it.inlet.pause()
    os.write(pipe[1], b"later")
    await turn(3)
    it.inlet.go()
    await until(lambda: it.data == b"earlylater")
    assert it.inlet.logPrefix() == "Inlet"
    it.inlet.close()
    it.inlet.close()


@pytest_twisted.ensureDeferred
async def test_the_end_comes_after_the_data(pipe: tuple[int, int]) -> None:
    """Everything that was written is read before the end is told, once."""
    it = In(pipe[0])
    os.write(pipe[1], bytes(SIZE))
    os.close(pipe[1])
    it.inlet.go()
    await until(lambda: it.ended)
    await turn(3)
    assert (it.data, it.ended) == (bytes(SIZE), [FIN])
    assert it.inlet.fileno() < 0


@pytest_twisted.ensureDeferred
async def test_a_writer_that_came_and_went_unseen(tmp_path: Path) -> None:
    """Its data and its end are noticed, though the kernel tells of no hang-up."""
    path = tmp_path / "p"
    os.mkfifo(path)
    anchor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    os.write(writer, b"brief")
    os.close(writer)
    it = In(os.open(path, os.O_RDONLY | os.O_NONBLOCK), over=True)
    it.inlet.go()
    await until(lambda: it.ended)
    assert (it.data, it.ended) == (b"brief", [FIN])
    os.close(anchor)


@pytest_twisted.ensureDeferred
async def test_a_writer_that_is_still_to_come(tmp_path: Path) -> None:
    """A pipe without writers has not ended when one is awaited."""
    os.mkfifo(tmp_path / "p")
    it = In(os.open(tmp_path / "p", os.O_RDONLY | os.O_NONBLOCK))
    it.inlet.go()
    await turn(3)
    assert it.ended == []
    writer = os.open(tmp_path / "p", os.O_WRONLY)
    await turn(3)
    os.close(writer)
    await until(lambda: it.ended)


@pytest_twisted.ensureDeferred
async def test_pausing_takes_effect_at_once(pipe: tuple[int, int]) -> None:
    """Whoever takes a chunk and pauses gets no other."""
    got: list[bytes] = []

    def take(data: bytes) -> None:
        got.append(data)
        inlet.pause()

    inlet = Inlet(reactor, reactor, pipe[0], take, lambda _: None)
    os.write(pipe[1], b"one")
    inlet.go()
    await until(lambda: got)
    os.write(pipe[1], b"two")
    os.close(pipe[1])
    await turn(3)
    assert got == [b"one"]
    inlet.go()
    await until(lambda: len(got) == 2)
    inlet.close()


@pytest_twisted.ensureDeferred
async def test_much_is_read_in_turns(tmp_path: Path) -> None:
    """A file of many chunks is read to its end, which is found by looking."""
    (tmp_path / "f").write_bytes(bytes(40 * SIZE))
    with (tmp_path / "f").open("rb") as file:
        it = In(own_end(file.fileno(), os.O_RDONLY), over=True)
    it.inlet.go()
    await until(lambda: it.ended)
    assert it.data == bytes(40 * SIZE)


@pytest.mark.parametrize("is_over", [True, False])
@pytest_twisted.ensureDeferred
async def test_a_bug_costs_the_inlet(
    pipe: tuple[int, int], logged_failures: list[Failure], is_over: bool
) -> None:
    """Whoever raises an exception gets nothing more."""
    ended: list[Loss] = []

    def take(data: bytes) -> None:
        raise ZeroDivisionError("on purpose")

    inlet = Inlet(reactor, reactor, pipe[0], take, ended.append, is_over)
    os.write(pipe[1], b"x")
    inlet.go()
    await until(lambda: ended)
    assert ended == [Loss(Reason.LOCAL, "ZeroDivisionError: on purpose")]
    logged_failures.clear()


@pytest_twisted.ensureDeferred
async def test_a_terminal_hangs_up() -> None:
    """When nobody has it open any more, that is an end."""
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    it = In(master)
    it.inlet.go()
    await turn()
    os.write(slave, b"typed")
    await until(lambda: it.data)
    os.close(slave)
    await until(lambda: it.ended)
    assert (it.data, it.ended) == (b"typed", [FIN])


# -- writing -----------------------------------------------------------------------


def pull(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 20)
    except BlockingIOError:
        return b""


@pytest_twisted.ensureDeferred
async def test_what_does_not_fit_waits(pipe: tuple[int, int]) -> None:
    """In order, by bytes, and the last to leave is told."""
    it = Out(pipe[1])
    sent = os.urandom(3 * SIZE)
    assert it.outlet.write(b"") == 0
    assert it.outlet.write(sent[: 2 * SIZE]) == 0
    assert it.outlet.write(sent[2 * SIZE :]) == 0
    assert it.outlet.box.size > 0
    got = bytearray()

    def reads_all() -> bool:
        got.extend(pull(pipe[0]))
        return len(got) == len(sent)

    await until(reads_all)
    assert got == sent
    await until(lambda: it.emptied)
    assert it.outlet.box.size == 0
    assert it.outlet.logPrefix() == "Outlet"
    it.outlet.doRead()
    it.outlet.close()
    it.outlet.close()


@pytest_twisted.ensureDeferred
async def test_a_reader_that_leaves_is_noticed(pipe: tuple[int, int]) -> None:
    """Also while there is nothing to write."""
    it = Out(pipe[1])
    assert it.outlet.is_open
    os.close(pipe[0])
    await until(lambda: it.broken)
    assert it.broken == [GONE]
    assert not it.outlet.is_open


@pytest_twisted.ensureDeferred
async def test_what_nobody_reads_is_kept(pipe: tuple[int, int]) -> None:
    """It breaks after the write, and what was written can be taken out again."""
    it = Out(pipe[1])
    os.close(pipe[0])
    it.outlet.write(b"one")
    it.outlet.write(b"two")
    assert it.broken == []
    await until(lambda: it.broken)
    assert (it.broken, it.outlet.box.pieces()) == ([GONE], [b"one", b"two"])


@pytest_twisted.ensureDeferred
async def test_a_reader_that_leaves_what_waits(pipe: tuple[int, int]) -> None:
    """Who waits to write hears of it, and nothing after a close."""
    it = Out(pipe[1])
    it.outlet.write(bytes(2 * SIZE))
    os.close(pipe[0])
    await until(lambda: it.broken)
    assert it.outlet.box.size > 0
    other = os.pipe2(os.O_NONBLOCK)
    closed = Out(other[1])
    os.close(other[0])
    closed.outlet.write(b"x")
    closed.outlet.close()
    await turn(3)
    assert closed.broken == []


@pytest_twisted.ensureDeferred
async def test_a_socket_is_half_closed() -> None:
    """Our end is told although a copy of the descriptor is still open."""
    ours, peer = socket.socketpair()
    with ours, peer:
        it = Out(own_end(ours.fileno(), os.O_WRONLY))
        it.outlet.write(b"last")
        it.outlet.close()
        peer.settimeout(5)
        assert peer.recv(9) == b"last"
        assert peer.recv(9) == b""


# -- inherited ---------------------------------------------------------------------


def test_an_inherited_pipe_keeps_blocking(pipe: tuple[int, int]) -> None:
    """Whoever shares it does not notice that we do not wait."""
    os.set_blocking(pipe[0], True)
    os.set_blocking(pipe[1], True)
    for fd, flags in ((pipe[0], os.O_RDONLY), (pipe[1], os.O_WRONLY)):
        ours = own_end(fd, flags)
        assert (os.get_blocking(fd), os.get_blocking(ours)) == (True, False)
        os.close(ours)


def test_an_inherited_file_keeps_its_place(tmp_path: Path) -> None:
    """It is read where the one before us stopped."""
    (tmp_path / "f").write_bytes(b"header body")
    with (tmp_path / "f").open("rb", buffering=0) as file:
        file.read(7)
        ours = own_end(file.fileno(), os.O_RDONLY)
        assert os.read(ours, 9) == b"body"
        os.close(ours)


def test_what_cannot_be_opened_anew_is_copied(pipe: tuple[int, int]) -> None:
    """A pipe without readers cannot, for one; then all who share it do not wait."""
    os.close(pipe[0])
    ours = own_end(pipe[1], os.O_WRONLY)
    assert not os.get_blocking(ours)
    os.close(ours)


def test_errors_have_reasons() -> None:
    """Nobody reads, the terminal is gone, or something of this machine is wrong."""
    assert loss_of(OSError(32, "x")) == GONE
    assert loss_of(OSError(5, "x")) == FIN
    assert loss_of(OSError(28, "full")) == Loss(Reason.LOCAL, "full")
