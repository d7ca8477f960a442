"""What sessions share: one input, one output."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import Clock

from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK, Kind
from l7mp.streams.commons import SILENCE, Commons, SharedStream
from l7mp.streams.pipes import FIN, SIZE
from l7mp.streams.transport import FLUSH
from l7mp.testing import Memory, check_stream
from tests.streams.loopback import Collector, turn, until
from tests.streams.test_outbox import Producer
from tests.streams.test_pipes import pull


class World:
    """What is shared, both other ends, and a time that the test turns."""

    def __init__(self, *, lingers: bool = True) -> None:
        self.clock = Clock()
        theirs, self.hand = os.pipe2(os.O_NONBLOCK)
        self.ear, ours = os.pipe2(os.O_NONBLOCK)
        self.it = Commons(reactor, self.clock, ours, lingers)
        self.ends: list[Loss] = []
        self.it.read_from(theirs, self.ends.append)
        self._open = {self.hand, self.ear}

    def hang_up(self, fd: int) -> None:
        self._open.discard(fd)
        os.close(fd)

    def join(self) -> tuple[SharedStream, Collector]:
        stream = self.it.join()
        return stream, Collector(stream)

    def fill(self, stream: SharedStream) -> int:
        """Write until it has to wait; how many bytes that were."""
        count = 0
        while not self.it.has_unwritten:
            stream.write(bytes(SIZE))
            count += SIZE
        return count

    def drain(self) -> int:
        return len(pull(self.ear))

    def close(self) -> None:
        for member in list(self.it.members):
            member.abort(FIN)
        self.it.close()
        self.it.close()
        for fd in self._open:
            os.close(fd)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def is_lost(stream: SharedStream) -> bool:
    return stream.loss is not None


@pytest_twisted.ensureDeferred
async def test_all_hear_and_are_heard(world: World) -> None:
    """What is read goes to every member, what they write is mixed."""
    (one, heard), (two, too) = world.join(), world.join()
    one.write(b"1")
    two.write(b"2")
    assert pull(world.ear) == b"12"
    os.write(world.hand, b"typed")
    await until(lambda: heard.got == too.got == [b"typed"])
    assert (one.kind, one.half_close) == (Kind.BYTES, True)
    assert (one.bytes_out, one.bytes_in) == (1, 5)


@pytest_twisted.ensureDeferred
async def test_input_waits_for_somebody_to_take_it(world: World) -> None:
    """With nobody there, or all of them held, nothing is read and nothing is lost."""
    os.write(world.hand, b"early")
    await turn(3)
    stream = world.it.join()
    sink = Memory()
    stream.deliver_to(sink)
    await turn(3)
    assert sink.written == []
    stream.release(SINK)
    await until(lambda: sink.written == [b"early"])
    stream.hold("full")
    os.write(world.hand, b"held")
    await turn(3)
    stream.release("full")
    await until(lambda: sink.written == [b"early", b"held"])
    stream.abort(FIN)
    os.write(world.hand, b"between")
    await turn(3)
    _, heard = world.join()
    await until(lambda: heard.got == [b"between"])


@pytest_twisted.ensureDeferred
async def test_a_slow_member_stops_nobody(world: World) -> None:
    """It has a queue, whose end is the end of its stream, and which is bounded."""
    (slow, late), (_, heard) = world.join(), world.join()
    slow.hold("full")
    for number in range(3):
        os.write(world.hand, b"%d" % number)
        await until(lambda: len(heard.got) == number + 1)  # noqa: B023
    assert late.got == []
    slow.end()
    slow.input_ended()
    assert not is_lost(slow)
    slow.release("full")
    assert late.got == [b"0", b"1", b"2"]
    assert slow.loss == FIN


@pytest_twisted.ensureDeferred
async def test_who_writes_waits(world: World) -> None:
    """All producers wait for the one output, those that come later too."""
    producers = [Producer(), Producer()]
    (one, _), (two, _) = world.join(), world.join()
    one.registerProducer(producers[0], True)  # type: ignore[arg-type]
    count = world.fill(one)
    two.registerProducer(producers[1], True)  # type: ignore[arg-type]
    assert [producer.told for producer in producers] == [["pause"], ["pause"]]
    read = 0
    while read < count:
        read += world.drain()
        await turn()
    await until(lambda: producers[0].told == producers[1].told == ["pause", "resume"])
    one.unregisterProducer()
    assert one.drops == {}
    world.it.stopProducing()


@pytest_twisted.ensureDeferred
async def test_silence_is_the_end_for_who_has_said_everything(world: World) -> None:
    """Until then it hears what comes, and being held is no silence."""
    stream, heard = world.join()
    stream.end()
    stream.end()
    stream.write(b"late")
    assert stream.drops == {"closed": 4}
    world.clock.advance(SILENCE - 0.1)
    os.write(world.hand, b"answer")
    await until(lambda: heard.got == [b"answer"])
    world.clock.advance(SILENCE - 0.1)
    stream.hold("full")
    world.clock.advance(SILENCE)
    assert not is_lost(stream)
    stream.release("full")
    world.clock.advance(SILENCE)
    assert heard.ended
    assert stream.loss == FIN


@pytest_twisted.ensureDeferred
async def test_nobody_lingers_at_a_terminal() -> None:
    """Where nothing is to be expected, an end is one at once."""
    world = World(lingers=False)
    stream, heard = world.join()
    stream.end()
    assert heard.ended
    assert stream.loss == FIN
    world.close()


@pytest_twisted.ensureDeferred
async def test_the_end_of_input_is_told(world: World) -> None:
    """Who has said everything goes with it, who has not may still speak."""
    (one, heard), (two, too) = world.join(), world.join()
    one.end()
    os.write(world.hand, b"last")
    world.hang_up(world.hand)
    await until(lambda: world.ends)
    assert world.ends == [FIN]
    assert not world.it.is_reading
    for stream in (one, two):
        stream.input_ended()
    assert heard.got == too.got == [b"last"]
    assert heard.ended
    assert too.ended
    assert (one.loss, two.loss) == (FIN, None)
    two.write(b"still")
    assert pull(world.ear) == b"still"
    two.end()
    assert is_lost(two)


@pytest_twisted.ensureDeferred
async def test_what_was_written_is_delivered_first(world: World) -> None:
    """Before an end, and before a close, though not for ever."""
    stream, _ = world.join()
    world.fill(stream)
    stream.close(Loss(Reason.IDLE))
    await turn(2)
    assert not is_lost(stream)
    while not is_lost(stream):
        world.drain()
        await turn()
    assert stream.loss == Loss(Reason.IDLE)
    stuck, _ = world.join()
    world.fill(stuck)
    stuck.close(Loss(Reason.IDLE))
    stuck.close(Loss(Reason.DELETED))
    world.clock.advance(FLUSH)
    assert stuck.loss == Loss(Reason.IDLE)


@pytest_twisted.ensureDeferred
async def test_nobody_reads_the_output(world: World) -> None:
    """What is written then is counted, and producers are let go; input goes on."""
    producer = Producer()
    stream, heard = world.join()
    stream.registerProducer(producer, True)  # type: ignore[arg-type]
    world.fill(stream)
    world.hang_up(world.ear)
    await turn(2)
    world.clock.advance(0)
    await turn(2)
    assert producer.told == ["pause", "resume"]
    stream.write(b"lost")
    assert stream.drops == {"closed": 4}
    os.write(world.hand, b"typed")
    await until(lambda: heard.got == [b"typed"])
    stream.close(FIN)
    assert is_lost(stream)


def test_a_member_that_does_not_wait_loses(world: World) -> None:
    """There is a bound to what waits to be written, and what falls out is counted."""
    stream, _ = world.join()
    world.fill(stream)
    for _ in range(9):
        stream.write(bytes(1 << 20))
    assert stream.drops["overflow"] > 0


@pytest.mark.parametrize("code", [0, 3])
def test_all_are_lost_with_what_they_share(world: World, code: int) -> None:
    """In good order it is an end of what is read, else it is not."""
    (one, heard), (two, _) = world.join(), world.join()
    two.hold("full")
    two.hear(b"queued")
    loss = Loss(Reason.FIN if not code else Reason.EXIT, "", code)
    world.it.end_all(loss)
    assert one.loss == loss
    assert heard.ended is (code == 0)
    assert not is_lost(two)
    two.close(Loss(Reason.DELETED))
    assert two.loss == loss
    assert two.drops == {"aborted": 1}
    assert world.it.members == []


def test_being_lost_is_told_once(world: World) -> None:
    """A view of what is shared keeps the contract of streams."""

    def make() -> tuple[SharedStream, object]:
        stream = world.it.join()
        return stream, stream.hear

    check_stream(make)  # type: ignore[arg-type]
