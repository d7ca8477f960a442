"""
A configuration in the making: definitions are given names, references checked.

A draft is made from a ``Config``, told what to add, and frozen into the next one.
It is the only mutable thing in ``model`` and lives as long as one edit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from l7mp.model import declared as say
from l7mp.model import lint, predicate, problem
from l7mp.model import pointer as pointers
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
from l7mp.model.framing import Format, Framing, framing_of
from l7mp.model.hops import framable, is_framed
from l7mp.model.loops import loop_problems
from l7mp.model.members import owner_of
from l7mp.model.naming import Names, paired
from l7mp.model.problem import Invalid, Problem
from l7mp.model.spec import Spec, Vocabulary
from l7mp.model.view import RANDOM, VIRTUAL


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
        self._names = Names(config.serials)
        self._endpoints = {
            endpoint.name: cluster.name
            for cluster in config.clusters.values()
            for endpoint in cluster.endpoints
        }
        self._references: list[tuple[str, str, str]] = []
        self._routes_at: dict[str, str] = {}
        """Where the routes that were added are written."""
        self._applies = False
        self.problems: list[Problem] = []

    def freeze(self) -> Config:
        """The configuration, or ``Invalid`` with all its problems."""
        config = self._config()
        if not self.problems:
            self.problems += loop_problems(config, self._applies)
        if self.admin.boundaries == "refuse" and not self.problems:
            flow_of, places = self._vocabulary.flow_of, self._routes_at
            self.problems += lint.boundary_problems(config, flow_of, places)
        if self.problems:
            raise Invalid(tuple(self.problems))
        return config

    def _config(self) -> Config:
        return Config(
            admin=self.admin,
            listeners=self.listeners,
            clusters=self.clusters,
            rulelists=self.rulelists,
            rules=self.rules,
            routes=self.routes,
            serials=self._names.serials,
        )

    def refuse(self, path: str, message: str, hint: str = "") -> None:
        """Note a problem."""
        self.problems.append(Problem(path=path, message=message, hint=hint))

    # -- names ----------------------------------------------------------------

    def _name(
        self,
        kind: str,
        given: str | None,
        parent: str | None,
        taken: Mapping[str, Any],
        former: Iterable[str | None],
    ) -> str:
        """``given``, or a name in which kind and parent can be recognized."""
        stem = f"{parent}-{kind}" if parent else kind
        return given or self._names.generate(kind, stem, taken, former)

    def _claim(self, kind: str, name: str, taken: Mapping[str, Any], at: str) -> None:
        if name in taken:
            what = f'{kind} "{name}" already defined'
            self.refuse(f"{at}/name", what, "names are unique per kind of object")

    # -- objects --------------------------------------------------------------

    def add_listener(self, it: say.Listener, at: str) -> str:
        """Add a listener with everything that is defined in it."""
        self._claim("Listener", it.name, self.listeners, at)
        inside = f"{at}/rules"
        if isinstance(it.rules, str):
            rules = self._refers("rulelist", it.rules, inside)
        elif isinstance(it.rules, say.RuleList):
            rules = self.add_rulelist(it.rules, inside, parent=it.name)
        else:
            rulelist = say.RuleList(rules=it.rules)
            rules = self._add_rulelist(rulelist, inside, inside, it.name)
        # what is not said and what is said by default are the same
        options = None if it.options == say.ListenerOptions() else it.options
        framing = self._framing(it.framing, it.spec, at)
        self.listeners[it.name] = Listener(it.name, it.spec, rules, options, framing)
        return it.name

    def add_rulelist(self, it: say.RuleList, at: str, parent: str | None = None) -> str:
        """Add a rulelist; ``parent`` names the listener in which it is defined."""
        return self._add_rulelist(it, at, f"{at}/rules", parent)

    def _add_rulelist(
        self, it: say.RuleList, at: str, inside: str, parent: str | None
    ) -> str:
        """``inside`` is where its rules are written."""
        former: Iterable[str] = self._previous.rulelists
        if parent is not None:
            listener = self._previous.listeners.get(parent)
            former = (listener.rules,) if listener else ()
        name = self._name("RuleList", it.name, parent, self.rulelists, former)
        self._claim("RuleList", name, self.rulelists, at)
        before = self._previous.rulelists.get(name)
        old = paired(it.rules, before.rules if before else (), self._was_rule)
        rules = tuple(
            self.rule_reference(rule, f"{inside}/{index}", name, old[index])
            for index, rule in enumerate(it.rules)
        )
        self.rulelists[name] = RuleList(name, rules, parent=parent)
        return name

    def _was_rule(self, it: str | say.Rule, name: str) -> bool:
        """Whether the previous rule of this name said the same, inside of routes apart."""
        if isinstance(it, str) or it.name:
            return name == (it if isinstance(it, str) else it.name)
        old = self._previous.rules.get(name)
        return (
            old is not None
            and (old.match, old.apply, old.rewrite)
            == (
                _condition(it.match),
                it.action.apply,
                _rewrites(it),
            )
            and self._was_route(it.action.route, old)
        )

    def _was_route(self, it: str | say.Route | None, rule: Rule) -> bool:
        """Whether the previous rule named the same route, or defined one, too."""
        if not isinstance(it, say.Route):
            return it == rule.route
        old = self._previous.routes.get(rule.route or "")
        defined = old is not None and old.parent == rule.name
        return defined and it.name in (None, rule.route)

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
        former = (before,) if parent else self._previous.rules
        name = self._name("Rule", it.name, parent, self.rules, former)
        self._claim("Rule", name, self.rules, at)
        if it.action.apply is not None:
            self._refers("rulelist", it.action.apply, f"{at}/action/apply")
            self._applies = True
        self.rules[name] = Rule(
            name=name,
            match=_condition(it.match),
            rewrite=_rewrites(it),
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
        former: Iterable[str | None] = self._previous.routes
        if parent is not None:
            rule = self._previous.rules.get(parent)
            former = (rule.route,) if rule else ()
        name = self._name("Route", it.name, parent, self.routes, former)
        self._claim("Route", name, self.routes, at)
        self._routes_at[name] = at
        old = self._previous.routes.get(name)
        self.routes[name] = Route(
            name=name,
            destination=self._stage(
                it.destination,
                f"{at}/destination",
                name,
                old.destination if old else None,
            ),
            ingress=self._chain(
                it.ingress or (),
                f"{at}/ingress",
                f"{name}-ingress",
                name,
                old.ingress if old else (),
            ),
            egress=self._chain(
                it.egress or (),
                f"{at}/egress",
                f"{name}-egress",
                name,
                old.egress if old else (),
            ),
            retry=it.retry or say.Retry(retry_on="never"),
            framing=framing_of(it.framing),
            parent=parent,
        )
        return name

    def _chain(
        self,
        chain: Sequence[str | say.Cluster],
        at: str,
        stem: str,
        route: str,
        former: Sequence[str],
    ) -> tuple[str, ...]:
        old = paired(chain, former, self._was_cluster)
        return tuple(
            self._stage(stage, f"{at}/{index}", route, old[index], stem)
            for index, stage in enumerate(chain)
        )

    def _was_cluster(self, it: str | say.Cluster, name: str) -> bool:
        """Whether the previous cluster of this name spoke the same."""
        if isinstance(it, str) or it.name:
            return name == (it if isinstance(it, str) else it.name)
        old = self._previous.clusters.get(name)
        return old is not None and old.spec == it.spec

    def _stage(
        self,
        it: str | say.Cluster,
        at: str,
        route: str,
        before: str | None,
        stem: str = "",
    ) -> str:
        if isinstance(it, str):
            return self._refers("cluster", it, at)
        return self.add_cluster(it, at, route, stem, before)

    def add_cluster(
        self,
        it: say.Cluster,
        at: str,
        parent: str | None = None,
        stem: str = "",
        before: str | None = None,
    ) -> str:
        """Add a cluster; ``parent`` names the route in whose chain it is defined."""
        former = (before,) if parent else self._previous.clusters
        name = self._name("Cluster", it.name, stem or parent, self.clusters, former)
        self._claim("Cluster", name, self.clusters, at)
        protocol = it.spec.protocol
        virtual = protocol in self._vocabulary.virtual
        balancer = self._balancer(it.loadbalancer, protocol, f"{at}/loadbalancer")
        key = balancer.key
        self.clusters[name] = Cluster(
            name=name,
            spec=self._standing(it.spec, name, f"{at}/spec/clusters"),
            loadbalancer=balancer,
            key=None if key is None else pointers.parse(key),
            virtual=virtual,
            framing=self._framing(it.framing, it.spec, at),
            parent=parent,
            options=it.options,
        )
        self._add_endpoints(name, it.endpoints, f"{at}/endpoints")
        return name

    def _standing(self, spec: Spec, cluster: str, at: str) -> Spec:
        """A specification whose members are all names; those defined in it are added."""
        if not spec.members:
            return spec
        before = self._previous.clusters.get(cluster)
        former = before.spec.members if before else ()
        parent = owner_of(cluster)
        return spec.standing_on(self._chain(spec.members, at, cluster, parent, former))

    def _add_endpoints(
        self, cluster: str, given: Sequence[say.EndPoint] | int | None, at: str
    ) -> None:
        if given is None or isinstance(given, int):
            return
        virtual = self.clusters[cluster].virtual
        before = self._previous.clusters.get(cluster)
        former = paired(given, before.endpoints if before else (), _was_endpoint)
        for index, endpoint in enumerate(given):
            if virtual and endpoint.spec.address == VIRTUAL:
                continue  # what GET shows, not what somebody wants
            old = former[index]
            known = old if old and _was_endpoint(endpoint, old) else None
            self.add_endpoint(cluster, endpoint, f"{at}/{index}", known)

    def _balancer(
        self, given: say.LoadBalancer | None, protocol: str, at: str
    ) -> say.LoadBalancer:
        if given is None:
            none = protocol in self._vocabulary.unbalanced
            return say.LoadBalancer(policy="None" if none else "Trivial")
        if given.policy == "None" and protocol not in self._vocabulary.virtual:
            hint = "use Trivial or ConsistentHash"
            self.refuse(f"{at}/policy", "None is for clusters without endpoints", hint)
        if given.key == RANDOM:  # what GET shows
            return given.model_copy(update={"key": None})
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
        former = (before.name,) if before else ()
        name = self._name("EndPoint", it.name, cluster, self._endpoints, former)
        self._claim("EndPoint", name, self._endpoints, at)
        self._endpoints[name] = cluster
        weight = it.weight if it.weight is not None else it.spec.weight
        fresh = EndPoint(name, address, port, 1 if weight is None else weight)
        self.clusters[cluster] = replace(owner, endpoints=(*owner.endpoints, fresh))
        return name

    # -- the whole ------------------------------------------------------------

    def add_everything(self, it: say.Config, at: str = "") -> None:
        """Add all of a declared configuration, in the original's order."""
        self.admin = it.admin
        self._names.reserve(it)
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

    def _framing(
        self, given: Framing | Format | None, spec: Spec, at: str
    ) -> Framing | None:
        framing = framing_of(given)
        if is_framed(framing) and not (
            framable(self._vocabulary.flow_of(spec)) and not spec.members
        ):
            what = f"{spec.protocol} carries no plain stream of bytes to put frames in"
            self.refuse(f"{at}/framing", what, "leave the framing out")
        return framing


def _was_endpoint(it: say.EndPoint, old: EndPoint) -> bool:
    if it.name:
        return it.name == old.name
    return (it.spec.address, it.spec.port) == (old.address, old.port)


def _condition(match: Any) -> Any:
    """A predicate; None for the one that GET shows where none was given."""
    return None if match == {"match": "*"} else match


def _rewrites(it: say.Rule) -> tuple[Rewrite, ...]:
    return tuple(
        Rewrite(step.path, step.value, pointers.parse(step.path))
        for step in it.action.rewrite or ()
    )
