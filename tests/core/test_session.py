"""What a session does when peers come, end, fail and return."""

from __future__ import annotations

from functools import partial

import pytest
from twisted.internet.defer import Deferred, succeed

from l7mp.core.events import (
    AttemptFailed,
    Connected,
    Ended,
    Faulted,
    Noted,
    Refused,
    StageConnected,
    Warned,
)
from l7mp.errors import LocalError, Loss, Reason
from l7mp.interfaces import IStream, Kind, Note
from l7mp.model import edit
from l7mp.testing import Memory
from tests.core.support import World

ALWAYS = {"retry_on": "always", "num_retries": 3, "timeout": 2000}


@pytest.fixture
def world() -> World:
    return World()


def test_data_goes_both_ways(world: World) -> None:
    """What the source reads the destination is written, and the other way round."""
    world.route()
    source = world.arrive()
    source.inject(b"question")
    (there,) = world.messages.made
    there.inject(b"answer")
    assert (there.written, source.written) == ([b"question"], [b"answer"])
    assert world.session.status == "CONNECTED"
    assert source.is_established


def test_chains_are_separate(world: World) -> None:
    """Ingress transforms see what goes to the destination, egress ones what comes back."""
    world.route(ingress=["out"], egress=["out"])
    source = world.arrive()
    ingress, destination, egress = world.messages.made
    source.inject(b"1")
    ingress.inject(b"2")
    destination.inject(b"3")
    egress.inject(b"4")
    assert [s.written for s in (ingress, destination, egress, source)] == [
        [b"1"], [b"2"], [b"3"], [b"4"],
    ]  # fmt: skip


def test_no_route(world: World) -> None:
    """A session that no rule matches is refused with a reason."""
    world.configure(
        listeners=[{"name": "in", "spec": {"protocol": "Messages"}, "rules": []}]
    )
    source = world.arrive()
    assert source.closed is not None
    assert source.closed.reason is Reason.NO_ROUTE
    assert source.closed.status == 404
    assert not world.proxy.sessions


def test_a_failed_connection_is_not_retried_by_default(world: World) -> None:
    """retry_on never: the first failure is the last, and the client hears of it."""
    world.route()
    world.messages.outcomes = [Reason.REFUSED]
    source = world.arrive()
    assert source.closed == Loss(Reason.REFUSED, "as told")
    assert world.said(AttemptFailed, Refused, Ended) == [
        "AttemptFailed",
        "Refused",
        "Ended",
    ]


def test_connecting_is_tried_again_after_a_pause(world: World) -> None:
    """num_retries more attempts, timeout milliseconds apart; data waits meanwhile."""
    world.route(retry=ALWAYS)
    world.messages.outcomes = [Reason.REFUSED, Reason.REFUSED]
    source = world.arrive()
    source.inject(b"early")
    assert world.session.status == "INIT"
    world.clock.advance(2)
    assert not world.messages.made
    world.clock.advance(2)
    assert world.session.status == "CONNECTED"
    assert world.messages.made[0].written == [b"early"]


def test_the_budget_ends(world: World) -> None:
    """After num_retries + 1 attempts the session ends with the last reason."""
    world.route(retry=ALWAYS)
    world.messages.outcomes = [*[Reason.REFUSED] * 3, Reason.UNREACHABLE]
    source = world.arrive()
    for _ in range(3):
        assert source.loss is None
        world.clock.advance(2)
    assert source.closed is not None
    assert source.closed.reason is Reason.UNREACHABLE
    assert len(world.messages.endpoints) == 4


def test_an_attempt_takes_at_most_timeout(world: World) -> None:
    """A peer that does not answer is given up after timeout milliseconds."""
    world.route(retry={"retry_on": "never", "timeout": 500})
    waiting: Deferred[IStream] = Deferred()
    world.messages.outcomes = [waiting]
    source = world.arrive()
    world.clock.advance(0.5)
    assert source.closed is not None
    assert source.closed.reason is Reason.TIMEOUT
    assert source.closed.status == 504


