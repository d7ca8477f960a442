"""Associations as streams: manner of sending, pressure, beginnings."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from twisted.internet.defer import CancelledError

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import SINK, Note
from l7mp.streams.association import Association
from l7mp.streams.association_stream import (
    AssociationStream,
    Attempt,
    FirstMessage,
    Manner,
)
from l7mp.testing import Memory
from tests.streams.links import Bench, error

FIN = Loss(Reason.FIN)
UP = Note("COMM_UP", "up", {})


class Producer:
    """Somebody to pause."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")


def flowing(bench: Bench, **manner: Any) -> tuple[AssociationStream, Memory]:
    """A stream and what it delivers to."""
    stream, sink = AssociationStream(bench.it, Manner(**manner)), Memory()
    stream.deliver_to(sink)
    stream.release(SINK)
    return stream, sink


def test_messages_go_as_laid_down() -> None:
    """Stream, identifier and order of what is written are those that were asked for."""
    bench = Bench()
    stream, _ = flowing(bench, stream=3, ppid=46, unordered=True)
    stream.describe({"SCTP": {"stream": 5, "ppid": 60}})
    stream.write(b"data")
    assert bench.link.sent == [(b"data", 3, 46, True)]
    assert (stream.messages_out, stream.bytes_out) == (1, 4)


def test_what_is_not_laid_down_is_as_described() -> None:
    """What came over SCTP goes on as it came, and begins with zeros."""
    bench = Bench()
    stream, _ = flowing(bench)
    stream.write(b"1")
    stream.describe({"SCTP": {"stream": 5, "ppid": 60}})
    stream.write(b"2")
    stream.describe({"HTTP": {"status": 200}})
    stream.write(b"3")
    assert [(sid, ppid) for _, sid, ppid, _ in bench.link.sent] == [
        (0, 0), (5, 60), (5, 60),
    ]  # fmt: skip


def test_a_stream_that_the_peer_does_not_take_is_the_first() -> None:
    """The peer has the last word about how many there are."""
    bench = Bench(streams_out=4)
    stream, _ = flowing(bench, stream=4)
    stream.write(b"1")
    assert bench.link.sent[0][1] == 0


@pytest.mark.parametrize("strange", [True, -1, 1 << 32, "3", None, 1.5])
def test_strange_metadata_say_nothing(strange: object) -> None:
    """Only numbers of streams and identifiers are taken from metadata."""
    manner = Manner(1, 2)
    assert manner.with_facts({"SCTP": {"stream": strange, "ppid": strange}}) == manner
    assert manner.with_facts({"SCTP": 3}) == manner
    assert manner.with_facts({}) == manner
    assert manner.with_facts({"SCTP": {"ppid": 9}}) == Manner(1, 9)


def test_what_comes_is_described_when_it_changes() -> None:
    """The next stage hears of another stream or identifier ahead of the message."""
    bench = Bench()
    _, sink = flowing(bench)
    for data, sid, ppid in ((b"1", 0, 7), (b"2", 0, 7), (b"3", 1, 7)):
        bench.it.received(data, sid, ppid, True)
    assert sink.written == [b"1", b"2", b"3"]
    assert sink.facts == [
        {"SCTP": {"stream": 0, "ppid": 7}},
        {"SCTP": {"stream": 1, "ppid": 7}},
    ]


def test_held_streams_do_not_read() -> None:
    """Holding closes the window of the association; the peer waits."""
    bench = Bench()
    stream, _ = flowing(bench)
    seen = [bench.it.is_reading]
    stream.hold("why")
    seen.append(bench.it.is_reading)
    stream.release("why")
    assert [*seen, bench.it.is_reading] == [True, False, True]


def test_a_first_message_comes_first() -> None:
    """What was read before there was a stream is delivered once, when it may be."""
    bench, sink = Bench(), Memory()
    stream = AssociationStream(bench.it, Manner(), (b"first", 1, 2))
    stream.deliver_to(sink)
    assert sink.written == []
    stream.release(SINK)
    stream.hold("why")
    stream.release("why")
    assert sink.written == [b"first"]
    assert sink.facts == [{"SCTP": {"stream": 1, "ppid": 2}}]


def test_a_first_message_may_be_enough() -> None:
    """A sink that is full after the first message gets no other."""
    bench, sink = Bench(), Memory(window=1)
    stream = AssociationStream(bench.it, Manner(), (b"first", 1, 2))
    stream.deliver_to(sink)
    sink.registerProducer(_Holding(stream), True)  # type: ignore[arg-type]
    stream.release(SINK)
    assert sink.written == [b"first"]
    assert not bench.it.is_reading


class _Holding:
    def __init__(self, stream: AssociationStream) -> None:
        self._stream = stream

    def pauseProducing(self) -> None:
        self._stream.hold(self)


