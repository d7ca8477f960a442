"""What waits while a stream is held that cannot hold its source."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK
from l7mp.streams.queueing import QueueingStream
from l7mp.testing import Memory, check_stream

FIN, RESET = Loss(Reason.FIN), Loss(Reason.RESET)


class Source(QueueingStream):
    """A queueing stream whose peer is the test."""

    def arrive(self, *messages: bytes) -> None:
        for message in messages:
            self._arrived(message)

    def hang_up(self) -> None:
        self._read_ended()

    def vanish(self, loss: Loss) -> None:
        self._lose(loss)

    def abort(self, loss: Loss) -> None:
        self._discard_queue("aborted")
        self._lose(loss)


def wired(**bounds: int) -> tuple[Source, Memory]:
    source, sink = Source(**bounds), Memory()
    source.deliver_to(sink)
    return source, sink


def test_it_keeps_the_contract() -> None:
    """A queueing stream is a stream."""

    def make() -> tuple[Source, Callable[[bytes], None]]:
        source = Source()
        return source, source.arrive

    check_stream(make)


def test_what_waited_comes_first() -> None:
    """Order is kept across being held."""
    source, sink = wired()
    source.arrive(b"1", b"2")
    source.release(SINK)
    source.arrive(b"3")
    assert sink.written == [b"1", b"2", b"3"]
    assert source.queued == 0


def test_the_oldest_message_gives_way() -> None:
    """A full queue drops what waited longest, and counts it."""
    source, sink = wired(max_messages=2)
    source.arrive(b"1", b"2", b"3")
    source.release(SINK)
    assert sink.written == [b"2", b"3"]
    assert source.drops == {"overflow": 1}


def test_bytes_are_bounded_too() -> None:
    """Few large messages overflow a queue as many small ones do."""
    source, sink = wired(max_bytes=4)
    source.arrive(b"123", b"45", b"678901")
    source.arrive(b"2")
    source.release(SINK)
    assert sink.written == [b"2"]
    assert source.drops == {"overflow": 3}


@given(st.lists(st.one_of(st.binary(max_size=9), st.booleans())), st.integers(1, 5))
def test_nothing_is_lost_uncounted(steps: list[bytes | bool], bound: int) -> None:
    """Whatever is held when, each message is delivered in order, waits or is counted."""
    source, sink = wired(max_messages=bound, max_bytes=20)
    sent = []
    for step in steps:
        if step is True:
            source.release(SINK)
        elif step is False:
            source.hold(SINK)
        else:
            sent.append(step)
            source.arrive(step)
    drops = source.drops.get("overflow", 0)
    assert len(sink.written) + source.queued + drops == len(sent)
    left = iter(sent)
    assert all(message in left for message in sink.written)


def test_the_end_comes_behind_the_queue() -> None:
    """A peer's end is told when everything before it was delivered."""
    source, sink = wired()
    source.arrive(b"last")
    source.hang_up()
    assert not sink.ended
    source.release(SINK)
    assert sink.written == [b"last"]
    assert sink.ended


def test_an_orderly_loss_waits_for_the_queue() -> None:
    """A peer that went in good order is missed when its data was delivered."""
    source, sink = wired()
    source.arrive(b"last")
    source.vanish(FIN)
    assert source.loss is None
    source.release(SINK)
    assert sink.written == [b"last"]
    assert source.loss == FIN


def test_a_reset_does_not_wait() -> None:
    """A peer that dropped the connection is gone at once."""
    source, _ = wired()
    source.arrive(b"last")
    source.vanish(RESET)
    assert source.loss == RESET


def test_what_an_abort_drops_is_counted() -> None:
    """Nothing that waited disappears without a trace."""
    source, sink = wired()
    source.arrive(b"1", b"2")
    source.abort(RESET)
    assert source.drops == {"aborted": 2}
    source.release(SINK)
    assert sink.written == []


def test_draining_stops_when_the_sink_is_full() -> None:
    """A sink that pauses in the middle of the queue gets the rest later."""
    source, sink = wired()
    sink.window = 2
    source.arrive(*[b"%d" % n for n in range(5)])

    class Producer:
        def pauseProducing(self) -> None:
            source.hold("full")

        def resumeProducing(self) -> None:
            source.release("full")

    sink.producer = Producer()  # type: ignore[assignment]  # as much as is needed
    source.release(SINK)
    assert sink.written == [b"0", b"1"]
    sink.drain()
    assert sink.written == [b"2", b"3"]
    sink.drain()
    assert sink.written == [b"4"]
