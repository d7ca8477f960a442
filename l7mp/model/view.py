"""The configuration as GET shows it: names, or recursively what they stand for."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from l7mp.model.config import Cluster, Config, EndPoint, Listener, Route, Rule, RuleList
from l7mp.model.lint import route_warnings
from l7mp.model.spec import Vocabulary

View = dict[str, Any]

VIRTUAL = "<VIRTUAL>"


def stale(name: str) -> str:
    """How a name is shown that stands for nothing (any more)."""
    return f"{name}:<STALE>"


class Viewer:
    """Shows one configuration, as it was when the viewer was made."""

    def __init__(self, config: Config, vocabulary: Vocabulary) -> None:
        self._config, self._words = config, vocabulary

    @cached_property
    def _warnings(self) -> dict[str, list[str]]:
        return route_warnings(self._config, self._words.kinds)

    def admin(self, version: str) -> View:
        """The settings of the proxy itself."""
        admin = self._config.admin
        shown: View = {
            "log_level": admin.log_level,
            "strict": admin.strict,
            "offload": admin.offload in (True, "init"),
            "version": version,
        }
        for name in ("log_file", "access_log_path"):
            if name in admin.model_fields_set:
                shown[name] = getattr(admin, name)
        return shown

    def listener(self, it: Listener, recursive: bool = False) -> View:
        """A listener; recursively, with its rules."""
        rules: Any = it.rules
        if recursive:
            rulelist = self._config.rulelists.get(it.rules)
            rules = self.rulelist(rulelist, True)["rules"] if rulelist else None
            rules = stale(it.rules) if rules is None else rules
        options = {"track": 0}
        if it.options is not None:
            options |= it.options.dump()
        spec = it.spec.dump()
        return {"name": it.name, "spec": spec, "rules": rules, "options": options}

    def rulelist(self, it: RuleList, recursive: bool = False) -> View:
        """A rulelist; recursively, with its rules."""
        rules: list[Any] = list(it.rules)
        if recursive:
            rules = [self._rule_named(name) for name in it.rules]
        return {"name": it.name, "rules": rules}

    def _rule_named(self, name: str) -> Any:
        rule = self._config.rules.get(name)
        return stale(name) if rule is None else self.rule(rule, True)

    def rule(self, it: Rule, recursive: bool = False) -> View:
        """A rule; recursively, with its route."""
        action: View = {}
        if it.rewrite:
            action["rewrite"] = [
                {"path": step.path, "value": step.value} for step in it.rewrite
            ]
        if it.route is not None:
            route = self._config.routes.get(it.route)
            action["route"] = it.route
            if recursive:
                action["route"] = self.route(route, True) if route else stale(it.route)
        if it.apply is not None:
            action["apply"] = it.apply
        match = it.match if isinstance(it.match, dict) else {"match": "*"}
        return {"name": it.name, "match": match, "action": action}

    def route(self, it: Route, recursive: bool = False) -> View:
        """A route; recursively, with its clusters."""
        retry = it.retry.dump()
        if retry == {"retry_on": "never"}:
            retry = it.retry.model_dump(mode="json")
        shown = {
            "name": it.name,
            "destination": self._cluster_named(it.destination, recursive),
            "ingress": [self._cluster_named(name, recursive) for name in it.ingress],
            "egress": [self._cluster_named(name, recursive) for name in it.egress],
            "retry": retry,
        }
        if it.name in self._warnings:
            shown["warnings"] = self._warnings[it.name]
        return shown

    def _cluster_named(self, name: str, recursive: bool) -> Any:
        if not recursive:
            return name
        cluster = self._config.clusters.get(name)
        return self.cluster(cluster, True) if cluster else stale(name)

    def cluster(self, it: Cluster, recursive: bool = False) -> View:
        """A cluster; recursively, with its endpoints."""
        endpoints: Any = len(it.endpoints)
        if recursive and it.virtual:
            endpoints = [{"name": it.name, "spec": {"address": VIRTUAL}}]
        elif recursive:
            endpoints = [self.endpoint(endpoint) for endpoint in it.endpoints]
        balancer = it.loadbalancer
        shown: View = {"policy": balancer.policy}
        if balancer.policy in ("ConsistentHash", "HashRing"):
            shown["key"] = "<RANDOM>" if balancer.key is None else balancer.key
        return {
            "name": it.name,
            "spec": it.spec.dump(),
            "endpoints": endpoints,
            "loadbalancer": shown,
        }

    def endpoint(self, it: EndPoint) -> View:
        """An endpoint."""
        spec: View = {"address": it.address}
        if it.port is not None:
            spec["port"] = it.port
        return {"name": it.name, "spec": spec, "weight": it.weight}

    def endpoints(self) -> list[View]:
        """The endpoints of all clusters, each with the name of its cluster."""
        return [
            {**self.endpoint(endpoint), "cluster": cluster.name}
            for cluster in self._config.clusters.values()
            for endpoint in cluster.endpoints
        ]

    def config(self, version: str, sessions: list[View], recursive: bool) -> View:
        """Everything, by name; recursively, clusters with their endpoints."""
        it = self._config
        return {
            "admin": self.admin(version),
            "listeners": [self.listener(one) for one in it.listeners.values()],
            "clusters": [self.cluster(one, recursive) for one in it.clusters.values()],
            "rulelists": [self.rulelist(one) for one in it.rulelists.values()],
            "rules": [self.rule(one) for one in it.rules.values()],
            "routes": [self.route(one) for one in it.routes.values()],
            "endpoints": self.endpoints(),
            "sessions": sessions,
        }
