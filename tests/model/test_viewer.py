"""Every object as GET shows it, by name and recursively, and what a dump is good for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from l7mp.model import declared, edit, hops
from l7mp.model.base import validate
from l7mp.model.config import Config
from l7mp.model.declared import ListenerOptions
from l7mp.model.load import parse_json
from l7mp.model.spec import REMOTE_WORDS, Spec, Vocabulary
from l7mp.model.types import AddressPort, Port
from l7mp.model.view import RANDOM
from l7mp.model.viewer import Viewer


class UDP(Spec):
    """Messages."""

    port: Port
    connect: AddressPort | None = None


class TCP(Spec):
    """Bytes."""

    port: Port
    backlog: int = 50


class Logger(Spec):
    """A transform."""

    tolerates = REMOTE_WORDS
    log_file: str = "-"


WORDS = Vocabulary(
    listeners={"UDP": UDP, "TCP": TCP},
    clusters={"UDP": UDP, "TCP": TCP, "Logger": Logger},
    virtual=frozenset({"Logger"}),
    unbalanced=frozenset({"Logger"}),
    kinds={"UDP": hops.DATAGRAMS, "TCP": hops.BYTES, "Logger": None},
)

LOGGER = {"protocol": "Logger"}


def built(document: dict[str, Any]) -> Config:
    said = validate(declared.Config, parse_json(json.dumps(document)), WORDS)
    return edit.build(WORDS, said)


def viewer(**document: Any) -> Viewer:
    return Viewer(built(document), WORDS.flow_of)


def shown(kind: str, it: dict[str, Any], recursive: bool = False, **rest: Any) -> Any:
    """One object in a configuration, as GET shows it."""
    config = built({f"{kind}s": [it], **rest})
    (one,) = getattr(config, f"{kind}s").values()
    return getattr(Viewer(config, WORDS.flow_of), kind)(one, recursive).dump()


# -- canonical forms ------------------------------------------------------------------


def test_a_cluster_shows_how_many_endpoints_it_has() -> None:
    """By name, a cluster has its spec as given, a count, and a load balancer."""
    spec = {"protocol": "TCP", "port": 5}
    ends = [{"spec": {"address": "a"}}, {"spec": {"address": "b"}}]
    it = {"name": "c", "spec": spec, "endpoints": ends}
    view = {"name": "c", "spec": spec, "endpoints": 2}
    assert shown("cluster", it) == {**view, "loadbalancer": {"policy": "Trivial"}}


def test_a_cluster_recursively_shows_its_endpoints() -> None:
    """Recursively, it has the endpoints themselves, each with its weight."""
    ends = [
        {"name": "x", "spec": {"address": "a", "port": 9}, "weight": 3},
        {"spec": {"address": "b"}},
    ]
    it = {"name": "c", "spec": {"protocol": "TCP", "port": 5}, "endpoints": ends}
    assert shown("cluster", it, True)["endpoints"] == [
        {"name": "x", "spec": {"address": "a", "port": 9}, "weight": 3},
        {"name": "c-EndPoint-0", "spec": {"address": "b"}, "weight": 1},
    ]


def test_a_virtual_cluster_is_reduced_to_its_own_fields() -> None:
    """A virtual cluster has no endpoints, or recursively one that stands for it."""
    it = {"name": "c", "spec": {**LOGGER, "port": 5, "log_file": "x"}}
    view = {
        "name": "c",
        "spec": {**LOGGER, "log_file": "x"},
        "loadbalancer": {"policy": "None"},
    }
    assert shown("cluster", it) == {**view, "endpoints": 0}
    virtual = [{"name": "c", "spec": {"address": "<VIRTUAL>"}}]
    assert shown("cluster", it, True) == {**view, "endpoints": virtual}


@pytest.mark.parametrize(
    ("given", "view"),
    [
        ({"policy": "Trivial"}, {"policy": "Trivial"}),
        ({"policy": "HashRing"}, {"policy": "HashRing", "key": RANDOM}),
        (
            {"policy": "ConsistentHash", "key": "IP/src_addr"},
            {"policy": "ConsistentHash", "key": "IP/src_addr"},
        ),
    ],
)
def test_a_load_balancer_shows_its_key(
    given: dict[str, str], view: dict[str, str]
) -> None:
    """A hash has the key as given, or that it is random."""
    spec = {"protocol": "TCP", "port": 5}
    it = {"name": "c", "spec": spec, "loadbalancer": given}
    assert shown("cluster", it)["loadbalancer"] == view


def test_options_of_a_cluster_are_kept() -> None:
    """Options, which mean nothing to us, are shown as given."""
    it = {"name": "c", "spec": LOGGER, "options": [1, {"a": None}]}
    assert shown("cluster", it)["options"] == [1, {"a": None}]


def test_a_listener_names_its_rulelist() -> None:
    """By name, a listener has the name of a rulelist, and options by default."""
    it = {"name": "l", "spec": {"protocol": "TCP", "port": 5}, "rules": []}
    assert shown("listener", it) == {
        **it,
        "rules": "l-RuleList-0",
        "options": {"track": 0},
    }


def test_options_of_a_listener_are_as_given() -> None:
    """What was not said of a listener is not shown."""
    spec = {"protocol": "TCP", "port": 5}
    for options in ({"track": 5}, {"idle_timeout": 7}, {"idle_timeout": 0.5}):
        it = {"name": "l", "spec": spec, "rules": [], "options": options}
        assert shown("listener", it)["options"] == options


def test_recursion_goes_all_the_way() -> None:
    """Recursively, a listener has rules with routes with clusters with endpoints."""
    route = {"destination": {"name": "c", "spec": LOGGER}, "ingress": ["c"]}
    rule = {"match": {"op": "defined", "path": "/a"}, "action": {"route": route}}
    it = {"name": "l", "spec": {"protocol": "TCP", "port": 5}, "rules": [rule]}
    (found,) = shown("listener", it, True)["rules"]
    assert found["match"] == rule["match"]
    assert found["action"]["route"]["destination"]["endpoints"][0]["name"] == "c"
    assert found["action"]["route"]["ingress"][0]["spec"] == LOGGER


def test_a_rule_without_a_match_matches_everything() -> None:
    """A missing match is shown as the one that always holds."""
    it = {"name": "r", "action": {}}
    assert shown("rule", it) == {"name": "r", "match": {"match": "*"}, "action": {}}


def test_an_action_is_shown_as_given() -> None:
    """Rewrites keep their paths and values, apply and route are names."""
    rewrite = [{"path": "a/b", "value": {"x": None}}]
    it = {"name": "r", "action": {"rewrite": rewrite, "apply": "l", "route": "t"}}
    rest: dict[str, Any] = {
        "rulelists": [{"name": "l", "rules": []}],
        "routes": [{"name": "t", "destination": {"name": "c", "spec": LOGGER}}],
    }
    assert shown("rule", it, **rest)["action"] == it["action"]


@pytest.mark.parametrize(
    ("given", "view"),
    [
        (None, {"retry_on": "never", "num_retries": 1, "timeout": 2000}),
        ({"retry_on": "always"}, {"retry_on": "always"}),
        (
            {"retry_on": "never", "timeout": 2000},
            {"retry_on": "never", "timeout": 2000},
        ),
    ],
)
def test_a_retry_policy_is_as_given(given: Any, view: dict[str, Any]) -> None:
    """The default policy is shown in full, any other as it was given."""
    it: dict[str, Any] = {"name": "r", "destination": {"name": "c", "spec": LOGGER}}
    if given is not None:
        it["retry"] = given
    names = {"name": "r", "destination": "c", "ingress": [], "egress": []}
    assert shown("route", it) == {**names, "retry": view}


def test_a_route_tells_what_it_loses() -> None:
    """A route that takes messages to a stream of bytes has a warning."""
    route = {
        "name": "r",
        "destination": {"name": "c", "spec": {"protocol": "TCP", "port": 5}},
    }
    rules = [{"action": {"route": "r"}}]
    listener = {"name": "l", "spec": {"protocol": "UDP", "port": 6}, "rules": rules}
    (warning,) = shown("route", route, listeners=[listener])["warnings"]
    assert "boundaries are lost" in warning


def test_a_framing_is_shown_as_briefly_as_it_can_be_said() -> None:
    """One word where that is all; what is shown can be said again."""
    long = {"format": "lines", "max_message": 9}
    for said, seen in (("lines", "lines"), ({"format": "u8"}, "u8"), (long, long)):
        spec = {"protocol": "TCP", "port": 1}
        one = {"name": "x", "spec": spec, "framing": said}
        assert shown("cluster", one)["framing"] == seen
        assert shown("listener", {**one, "rules": []})["framing"] == seen
        route = {"name": "r", "destination": {"spec": LOGGER}, "framing": said}
        assert shown("route", route)["framing"] == seen
    assert "framing" not in shown("cluster", {"name": "c", "spec": LOGGER})


def test_a_strict_view_of_boundaries_is_shown() -> None:
    """Only where it is not the usual one."""
    assert "boundaries" not in viewer(admin={}).admin("1").dump()
    strict = viewer(admin={"boundaries": "refuse"}).admin("1").dump()
    assert strict["boundaries"] == "refuse"


def test_warnings_are_found_once_for_a_dump(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dump looks for what routes lose once, however many they are."""
    asked = []

    def count(*about: object) -> dict[str, list[str]]:
        asked.append(about)
        return {}

    monkeypatch.setattr("l7mp.model.viewer.route_warnings", count)
    clusters = [{"name": "c", "spec": LOGGER}]
    routes = [{"name": f"r{n}", "destination": "c"} for n in range(5)]
    viewer(clusters=clusters, routes=routes).config("1").dump()
    assert len(asked) == 1


