"""What a route does to message boundaries."""

from __future__ import annotations

from typing import Any

import pytest

from l7mp.model import declared as say
from l7mp.model import edit
from l7mp.model.config import Config
from l7mp.model.lint import lossy_hops, route_warnings, routes_of
from tests.model.vocabulary import (
    BYTES,
    MESSAGES,
    WORDS,
    built,
    cluster,
    listener,
    said,
    to,
)


@pytest.mark.parametrize(
    ("ring", "hops"),
    [
        ([MESSAGES, MESSAGES], []),
        ([MESSAGES, BYTES], [0]),
        ([BYTES, MESSAGES], [1]),
        ([MESSAGES, None, BYTES], [1]),
        ([None, None], []),
        ([MESSAGES, BYTES, MESSAGES, BYTES], [0, 2]),
    ],
)
def test_hops(ring: list[str | None], hops: list[int]) -> None:
    """Messages lose their boundaries where a stage takes a stream of bytes."""
    assert lossy_hops(ring) == hops


def warnings(*rules: Any, **more: Any) -> dict[str, list[str]]:
    return route_warnings(built(listeners=[listener(*rules)], **more), WORDS.kind_of)


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
    assert route_warnings(config, WORDS.kind_of) == {}
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
