"""Definitions are given names, references checked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from l7mp.model import edit
from l7mp.model.config import Config
from l7mp.model.problem import Invalid, Problem
from l7mp.model.viewer import Viewer
from tests.model.vocabulary import WORDS, built, cluster, everything, listener, to

ECHO = {"spec": {"protocol": "Echo"}}


def problems(**sections: Any) -> tuple[Problem, ...]:
    with pytest.raises(Invalid) as caught:
        built(**sections)
    return caught.value.problems


def test_generated_names() -> None:
    """Names tell the parent; clusters of a route share one counter."""
    chains = {"ingress": [ECHO, ECHO], "egress": [ECHO]}
    config = built(listeners=[listener(to(cluster("UDP", "x"), **chains))])
    route = "L-RuleList-0-Rule-0-Route-0"
    assert list(config.rulelists) == ["L-RuleList-0"]
    assert list(config.rules) == ["L-RuleList-0-Rule-0"]
    assert list(config.routes) == [route]
    it = config.routes[route]
    assert it.destination == f"{route}-Cluster-0"
    assert it.ingress == (f"{route}-ingress-Cluster-1", f"{route}-ingress-Cluster-2")
    assert it.egress == (f"{route}-egress-Cluster-3",)
    endpoint = config.clusters[it.destination].endpoints[0]
    assert endpoint.name == f"{route}-Cluster-0-EndPoint-0"
    assert {c.parent for c in config.clusters.values()} == {route}


def test_embedded_and_named_mix() -> None:
    """Wherever an object is named it can be defined, with a name or without."""
    config = built(
        listeners=[listener("named", {"name": "own", "action": {"route": "r"}}),
                   {"name": "M", "spec": {"protocol": "TCP"}, "rules": "list"},
                   {"name": "N", "spec": {"protocol": "TCP"},
                    "rules": {"name": "mine", "rules": ["named"]}}],
        rulelists=[{"name": "list", "rules": [{"action": {"apply": "mine"}}]}],
        rules=[{"name": "named", "action": {"rewrite": [{"path": "/a", "value": 1}]}}],
        routes=[{"name": "r", "destination": "c", "ingress": ["c", ECHO]}],
        clusters=[{"name": "c", **ECHO}],
    )  # fmt: skip
    assert config.rulelists["L-RuleList-0"].rules == ("named", "own")
    assert config.rules["own"].parent == "L-RuleList-0"
    assert config.rules["named"].parent is None
    assert config.rulelists["mine"].parent == "N"
    assert config.listeners["M"].rules == "list"
    assert config.routes["r"].ingress == ("c", "r-ingress-Cluster-0")
    assert config.rules["named"].rewrite[0].pointer == ("a",)


def test_unnamed_at_the_top() -> None:
    """What has neither name nor parent is named after its kind, and stays so."""
    it = everything(clusters=[ECHO, ECHO], rulelists=[{"rules": []}])
    config = edit.build(WORDS, it)
    assert list(config.clusters) == ["Cluster-0", "Cluster-1"]
    assert edit.build(WORDS, it, config) == config


def test_chosen_names_win() -> None:
    """A name chosen further on is not generated before."""
    config = built(
        listeners=[listener()], rulelists=[{"name": "L-RuleList-0", "rules": []}]
    )
    assert config.listeners["L"].rules == "L-RuleList-0_1"


@pytest.mark.parametrize(
    ("sections", "path"),
    [
        ({"clusters": [{"name": "c", **ECHO}] * 2}, "/clusters/1/name"),
        ({"listeners": [listener()] * 2}, "/listeners/1/name"),
        ({"rulelists": [{"name": "l", "rules": []}] * 2}, "/rulelists/1/name"),
        ({"rules": [{"name": "r", "action": {}}] * 2}, "/rules/1/name"),
        (
            {"rulelists": [{"rules": [{"name": "r", "action": {}}] * 2}]},
            "/rulelists/0/rules/1/name",
        ),
        (
            {
                "clusters": [
                    cluster(endpoints=[{"name": "e", "spec": {"address": "x"}}] * 2)
                ]
            },
            "/clusters/0/endpoints/1/name",
        ),
    ],
)
def test_duplicates(sections: dict[str, Any], path: str) -> None:
    """Names are unique per kind of object, endpoints' across all clusters."""
    (problem,) = problems(**sections)
    assert problem.path == path
    assert "already defined" in problem.message