def test_a_lost_destination_is_replaced(world: World) -> None:
    """The client stays; what it sends meanwhile waits; what was not sent goes first."""
    world.route(retry=ALWAYS)
    source = world.arrive()
    (old,) = world.messages.made
    old.kept = [b"unsent"]
    world.messages.outcomes = [Reason.REFUSED]
    old.vanish()
    assert world.session.status == "DISCONNECTED"
    source.inject(b"meanwhile")
    world.clock.advance(2)
    assert world.session.status == "CONNECTED"
    assert world.messages.made[1].written == [b"unsent", b"meanwhile"]
    assert world.said(Connected) == ["Connected", "Connected"]


def test_a_destination_that_ends_is_replaced_under_retry(world: World) -> None:
    """The end of the upstream's data is a disconnect where those are retried."""
    world.route(retry=ALWAYS)
    source = world.arrive()
    world.messages.made[0].hang_up()
    assert len(world.messages.made) == 2
    assert not source.ended
    source.inject(b"more")
    assert world.messages.made[1].written == [b"more"]


@pytest.mark.parametrize("index", [0, 1, 2])
def test_every_stage_is_mended(world: World, index: int) -> None:
    """Ingress, destination and egress stages reconnect alike."""
    world.route(ingress=["out"], egress=["out"], retry=ALWAYS)
    world.arrive()
    world.messages.made[index].vanish()
    assert world.session.status == "CONNECTED"
    fresh = world.messages.made[3]
    world.session.stages[index].stream.inject(b"in")
    assert fresh.written == [b"in"]


def test_reconnecting_is_given_up_too(world: World) -> None:
    """A disconnect is tried at once and num_retries times in all."""
    world.route(retry=ALWAYS)
    source = world.arrive()
    world.messages.outcomes = [Reason.REFUSED] * 3
    world.messages.made[0].vanish()
    world.clock.pump([2, 2])
    assert source.closed is not None
    assert source.closed.reason is Reason.REFUSED
    assert len(world.messages.endpoints) == 1 + 3


def test_half_close_travels(world: World) -> None:
    """The client's end reaches the destination, whose late answer is still delivered."""
    world.route("Bytes", "Bytes")
    source = world.arrive(Kind.BYTES)
    (there,) = world.bytes.made
    source.inject(b"x")
    source.hang_up()
    assert there.ended
    there.inject(b"late")
    there.hang_up()
    assert source.written == [b"late"]
    assert source.ended
    assert world.session.status == "CONNECTED"
    there.vanish(Reason.FIN)
    source.vanish(Reason.FIN)
    assert not world.proxy.sessions


def test_half_close_is_no_disconnect(world: World) -> None:
    """A destination that ends after the client did is not connected again."""
    world.route("Bytes", "Bytes", retry=ALWAYS)
    source = world.arrive(Kind.BYTES)
    source.hang_up()
    world.bytes.made[0].hang_up()
    assert source.ended
    assert len(world.bytes.made) == 1


def test_an_end_is_told_again(world: World) -> None:
    """What takes the place of a destination hears that the client has ended."""
    world.route("Bytes", "Bytes", retry=ALWAYS)
    source = world.arrive(Kind.BYTES)
    source.inject(b"all")
    source.hang_up()
    world.bytes.made[0].kept = [b"all"]
    world.bytes.made[0].vanish()
    fresh = world.bytes.made[1]
    assert (fresh.written, fresh.ended) == ([b"all"], True)
    fresh.vanish(Reason.FIN)
    assert len(world.bytes.made) == 2


@pytest.mark.parametrize("gone", [False, True])
def test_what_is_complete_is_not_replaced(world: World, gone: bool) -> None:
    """A destination that has said all there is ends, and nothing takes its place."""
    world.route("Bytes", "Bytes", retry=ALWAYS)
    source = world.arrive(Kind.BYTES)
    (there,) = world.bytes.made
    there.is_complete = True
    if gone:
        there.vanish(Reason.FIN)
    else:
        there.hang_up()
    assert source.ended
    assert len(world.bytes.made) == 1


