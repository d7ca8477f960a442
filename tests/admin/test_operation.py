"""What handlers are given of a request."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from l7mp.admin.body import read, said
from l7mp.admin.operation import OK, Call, NotFound
from l7mp.errors import LocalError
from l7mp.model import edit
from l7mp.model.declared import Cluster, ClusterRequest
from l7mp.model.edit import Change
from l7mp.model.problem import Invalid
from l7mp.observers.journal import Journal
from tests.core.support import World

BODY = b"cluster:\n  name: a/b\n  spec: {protocol: Echo}\n"


def call(world: World, body: bytes | None = None, session: str = "") -> Call:
    given = None
    if body is not None:
        given = said(read(body, "text/yaml"), ClusterRequest, world.words)
    return Call(world.proxy, Journal(), {"name": "x"}, said=given, session=session)


def adding(world: World, it: Cluster) -> Any:
    return lambda config: edit.add_cluster(config, world.words, it)


def test_an_edit_says_where_to_find_what_it_added() -> None:
    """An edit answers with OK, and knows the encoded path of what was added."""
    world = World()
    it = call(world, BODY)
    change = adding(world, it.body(ClusterRequest).cluster)
    replies: list[object] = []
    Deferred.fromCoroutine(it.edit(change, "/clusters")).addCallback(replies.append)
    assert replies == [OK]
    assert it.location == "/api/v1/clusters/a%2Fb"
    assert list(it.config.clusters) == ["a/b"]


def test_problems_of_an_edit_are_placed() -> None:
    """What only shows when the edit is made is told with line and column, too."""
    world = World()
    it = call(world, BODY)
    change = adding(world, it.body(ClusterRequest).cluster)
    Deferred.fromCoroutine(it.edit(change))
    refused = Deferred.fromCoroutine(it.edit(change))
    error = _raised(refused)
    assert isinstance(error, Invalid)
    (problem,) = error.problems
    assert (problem.path, problem.line, problem.column) == ("/cluster/name", 2, 3)


def test_an_edit_without_a_body_has_no_places() -> None:
    """Problems of an edit that nobody wrote down are told as they are."""
    world = World()

    def refuse(config: object) -> Change:
        raise Invalid([])

    refused = Deferred.fromCoroutine(call(world).edit(refuse))
    assert isinstance(_raised(refused), Invalid)


def test_a_client_that_goes_away_leaves_nothing_half_done() -> None:
    """An edit under way is carried out although nobody waits for it any more."""
    world = World()
    it = call(world, BODY)
    change = adding(world, it.body(ClusterRequest).cluster)
    ahead: Deferred[None] = Deferred()
    world.proxy._editing.run(lambda: ahead)
    waiting = Deferred.fromCoroutine(it.edit(change, "/clusters"))
    waiting.cancel()
    assert isinstance(_raised(waiting), CancelledError)
    ahead.callback(None)
    assert list(world.proxy.config.clusters) == ["a/b"]


def test_a_refusal_that_nobody_waits_for_is_nobody_s() -> None:
    """An edit that fails when its client is gone fails in silence."""
    world = World()
    ahead: Deferred[None] = Deferred()
    world.proxy._editing.run(lambda: ahead)

    def refuse(config: object) -> Change:
        raise LocalError("no")

    waiting = Deferred.fromCoroutine(call(world).edit(refuse))
    waiting.cancel()
    assert isinstance(_raised(waiting), CancelledError)
    ahead.callback(None)


def test_the_session_that_asks_lives_on() -> None:
    """A change that ends the sessions of a cluster spares the one that asks for it."""
    world = World()
    world.route()
    world.arrive()
    world.arrive()
    mine, other = world.proxy.sessions.values()
    asked = call(world, session=mine.name)
    asking = asked.edit(lambda config: edit.delete_cluster(config, "out", True))
    assert Deferred.fromCoroutine(asking).called
    assert mine.status == "CONNECTED"
    assert other.loss is not None


def test_what_get_does_not_find_is_the_original_s() -> None:
    """Not found has the status and the words of the original."""
    assert (NotFound().status, str(NotFound())) == (400, "Not Found")


def _raised(failed: Deferred[Any]) -> BaseException:
    """What a Deferred failed with; it is handled."""
    found: list[BaseException | None] = []

    def note(failure: Failure) -> None:
        found.append(failure.value)

    failed.addErrback(note)
    assert found, "it did not fail"
    assert found[0] is not None
    return found[0]