def test_duplicate_route() -> None:
    """An embedded name is a name like any other."""
    route = {"name": "r", "destination": ECHO}
    (problem,) = problems(rules=[{"action": {"route": route}}], routes=[route])
    assert problem.path == "/routes/0/name"


@pytest.mark.parametrize(
    ("sections", "path"),
    [
        ({"listeners": [listener("gon")]}, "/listeners/0/rules/0"),
        (
            {"listeners": [{**listener(), "rules": {"rules": ["gon"]}}]},
            "/listeners/0/rules/rules/0",
        ),
        ({"listeners": [{**listener(), "rules": "x"}]}, "/listeners/0/rules"),
        ({"rules": [{"action": {"route": "x"}}]}, "/rules/0/action/route"),
        ({"rules": [{"action": {"apply": "x"}}]}, "/rules/0/action/apply"),
        ({"rules": [to("x")]}, "/rules/0/action/route/destination"),
        ({"routes": [{"destination": ECHO, "egress": ["x"]}]}, "/routes/0/egress/0"),
    ],
)
def test_dangling_names(sections: dict[str, Any], path: str) -> None:
    """In a file, a name that leads nowhere is refused where it is written."""
    (problem,) = problems(**sections)
    assert problem.path == path
    assert "there is no" in problem.message
    assert problem.hint


def test_did_you_mean() -> None:
    """The nearest name is suggested."""
    (problem,) = problems(rules=[to("uplnk")], clusters=[{"name": "uplink", **ECHO}])
    assert problem.hint == 'did you mean "uplink"?'


def test_all_problems_at_once() -> None:
    """A user need not start again for each problem."""
    assert len(problems(rules=[to("x"), to("y")])) == 2


def test_predicate_is_checked() -> None:
    """A predicate that cannot be meant is refused when it is declared."""
    match = {"op": "and", "apply": [{"op": "nonsense"}]}
    (problem,) = problems(rules=[{"match": match, "action": {}}])
    assert problem.path.startswith("/rules/0/match")


def test_predicate_is_compiled() -> None:
    """A rule has its predicate ready."""
    match = {"op": "test", "path": "/a", "value": 1}
    rule = built(rules=[{"name": "r", "match": match, "action": {}}]).rules["r"]
    assert rule.matches({"a": 1})
    assert not rule.matches({"a": 2})


def test_apply_loop() -> None:
    """Rulelists that apply each other in a loop are refused."""
    (problem,) = problems(
        rulelists=[{"name": n, "rules": [{"action": {"apply": to}}]}
                   for n, to in ("ab", "ba")]
    )  # fmt: skip
    assert "a → b → a" in problem.message


def test_balancer() -> None:
    """Without a balancer: Trivial, or None where there is nothing to balance."""
    keyed = {"policy": "ConsistentHash", "key": "/a/b"}
    config = built(
        clusters=[cluster(name="u"), cluster("Stdio", name="s"),
                  cluster(name="k", loadbalancer=keyed),
                  cluster("Stdio", name="n", loadbalancer={"policy": "None"})]
    )  # fmt: skip
    policies = {c.name: c.loadbalancer.policy for c in config.clusters.values()}
    assert policies == {"u": "Trivial", "s": "None", "k": "ConsistentHash", "n": "None"}
    assert config.clusters["k"].key == ("a", "b")


def test_no_balancer_for_endpoints() -> None:
    """A cluster with endpoints needs a balancer."""
    (problem,) = problems(clusters=[cluster(loadbalancer={"policy": "None"})])
    assert problem.path == "/clusters/0/loadbalancer/policy"


