"""Every operation as a function from one configuration to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from l7mp.errors import LocalError
from l7mp.model import declared as say
from l7mp.model import edit
from l7mp.model.config import Config
from l7mp.model.edit import Change, Unknown
from l7mp.model.problem import Invalid
from tests.model.vocabulary import (
    WORDS,
    built,
    cluster,
    everything,
    listener,
    said,
    to,
)

ECHO = {"spec": {"protocol": "Echo"}}


def nested(**more: Any) -> Config:
    """A listener in which everything is defined, all but one rule and one cluster."""
    return built(
        listeners=[listener({"name": "own", **to({"name": "deep", **ECHO}, name="way",
                            ingress=["named", ECHO])}, "shared")],
        rules=[{"name": "shared", "action": {"route": "way"}}],
        clusters=[cluster("UDP", "x", "y", name="named")],
        **more,
    )  # fmt: skip


# -- adding ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("add", "model", "value", "table"),
    [
        (edit.add_listener, say.Listener, listener(), "listeners"),
        (edit.add_cluster, say.Cluster, {"name": "L", **ECHO}, "clusters"),
        (edit.add_rulelist, say.RuleList, {"name": "L", "rules": []}, "rulelists"),
        (edit.add_rule, say.Rule, {"name": "L", "action": {}}, "rules"),
        (edit.add_route, say.Route, {"name": "L", "destination": "x"}, "routes"),
    ],
)
def test_add(add: Callable[..., Change], model: Any, value: Any, table: str) -> None:
    """What is added is there and named; added again it is refused at its name."""
    old = Config()
    change = add(old, WORDS, said(model, value))
    assert change.name == "L"
    assert list(getattr(change.config, table)) == ["L"]
    assert not change.severed
    assert old == Config()
    with pytest.raises(Invalid) as caught:
        add(change.config, WORDS, said(model, value), "/at")
    assert [one.path for one in caught.value.problems] == ["/at/name"]


def test_names_may_dangle_at_run_time() -> None:
    """What a running proxy is told to use may be defined later."""
    it = said(say.Listener, listener("later", to("later")))
    config = edit.add_listener(Config(), WORDS, it).config
    assert config.rulelists["L-RuleList-0"].rules[0] == "later"


def test_add_endpoint() -> None:
    """An endpoint is added behind those of its cluster, which must exist."""
    it = said(say.EndPoint, {"spec": {"address": "z"}})
    change = edit.add_endpoint(nested(), WORDS, "named", it)
    endpoints = change.config.clusters["named"].endpoints
    assert [one.address for one in endpoints] == ["x", "y", "z"]
    assert change.name == endpoints[-1].name == "named-EndPoint-2"
    with pytest.raises(Unknown, match="nowhere"):
        edit.add_endpoint(nested(), WORDS, "nowhere", it)


def test_refused_edit_changes_nothing() -> None:
    """A refusal leaves the configuration, its counters too, as it was."""
    config = nested()
    before = repr(config)
    bad = listener({"action": {}}, {"name": "own", "action": {}}, name="K")
    with pytest.raises(Invalid):
        edit.add_listener(config, WORDS, said(say.Listener, bad))
    assert repr(config) == before


def test_apply_loop_is_refused() -> None:
    """The last edit that would close a loop is refused."""
    config = built(rulelists=[{"name": "a", "rules": []}])
    closing = said(say.Rule, {"action": {"apply": "a"}})
    with pytest.raises(Invalid, match="loop"):
        edit.insert_rule(config, WORDS, "a", 0, closing)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_insert_rule(position: int) -> None:
    """A rule can be put at any position from 0 to the length of a rulelist."""
    config = nested()
    change = edit.insert_rule(config, WORDS, "L-RuleList-0", position, "shared")
    expected = ["own", "shared"]
    expected.insert(position, "shared")
    assert list(change.config.rulelists["L-RuleList-0"].rules) == expected
    it = said(say.Rule, {"action": {}})
    change = edit.insert_rule(config, WORDS, "L-RuleList-0", position, it)
    assert change.config.rulelists["L-RuleList-0"].rules[position] == change.name
    assert change.config.rules[change.name].parent == "L-RuleList-0"


@pytest.mark.parametrize(
    ("rulelist", "position", "it", "error"),
    [
        ("none", 0, "own", Unknown),
        ("L-RuleList-0", 3, "own", LocalError),
        ("L-RuleList-0", -1, "own", LocalError),
        ("L-RuleList-0", 0, "none", Unknown),
    ],
)
def test_insert_refused(
    rulelist: str, position: int, it: str, error: type[Exception]
) -> None:
    """Rulelist and rule must exist, and the position be in the list."""
    with pytest.raises(error, match="Cannot add rule"):
        edit.insert_rule(nested(), WORDS, rulelist, position, it)


def test_set_admin() -> None:
    """Settings that are not given stay."""
    config = built(admin={"log_level": "warn", "strict": True})
    admin = edit.set_admin(
        config, WORDS, said(say.Admin, {"strict": False})
    ).config.admin
    assert (admin.log_level, admin.strict) == ("warn", False)


def test_boundaries_are_kept_by_every_edit() -> None:
    """Once chance is refused, no later edit lets it in; nor is it refused too late."""
    admin = {"boundaries": "refuse"}
    strict = built(admin=admin, clusters=[cluster("TCP", name="t")])
    bad = listener(to("t"))
    with pytest.raises(Invalid, match="boundaries are lost"):
        edit.add_listener(strict, WORDS, said(say.Listener, bad))
    with pytest.raises(Invalid, match="boundaries are lost"):
        edit.replace_all(
            strict, WORDS, everything(listeners=[listener(to(cluster("TCP")))])
        )
    lax = built(listeners=[bad], clusters=[cluster("TCP", name="t")])
    with pytest.raises(Invalid, match="boundaries are lost"):
        edit.set_admin(lax, WORDS, said(say.Admin, admin))


def test_a_changed_framing_severs() -> None:
    """Sessions cannot go on with frames that their peers no longer speak."""
    old = built(
        listeners=[listener(to("t"))], clusters=[cluster("TCP", name="t", framing="u8")]
    )
    new = everything(
        listeners=[listener(to("t"))],
        clusters=[cluster("TCP", name="t", framing="nul")],
    )
    assert edit.replace_all(old, WORDS, new).severed == {("cluster", "t")}


# -- deleting ---------------------------------------------------------------------

TABLES = ("listeners", "rulelists", "rules", "routes", "clusters")
DELETES: list[tuple[Callable[..., Change], str, list[str]]] = [
    (edit.delete_listener, "L", ["L", "L-RuleList-0", "own", "way", "deep"]),
    (edit.delete_rulelist, "L-RuleList-0", ["L-RuleList-0", "own", "way", "deep"]),
    (edit.delete_rule, "own", ["own", "way", "deep"]),
    (edit.delete_route, "way", ["way", "deep"]),
    (edit.delete_cluster, "deep", ["deep"]),
]


def names(config: Config) -> set[str]:
    return {name for table in TABLES for name in getattr(config, table)}


@pytest.mark.parametrize(("delete", "name", "_"), DELETES)
def test_plain_delete(delete: Callable[..., Change], name: str, _: object) -> None:
    """A plain delete removes the named object alone, and ends no session."""
    config = nested()
    change = delete(config, name)
    assert names(config) - names(change.config) == {name}
    assert not change.severed
    with pytest.raises(Unknown, match="Cannot delete"):
        delete(change.config, name)


@pytest.mark.parametrize(("delete", "name", "gone"), DELETES)
def test_recursive_delete(
    delete: Callable[..., Change], name: str, gone: list[str]
) -> None:
    """What was defined in it, named or not, goes too; what was only named stays."""
    config = nested()
    change = delete(config, name, recursive=True)
    generated = {"way-ingress-Cluster-0"} if "way" in gone else set()
    assert names(config) - names(change.config) == {*gone, *generated}
    clusters = {("cluster", one) for one in ("deep", *generated)}
    ended = {("listener", "L")} if name == "L" else set()
    assert change.severed == clusters | ended


@pytest.mark.parametrize(
    ("delete", "name", "left"),
    [(edit.delete_rule, "shared", "way"), (edit.delete_listener, "M", "L-RuleList-0")],
)
def test_only_what_it_defined(
    delete: Callable[..., Change], name: str, left: str
) -> None:
    """Who merely names an object does not take it along."""
    config = nested()
    other = listener(name="M") | {"rules": "L-RuleList-0"}
    config = edit.add_listener(config, WORDS, said(say.Listener, other)).config
    assert left in names(delete(config, name, recursive=True).config)


@pytest.mark.parametrize("missing", ["own", "way", "deep", "L-RuleList-0"])
def test_recursive_delete_past_what_is_missing(missing: str) -> None:
    """What is gone already does not stop a recursive delete."""
    config = nested()
    for delete, name, _ in DELETES:
        if name == missing:
            config = delete(config, name).config
    change = edit.delete_listener(config, "L", recursive=True)
    assert "L" not in change.config.listeners


def test_actions_without_a_route() -> None:
    """A rule need not have a route to be deleted recursively."""
    config = built(rules=[{"name": "r", "action": {}}])
    assert not edit.delete_rule(config, "r", recursive=True).config.rules


def test_survivors_have_no_new_parent() -> None:
    """What outlives its parent is not taken along by a namesake of the parent."""
    config = edit.delete_listener(nested(), "L").config
    again = said(say.Listener, listener() | {"rules": "L-RuleList-0"})
    config = edit.add_listener(config, WORDS, again).config
    config = edit.delete_listener(config, "L", recursive=True).config
    assert "L-RuleList-0" in config.rulelists


@pytest.mark.parametrize("recursive", [False, True])
def test_delete_endpoint(recursive: bool) -> None:
    """Recursively, the sessions that use an endpoint are disconnected."""
    change = edit.delete_endpoint(nested(), "named-EndPoint-0", recursive)
    assert [e.address for e in change.config.clusters["named"].endpoints] == ["y"]
    assert bool(change.severed) == recursive
    assert change.severed <= {("endpoint", "named-EndPoint-0")}
    with pytest.raises(Unknown, match="named-EndPoint-0"):
        edit.delete_endpoint(change.config, "named-EndPoint-0", recursive)


@pytest.mark.parametrize("which", ["0", "own"])
@pytest.mark.parametrize("recursive", [False, True])
def test_remove_rule(which: str, recursive: bool) -> None:
    """A rule is taken out by position or name; recursively, it is deleted as well."""
    change = edit.remove_rule(nested(), "L-RuleList-0", which, recursive)
    assert change.config.rulelists["L-RuleList-0"].rules == ("shared",)
    assert ("own" in change.config.rules) is not recursive
    assert ("way" in change.config.routes) is not recursive


def test_remove_missing_rule() -> None:
    """A name without its rule can be taken out, too."""
    config = edit.delete_rule(nested(), "own").config
    config = edit.remove_rule(config, "L-RuleList-0", "own", recursive=True).config
    assert config.rulelists["L-RuleList-0"].rules == ("shared",)


@pytest.mark.parametrize("which", ["2", "-1", "0x", "", "²", "none"])
def test_remove_refused(which: str) -> None:
    """There must be such a rule in the list."""
    with pytest.raises(Unknown):
        edit.remove_rule(nested(), "L-RuleList-0", which)


def test_remove_from_nowhere() -> None:
    """There must be such a list."""
    with pytest.raises(Unknown, match="Unknown rulelist"):
        edit.remove_rule(nested(), "none", "0")


def test_a_name_of_digits() -> None:
    """A rule whose name is a number is found by it before any position is."""
    config = built(rulelists=[{"name": "l", "rules": [
        {"name": "1", "action": {}}, {"name": "0", "action": {}}]}])  # fmt: skip
    assert edit.rule_position(config.rulelists["l"], "0") == 1


# -- replacing ----------------------------------------------------------------------


def declared(address: str = "x", **more: Any) -> say.Config:
    route = to(cluster("UDP", address, "y"), name="r", **more)
    return everything(listeners=[listener(route)], clusters=[{"name": "e", **ECHO}])


def test_the_same_again() -> None:
    """Declaring the same again changes nothing and severs nothing."""
    config = edit.build(WORDS, declared())
    change = edit.replace_all(config, WORDS, declared())
    assert change == Change(config)


def test_something_inserted_before() -> None:
    """What comes before, or around, changes no names and severs nothing."""
    config = edit.build(WORDS, declared())
    inner = declared().listeners[0].rules
    assert isinstance(inner, tuple)
    it = everything(
        listeners=[
            listener({"action": {}}, name="K"),
            listener({"action": {}}, *inner),
        ],
        clusters=[{"name": "first", **ECHO}, {"name": "e", **ECHO}],
    )
    change = edit.replace_all(config, WORDS, it)
    assert not change.severed
    assert names(change.config) > names(config)


def test_weights_and_balancers_sever_nothing() -> None:
    """How new sessions are spread is nothing to those that run."""
    weighed = cluster("UDP", name="c", loadbalancer={"policy": "HashRing"}) | {
        "endpoints": [{"spec": {"address": "a"}, "weight": 5}]
    }
    config = built(clusters=[cluster("UDP", "a", name="c")])
    change = edit.replace_all(config, WORDS, everything(clusters=[weighed]))
    assert not change.severed
    assert change.config.clusters["c"].endpoints[0].weight == 5


def test_change_severs() -> None:
    """What changes or goes takes its sessions along."""
    config = edit.build(WORDS, declared())
    ends = edit.replace_all(config, WORDS, declared("z")).severed
    assert ends == {("endpoint", "r-Cluster-0-EndPoint-0")}
    ends = edit.replace_all(config, WORDS, declared(ingress=["e"])).severed
    assert ends == {("route", "r")}
    other = everything(listeners=[{**listener(), "spec": {"protocol": "TCP"}}])
    ends = edit.replace_all(config, WORDS, other).severed
    assert {("listener", "L"), ("cluster", "e"), ("route", "r")} < ends
    assert ("rulelist", "L-RuleList-0") not in ends


def test_admin_stays_unless_given() -> None:
    """Without settings the old ones stay."""
    config = built(admin={"log_level": "warn"})
    same = edit.replace_all(config, WORDS, everything()).config.admin
    other = edit.replace_all(config, WORDS, everything(admin={})).config.admin
    assert (same.log_level, other.log_level) == ("warn", "info")
