"""Being held for several reasons at once, and being lost."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred

from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK, Note
from l7mp.streams.stream import MAX_UNTOLD
from l7mp.testing import Memory

FIN, RESET = Loss(Reason.FIN), Loss(Reason.RESET)


def test_newborn_streams_are_held() -> None:
    """A stream that delivers to nobody is held for want of a sink."""
    stream = Memory()
    assert stream.is_held
    stream.release(SINK)
    assert not stream.is_held


def test_every_reason_holds() -> None:
    """A stream flows only when the last reason not to is gone."""
    stream, sink = Memory(), Memory()
    stream.deliver_to(sink)
    stream.hold("one")
    stream.release(SINK)
    stream.inject(b"data")
    stream.release("unknown")
    assert sink.written == []
    stream.release("one")
    assert sink.written == [b"data"]


def test_what_is_delivered_is_counted() -> None:
    """A stream knows how much it has read."""
    stream = Memory()
    stream.deliver_to(Memory())
    stream.release(SINK)
    stream.inject(b"ab", b"c")
    assert (stream.messages_in, stream.bytes_in) == (2, 3)


def test_the_end_is_told_once() -> None:
    """The peer's end ends the sink, however often it is heard of."""
    stream = Memory()
    ends: list[int] = []
    stream.deliver_to(Memory(), lambda: ends.append(1))
    stream.hang_up()
    stream.hang_up()
    assert ends == [1]


def test_an_early_end_waits_for_the_sink() -> None:
    """A peer that ends before there is a sink ends the sink that comes."""
    stream, sink = Memory(), Memory()
    stream.hang_up()
    stream.deliver_to(sink)
    assert sink.ended


def test_the_first_loss_counts() -> None:
    """A stream is lost once, and says the same to whoever asks, whenever."""
    stream = Memory()
    heard: list[Loss] = []
    stream.when_lost().addCallback(heard.append)
    stream.abort(RESET)
    stream.abort(FIN)
    stream.when_lost().addCallback(heard.append)
    assert heard == [RESET, RESET]


def test_nobody_has_to_wait() -> None:
    """Who no longer wants to know of the loss is not told."""
    stream = Memory()
    cancelled: list[object] = []
    lost = stream.when_lost()
    lost.addErrback(lambda failure: cancelled.append(failure.type))
    lost.cancel()
    stream.abort(FIN)
    assert cancelled == [CancelledError]


def test_one_who_waits_may_send_another_away() -> None:
    """Everybody who still waits hears of a loss, although others leave meanwhile."""
    stream = Memory()
    heard: list[Loss] = []
    waiting: list[Deferred[Loss]] = []
    stream.when_lost().addCallback(lambda _: waiting[0].cancel())
    waiting.append(stream.when_lost())
    waiting[0].addErrback(lambda _: None)
    stream.when_lost().addCallback(heard.append)
    stream.abort(FIN)
    assert heard == [FIN]


def test_what_a_stream_says_is_heard_late_but_in_order() -> None:
    """Notes wait for whoever hears them, the latest of them, and then come at once."""
    stream = Memory()
    for number in range(MAX_UNTOLD + 1):
        stream._note(Note("WORD", str(number), {}))
    heard: list[Note] = []
    stream.tell(heard.append)
    assert [note.message for note in heard] == [
        str(number) for number in range(1, MAX_UNTOLD + 1)
    ]
    stream._note(Note("WORD", "now", {}))
    assert heard[-1].message == "now"
