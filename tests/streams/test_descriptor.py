"""Messages over sockets that keep boundaries, against real ones."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import Clock

from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK, Kind
from l7mp.streams.descriptor import BUDGET, MessageDescriptor, loss_of
from l7mp.streams.transport import FLUSH, LINGER
from l7mp.testing import Memory
from tests.streams.loopback import Collector, Faulty, turn, until
from tests.streams.test_outbox import Producer

FIN = Loss(Reason.FIN)


class World:
    """A stream, its peer's socket, and a time that the test turns."""

    def __init__(self, type_: int = socket.SOCK_SEQPACKET, **options: Any) -> None:
        ours, self.peer = socket.socketpair(socket.AF_UNIX, type_)
        self.peer.setblocking(False)
        self.clock = Clock()
        self.stream = MessageDescriptor(reactor, self.clock, ours, **options)
        self.got: list[bytes] = []
        self.ended = False

    def pull(self) -> bool:
        """Read once; whether there was anything."""
        try:
            data = self.peer.recv(1 << 20)
        except BlockingIOError:
            return False
        if data:
            self.got.append(data)
        else:
            self.ended = True
        return True

    def fill(self) -> int:
        """Write until it waits; how many messages that took."""
        count = 0
        while not self.stream.unsent():
            self.stream.write(b"%7d" % count * 1000)
            count += 1
        return count

    def close(self) -> None:
        self.stream.abort(FIN)
        self.peer.close()


def lost(world: World) -> bool:
    return world.stream.loss is not None


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


@pytest_twisted.ensureDeferred
async def test_boundaries_survive_both_ways(world: World) -> None:
    """What is one message stays one, of every size, and is counted."""
    sent = [os.urandom(size) for size in (1, 2, 65536, 100000, 3)]
    got = Collector(world.stream).got
    for data in sent:
        world.stream.write(data)
        assert world.pull()
        world.peer.send(data)
    await until(lambda: len(got) == len(sent))
    assert world.got == got == sent
    assert world.stream.kind is Kind.DATAGRAMS
    assert world.stream.messages_in == world.stream.messages_out == 5
    assert world.stream.bytes_in == world.stream.bytes_out == sum(map(len, sent))


@pytest_twisted.ensureDeferred
async def test_a_held_stream_lets_the_peer_wait(world: World) -> None:
    """Nothing is read while it is held, so that the kernel holds the peer."""
    sink = Memory()
    world.stream.deliver_to(sink)
    sent = 0
    with suppress(BlockingIOError):
        while world.peer.send(b"x" * 1000):
            sent += 1
    await turn(5)
    assert sink.written == []
    world.stream.release(SINK)
    await until(lambda: len(sink.written) == sent)


@pytest_twisted.ensureDeferred
async def test_being_held_takes_effect_at_once(world: World) -> None:
    """A sink that holds the stream is given nothing more of what waits."""
    world.peer.send(b"one")
    world.peer.send(b"two")
    got: list[bytes] = []

    class Holding(Memory):
        def write(self, data: bytes) -> None:
            got.append(data)
            world.stream.hold("full")

    world.stream.deliver_to(Holding())
    world.stream.release(SINK)
    await until(lambda: got)
    await turn(5)
    assert got == [b"one"]
    world.stream.release("full")
    await until(lambda: got == [b"one", b"two"])


@pytest_twisted.ensureDeferred
async def test_the_producer_waits_with_what_is_written(world: World) -> None:
    """What the kernel does not take waits in order, and nothing is lost."""
    producer = Producer()
    world.stream.registerProducer(producer, True)  # type: ignore[arg-type]  # enough of one
    count = world.fill()
    for _ in range(3 * BUDGET):
        world.stream.write(b"%7d" % count * 1000)
        count += 1
    assert producer.told == ["pause"]
    await until(lambda: world.pull() and len(world.got) == count)
    assert world.got == [b"%7d" % n * 1000 for n in range(count)]
    await until(lambda: producer.told == ["pause", "resume"])
    assert world.stream.drops == {}
    world.stream.unregisterProducer()


@pytest_twisted.ensureDeferred
async def test_a_producer_that_does_not_wait_loses(world: World) -> None:
    """There is a bound, and what is pushed out is counted."""
    world.fill()
    for _ in range(9):
        world.stream.write(bytes(1 << 20))
    assert world.stream.drops["overflow"] > 0


@pytest_twisted.ensureDeferred
async def test_what_is_too_long_is_counted() -> None:
    """What the socket does not take, or is longer than we read, is dropped alone."""
    world = World(largest=1000)
    got = Collector(world.stream).got
    world.stream.write(bytes(8 << 20))
    world.peer.send(bytes(1001))
    world.peer.send(bytes(1000))
    await until(lambda: got)
    assert got == [bytes(1000)]
    assert world.stream.drops == {"too-big": 1, "oversize": 1}
    world.stream.write(b"next")
    assert world.pull()
    world.close()


@pytest_twisted.ensureDeferred
async def test_an_end_leaves_the_answer_its_way(world: World) -> None:
    """Half-close in both directions, and the stream is lost when both have ended."""
    heard: list[str] = []
    sink = Memory()
    world.stream.deliver_to(sink, lambda: heard.append("end"))
    world.stream.release(SINK)
    world.stream.write(b"last")
    world.stream.end()
    world.stream.end()
    world.stream.write(b"late")
    await until(lambda: world.pull() and world.ended)
    assert world.got == [b"last"]
    assert world.stream.drops == {"closed": 1}
    world.peer.send(b"answer")
    world.peer.close()
    await until(lambda: world.stream.loss)
    assert (sink.written, heard, world.stream.loss) == ([b"answer"], ["end"], FIN)


