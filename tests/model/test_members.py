"""Clusters that stand on others."""

from __future__ import annotations

from typing import Any

import pytest

from l7mp.core.registry import Registry
from l7mp.model import declared as say
from l7mp.model import edit
from l7mp.model.config import Config
from l7mp.model.lint import route_warnings
from l7mp.model.members import closure, flow_in, follows
from l7mp.model.problem import Invalid, Problem
from l7mp.model.spec import Flow, Vocabulary
from l7mp.model.viewer import Viewer
from l7mp.protocols import echo, fanout, tcp, udp

WORDS: Vocabulary = Registry.of(
    [module.protocol for module in (echo, fanout, tcp, udp)]
).vocabulary()

BYTES, MESSAGES = "byte-stream", "datagram-stream"
TCP = {"name": "t", "spec": {"protocol": "TCP", "port": 1}}
UDP = {"name": "u", "spec": {"protocol": "UDP", "port": 1}}


def fan(*clusters: Any, **more: Any) -> dict[str, Any]:
    return {"spec": {"protocol": "FanOut", "clusters": [*clusters]}, **more}


def built(**sections: Any) -> Config:
    return edit.build(WORDS, say.Config.model_validate(sections, context=WORDS))


def problems(**sections: Any) -> tuple[Problem, ...]:
    with pytest.raises(Invalid) as caught:
        built(**sections)
    return caught.value.problems


def test_definitions_are_named() -> None:
    """What is defined inside is a cluster like any other, and its owner names it."""
    config = built(clusters=[fan("t", UDP, {"spec": UDP["spec"]}, name="f"), TCP])
    assert config.clusters["f"].spec.members == ("t", "u", "f-Cluster-0")
    assert set(config.clusters) == {"f", "t", "u", "f-Cluster-0"}
    dumped = Viewer(config, WORDS.flow_of).config("1").dump()
    again = built(clusters=dumped["clusters"])
    assert Viewer(again, WORDS.flow_of).config("1").dump() == dumped


def test_names_are_kept() -> None:
    """Declared again, what is defined inside keeps the name that it was given."""
    document = {"clusters": [TCP, fan("t", {"spec": UDP["spec"]}, name="f")]}
    first = built(**document)
    it = say.Config.model_validate(document, context=WORDS)
    change = edit.replace_all(first, WORDS, it)
    assert change.config.clusters == first.clusters
    assert change.severed == frozenset()


def test_missing_names() -> None:
    """A name in a file has to lead somewhere; the problem says where it is."""
    (problem,) = problems(clusters=[fan("t", "z", name="f"), TCP])
    assert problem.path == "/clusters/0/spec/clusters/1"
    assert 'there is no cluster "z"' in problem.message


def test_loops() -> None:
    """Clusters cannot stand on each other in a circle, nor any on itself."""
    (problem,) = problems(clusters=[fan("g", name="f"), fan("f", "t", name="g"), TCP])
    assert "loop: f → g → f" in problem.message
    (problem,) = problems(clusters=[fan("f", name="f")])
    assert "loop: f → f" in problem.message
    config = edit.add_cluster(
        Config(), WORDS, say.Cluster.model_validate(fan("g", name="f"), context=WORDS)
    ).config
    late = say.Cluster.model_validate(fan("f", name="g"), context=WORDS)
    with pytest.raises(Invalid, match="loop"):
        edit.add_cluster(config, WORDS, late)


def test_deleting_takes_what_was_defined_inside() -> None:
    """Recursively; and otherwise what is left belongs to nobody."""
    config = built(clusters=[TCP, fan("t", UDP, name="f")])
    change = edit.delete_cluster(config, "f", recursive=True)
    assert set(change.config.clusters) == {"t"}
    assert change.severed == {("cluster", "f"), ("cluster", "u")}
    change = edit.delete_cluster(config, "f")
    assert set(change.config.clusters) == {"t", "u"}
    assert change.config.clusters["u"].parent is None


def test_closure() -> None:
    """All that a cluster stands on, directly or not, as far as it exists."""
    config = built(
        clusters=[TCP, UDP, fan("t", "u", name="g"), fan("g", "t", name="f")]
    )
    assert closure(config, ["f"]) == {"f", "g", "t", "u"}
    assert closure(config, ["t", "gone"]) == {"t", "gone"}
    assert follows(config.clusters) == {
        "t": [],
        "u": [],
        "g": ["t", "u"],
        "f": ["g", "t"],
    }


@pytest.mark.parametrize(
    ("members", "flow"),
    [
        ((UDP,), Flow(MESSAGES, MESSAGES)),
        ((TCP,), Flow(BYTES, BYTES)),
        ((TCP, UDP), Flow(BYTES, BYTES)),
        (({**TCP, "framing": "lines"}, UDP), Flow(MESSAGES, MESSAGES)),
        (({"spec": {"protocol": "Echo"}},), Flow(None, None)),
        (({"spec": {"protocol": "Echo"}}, UDP), Flow(MESSAGES, MESSAGES)),
        ((fan(UDP, name="g"),), Flow(MESSAGES, MESSAGES)),
    ],
)
def test_flow(members: tuple[Any, ...], flow: Flow) -> None:
    """It carries what its members do, and bytes if they differ."""
    config = built(clusters=[fan(*members, name="f")])
    assert flow_in(config, WORDS.flow_of)(config.clusters["f"].spec) == flow


def test_boundaries() -> None:
    """A framing is named by the members, and the warnings know of it."""
    listener = {
        "name": "l",
        "spec": {"protocol": "UDP", "port": 1},
        "rules": [{"action": {"route": {"name": "r", "destination": "f"}}}],
    }
    plain = built(clusters=[fan(TCP, UDP, name="f")], listeners=[listener])
    (warning,) = route_warnings(plain, WORDS.flow_of)["r"]
    assert "f (FanOut) in a stream of bytes" in warning
    framed = {**TCP, "framing": "lines"}
    config = built(clusters=[fan(framed, UDP, name="f")], listeners=[listener])
    assert route_warnings(config, WORDS.flow_of) == {}
    (problem,) = problems(clusters=[fan(TCP, name="f", framing="lines")])
    assert problem.path == "/clusters/0/framing"
    config = built(
        clusters=[fan(TCP, name="f")],
        listeners=[{**listener, "rules": [
            {"action": {"route": {"name": "r", "destination": "f", "framing": "u8"}}}
        ]}],
    )  # fmt: skip
    assert "r" in route_warnings(config, WORDS.flow_of)
