"""
A configuration in the making: definitions are given names, references checked.

A draft is made from a ``Config``, told what to add, and frozen into the next one.
It is the only mutable thing in ``model`` and lives as long as one edit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from l7mp.model import declared as say
from l7mp.model import pointer as pointers
from l7mp.model import predicate, problem
from l7mp.model.config import (
    Cluster,
    Config,
    EndPoint,
    Listener,
    Rewrite,
    Route,
    Rule,
    RuleList,
)
from l7mp.model.problem import Invalid, Problem
from l7mp.model.spec import Vocabulary

T = TypeVar("T")


class _Named(Protocol):
    @property
    def parent(self) -> str | None: ...


COLLISIONS = 20
"""How many suffixes are tried when a generated name is taken."""


class Draft:
    """See the module; ``problems`` collects everything that is wrong."""

    def __init__(
        self, config: Config, vocabulary: Vocabulary, previous: Config | None = None
    ) -> None:
        self._vocabulary = vocabulary
        self._previous = previous or Config()
        self.admin = config.admin
        self.listeners = dict(config.listeners)
        self.clusters = dict(config.clusters)
        self.rulelists = dict(config.rulelists)
        self.rules = dict(config.rules)
        self.routes = dict(config.routes)
        self._serials = dict(config.serials)
        self._endpoints = {
            endpoint.name: cluster.name
            for cluster in config.clusters.values()
            for endpoint in cluster.endpoints
        }
        self._references: list[tuple[str, str, str]] = []
        self._applies = False
        self.problems: list[Problem] = []

    def freeze(self) -> Config:
        """The configuration, or ``Invalid`` with all its problems."""
        if self._applies and not self.problems:
            self._check_apply_loops()
        if self.problems:
            raise Invalid(tuple(self.problems))
        return Config(
            admin=self.admin,
            listeners=self.listeners,
            clusters=self.clusters,
            rulelists=self.rulelists,
            rules=self.rules,
            routes=self.routes,
            serials=self._serials,
        )

    def refuse(self, path: str, message: str, hint: str = "") -> None:
        """Note a problem."""
        self.problems.append(Problem(path=path, message=message, hint=hint))

    # -- names ----------------------------------------------------------------

    def _generate(
        self, kind: str, stem: str, taken: Mapping[str, Any], before: str | None = None
    ) -> str:
        """
        A fresh name; ``before`` is the one that the previous configuration generated
        for the same place, so that declaring the same again names it the same.
        """
        if before is not None and before not in taken:
            return before
        number = self._serials.get(kind, 0)
        self._serials[kind] = number + 1
        name = f"{stem}-{number}" if stem else f"{kind}-{number}"
        for attempt in range(1, COLLISIONS + 1):
            if name not in taken:
                return name
            name = f"{stem or kind}-{number}_{attempt}"
        return self._generate(kind, stem, taken)

    def _claim(self, kind: str, name: str, taken: Mapping[str, Any], at: str) -> None:
        if name in taken:
            what = f'{kind} "{name}" already defined'
            self.refuse(f"{at}/name", what, "names are unique per kind of object")

    # -- objects --------------------------------------------------------------

    def add_listener(self, it: say.Listener, at: str) -> str:
        """Add a listener with everything that is defined in it."""
        self._claim("Listener", it.name, self.listeners, at)
        if isinstance(it.rules, str):
            rules = self._refers("rulelist", it.rules, f"{at}/rules")
        else:
            given = it.rules
            if not isinstance(given, say.RuleList):
                given = say.RuleList(rules=given)
            rules = self.add_rulelist(given, f"{at}/rules", parent=it.name)
        self.listeners[it.name] = Listener(it.name, it.spec, rules, it.options)
        return it.name

    def add_rulelist(self, it: say.RuleList, at: str, parent: str | None = None) -> str:
        """Add a rulelist; ``parent`` names the listener in which it is defined."""
        before = self._previous.listeners.get(parent or "")
        name = it.name or self._generate(
            "RuleList",
            f"{parent}-RuleList" if parent else "",
            self.rulelists,
            _implicit(before and before.rules, self._previous.rulelists),
        )
        self._claim("RuleList", name, self.rulelists, at)
        inside = at if parent else f"{at}/rules"
        former = self._previous.rulelists.get(name)
        rules = tuple(
            self.rule_reference(
                rule, f"{inside}/{index}", name, _at(former and former.rules, index)
            )
            for index, rule in enumerate(it.rules)
        )
        self.rulelists[name] = RuleList(name, rules, parent=parent)
        return name

    def rule_reference(
        self, it: str | say.Rule, at: str, parent: str, before: str | None = None
    ) -> str:
        """The name of a rule, which is added if it is defined here."""
        if not isinstance(it, str):
            return self.add_rule(it, at, parent, before)
        self._applies = True  # for all we know
        return self._refers("rule", it, at)

    def add_rule(
        self,
        it: say.Rule,
        at: str,
        parent: str | None = None,
        before: str | None = None,
    ) -> str:
        """Add a rule; ``parent`` names the rulelist in which it is defined."""
        name = it.name or self._generate(
            "Rule",
            f"{parent}-Rule" if parent else "",
            self.rules,
            _implicit(before, self._previous.rules),
        )
        self._claim("Rule", name, self.rules, at)
        if it.action.apply is not None:
            self._refers("rulelist", it.action.apply, f"{at}/action/apply")
            self._applies = True
        self.rules[name] = Rule(
            name=name,
            match=it.match,
            rewrite=tuple(
                Rewrite(step.path, step.value, pointers.parse(step.path))
                for step in it.action.rewrite or ()
            ),
            route=self._route_reference(it.action.route, f"{at}/action/route", name),
            apply=it.action.apply,
            parent=parent,
            matches=self._compile(it.match, f"{at}/match"),
        )
        return name

    def _compile(self, match: Any, at: str) -> Callable[[Any], bool]:
        try:
            return predicate.compile(match)
        except predicate.PredicateError as error:
            self.refuse(f"{at}{error.path}", str(error))
            return predicate.compile(None)

    def _route_reference(
        self, it: str | say.Route | None, at: str, parent: str
    ) -> str | None:
        if isinstance(it, say.Route):
            return self.add_route(it, at, parent)
        return it if it is None else self._refers("route", it, at)

    def add_route(self, it: say.Route, at: str, parent: str | None = None) -> str:
        """Add a route; ``parent`` names the rule in which it is defined."""
        before = self._previous.rules.get(parent or "")
        name = it.name or self._generate(
            "Route",
            f"{parent}-Route" if parent else "",
            self.routes,
            _implicit(before and before.route, self._previous.routes),
        )
        self._claim("Route", name, self.routes, at)
        old = self._previous.routes.get(name)
        self.routes[name] = Route(
            name=name,
            destination=self._stage(
                it.destination, f"{at}/destination", name, "", old and old.destination
            ),
            ingress=self._chain(
                it.ingress, f"{at}/ingress", name, "-ingress", old and old.ingress
            ),
            egress=self._chain(
                it.egress, f"{at}/egress", name, "-egress", old and old.egress
            ),
            retry=it.retry or say.Retry(retry_on="never"),
            parent=parent,
        )
        return name

    def _chain(
        self,
        chain: Iterable[str | say.Cluster] | None,
        at: str,
        route: str,
        which: str,
        before: Sequence[str] | None,
    ) -> tuple[str, ...]:
        return tuple(
            self._stage(stage, f"{at}/{index}", route, which, _at(before, index))
            for index, stage in enumerate(chain or ())
        )

    def _stage(
        self, it: str | say.Cluster, at: str, route: str, which: str, before: str | None
    ) -> str:
        if isinstance(it, str):
            return self._refers("cluster", it, at)
        return self.add_cluster(it, at, route, which, before)

    def add_cluster(
        self,
        it: say.Cluster,
        at: str,
        parent: str | None = None,
        which: str = "",
        before: str | None = None,
    ) -> str:
        """Add a cluster; ``parent`` names the route in whose chain it is defined."""
        name = it.name or self._generate(
            "Cluster",
            f"{parent}{which}-Cluster" if parent else "",
            self.clusters,
            _implicit(before, self._previous.clusters),
        )
        self._claim("Cluster", name, self.clusters, at)
        protocol = it.spec.protocol
        virtual = protocol in self._vocabulary.virtual
        balancer = self._balancer(it.loadbalancer, protocol, f"{at}/loadbalancer")
        key = balancer.key
        self.clusters[name] = Cluster(
            name=name,
            spec=it.spec,
            loadbalancer=balancer,
            key=None if key is None else pointers.parse(key),
            virtual=virtual,
            parent=parent,
            options=it.options,
        )
        former = self._previous.clusters.get(name)
        for index, endpoint in enumerate(_listed(it.endpoints)):
            old = _at(former and former.endpoints, index)
            self.add_endpoint(name, endpoint, f"{at}/endpoints/{index}", old)
        return name

    def _balancer(
        self, given: say.LoadBalancer | None, protocol: str, at: str
    ) -> say.LoadBalancer:
        if given is None:
            none = protocol in self._vocabulary.unbalanced
            return say.LoadBalancer(policy="None" if none else "Trivial")
        if given.policy == "None" and protocol not in self._vocabulary.virtual:
            hint = "use Trivial or ConsistentHash"
            self.refuse(f"{at}/policy", "None is for clusters without endpoints", hint)
        return given

    def add_endpoint(
        self, cluster: str, it: say.EndPoint, at: str, before: EndPoint | None = None
    ) -> str:
        """Add an endpoint to a cluster that exists."""
        owner = self.clusters[cluster]
        if owner.virtual:
            what = f'cluster "{cluster}" reaches nothing remote'
            self.refuse(at, what, "leave its endpoints out")
        address, port = it.spec.address, it.spec.port
        same = before is not None and (before.address, before.port) == (address, port)
        name = it.name or self._generate(
            "EndPoint",
            f"{cluster}-EndPoint",
            self._endpoints,
            before.name if before is not None and same else None,
        )
        self._claim("EndPoint", name, self._endpoints, at)
        self._endpoints[name] = cluster
        weight = it.weight if it.weight is not None else it.spec.weight
        fresh = EndPoint(name, address, port, 1 if weight is None else weight)
        self.clusters[cluster] = replace(
            owner, endpoints=(*owner.endpoints, fresh)
        )
        return name

    # -- the whole ------------------------------------------------------------

    def add_everything(self, it: say.Config, at: str = "") -> None:
        """Add all of a declared configuration, in the original's order."""
        self.admin = it.admin
        for index, cluster in enumerate(it.clusters):
            self.add_cluster(cluster, f"{at}/clusters/{index}")
        for index, listener in enumerate(it.listeners):
            self.add_listener(listener, f"{at}/listeners/{index}")
        for index, rulelist in enumerate(it.rulelists):
            self.add_rulelist(rulelist, f"{at}/rulelists/{index}")
        for index, rule in enumerate(it.rules):
            self.add_rule(rule, f"{at}/rules/{index}")
        for index, route in enumerate(it.routes):
            self.add_route(route, f"{at}/routes/{index}")
        counted = {c.name for c in it.clusters if isinstance(c.endpoints, int)}
        for index, endpoint in enumerate(it.endpoints):
            if endpoint.cluster in counted and endpoint.cluster in self.clusters:
                at_endpoint = f"{at}/endpoints/{index}"
                self.add_endpoint(endpoint.cluster, endpoint, at_endpoint)

    def check_references(self) -> None:
        """Refuse new names that lead nowhere; at run time they may, in a file not."""
        tables: dict[str, Mapping[str, Any]] = {
            "rulelist": self.rulelists,
            "rule": self.rules,
            "route": self.routes,
            "cluster": self.clusters,
        }
        for kind, name, at in self._references:
            if name not in tables[kind]:
                hint = problem.did_you_mean(name, tables[kind])
                hint = hint or f"define it, or correct the name of the {kind}"
                self.refuse(at, f'there is no {kind} "{name}"', hint)

    def _refers(self, kind: str, name: str, at: str) -> str:
        self._references.append((kind, name, at))
        return name

    def _check_apply_loops(self) -> None:
        loop = find_loop(self.rulelists, self.rules)
        if loop:
            what = f"rulelists apply each other in a loop: {' → '.join(loop)}"
            self.refuse("", what, "remove one of the apply actions")