def test_what_is_gone_is_stale() -> None:
    """Recursively, a name that stands for nothing any more says so."""
    config = built(
        {
            "clusters": [{"name": "c", "spec": LOGGER}],
            "routes": [{"name": "t", "destination": "c", "egress": ["c"]}],
            "rules": [{"name": "r", "action": {"route": "t"}}],
            "rulelists": [{"name": "l", "rules": ["r"]}],
            "listeners": [
                {"name": "x", "spec": {"protocol": "TCP", "port": 5}, "rules": "l"}
            ],
        }
    )
    view = Viewer(replace(config, clusters={}), WORDS.flow_of)
    route = view.route(config.routes["t"], True).dump()
    assert (route["destination"], route["egress"]) == ("c:<STALE>", ["c:<STALE>"])
    view = Viewer(replace(config, routes={}), WORDS.flow_of)
    assert view.rule(config.rules["r"], True).dump()["action"]["route"] == "t:<STALE>"
    view = Viewer(replace(config, rules={}), WORDS.flow_of)
    assert view.rulelist(config.rulelists["l"], True).dump()["rules"] == ["r:<STALE>"]
    view = Viewer(replace(config, rulelists={}), WORDS.flow_of)
    assert view.listener(config.listeners["x"], True).dump()["rules"] == "l:<STALE>"


