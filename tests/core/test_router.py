"""Which route a session takes."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from l7mp.core.router import NoRoute, decide
from l7mp.model import declared, edit
from l7mp.model.config import Config
from tests.core.support import World

ROUTE = {"destination": "out"}


def config(world: World, **sections: object) -> Config:
    base = {"clusters": [{"name": "out", "spec": {"protocol": "Echo"}}]}
    it = world.say(declared.Config, {**base, **sections})
    done: Deferred[edit.Change] = world.proxy.edit(
        lambda c: edit.replace_all(c, world.words, it)
    )
    done.addErrback(lambda failure: failure.raiseException())
    return world.proxy.config


def rule(op: str, path: str, value: object, **action: object) -> dict[str, object]:
    return {"match": {"op": op, "path": path, "value": value}, "action": action}


@pytest.fixture
def world() -> World:
    return World()


def test_the_first_match_counts(world: World) -> None:
    """Rules are tried in order."""
    rules = [
        rule("test", "/a", 1, route={"name": "one", **ROUTE}),
        rule("less", "/a", 5, route={"name": "two", **ROUTE}),
        {"action": {"route": {"name": "three", **ROUTE}}},
    ]
    tables = config(world, rulelists=[{"name": "list", "rules": rules}])
    for a, route in ((1, "one"), (3, "two"), (7, "three")):
        assert decide(tables, "list", {"a": a}).route.name == route


def test_apply_hands_over_the_whole_decision(world: World) -> None:
    """There is no way back, and the rewrite of the rule that applies is not done."""
    rulelists = [
        {"name": "first", "rules": [
            {**rule("defined", "/a", None, apply="second",
                    rewrite=[{"path": "/r", "value": 1}]),
             "match": {"op": "defined", "path": "/a"}},
            {"action": {"route": {"name": "fallback", **ROUTE}}}]},
        {"name": "second", "rules": [
            rule("test", "/a", 1, route={"name": "inner", **ROUTE})]},
    ]  # fmt: skip
    tables = config(world, rulelists=rulelists)
    decision = decide(tables, "first", {"a": 1})
    assert decision.route.name == "inner"
    assert decision.metadata == {"a": 1}
    assert decision.passed == ("first", "second")
    with pytest.raises(NoRoute, match='"second" matches'):
        decide(tables, "first", {"a": 2})
    assert decide(tables, "first", {}).route.name == "fallback"


def test_rewrites_make_new_metadata(world: World) -> None:
    """The metadata that came in is left alone."""
    rules = [{"action": {"route": ROUTE, "rewrite": [{"path": "/x/y", "value": [1]}]}}]
    tables = config(world, rulelists=[{"name": "list", "rules": rules}])
    given = {"a": 1}
    assert decide(tables, "list", given).metadata == {"a": 1, "x": {"y": [1]}}
    assert given == {"a": 1}


def test_whatever_is_missing_is_named(world: World) -> None:
    """A missing rulelist, rule or route refuses with a reason that names it."""
    tables = config(
        world,
        rules=[{"name": "idle", "action": {}}],
        rulelists=[{"name": "idle-list", "rules": ["idle"]},
                   {"name": "list", "rules": [{"name": "r", "action": {"route": {"name": "gone", **ROUTE}}}]}],
    )  # fmt: skip
    with pytest.raises(NoRoute, match='no rulelist "nowhere"'):
        decide(tables, "nowhere", {})
    with pytest.raises(NoRoute, match="neither a route nor an apply"):
        decide(tables, "idle-list", {})
    without_route = edit.delete_route(tables, "gone").config
    with pytest.raises(NoRoute, match='no route "gone"'):
        decide(without_route, "list", {})
    without_rule = edit.delete_rule(tables, "r").config
    with pytest.raises(NoRoute, match='missing rule "r"'):
        decide(without_rule, "list", {})


def test_a_loop_does_not_hang(world: World) -> None:
    """Loops are refused when declared; if one existed, the session would be refused."""
    from dataclasses import replace

    tables = config(
        world,
        rulelists=[{"name": "a", "rules": [{"name": "ra", "action": {"apply": "b"}}]},
                   {"name": "b", "rules": []}],
    )  # fmt: skip
    rules = {**tables.rules, "rb": replace(tables.rules["ra"], name="rb", apply="a")}
    lists = {**tables.rulelists, "b": replace(tables.rulelists["b"], rules=("rb",))}
    with pytest.raises(NoRoute, match="applies itself"):
        decide(replace(tables, rules=rules, rulelists=lists), "a", {})