def _implicit(name: str | None, table: Mapping[str, _Named]) -> str | None:
    """``name`` if it was generated for a definition, and not chosen by somebody."""
    found = table.get(name or "")
    return name if found is not None and found.parent is not None else None


def _at(items: Sequence[T] | None, index: int) -> T | None:
    return items[index] if items is not None and index < len(items) else None


def _listed(endpoints: Iterable[say.EndPoint] | int | None) -> Iterable[say.EndPoint]:
    return () if endpoints is None or isinstance(endpoints, int) else endpoints


def find_loop(
    rulelists: Mapping[str, RuleList], rules: Mapping[str, Rule]
) -> tuple[str, ...]:
    """The names along a loop of ``apply`` actions, the first repeated; () if none."""
    follows = {
        name: [
            rules[rule].apply or ""
            for rule in rulelist.rules
            if rule in rules and rules[rule].apply in rulelists
        ]
        for name, rulelist in rulelists.items()
    }
    done: set[str] = set()
    for start in follows:
        trail: dict[str, Iterator[str]] = {}
        step: str | None = start
        while step is not None:
            if step in trail:
                names = list(trail)
                return (*names[names.index(step) :], step)
            if step not in done:
                trail[step] = iter(follows[step])
            step = _next_step(trail, done)
    return ()


def _next_step(trail: dict[str, Iterator[str]], done: set[str]) -> str | None:
    """One step further in a depth-first walk, or None when the walk is over."""
    while trail:
        last = next(reversed(trail))
        following = next(trail[last], None)
        if following is not None:
            return following
        done.add(last)
        del trail[last]
    return None