def test_a_reset_reaches_the_other_side(world: World) -> None:
    """A destination that resets ends the session with that reason."""
    world.route()
    source = world.arrive()
    world.messages.made[0].vanish()
    assert source.loss is not None
    assert source.loss.reason is Reason.RESET
    assert source.closed is None  # dropped, not closed


def test_a_client_that_leaves_is_never_retried(world: World) -> None:
    """The source's loss ends the session whatever the policy."""
    world.route(retry=ALWAYS)
    source = world.arrive()
    source.vanish(Reason.FIN)
    assert world.messages.made[0].ended
    assert world.messages.made[0].closed == Loss(Reason.FIN)
    assert not world.proxy.sessions


def test_deleting_stops_retrying(world: World) -> None:
    """A deleted session tries nothing more, at once."""
    world.route(retry=ALWAYS)
    world.messages.outcomes = [Reason.REFUSED] * 4
    world.arrive()
    world.session.end(Loss(Reason.DELETED))
    assert not world.proxy.sessions
    assert not world.clock.getDelayedCalls()


def test_a_connection_that_comes_too_late_is_dropped(world: World) -> None:
    """Cancelling an attempt that cannot be cancelled leaks nothing."""
    world.route(ingress=["out"])
    late: Deferred[IStream] = Deferred(lambda _: None)
    world.messages.outcomes = [late, Reason.REFUSED]
    world.arrive()
    assert not world.proxy.sessions


def test_stages_that_did_connect_are_closed_when_another_fails(world: World) -> None:
    """No connection is leaked."""
    world.route(ingress=["out"])
    waiting: Deferred[IStream] = Deferred()
    world.messages.outcomes = [waiting]
    world.arrive()
    connected = world.messages.made[0]
    waiting.errback(LocalError("no"))
    assert connected.loss is not None


def test_a_bug_costs_one_session(world: World) -> None:
    """An exception that nobody foresaw ends the session and is reported."""
    world.route()
    world.messages.outcomes = [ZeroDivisionError("oops")]
    source = world.arrive()
    assert source.closed == Loss(Reason.LOCAL, "ZeroDivisionError: oops")


def test_a_missing_cluster_is_found_when_it_is_added(world: World) -> None:
    """Names bind late: a cluster that is defined while a session retries is used."""
    world.route(retry=ALWAYS)
    world.proxy.edit(lambda c: edit.delete_cluster(c, "out"))
    source = world.arrive()
    assert world.session.status == "INIT"
    from l7mp.model import declared

    again = {"name": "out", "spec": {"protocol": "Messages"},
             "endpoints": [{"spec": {"address": "c"}}]}  # fmt: skip
    it = world.say(declared.Cluster, again)
    world.proxy.edit(lambda c: edit.add_cluster(c, world.words, it))
    world.clock.advance(2)
    assert world.session.status == "CONNECTED"
    assert source.loss is None


@pytest.mark.parametrize("reason", [Reason.NO_CLUSTER, Reason.NO_ENDPOINT])
def test_nowhere_to_go(world: World, reason: Reason) -> None:
    """A missing or an empty cluster has a reason of its own, and status 503."""
    world.route()
    if reason is Reason.NO_CLUSTER:
        world.proxy.edit(lambda c: edit.delete_cluster(c, "out"))
    else:
        for name in ("e1", "e2"):
            world.proxy.edit(partial(edit.delete_endpoint, name=name))
    source = world.arrive()
    assert source.closed is not None
    assert (source.closed.reason, source.closed.status) == (reason, 503)


def test_lost_boundaries_are_told(world: World) -> None:
    """A hop from messages to bytes warns on the session."""
    world.route("Messages", "Bytes")
    world.arrive()
    assert "boundaries are lost" in world.session.warnings[0]
    assert world.said(Warned)