def test_a_first_message_can_be_too_late() -> None:
    """It is counted if nobody got it."""
    bench = Bench()
    stream = AssociationStream(bench.it, Manner(), (b"first", 1, 2))
    stream.abort(FIN)
    assert stream.drops == {"aborted": 1}


def test_a_full_association_pauses_its_producer() -> None:
    """Also one that comes when it is full already; it goes on when there is space."""
    bench = Bench()
    stream, _ = flowing(bench)
    early, late = Producer(), Producer()
    stream.registerProducer(early, True)  # type: ignore[arg-type]
    bench.link.is_full = True
    stream.write(b"1")
    assert early.calls == ["pause"]
    stream.unregisterProducer()
    stream.registerProducer(late, True)  # type: ignore[arg-type]
    bench.link.is_full = False
    bench.it.writable()
    assert late.calls == ["pause", "resume"]
    stream.unregisterProducer()
    bench.link.is_full = True
    stream.write(b"2")
    bench.link.is_full = False
    bench.it.writable()
    assert early.calls == ["pause"]


def test_what_cannot_be_sent_is_counted() -> None:
    """Nothing at all cannot be a message of SCTP, and a closed stream takes none."""
    bench = Bench()
    stream, _ = flowing(bench)
    stream.write(b"")
    bench.link.codes = [errno.EMSGSIZE]
    stream.write(b"long")
    stream.end()
    stream.write(b"late")
    assert stream.drops == {"empty": 1, "oversize": 1, "closed": 1}
    assert stream.messages_out == 0


def test_an_end_is_a_shutdown() -> None:
    """There is no half-close; the stream is lost when the peer has agreed."""
    bench = Bench()
    stream, _ = flowing(bench)
    stream.end()
    assert bench.link.said == ["shutdown"]
    assert stream.loss is None
    bench.it.ended()
    assert stream.loss == FIN


def test_what_was_left_is_given_back() -> None:
    """A stream that takes this one's place is written it."""
    bench = Bench()
    stream, _ = flowing(bench)
    bench.link.is_full = True
    stream.write(b"left")
    bench.it.failed(error(errno.ECONNRESET))
    assert stream.unsent() == [b"left"]


def test_what_happens_is_passed_on() -> None:
    """Whoever listens to the stream hears of the association."""
    bench = Bench()
    stream, _ = flowing(bench)
    heard: list[Note] = []
    stream.tell(heard.append)
    stream.happened(UP)
    assert heard == [UP]


# -- beginnings -----------------------------------------------------------------


def attempt(bench: Bench) -> tuple[Attempt, list[Any]]:
    """An attempt, and how it went."""
    it, results = Attempt(), list[Any]()
    it.association, bench.it.owner = bench.it, it
    it.made.addBoth(results.append)
    bench.it.read(True)
    return it, results


def test_an_attempt_waits_for_the_peer() -> None:
    """It is over when the association is up, of which nothing is read then."""
    bench = Bench()
    it, results = attempt(bench)
    it.happened(Note("ADDR_CONFIRMED", "early", {}))
    it.choked()
    it.eased()
    it.dropped("why")
    assert not results
    it.happened(UP)
    assert results == [bench.it]
    assert not bench.it.is_reading
    assert [note.word for note in it.notes] == ["ADDR_CONFIRMED", "COMM_UP"]
    it.over(FIN)


def test_an_attempt_fails() -> None:
    """It tells why."""
    bench = Bench()
    _, results = attempt(bench)
    bench.it.failed(error(errno.ECONNREFUSED))
    results[0].trap(RemoteError)
    assert results[0].value.loss.reason is Reason.REFUSED


def test_an_attempt_can_be_given_up() -> None:
    """The association is aborted, and the Deferred says that it was cancelled."""
    bench = Bench()
    it, results = attempt(bench)
    it.made.cancel()
    assert bench.link.said == ["abort"]
    results[0].trap(CancelledError)
    nowhere = Attempt()
    nowhere.made.addErrback(results.append)
    nowhere.made.cancel()
    assert len(results) == 2


def test_a_first_message_is_waited_for() -> None:
    """It is handed over, and no other is read meanwhile."""
    bench, came, gone = Bench(), list[Any](), list[Any]()
    waiting = FirstMessage(bench.it, came.append, gone.append)
    assert bench.it.is_reading
    bench.it.received(b"first", 1, 2, True)
    assert came == [(b"first", 1, 2)]
    assert gone == [waiting]
    assert not bench.it.is_reading


def test_a_first_message_never_comes() -> None:
    """An association that ends before is nobody's."""
    bench, came, gone = Bench(), list[Any](), list[Any]()
    waiting = FirstMessage(bench.it, came.append, gone.append)
    bench.it.ended()
    assert (came, gone) == ([], [waiting])


def test_associations_are_owned() -> None:
    """The stream that is made of one hears what befalls it."""
    bench = Bench()
    stream = AssociationStream(bench.it, Manner())
    assert isinstance(bench.it, Association)
    assert bench.it.owner is stream