def test_virtual_clusters_have_no_endpoints() -> None:
    """Nothing remote is reached through a virtual cluster."""
    (problem,) = problems(clusters=[cluster("Echo", "x")])
    assert problem.path == "/clusters/0/endpoints/0"


def test_weights() -> None:
    """A weight is beside the specification, or in it, or 1."""
    specs: list[dict[str, Any]] = [
        {"spec": {"address": "a"}, "weight": 0},
        {"spec": {"address": "a", "weight": 3}},
        {"spec": {"address": "a"}},
    ]
    config = built(clusters=[cluster(name="c", endpoints=specs)])
    assert [e.weight for e in config.clusters["c"].endpoints] == [0, 3, 1]


# -- the same again -------------------------------------------------------------


def rules_of(config: Config) -> tuple[str, ...]:
    return config.rulelists[config.listeners["L"].rules].rules


def matching(value: int) -> dict[str, Any]:
    match = {"op": "test", "path": "/a", "value": value}
    return {"match": match, **to(cluster("UDP", f"h{value}"))}


def test_insertion_renames_nothing() -> None:
    """What was declared before keeps its name, wherever it is now."""
    old = built(listeners=[listener(matching(1), matching(2))])
    it = everything(
        listeners=[listener(name="K"), listener(matching(0), matching(1), matching(2))]
    )
    new = edit.build(WORDS, it, old)
    assert rules_of(new)[1:] == rules_of(old)
    assert new.routes.items() >= old.routes.items()
    assert new.clusters.items() >= old.clusters.items()


def test_insertion_into_chains_and_endpoints() -> None:
    """Stages and endpoints keep their names, too."""
    one = to(cluster("UDP", "a", "b"), ingress=[{"spec": {"protocol": "UDP"}}, "e"])
    two = to(
        cluster("UDP", "z", "a", "b"), ingress=[ECHO, {"spec": {"protocol": "UDP"}}]
    )
    named = [{"name": "e", **ECHO}]
    old = built(listeners=[listener(one)], clusters=named)
    again = everything(listeners=[listener(two)], clusters=named)
    new = edit.build(WORDS, again, old)
    (was,), (now,) = old.routes.values(), new.routes.values()
    assert now.ingress[1] == was.ingress[0]
    assert now.destination == was.destination
    endpoints = [config.clusters[was.destination].endpoints for config in (old, new)]
    assert endpoints[1][1:] == endpoints[0]


def test_changed_endpoint_is_another() -> None:
    """An endpoint with another address has another name; its own name it keeps."""
    named = {"name": "e", "spec": {"address": "x"}}
    old = built(clusters=[cluster("UDP", "a", name="c"), cluster(endpoints=[named])])
    again = everything(clusters=[cluster("UDP", "b", name="c")])
    new = edit.build(WORDS, again, old)
    assert new.clusters["c"].endpoints[0].name != old.clusters["c"].endpoints[0].name
    moved = {"name": "c-EndPoint-0", "spec": {"address": "b"}}
    again = everything(clusters=[cluster(name="c", endpoints=[moved])])
    (endpoint,) = edit.build(WORDS, again, old).clusters["c"].endpoints
    assert (endpoint.name, endpoint.address) == ("c-EndPoint-0", "b")


def test_named_among_unnamed() -> None:
    """What is named takes no generated name away, nor what goes elsewhere."""
    shared: dict[str, Any] = {
        "rules": [{"name": "s", "action": {}}],
        "routes": [{"name": "r", "destination": "e"}],
        "clusters": [{"name": "e", **ECHO}],
    }
    by_name = {"action": {"route": "r"}}
    last = to(ECHO, ingress=["e", ECHO])
    old = built(listeners=[listener(by_name, "s", last)], **shared)
    more = to(ECHO, ingress=[{"name": "f", **ECHO}, "e", ECHO])
    rules = [{"name": "x", "action": {}}, "s", more, by_name, {"action": {}}]
    again = everything(listeners=[listener(*rules)], **shared)
    new = edit.build(WORDS, again, old)
    first, _, third = rules_of(old)
    assert rules_of(new)[:4] == ("x", "s", third, first)
    assert rules_of(new)[4] not in rules_of(old)
    (was,), (now,) = (
        [it for it in config.routes.values() if it.parent == third]
        for config in (old, new)
    )
    assert now.ingress == ("f", *was.ingress)