def test_a_disconnected_endpoint(world: World) -> None:
    """Recursively deleting an endpoint moves its sessions to another, under retry."""
    world.route(retry=ALWAYS)
    world.arrive()
    world.proxy.edit(lambda c: edit.delete_endpoint(c, "e1", recursive=True))
    assert world.messages.endpoints == ["e1", "e2"]
    assert world.session.status == "CONNECTED"


def test_ends_meet_at_the_source_without_half_close(world: World) -> None:
    """A destination that closes in order flushes what it said and ends the session."""
    world.route()
    source = world.arrive()
    (there,) = world.messages.made
    there.inject(b"last words")
    there.vanish(Reason.FIN)
    assert source.written == [b"last words"]
    assert source.ended
    assert source.closed == Loss(Reason.FIN)


def test_faults_are_reported(world: World) -> None:
    """A stream that breaks its promises is reported, not ignored."""
    world.route()

    class Broken(Memory):
        def close(self, loss: Loss) -> None:
            raise RuntimeError("cannot close")

    source = Broken()
    world.messages.near[0].accept(source, {}, "")
    world.messages.made[0].vanish(Reason.FIN)
    assert world.said(Faulted)


def test_what_streams_say_of_themselves_is_an_event(world: World) -> None:
    """The source's notes and a stage's come with the stage's origin, once it is there."""
    world.route()
    source, there = Memory(), Memory()
    there._note(Note("EARLY", "before it was handed over", {}))
    world.messages.outcomes = [succeed(there)]
    world.messages.near[0].accept(source, {}, "")
    source._note(Note("LATE", "while it runs", {"n": 1}))
    notes = [event for event in world.events if isinstance(event, Noted)]
    assert [(event.origin, event.note.word) for event in notes] == [
        ("out", "EARLY"),
        ("in", "LATE"),
    ]
    assert world.said(StageConnected, Noted)[0] == "StageConnected"


FRAMED = {"framing": "u8", "retry": {"retry_on": "disconnect", "timeout": 10}}


def test_a_framed_stage_carries_messages(world: World) -> None:
    """A framing of the route is put where there are bytes, and nobody is warned."""
    world.route("Messages", "Bytes", **FRAMED)
    source = world.arrive()
    (there,) = world.bytes.made
    source.inject(b"one", b"two")
    there.inject(b"\x02", b"hi\x00")
    assert there.written == [b"\x03one", b"\x03two"]
    assert source.written == [b"hi", b""]
    assert world.session.warnings == []
    assert not world.said(Warned)


def test_a_framed_stage_is_mended_with_whole_messages(world: World) -> None:
    """What a lost stage had only begun to send is sent again, from its beginning."""
    world.route("Messages", "Bytes", **FRAMED)
    source = world.arrive()
    source.inject(b"one", b"two")
    (first,) = world.bytes.made
    first.kept = [b"wo"]
    first.vanish()
    (_, second) = world.bytes.made
    source.inject(b"three")
    second.inject(b"\x02ok")
    assert second.written == [b"\x03two", b"\x05three"]
    assert source.written == [b"ok"]


def test_a_framed_source(world: World) -> None:
    """A listener's streams are framed before anything is read; their end is heard."""
    world.route("Bytes", "Messages", framing="lines")
    source = world.arrive(Kind.BYTES)
    (there,) = world.messages.made
    source.inject(b"one\ntw", b"o\n")
    there.inject(b"answer")
    assert (there.written, source.written) == ([b"one", b"two"], [b"answer\n"])
    source.inject(b"x" * ((1 << 20) + 2))
    (ended,) = [event for event in world.events if isinstance(event, Ended)]
    assert ended.loss.reason is Reason.PROTOCOL
    assert there.closed == ended.loss


def test_a_framed_source_is_lost_once(world: World) -> None:
    """Its session ends once, with what the stream inside says."""
    world.route("Bytes", "Messages", framing="lines")
    world.arrive(Kind.BYTES).vanish()
    (ended,) = [event for event in world.events if isinstance(event, Ended)]
    assert ended.loss == Loss(Reason.RESET)
    assert not world.proxy.sessions