@pytest.mark.parametrize(
    ("given", "view"),
    [
        ({}, {}),
        ({"offload": "init"}, {"offload": True}),
        ({"offload": "disable"}, {}),
        ({"offload_ifs": "eth0, eth1,"}, {"offload_ifs": ["eth0", "eth1"]}),
        ({"offload_ifs": ["all"]}, {"offload_ifs": ["all"]}),
        (
            {"log_file": "stderr", "access_log_path": "/a"},
            {"log_file": "stderr", "access_log_path": "/a"},
        ),
        ({"log_level": "warn", "strict": True}, {"log_level": "warn", "strict": True}),
        ({"version": "0.5.7", "access_log_path": None}, {}),
    ],
)
def test_settings(given: dict[str, Any], view: dict[str, Any]) -> None:
    """Settings have the version of this proxy, and files only where they were given."""
    always = {"log_level": "info", "strict": False, "offload": False, "version": "1"}
    assert viewer(admin=given).admin("1").dump() == {**always, **view}


# -- a dump is a configuration ------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c", "d/e", "ö"])
PORTS = st.integers(1, 65535)


def objects(fields: dict[str, Any], optional: dict[str, Any]) -> Any:
    return st.fixed_dictionaries(fields, optional=optional)


def distinct(kind: Any) -> Any:
    return st.lists(kind, max_size=3, unique_by=lambda one: one["name"])


