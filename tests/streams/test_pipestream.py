"""Byte streams of pipes, against real ones."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import Clock

from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK, Kind
from l7mp.streams.pipes import FIN, SIZE
from l7mp.streams.pipestream import PipeStream
from l7mp.streams.transport import FLUSH
from l7mp.testing import Memory
from tests.streams.loopback import Collector, turn, until
from tests.streams.test_outbox import Producer
from tests.streams.test_pipes import GONE, pull


class World:
    """A stream, the other ends of its pipes, and a time that the test turns."""

    def __init__(self, *, reads: bool = True, writes: bool = True) -> None:
        self.clock = Clock()
        self._open: set[int] = set()
        inlet, self.hand = os.pipe2(os.O_NONBLOCK) if reads else (None, -1)
        self.ear, outlet = os.pipe2(os.O_NONBLOCK) if writes else (-1, None)
        self._open = {fd for fd in (self.hand, self.ear) if fd >= 0}
        self.stream = PipeStream(reactor, self.clock, inlet, outlet)
        self.got = b""
        self.ended = False

    def hang_up(self, fd: int) -> None:
        self._open.remove(fd)
        os.close(fd)

    def hears_all(self) -> bool:
        """Read once; whether the end has come."""
        try:
            data = os.read(self.ear, 1 << 20)
        except BlockingIOError:
            return False
        self.got += data
        return not data

    def fill(self) -> bytes:
        """Write until it waits; what that was."""
        sent = b""
        while not self.stream.unsent():
            self.stream.write(bytes(SIZE))
            sent += bytes(SIZE)
        return sent

    def close(self) -> None:
        self.stream.abort(FIN)
        for fd in self._open:
            os.close(fd)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def is_lost(stream: PipeStream) -> bool:
    return stream.loss is not None


@pytest_twisted.ensureDeferred
async def test_bytes_pass_both_ways(world: World) -> None:
    """And are counted; a held stream is not read."""
    sink = Memory()
    world.stream.deliver_to(sink)
    os.write(world.hand, b"early")
    await turn(3)
    assert sink.written == []
    world.stream.release(SINK)
    await until(lambda: sink.written == [b"early"])
    world.stream.hold("full")
    os.write(world.hand, b"late")
    await turn(3)
    assert sink.written == [b"early"]
    world.stream.release("full")
    await until(lambda: sink.written == [b"early", b"late"])
    world.stream.write(b"answer")
    assert pull(world.ear) == b"answer"
    assert (world.stream.bytes_in, world.stream.bytes_out) == (9, 6)
    assert world.stream.kind is Kind.BYTES


@pytest_twisted.ensureDeferred
async def test_half_close_in_either_order() -> None:
    """One direction may end before the other; both make a FIN."""
    for reads_first in (True, False):
        world = World()
        heard = Collector(world.stream)
        if reads_first:
            world.hang_up(world.hand)
            await until(lambda: heard.ended)  # noqa: B023
            world.stream.write(b"late")
            world.stream.end()
        else:
            world.stream.write(b"late")
            world.stream.end()
            await until(world.hears_all)
            assert not is_lost(world.stream)
            os.write(world.hand, b"later")
            world.hang_up(world.hand)
            await until(lambda: heard.ended)  # noqa: B023
            assert heard.got == [b"later"]
        assert world.stream.loss == FIN
        await until(world.hears_all)
        assert world.got == b"late"
        world.stream.end()
        world.close()


@pytest_twisted.ensureDeferred
async def test_who_writes_waits(world: World) -> None:
    """What a full pipe does not take waits, its producer too, and nothing is lost."""
    producer = Producer()
    world.stream.registerProducer(producer, True)  # type: ignore[arg-type]
    sent = world.fill()
    world.stream.end()
    world.stream.write(b"late")
    assert producer.told == ["pause"]
    await until(world.hears_all)
    assert world.got == sent
    assert producer.told == ["pause", "resume"]
    assert world.stream.drops == {"closed": 4}
    world.stream.unregisterProducer()


@pytest_twisted.ensureDeferred
async def test_what_can_only_be_read() -> None:
    """What is written to it is counted; its end and ours make a FIN."""
    world = World(writes=False)
    heard = Collector(world.stream)
    assert world.stream.half_close
    world.stream.registerProducer(Producer(), True)  # type: ignore[arg-type]
    world.stream.unregisterProducer()
    world.stream.write(b"answer")
    assert world.stream.drops == {"one-way": 6}
    world.stream.end()
    assert not is_lost(world.stream)
    world.hang_up(world.hand)
    await until(lambda: heard.ended)
    assert world.stream.loss == FIN
    assert world.stream.unsent() == []
    world.close()


@pytest_twisted.ensureDeferred
async def test_what_can_only_be_written() -> None:
    """It has ended when it is told so, after everything has left."""
    world = World(reads=False)
    heard = Collector(world.stream)
    assert not world.stream.half_close
    world.stream.hold("x")
    world.stream.release("x")
    sent = world.fill()
    world.stream.end()
    assert not is_lost(world.stream)
    await until(world.hears_all)
    assert world.got == sent
    assert heard.ended
    assert world.stream.loss == FIN
    world.close()


@pytest_twisted.ensureDeferred
async def test_nobody_reads_any_more() -> None:
    """That is the end of what can only be written; what did not leave is kept."""
    world = World(reads=False)
    world.hang_up(world.ear)
    world.stream.write(b"lost")
    assert not is_lost(world.stream)
    world.clock.advance(0)
    assert world.stream.loss == GONE
    assert world.stream.unsent() == [b"lost"]
    world.close()


@pytest_twisted.ensureDeferred
async def test_who_still_speaks_is_heard(world: World) -> None:
    """A peer that does not read any more may write on; the rest is counted."""
    heard = Collector(world.stream)
    producer = Producer()
    world.stream.registerProducer(producer, True)  # type: ignore[arg-type]
    world.hang_up(world.ear)
    world.stream.write(b"lost")
    world.clock.advance(0)
    assert producer.told == ["pause", "resume"]
    world.stream.write(b"more")
    assert world.stream.drops == {"closed": 8}
    os.write(world.hand, b"still here")
    world.hang_up(world.hand)
    await until(lambda: heard.ended)
    assert (heard.got, world.stream.loss) == ([b"still here"], FIN)


@pytest_twisted.ensureDeferred
async def test_closing_delivers_what_was_written(world: World) -> None:
    """All of it; what comes meanwhile is counted."""
    sent = world.fill()
    world.stream.close(Loss(Reason.IDLE))
    world.stream.close(Loss(Reason.DELETED))
    os.write(world.hand, b"late")
    await until(world.hears_all)
    assert world.got == sent
    assert world.stream.loss == Loss(Reason.IDLE)
    assert world.stream.drops == {"closing": 4}


@pytest_twisted.ensureDeferred
async def test_closing_waits_only_so_long() -> None:
    """For who does not read; not at all when nothing is left or nobody is there."""
    world = World()
    world.fill()
    world.stream.close(Loss(Reason.IDLE))
    world.clock.advance(FLUSH)
    assert world.stream.loss == Loss(Reason.IDLE)
    world.close()
    world = World()
    world.fill()
    world.stream.close(Loss(Reason.IDLE))
    world.hang_up(world.hand)
    await turn(3)
    assert not is_lost(world.stream)
    world.hang_up(world.ear)
    await turn(3)
    world.clock.advance(0)
    assert world.stream.loss == Loss(Reason.IDLE)
    world.close()
    world = World()
    world.stream.end()
    world.stream.close(Loss(Reason.IDLE))
    assert world.stream.loss == Loss(Reason.IDLE)
    world.close()


def test_both_may_be_one_socket() -> None:
    """Copies of a socket make a stream with half-close."""
    ours, peer = socket.socketpair()
    with ours, peer:
        ends = os.dup(ours.fileno()), os.dup(ours.fileno())
        stream = PipeStream(reactor, Clock(), *ends)
        stream.write(b"question")
        stream.end()
        assert (peer.recv(9), peer.recv(9)) == (b"question", b"")
        stream.abort(FIN)
        stream.abort(GONE)
        assert stream.loss == FIN


@pytest_twisted.ensureDeferred
async def test_a_bug_costs_the_stream(world: World) -> None:
    """What is wrong with our end of the pipe is told."""
    world.stream._no_more(Loss(Reason.LOCAL, "x"))
    assert world.stream.loss == Loss(Reason.LOCAL, "x")
    world.stream.write(b"late")
    assert world.stream.drops == {"closed": 4}


def test_a_writer_that_does_not_wait_loses(world: World) -> None:
    """There is a bound, and what is pushed out is counted."""
    world.fill()
    for _ in range(9):
        world.stream.write(bytes(1 << 20))
    assert world.stream.drops["overflow"] > 0
