"""
Every operation of the REST API as a function from one configuration to the next.

Pure: what an edit means for running listeners is computed by ``plan``; what it means
for sessions is part of its result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from l7mp.errors import LocalError
from l7mp.model import declared as say
from l7mp.model.config import (
    Cluster,
    Config,
    Listener,
    ObjectKind,
    Route,
    Rule,
    RuleList,
)
from l7mp.model.draft import Draft
from l7mp.model.members import owner_of
from l7mp.model.spec import Vocabulary

Ref = tuple[ObjectKind, str]
"""The kind and the name of an object."""

MOST_DIGITS = 9
"""Of a position; Python refuses to read thousands."""


class Unknown(LocalError):
    """An operation names an object that does not exist."""


@dataclass(frozen=True, slots=True)
class Change:
    """The next configuration, and the objects whose sessions must go."""

    config: Config
    severed: frozenset[Ref] = frozenset()
    """Sessions that began at, or run through, one of these end (or, for an endpoint,
    lose the stage that uses it)."""
    name: str = ""
    """The object that was added."""


# -- adding --------------------------------------------------------------------


def add_listener(
    config: Config, words: Vocabulary, it: say.Listener, at: str = "/listener"
) -> Change:
    """Add a listener and everything defined in it."""
    draft = Draft(config, words)
    name = draft.add_listener(it, at)
    return Change(draft.freeze(), name=name)


def add_cluster(
    config: Config, words: Vocabulary, it: say.Cluster, at: str = "/cluster"
) -> Change:
    """Add a cluster and its endpoints."""
    draft = Draft(config, words)
    name = draft.add_cluster(it, at)
    return Change(draft.freeze(), name=name)


def add_endpoint(
    config: Config,
    words: Vocabulary,
    cluster: str,
    it: say.EndPoint,
    at: str = "/endpoint",
) -> Change:
    """Add an endpoint to a cluster, behind the existing ones."""
    if cluster not in config.clusters:
        raise Unknown(f'Cannot add endpoint: Unknown cluster "{cluster}"')
    draft = Draft(config, words)
    name = draft.add_endpoint(cluster, it, at)
    return Change(draft.freeze(), name=name)


def add_rulelist(
    config: Config, words: Vocabulary, it: say.RuleList, at: str = "/rulelist"
) -> Change:
    """Add a rulelist and the rules defined in it."""
    draft = Draft(config, words)
    name = draft.add_rulelist(it, at)
    return Change(draft.freeze(), name=name)


def add_rule(
    config: Config, words: Vocabulary, it: say.Rule, at: str = "/rule"
) -> Change:
    """Add a rule and the route defined in it."""
    draft = Draft(config, words)
    name = draft.add_rule(it, at)
    return Change(draft.freeze(), name=name)


def add_route(
    config: Config, words: Vocabulary, it: say.Route, at: str = "/route"
) -> Change:
    """Add a route and the clusters defined in it."""
    draft = Draft(config, words)
    name = draft.add_route(it, at)
    return Change(draft.freeze(), name=name)


def insert_rule(
    config: Config,
    words: Vocabulary,
    rulelist: str,
    position: int,
    it: str | say.Rule,
    at: str = "/rule",
) -> Change:
    """Put a rule, given by name or defined here, at a position of a rulelist."""
    target = config.rulelists.get(rulelist)
    if target is None:
        raise Unknown(f'Cannot add rule: Unknown rulelist "{rulelist}"')
    if not 0 <= position <= len(target.rules):
        raise LocalError(
            f'Cannot add rule: position {position} is outside of rulelist "{rulelist}",'
            f" which takes 0 to {len(target.rules)}"
        )
    draft = Draft(config, words)
    name = draft.rule_reference(it, at, parent=rulelist)
    if isinstance(it, str) and it not in config.rules:
        raise Unknown(f'Cannot add rule: Unknown rule "{it}"')
    rules = (*target.rules[:position], name, *target.rules[position:])
    draft.rulelists[rulelist] = replace(target, rules=rules)
    return Change(draft.freeze(), name=name)


def set_admin(config: Config, words: Vocabulary, admin: say.Admin) -> Change:
    """Take over the settings that are given; the others stay."""
    given = {name: getattr(admin, name) for name in admin.model_fields_set}
    draft = Draft(config, words)
    draft.admin = config.admin.model_copy(update=given)
    return Change(draft.freeze())


def build(words: Vocabulary, it: say.Config, previous: Config | None = None) -> Config:
    """A configuration from scratch, with no dangling names; all its problems at once."""
    serials = previous.serials if previous else {}
    draft = Draft(Config(serials=serials), words, previous)
    draft.add_everything(it)
    if previous and "admin" not in it.model_fields_set:
        draft.admin = previous.admin
    draft.check_references()
    return draft.freeze()


def replace_all(config: Config, words: Vocabulary, it: say.Config) -> Change:
    """Replace everything; sessions whose objects change or go are severed."""
    fresh = build(words, it, config)
    severed: set[Ref] = set()
    for kind in ("listener", "cluster", "rulelist", "rule", "route"):
        table: str = f"{kind}s"
        new = getattr(fresh, table)
        for name, old in getattr(config, table).items():
            if not _same(new.get(name), old):
                severed.add((kind, name))
    severed.update(_lost_endpoints(config, fresh))
    return Change(fresh, frozenset(severed))


def _lost_endpoints(old: Config, new: Config) -> Iterator[Ref]:
    """Endpoints that clusters which stay have no longer."""
    for name, cluster in old.clusters.items():
        successor = new.clusters.get(name)
        if successor is not None:
            places = {(one.name, one.address, one.port) for one in successor.endpoints}
            for one in cluster.endpoints:
                if (one.name, one.address, one.port) not in places:
                    yield "endpoint", one.name


def _same(new: object, old: object) -> bool:
    """Whether two objects mean the same to a session that runs through them."""
    if isinstance(new, Listener) and isinstance(old, Listener):
        return (new.spec, new.framing) == (old.spec, old.framing)
    if isinstance(new, Cluster) and isinstance(old, Cluster):
        # balancing is for sessions to come; endpoints are severed one by one
        return (new.spec, new.framing) == (old.spec, old.framing)
    if isinstance(new, RuleList) and isinstance(old, RuleList):
        return True  # only new sessions look anything up
    if isinstance(new, (Rule, Route)) and type(new) is type(old):
        return replace(new, parent=None) == replace(old, parent=None)
    return new == old


# -- deleting --------------------------------------------------------------------


class _Removal:
    """What goes when something is deleted, recursively or not."""

    def __init__(self, config: Config) -> None:
        self.listeners = dict(config.listeners)
        self.clusters = dict(config.clusters)
        self.rulelists = dict(config.rulelists)
        self.rules = dict(config.rules)
        self.routes = dict(config.routes)
        self.severed: set[Ref] = set()
        self._config = config

    def change(self) -> Change:
        config = replace(
            self._config,
            listeners=self.listeners,
            clusters=self.clusters,
            rulelists=self.rulelists,
            rules=self.rules,
            routes=self.routes,
        )
        return Change(config, frozenset(self.severed))

    def listener(self, name: str, recursive: bool) -> None:
        listener = self.listeners.pop(name)
        if recursive:
            self.severed.add(("listener", name))
            rulelist = self.rulelists.get(listener.rules)
            if rulelist is not None and rulelist.parent == name:
                self.rulelist(listener.rules, recursive)
        _orphan(self.rulelists, name)

    def rulelist(self, name: str, recursive: bool) -> None:
        rulelist = self.rulelists.pop(name)
        for rule_name in rulelist.rules if recursive else ():
            rule = self.rules.get(rule_name)
            if rule is not None and rule.parent == name:
                self.rule(rule_name, recursive)
        _orphan(self.rules, name)

    def rule(self, name: str, recursive: bool) -> None:
        rule = self.rules.pop(name)
        if recursive and rule.route is not None:
            route = self.routes.get(rule.route)
            if route is not None and route.parent == name:
                self.route(rule.route, recursive)
        _orphan(self.routes, name)

    def route(self, name: str, recursive: bool) -> None:
        route = self.routes.pop(name)
        stages = (route.destination, *route.ingress, *route.egress)
        for stage in stages if recursive else ():
            cluster = self.clusters.get(stage)
            if cluster is not None and cluster.parent == name:
                self.cluster(stage, recursive)
        _orphan(self.clusters, name)

    def cluster(self, name: str, recursive: bool) -> None:
        cluster = self.clusters.pop(name)
        if recursive:
            self.severed.add(("cluster", name))
        for member in cluster.spec.members if recursive else ():
            inner = self.clusters.get(member)
            if inner is not None and inner.parent == owner_of(name):
                self.cluster(member, recursive)
        _orphan(self.clusters, owner_of(name))


Child = TypeVar("Child", RuleList, Rule, Route, Cluster)


def _orphan(table: dict[str, Child], parent: str) -> None:
    """What outlives its parent belongs to no other that gets the same name."""
    for name, child in table.items():
        if child.parent == parent:
            table[name] = replace(child, parent=None)


def delete_listener(config: Config, name: str, recursive: bool = False) -> Change:
    """Delete a listener; recursively, all defined in it and its sessions too."""
    return _delete(config, "listener", config.listeners, name, recursive)


def delete_cluster(config: Config, name: str, recursive: bool = False) -> Change:
    """Delete a cluster and its endpoints; recursively, sessions through it too."""
    return _delete(config, "cluster", config.clusters, name, recursive)


def delete_rulelist(config: Config, name: str, recursive: bool = False) -> Change:
    """Delete a rulelist; recursively, everything that was defined in it too."""
    return _delete(config, "rulelist", config.rulelists, name, recursive)


def delete_rule(config: Config, name: str, recursive: bool = False) -> Change:
    """Delete a rule; recursively, everything that was defined in it too."""
    return _delete(config, "rule", config.rules, name, recursive)


def delete_route(config: Config, name: str, recursive: bool = False) -> Change:
    """Delete a route; recursively, everything that was defined in it too."""
    return _delete(config, "route", config.routes, name, recursive)


def _delete(
    config: Config, kind: str, table: Iterable[str], name: str, recursive: bool
) -> Change:
    if name not in table:
        raise Unknown(f'Cannot delete {kind}: Unknown {kind} "{name}"')
    removal = _Removal(config)
    getattr(removal, kind)(name, recursive)
    return removal.change()


def delete_endpoint(config: Config, name: str, recursive: bool = False) -> Change:
    """Delete an endpoint; recursively, stages that use it are disconnected."""
    found = config.endpoint(name)
    if found is None:
        raise Unknown(f'Cannot delete endpoint: Unknown endpoint "{name}"')
    cluster, endpoint = found
    rest = tuple(other for other in cluster.endpoints if other is not endpoint)
    clusters = dict(config.clusters)
    clusters[cluster.name] = replace(cluster, endpoints=rest)
    severed: frozenset[Ref] = frozenset({("endpoint", name)} if recursive else ())
    return Change(replace(config, clusters=clusters), severed)


def remove_rule(
    config: Config, rulelist: str, which: str, recursive: bool = False
) -> Change:
    """Take a rule, by position or by name, out of a rulelist; or delete it too."""
    target = config.rulelists.get(rulelist)
    if target is None:
        raise Unknown(f'Cannot delete rule: Unknown rulelist "{rulelist}"')
    position = rule_position(target, which)
    name = target.rules[position]
    rules = (*target.rules[:position], *target.rules[position + 1 :])
    removal = _Removal(config)
    removal.rulelists[rulelist] = replace(target, rules=rules)
    if recursive and name in removal.rules:
        removal.rule(name, recursive)
    return removal.change()


def rule_position(rulelist: RuleList, which: str) -> int:
    """The position that a number, or the name of a rule, means in a rulelist."""
    if which in rulelist.rules:
        return rulelist.rules.index(which)
    is_number = which.isascii() and which.isdigit() and len(which) <= MOST_DIGITS
    if is_number and int(which) < len(rulelist.rules):
        return int(which)
    raise Unknown(f'No rule "{which}" in rulelist "{rulelist.name}"')