REMOTE = objects(
    {
        "spec": st.builds(lambda port: {"protocol": "tcp", "port": port}, PORTS)
        | st.builds(lambda port: {"protocol": "UDP", "port": port}, PORTS),
    },
    {
        "endpoints": st.lists(
            objects(
                {"spec": objects({"address": NAMES}, {"port": PORTS})},
                {"weight": st.integers(0, 9)},
            ),
            max_size=3,
        ),
        "loadbalancer": objects(
            {"policy": st.sampled_from(["Trivial", "ConsistentHash", "HashRing"])},
            {"key": st.sampled_from(["IP/src_addr", "/a"])},
        ),
    },
)
VIRTUAL = objects({"spec": st.just(LOGGER)}, {"options": st.just({"a": 1})})
CLUSTER = REMOTE | VIRTUAL


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Configurations in which every name leads somewhere."""

    def named(kind: Any) -> list[dict[str, Any]]:
        names = draw(st.lists(NAMES, max_size=3, unique=True))
        return [{**draw(kind), "name": name} for name in names]

    def known(found: list[dict[str, Any]], inner: Any) -> Any:
        names = [one["name"] for one in found]
        return st.sampled_from(names) | inner if names else inner

    clusters = named(CLUSTER)
    stage = known(clusters, CLUSTER)
    retry = objects(
        {"retry_on": st.sampled_from(["never", "always"])},
        {"num_retries": st.integers(0, 5), "timeout": st.integers(0, 5000)},
    )
    chain = st.lists(stage, max_size=2)
    route = objects(
        {"destination": stage}, {"ingress": chain, "egress": chain, "retry": retry}
    )
    routes = named(route)
    action = objects(
        {},
        {
            "route": known(routes, route),
            "rewrite": st.lists(st.just({"path": "/a", "value": [1]}), max_size=2),
        },
    )
    match = st.sampled_from(
        [{"op": "defined", "path": "/a"}, {"match": "*"}, "*", None]
    )
    rule = objects({"action": action}, {"match": match})
    rules = named(rule)
    table = st.lists(known(rules, rule), max_size=3)
    rulelists = named(objects({"rules": table}, {}))
    spec = st.builds(lambda port: {"protocol": "UDP", "port": port}, PORTS)
    options = objects({}, {"track": st.integers(0, 9), "idle_timeout": st.just(1.5)})
    listeners = named(
        objects({"spec": spec, "rules": known(rulelists, table)}, {"options": options})
    )
    return {
        "clusters": clusters,
        "routes": routes,
        "rules": rules,
        "rulelists": rulelists,
        "listeners": listeners,
    }


def canonical(config: Config) -> dict[str, Any]:
    """A configuration without what a dump does not tell: who was defined where."""

    def table(of: Any, **changes: Any) -> list[Any]:
        return [replace(one, **changes) for one in of.values()]

    return {
        "clusters": table(config.clusters, parent=None),
        "routes": table(config.routes, parent=None),
        "rules": [
            replace(
                rule,
                parent=None,
                match=rule.match if isinstance(rule.match, dict) else {"match": "*"},
            )
            for rule in config.rules.values()
        ],
        "rulelists": table(config.rulelists, parent=None),
        "listeners": [
            replace(one, options=one.options or ListenerOptions(track=0))
            for one in config.listeners.values()
        ],
    }


@given(documents(), st.sampled_from(["names", "recursive"]))
@example({"clusters": [{"name": "c", "spec": LOGGER}]}, "recursive")
@example(
    {
        "clusters": [
            {
                "name": "c",
                "spec": {"protocol": "TCP", "port": 1},
                "loadbalancer": {"policy": "HashRing"},
            }
        ]
    },
    "names",
)
def test_a_dump_is_a_configuration(
    document: dict[str, Any], how: Literal["names", "recursive"]
) -> None:
    """What GET shows of everything, fed back, is the same configuration."""
    config = built(document)
    dump = (
        Viewer(config, WORDS.flow_of).config("1", recursive=how == "recursive").dump()
    )
    again = built(dump)
    assert canonical(again) == canonical(config)
    assert Viewer(again, WORDS.flow_of).config("1").dump() == {
        **dump,
        "clusters": Viewer(config, WORDS.flow_of).config("1").dump()["clusters"],
    }
