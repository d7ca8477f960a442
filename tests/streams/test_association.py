"""Associations: messages put together, pressure, and all the ways to end."""

from __future__ import annotations

import errno

import pytest

from l7mp.errors import Loss, Reason
from l7mp.streams.association import MAX_MESSAGE, WORDS, loss_of
from l7mp.streams.transport import FLUSH
from l7mp.wire.sctp import LINUX, Notification, Sockaddr
from tests.streams.links import Bench, error

FIN = Loss(Reason.FIN)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_messages_come_whole(bench: Bench) -> None:
    """One that came in parts is put together, with its stream and identifier."""
    bench.it.received(b"whole", 1, 10, True)
    for part, is_last in ((b"a", False), (b"b", False), (b"c", True)):
        bench.it.received(part, 2, 20, is_last)
    assert bench.owner.messages == [(b"whole", 1, 10), (b"abc", 2, 20)]


def test_a_message_that_is_too_long_is_dropped(bench: Bench) -> None:
    """It takes no more memory than is allowed, is counted, and the next one comes."""
    piece = bytes(1 << 16)
    for _ in range(MAX_MESSAGE // len(piece) + 1):
        bench.it.received(piece, 0, 0, False)
    assert sum(map(len, bench.it._parts)) <= MAX_MESSAGE
    bench.it.received(b"end", 0, 0, True)
    bench.it.received(b"next", 0, 0, True)
    assert bench.owner.drops == ["oversize"]
    assert bench.owner.messages == [(b"next", 0, 0)]


def test_the_longest_message_comes(bench: Bench) -> None:
    """The bound itself is no longer than the bound."""
    bench.it.received(bytes(MAX_MESSAGE - 1), 0, 0, False)
    bench.it.received(b"x", 0, 0, True)
    assert [len(data) for data, *_ in bench.owner.messages] == [MAX_MESSAGE]


def test_a_message_that_is_cut_off_is_dropped(bench: Bench) -> None:
    """When the stack gives up the rest of a message the beginning goes, too."""
    cut = Notification("PARTIAL_DELIVERY_ABORTED")
    bench.it.notified(cut)
    assert bench.owner.drops == []
    bench.it.received(b"begin", 0, 0, False)
    bench.it.notified(cut)
    bench.it.received(b"next", 0, 0, True)
    assert bench.owner.drops == ["cut-off"]
    assert bench.owner.messages == [(b"next", 0, 0)]


def test_reading_is_asked_for(bench: Bench) -> None:
    """A newborn association does not read, and one that is over never does."""
    seen = [bench.it.is_reading]
    bench.it.read(True)
    seen.append(bench.it.is_reading)
    assert bench.link.watched == (True, False)
    bench.it.read(False)
    assert bench.link.watched == (False, False)
    bench.it.abort(FIN)
    bench.it.read(True)
    assert [*seen, bench.it.is_reading] == [False, True, False]


def test_what_finds_no_space_waits_in_order(bench: Bench) -> None:
    """The producer is told to pause, and to go on when everything has left."""
    bench.it.send(b"1", 0, 0, False)
    bench.link.is_full = True
    for data in (b"2", b"3"):
        assert bench.it.send(data, 1, 2, True)
    assert bench.it.is_full
    assert bench.owner.pressure == ["choked"]
    assert bench.link.watched == (False, True)
    bench.it.writable()
    assert bench.it.unsent() == [b"2", b"3"]
    bench.link.is_full = False
    bench.it.writable()
    assert [data for data, *_ in bench.link.sent] == [b"1", b"2", b"3"]
    assert bench.link.sent[-1] == (b"3", 1, 2, True)
    assert bench.owner.pressure == ["choked", "eased"]
    assert bench.link.watched == (False, False)


def test_what_is_too_long_for_the_stack_is_dropped(bench: Bench) -> None:
    """At once or when its turn comes, and counted; others follow."""
    bench.link.codes = [errno.EMSGSIZE]
    assert not bench.it.send(b"long", 0, 0, False)
    bench.link.is_full = True
    bench.it.send(b"long, too", 0, 0, False)
    bench.it.send(b"next", 0, 0, False)
    bench.link.codes, bench.link.is_full = [errno.EMSGSIZE], False
    bench.it.writable()
    assert bench.owner.drops == ["oversize", "oversize"]
    assert [data for data, *_ in bench.link.sent] == [b"next"]


def test_what_was_not_sent_is_kept(bench: Bench) -> None:
    """A peer that has shut down takes no more; its end is read after what it sent."""
    bench.link.codes = [errno.EPIPE]
    assert bench.it.send(b"late", 0, 0, False)
    assert bench.owner.pressure == ["choked"]
    assert not bench.clock.getDelayedCalls()
    bench.it.ended()
    assert bench.it.unsent() == [b"late"]
    assert bench.owner.losses == [FIN]


@pytest.mark.parametrize("is_late", [False, True])
def test_writing_meets_the_end(bench: Bench, is_late: bool) -> None:
    """A dead association is told soon, though nothing is read, and takes little more."""
    if is_late:
        bench.link.is_full = True
        bench.it.send(b"1", 0, 0, False)
    bench.link.codes = [errno.ECONNRESET]
    if is_late:
        bench.it.writable()
    else:
        bench.it.send(b"1", 0, 0, False)
    bench.it.send(b"2", 0, 0, False)
    assert bench.owner.pressure == ["choked"]
    assert not bench.owner.losses
    bench.clock.advance(0)
    assert [loss.reason for loss in bench.owner.losses] == [Reason.RESET]
    assert bench.it.unsent() == [b"1", b"2"]


def test_writing_meets_the_end_that_was_read(bench: Bench) -> None:
    """It is told once."""
    bench.link.codes = [errno.ECONNRESET, errno.ECONNRESET]
    bench.it.send(b"1", 0, 0, False)
    bench.it.writable()
    bench.it.ended()
    assert not bench.clock.getDelayedCalls()
    assert len(bench.owner.losses) == 1


def test_finishing_delivers_what_waits(bench: Bench) -> None:
    """SHUTDOWN follows the last message, and its completion is the end."""
    bench.link.is_full = True
    bench.it.send(b"last", 0, 0, False)
    bench.it.finish(FIN)
    assert bench.link.said == []
    assert bench.link.watched == (True, True)
    bench.link.is_full = False
    bench.it.writable()
    assert [data for data, *_ in bench.link.sent] == [b"last"]
    assert bench.link.said == ["shutdown"]
    bench.it.ended()
    assert bench.link.said == ["shutdown", "close"]
    assert bench.owner.losses == [FIN]
    assert not bench.clock.getDelayedCalls()


def test_what_comes_while_finishing_is_counted(bench: Bench) -> None:
    """There is no half-close: what the peer still says reaches nobody."""
    bench.it.finish(FIN)
    bench.it.received(b"late", 0, 0, True)
    assert bench.owner.drops == ["closing"]
    assert not bench.owner.messages


def test_finishing_takes_no_longer_than_it_may(bench: Bench) -> None:
    """A peer that never acknowledges is dropped, once; the first reason counts."""
    why = Loss(Reason.IDLE, "quiet")
    bench.it.finish(why)
    bench.it.finish(FIN)
    bench.clock.advance(FLUSH)
    assert bench.link.said == ["shutdown", "abort"]
    assert bench.owner.losses == [why]
    bench.it.finish(FIN)
    bench.it.abort(FIN)
    bench.it.ended()
    assert bench.owner.losses == [why]


@pytest.mark.parametrize("is_told_by_word", [True, False])
def test_the_peer_shuts_down(bench: Bench, is_told_by_word: bool) -> None:
    """An end without a complaint is an orderly one, however it is told."""
    if is_told_by_word:
        bench.it.notified(Notification("SHUTDOWN_COMP"))
    bench.it.ended()
    assert bench.owner.losses == [FIN]
    assert bench.link.said == ["close"]


@pytest.mark.parametrize("is_told_by_error", [True, False])
def test_the_peer_aborts(bench: Bench, is_told_by_error: bool) -> None:
    """The cause that it gives is the detail of the reset, however that is told."""
    bench.it.notified(Notification("COMM_LOST", {"error": "protocol violation"}))
    if is_told_by_error:
        bench.it.failed(error(errno.ECONNRESET))
    else:
        bench.it.ended()
    assert bench.owner.losses == [Loss(Reason.RESET, "protocol violation")]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.ECONNREFUSED, Reason.REFUSED),
        (errno.ETIMEDOUT, Reason.TIMEOUT),
        (errno.ECONNABORTED, Reason.TIMEOUT),
        (errno.ECONNRESET, Reason.RESET),
        (errno.EHOSTUNREACH, Reason.UNREACHABLE),
        (errno.EIO, Reason.LOCAL),
    ],
)
def test_errors_have_reasons(code: int, reason: Reason) -> None:
    """What a stack says in numbers the session says in words."""
    assert loss_of(error(code)).reason is reason