def test_dropped_name_is_free() -> None:
    """A name that was chosen is not taken over by what has none."""
    old = built(listeners=[listener({"name": "a", "action": {}})])
    again = everything(
        listeners=[listener({"action": {}}, {"name": "a", "action": {}})]
    )
    assert rules_of(edit.build(WORDS, again, old))[1] == "a"


# -- there and back ---------------------------------------------------------------


def all_sorts() -> Config:
    return built(
        admin={"log_level": "warn"},
        listeners=[listener(matching(1), to("k", egress=[ECHO], retry={
                   "retry_on": "always"}), options={"track": 3}),
                   listener("star", name="M", options={"track": 0})],
        rules=[{"name": "star", "match": {"match": "*"}, "action": {"apply": "E"}}],
        rulelists=[{"name": "E", "rules": []}],
        clusters=[cluster("UDP", "a", "b", name="k", loadbalancer={"policy": "HashRing"}),
                  cluster("Stdio", name="s")],
    )  # fmt: skip


def orphaned(config: Config) -> dict[str, Any]:
    """What makes a configuration, but for who defined what, and in which order."""
    nested = ("clusters", "rulelists", "rules", "routes")
    tables = {
        table: {name: replace(it, parent=None) for name, it in items.items()}
        for table in nested
        for items in [getattr(config, table)]
    }
    return {**tables, "listeners": config.listeners}


@pytest.mark.parametrize("recursive", [False, True])
def test_a_dump_can_be_posted(recursive: bool) -> None:
    """What GET shows of everything is accepted, and means the same."""
    config = all_sorts()
    viewer = Viewer(config, WORDS.flow_of)
    shown = viewer.config("1.0", recursive=recursive).dump()
    again = edit.build(WORDS, everything(**shown))
    assert orphaned(again) == orphaned(config)
    dumped = Viewer(again, WORDS.flow_of).config("1.0", recursive=recursive).dump()
    assert dumped == shown


def test_counted_endpoints_need_their_cluster() -> None:
    """Endpoints listed by themselves count only for clusters that refer to them."""
    lone = {"name": "e", "spec": {"address": "x"}, "cluster": "gone"}
    config = built(clusters=[cluster("UDP", "a", name="gone")], endpoints=[lone])
    assert [e.address for e in config.clusters["gone"].endpoints] == ["a"]


def test_a_framing_needs_a_stream_of_bytes() -> None:
    """What keeps messages apart by itself, or passes on what it gets, takes none."""
    (problem,) = problems(clusters=[cluster("UDP", framing="lines")])
    assert problem.path == "/clusters/0/framing"
    assert "UDP carries no plain stream of bytes" in problem.message
    (problem,) = problems(listeners=[listener(framing="u8")])
    assert problem.path == "/listeners/0/framing"
    (problem,) = problems(clusters=[cluster("Echo", framing="u8")])
    assert "Echo" in problem.message
    assert built(clusters=[cluster("UDP", name="c", framing="none")]).clusters["c"]


def test_boundaries_refused() -> None:
    """Where asked for, a route that mixes messages and bytes is refused, with a remedy."""
    admin = {"boundaries": "refuse"}
    it = to(cluster("TCP"))
    lost, arbitrary = problems(admin=admin, listeners=[listener(it)])
    assert lost.path == "/listeners/0/rules/0/action/route"
    assert "lost" in lost.message
    assert "framing" in lost.hint
    assert "arbitrary" in arbitrary.message
    it = to(cluster("TCP"), framing="u16be")
    assert built(admin=admin, listeners=[listener(it)])
    assert built(admin=admin, listeners=[listener(to(cluster("Echo")))])
