"""The proxy carries out configurations, whole or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from l7mp.core.events import Event, Faulted, Forgotten, Listening, Warned
from l7mp.errors import LocalError, Loss, Reason
from l7mp.interfaces import Kind
from l7mp.model import declared, edit
from l7mp.model.problem import Invalid
from l7mp.testing import Memory
from tests.core.support import World

TO_ECHO = [{"action": {"route": {"destination": {"spec": {"protocol": "Echo"}}}}}]


def listener(name: str, rules: object = TO_ECHO, **spec: object) -> dict[str, object]:
    return {"name": name, "spec": {"protocol": "Messages", **spec}, "rules": rules}


@pytest.fixture
def world() -> World:
    return World()


def failure_of(deferred: Deferred[Any]) -> BaseException:
    """What a Deferred has failed with."""
    failures: list[BaseException] = []

    def note(failure: Failure) -> None:
        assert failure.value is not None
        failures.append(failure.value)

    deferred.addErrback(note)
    (error,) = failures
    return error


def test_an_edit_is_effective_when_it_says_so(world: World) -> None:
    """A listener accepts once the edit that adds it is done."""
    world.configure(listeners=[listener("a")])
    assert [e.listener for e in world.events if isinstance(e, Listening)] == ["a"]
    assert list(world.proxy.config.listeners) == ["a"]
    assert len(world.messages.near) == 1


def test_a_failed_step_undoes_the_others(world: World) -> None:
    """If one listener cannot be bound nothing has changed, and the error says why."""
    world.configure(listeners=[listener("keep", port=1), listener("goes", port=2)])
    before = world.proxy.config
    done = world.configure(
        listeners=[listener("new", port=3), listener("bad", port=4, broken=True)]
    )
    assert str(failure_of(done)) == 'listener "bad": port in use'
    assert world.proxy.config is before
    assert sorted(near.spec.port for near in world.messages.near) == [1, 2]


def test_what_does_not_change_is_not_touched(world: World) -> None:
    """Sessions whose objects did not change live through a new configuration."""
    world.configure(listeners=[listener("a", port=1), listener("b", port=2)])
    near = list(world.messages.near)
    stays, goes = Memory(), Memory()
    near[0].accept(stays, {}, "")
    near[1].accept(goes, {}, "")
    world.configure(
        listeners=[
            listener("first", port=9),
            listener("a", port=1),
            listener("b", port=3),
        ]
    )
    assert stays.loss is None
    assert goes.loss is not None
    assert not near[0].stopped
    assert near[1].stopped


def test_rules_change_under_a_running_listener(world: World) -> None:
    """New rules count for new sessions, on the same port."""
    world.configure(listeners=[listener("a")])
    (near,) = world.messages.near
    world.configure(listeners=[listener("a", rules=[])])
    assert world.messages.near == [near]
    source = Memory()
    near.accept(source, {}, "")
    assert source.closed is not None
    assert source.closed.reason is Reason.NO_ROUTE


def test_edits_are_serial(world: World) -> None:
    """Of two edits that add the same name the second fails."""
    it = world.say(declared.Listener, listener("a"))
    first = world.proxy.edit(lambda c: edit.add_listener(c, world.words, it))
    second = world.proxy.edit(lambda c: edit.add_listener(c, world.words, it))
    assert first.called
    error = failure_of(second)
    assert isinstance(error, Invalid)
    assert "already defined" in str(error)


def test_streams_that_come_while_a_change_is_made_wait_for_it(world: World) -> None:
    """A listener may accept at birth (UDP singletons do): the rules are there by then."""
    early = Memory()
    listen = world.messages.protocol.listen

    def hasty(context: object, spec: object, accept: object) -> object:
        accept(early, {}, "")  # type: ignore[operator]
        return listen(context, spec, accept)  # type: ignore[misc, arg-type]

    object.__setattr__(world.messages.protocol, "listen", hasty)
    world.configure(listeners=[listener("a")])
    assert world.session.status == "CONNECTED"


def test_streams_of_a_change_that_fails_are_dropped(world: World) -> None:
    """Nobody is let in by a listener that is not to be."""
    early = Memory()
    listen = world.messages.protocol.listen

    def hasty(context: object, spec: object, accept: object) -> object:
        if spec.port == 1:  # type: ignore[attr-defined]
            accept(early, {}, "")  # type: ignore[operator]
        return listen(context, spec, accept)  # type: ignore[misc, arg-type]

    object.__setattr__(world.messages.protocol, "listen", hasty)
    done = world.configure(
        listeners=[listener("a", port=1), listener("b", broken=True)]
    )
    assert isinstance(failure_of(done), LocalError)
    assert early.loss is not None


def test_streams_of_a_listener_that_fails_are_dropped(world: World) -> None:
    """Whoever came before it failed is not kept waiting, nor who comes after."""
    early, late = Memory(), Memory()
    accepts: list[Any] = []

    def hasty(context: object, spec: object, accept: Any) -> Deferred[Any]:
        accepts.append(accept)
        accept(early, {}, "")
        return fail(LocalError("port in use"))

    object.__setattr__(world.messages.protocol, "listen", hasty)
    assert isinstance(
        failure_of(world.configure(listeners=[listener("a")])), LocalError
    )
    accepts[0](late, {}, "")
    assert early.loss is not None
    assert late.loss is not None


def test_a_listener_that_a_failed_change_had_stopped_goes_on(world: World) -> None:
    """After a change that failed the old listeners let in whoever comes, at once."""
    world.configure(listeners=[listener("a", port=1)])
    done = world.configure(
        listeners=[listener("a", port=2), listener("bad", broken=True)]
    )
    assert isinstance(failure_of(done), LocalError)
    world.messages.near[0].accept(Memory(), {}, "")
    assert world.session.status == "CONNECTED"


def test_who_is_late_for_a_listener_is_sent_away(world: World) -> None:
    """A handshake may end after its listener has: it makes no session any more."""
    world.configure(listeners=[listener("a")])
    late, (near,) = Memory(), world.messages.near
    world.configure(listeners=[])
    near.accept(late, {}, "")
    assert not world.proxy.sessions
    assert late.loss is not None
    assert late.loss.reason is Reason.DELETED


def test_recursive_deletes_end_sessions(world: World) -> None:
    """Deleting a cluster recursively ends the sessions that run through it."""
    world.route()
    source = world.arrive()
    world.proxy.edit(lambda c: edit.delete_cluster(c, "out"))
    assert source.loss is None
    world.route()
    world.proxy.edit(lambda c: edit.delete_cluster(c, "out", recursive=True))
    assert source.closed is not None
    assert source.closed.reason is Reason.DELETED


def test_the_session_that_asks_is_spared(world: World) -> None:
    """A request may delete what carries it: it ends by itself."""
    world.route()
    source = world.arrive()
    name = world.session.name
    world.proxy.edit(lambda c: edit.delete_listener(c, "in", True), spare=name)
    assert source.loss is None


def test_tracked_sessions_stay_for_a_while(world: World) -> None:
    """With options.track an ended session is listed as DESTROYED for so many seconds."""
    world.configure(listeners=[{**listener("a"), "options": {"track": 5}}])
    world.messages.near[0].accept(Memory(), {}, "words")
    session = world.session
    assert session.name == "Messages:words-0"
    session.end(Loss(Reason.DELETED))
    assert world.session.status == "DESTROYED"
    world.clock.advance(5)
    assert not world.proxy.sessions
    assert world.said(Forgotten)


def test_idle_sessions_end(world: World) -> None:
    """The listener's idle_timeout, or the stream's own, ends a session in silence."""
    world.configure(listeners=[{**listener("a"), "options": {"idle_timeout": 8}}])
    source = Memory()
    world.messages.near[0].accept(source, {}, "")
    for _ in range(10):
        world.clock.advance(1)
        source.inject(b"alive")
    assert source.loss is None
    world.clock.pump([1] * 10)
    assert source.closed is not None
    assert source.closed.reason is Reason.IDLE


def test_declared_losses_are_warned_about(world: World) -> None:
    """A route that loses boundaries is told of when it is declared."""
    world.route("Messages", "Bytes")
    (warning,) = [e for e in world.events if isinstance(e, Warned)]
    assert warning.subject.startswith("route")


def test_words_without_meaning_are_warned_about(world: World) -> None:
    """What the original took and ignored is ignored, and said to be."""
    world.configure(
        clusters=[{"name": "e", "spec": {"protocol": "Echo", "port": 16000}}]
    )
    (warning,) = [e for e in world.events if isinstance(e, Warned)]
    assert warning.subject == "cluster e"
    assert "port" in warning.message


def test_observers_do_not_disturb_each_other(world: World) -> None:
    """An observer that fails is reported to the others."""

    def broken(event: Event) -> None:
        if not isinstance(event, Faulted):
            raise ZeroDivisionError

    world.proxy.subscribe(broken)
    world.route()
    world.arrive()
    assert world.session.status == "CONNECTED"
    assert world.said(Faulted)


def test_a_listener_that_hands_over_nonsense(world: World) -> None:
    """A bug at the birth of a session costs that session alone."""
    world.route()

    class Broken(Memory):
        def when_lost(self) -> Deferred[Loss]:
            raise RuntimeError("cannot tell")

    source = Broken()
    world.messages.near[0].accept(source, {}, "")
    assert world.said(Faulted)
    assert source.closed is not None


def test_stopping_ends_everything(world: World) -> None:
    """Listeners stop, sessions end with shutdown, resources are closed."""
    world.route("Bytes", "Bytes")
    world.proxy.startService()
    source = world.arrive(Kind.BYTES)
    stopped = world.proxy.stopService()
    assert stopped.called
    assert not world.bytes.near
    assert source.closed is not None
    assert source.closed.reason is Reason.SHUTDOWN


def test_stopping_does_not_wait_for_ever(world: World) -> None:
    """A session that does not end is left behind after a grace period."""
    world.route()

    class Stubborn(Memory):
        def close(self, loss: Loss) -> None:
            self.closed = loss

    world.messages.near[0].accept(Stubborn(), {}, "")
    stopped = world.proxy.stopService()
    assert not stopped.called
    world.clock.advance(10)
    assert stopped.called