def test_an_error_beats_a_word(bench: Bench) -> None:
    """A peer that fell silent is lost by time, whatever else is said."""
    bench.it.notified(Notification("COMM_LOST"))
    bench.it.failed(error(errno.ETIMEDOUT))
    assert bench.owner.losses[0].reason is Reason.TIMEOUT


def test_what_happens_is_told(bench: Bench) -> None:
    """Each notification has a sentence, with the address or the error it is about."""
    bench.it.notified(None)
    up = Notification("COMM_UP", {"streams": {"in": 3, "out": 2}})
    bench.it.notified(up)
    bench.it.notified(Notification("ADDR_ADDED", address=Sockaddr(2, "192.0.2.1", 1)))
    bench.it.notified(Notification("CANT_STR_ASSOC", {"error": "stale cookie"}))
    assert [note.message for note in bench.owner.notes] == [
        "the association is up",
        "192.0.2.1 is an address of the peer, too",
        "the association could not be made: stale cookie",
    ]
    assert bench.owner.notes[1].facts == {"address": "192.0.2.1"}
    assert bench.it.streams_out == 2


def test_every_word_has_a_sentence() -> None:
    """Nothing that a stack can say is without one."""
    words = {*LINUX.assoc_states.values(), *LINUX.addr_states.values()}
    assert words | {"SHUTDOWN_EVENT", "PARTIAL_DELIVERY_ABORTED"} == WORDS.keys()


def test_where_it_leads(bench: Bench) -> None:
    """The link knows."""
    assert bench.it.ends().peer_port == 6000