@pytest_twisted.ensureDeferred
async def test_the_peer_may_end_first(world: World) -> None:
    """What is written after the peer's end still arrives, then the stream goes."""
    world.stream.deliver_to(sink := Memory())
    world.stream.release(SINK)
    world.peer.shutdown(socket.SHUT_WR)
    await until(lambda: sink.ended)
    world.stream.write(b"answer")
    world.stream.end()
    assert world.stream.loss == FIN
    assert world.pull()
    assert world.pull()
    assert (world.got, world.ended) == ([b"answer"], True)


@pytest_twisted.ensureDeferred
async def test_a_peer_that_is_gone(world: World) -> None:
    """What could not be written to it is kept for its successor."""
    heard = Collector(world.stream)
    world.peer.send(b"before")
    world.peer.close()
    world.stream.write(b"one")
    world.stream.write(b"two")
    assert not lost(world)  # not in the middle of a write
    world.clock.advance(0)
    assert world.stream.loss == Loss(Reason.RESET, os.strerror(errno.EPIPE))
    assert heard.got == [b"before"]
    assert world.stream.unsent() == [b"one", b"two"]


@pytest_twisted.ensureDeferred
async def test_a_reset_is_told(world: World) -> None:
    """A peer that leaves what it was sent unread has reset the connection."""
    Collector(world.stream)
    world.stream.write(b"unread")
    world.peer.close()
    await until(lambda: world.stream.loss)
    assert world.stream.loss == Loss(Reason.RESET, os.strerror(errno.ECONNRESET))


@pytest_twisted.ensureDeferred
async def test_a_peer_that_hangs_up_on_what_waits(world: World) -> None:
    """Who waits to write to a peer that goes, is lost, with all it had to say."""
    count = world.fill()
    world.peer.close()
    await until(lambda: world.stream.loss)
    assert world.stream.loss is not None
    assert world.stream.loss.reason is Reason.RESET
    assert world.stream.unsent()[-1] == b"%7d" % (count - 1) * 1000


@pytest_twisted.ensureDeferred
async def test_closing_delivers_what_was_written(world: World) -> None:
    """All of it, then our end; what the peer still sends is counted."""
    count = world.fill()
    world.stream.close(Loss(Reason.IDLE))
    world.stream.close(Loss(Reason.DELETED))
    world.peer.send(b"late")
    await until(lambda: world.pull() and world.ended)
    assert len(world.got) == count
    assert world.stream.drops == {"closing": 1}
    world.peer.close()
    await until(lambda: world.stream.loss)
    assert world.stream.loss == Loss(Reason.IDLE)


@pytest_twisted.ensureDeferred
async def test_closing_waits_only_so_long() -> None:
    """For a peer that does not read, or that does not end."""
    for waits, seconds in ((True, FLUSH), (False, LINGER)):
        world = World()
        if waits:
            world.fill()
        world.stream.close(Loss(Reason.IDLE))
        world.clock.advance(seconds - 0.1)
        assert not lost(world)
        world.clock.advance(0.2)
        assert world.stream.loss == Loss(Reason.IDLE)
        world.close()


def test_closing_after_our_end(world: World) -> None:
    """When we have said everything already, only the peer's end is missing."""
    world.stream.end()
    world.stream.close(Loss(Reason.IDLE))
    world.clock.advance(LINGER)
    assert world.stream.loss == Loss(Reason.IDLE)


@pytest_twisted.ensureDeferred
async def test_closing_one_whose_peer_is_gone(world: World) -> None:
    """It does not wait for somebody who will not read; the reason is the closer's."""
    world.peer.close()
    world.stream.write(b"lost")
    world.stream.close(Loss(Reason.DELETED))
    world.clock.advance(0)
    assert world.stream.loss == Loss(Reason.DELETED)
    assert world.stream.unsent() == [b"lost"]


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_half_open_is_closed() -> None:
    """Without half-close, an end is the end as soon as everything has left."""
    world = World(socket.SOCK_DGRAM)
    world.stream.half_close = False
    count = world.fill()
    world.stream.end()
    await until(lambda: world.pull() and len(world.got) == count)
    await until(lambda: world.stream.loss)
    assert world.stream.loss == FIN
    world.close()


@pytest_twisted.ensureDeferred
async def test_a_bug_costs_the_stream(world: World, logged_failures: list[Any]) -> None:
    """A sink that raises ends this stream and nothing else."""
    Faulty(world.stream)
    world.peer.send(b"x")
    await until(lambda: world.stream.loss)
    assert world.stream.loss == Loss(Reason.LOCAL, "ZeroDivisionError: on purpose")
    logged_failures.clear()


def test_being_lost_is_told_once(world: World) -> None:
    """Afterwards nothing is taken, and nothing happens."""
    world.stream.abort(Loss(Reason.DELETED))
    world.stream.abort(FIN)
    world.stream.close(FIN)
    world.stream.end()
    world.stream.write(b"late")
    assert world.stream.loss == Loss(Reason.DELETED)
    assert world.stream.drops == {"closed": 1}
    assert world.stream.logPrefix() == "MessageDescriptor"


def test_errors_have_reasons() -> None:
    """A peer that is gone has reset; the rest is as for datagrams."""
    assert loss_of(OSError(errno.EPIPE, "x")) == Loss(Reason.RESET, "x")
    assert loss_of(OSError(errno.ECONNREFUSED, "x")) == Loss(Reason.REFUSED, "x")
