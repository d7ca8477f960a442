"""What a route does to message boundaries."""

from __future__ import annotations

from typing import Any

from l7mp.model import declared as say
from l7mp.model import edit
from l7mp.model.config import Config
from l7mp.model.lint import (
    boundary_problems,
    route_warnings,
    routes_of,
    unreachable_clusters,
)
from tests.model.vocabulary import (
    WORDS,
    built,
    cluster,
    listener,
    said,
    to,
)


def warnings(*rules: Any, **more: Any) -> dict[str, list[str]]:
    return route_warnings(built(listeners=[listener(*rules)], **more), WORDS.flow_of)


def test_warning_names_the_stages() -> None:
    """A warning says who loses what to whom, once for each hop."""
    found = warnings(to(cluster("TCP", name="t"), name="r"))
    (warning,) = found["r"]
    assert "L (UDP)" in warning
    assert "t (TCP)" in warning
    assert warnings(to(cluster())) == {}


def test_once_for_equal_losses() -> None:
    """The same is not said twice."""
    twice = to(cluster("TCP", name="t"), name="r")
    twice["action"]["route"]["ingress"] = [{"spec": {"protocol": "UDP"}, "name": "u"}]
    twice["action"]["route"]["egress"] = ["u", "t", "u", "t"]
    found = warnings(twice)["r"]
    assert len(found) == len(set(found)) == 1


def test_missing_objects() -> None:
    """What is not defined cannot be judged."""
    rules = [{"name": "n", "action": {"route": "gone"}}, to("lost", name="r")]
    it = listener(*rules)
    config = edit.add_listener(Config(), WORDS, said(say.Listener, it)).config
    assert route_warnings(config, WORDS.flow_of) == {}
    assert routes_of(config, "nowhere") == set()


def test_routes_through_apply() -> None:
    """Routes are found through other rulelists; apply counts before a route."""
    config = built(
        listeners=[listener("a", "b", "none", "a2")],
        rules=[{"name": "a", "action": {"apply": "other", "route": "unused"}},
               {"name": "a2", "action": {"apply": "other"}},
               {"name": "b", **to("c", name="mine")},
               {"name": "none", "action": {}}],
        rulelists=[{"name": "other", "rules": [to("c", name="theirs")]}],
        routes=[{"name": "unused", "destination": "c"}],
        clusters=[cluster(name="c")],
    )  # fmt: skip
    assert routes_of(config, config.listeners["L"].rules) == {"mine", "theirs"}
    rules = {k: v for k, v in config.rules.items() if k != "b"}
    without = Config(rulelists=config.rulelists, rules=rules)
    assert routes_of(without, config.listeners["L"].rules) == {"theirs"}


def test_a_framing_ends_the_warning() -> None:
    """Wherever it is named, and whatever it is, there is nothing to warn of any more."""
    for where in ("cluster", "route"):
        for framing in ("lines", "none", {"format": "u16be", "max_message": 9}):
            own = {"framing": framing} if where == "cluster" else {}
            way = {"framing": framing} if where == "route" else {}
            it = to(cluster("TCP", name="t", **own), name="r", **way)
            assert warnings(it) == {}, (where, framing)


def test_both_ways_count_where_nothing_is_left_to_chance() -> None:
    """Problems are also boundaries that come from nowhere; each says where and what."""
    it = to(cluster("TCP", name="t"), name="r")
    config = built(listeners=[listener(it)])
    flow_of = WORDS.flow_of
    lost, arbitrary = boundary_problems(config, flow_of, {"r": "/routes/0"})
    assert "boundaries are lost: L (UDP)" in lost.message
    assert "boundaries are arbitrary: t (TCP)" in arbitrary.message
    assert (lost.path, arbitrary.path) == ("/routes/0", "/routes/0")
    assert "framing" in lost.hint
    assert not list(boundary_problems(Config(), flow_of, {}))


def test_a_cluster_that_needs_endpoints_and_has_none_is_told() -> None:
    """It is told by name; one that has some, or needs none, is not."""
    place = [{"spec": {"address": "127.0.0.1"}}]
    config = built(
        clusters=[
            cluster("TCP", name="bare"),
            {**cluster("TCP", name="good"), "endpoints": place},
            cluster("Echo", name="echo"),
        ]
    )
    (warning,) = unreachable_clusters(config)
    assert warning.startswith('cluster "bare" has no endpoints: ')
