"""From a configuration to what GET shows of it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from l7mp.model.config import Cluster, Config, EndPoint, Listener, Route, Rule, RuleList
from l7mp.model.declared import ListenerOptions, LoadBalancer, Retry, Rewrite
from l7mp.model.framing import Framing, spoken
from l7mp.model.lint import route_warnings
from l7mp.model.spec import FlowOf
from l7mp.model.view import (
    RANDOM,
    VIRTUAL,
    ActionView,
    AdminView,
    ClusterView,
    ConfigView,
    EndPointSpecView,
    EndPointView,
    ListenerView,
    LoadBalancerView,
    RouteView,
    RuleListView,
    RuleView,
    SessionView,
    stale,
)

NEVER = Retry(retry_on="never", num_retries=1, timeout=2000)
"""The policy that is shown where none was given."""

UNTRACKED = ListenerOptions(track=0)
"""The options that are shown where none were given."""

EVERYTHING = {"match": "*"}
"""The predicate that is shown where none was given."""


class Viewer:
    """
    Shows one configuration, by names or recursively.

    ``flow_of`` says what a specification takes and gives, see ``Vocabulary``.
    """

    def __init__(self, config: Config, flow_of: FlowOf) -> None:
        self._config, self._flow_of = config, flow_of

    @cached_property
    def _warnings(self) -> dict[str, list[str]]:
        return route_warnings(self._config, self._flow_of)

    def admin(self, version: str) -> AdminView:
        """The settings of the proxy itself, which is of this version."""
        admin = self._config.admin
        given: dict[str, Any] = {
            name: value
            for name in ("log_file", "access_log_path")
            if name in admin.model_fields_set
            and (value := getattr(admin, name)) is not None
        }
        if admin.offload_ifs is not None:
            given["offload_ifs"] = _listed(admin.offload_ifs)
        if admin.boundaries == "refuse":
            given["boundaries"] = admin.boundaries
        return AdminView(
            log_level=admin.log_level,
            strict=admin.strict,
            offload=admin.offload in (True, "init"),
            version=version,
            **given,
        )

    def listener(self, it: Listener, recursive: bool = False) -> ListenerView:
        """A listener; recursively, with its rules."""
        rules: Any = it.rules
        if recursive:
            rulelist = self._config.rulelists.get(it.rules)
            rules = self._rules(rulelist) if rulelist else stale(it.rules)
        options = UNTRACKED if it.options is None else it.options
        given = _framing(it.framing)
        return ListenerView(
            name=it.name, spec=it.spec, rules=rules, options=options, **given
        )

    def rulelist(self, it: RuleList, recursive: bool = False) -> RuleListView:
        """A rulelist; recursively, with its rules."""
        rules: Any = self._rules(it) if recursive else it.rules
        return RuleListView(name=it.name, rules=rules)

    def _rules(self, it: RuleList) -> tuple[RuleView | str, ...]:
        known = self._config.rules
        return tuple(
            self.rule(known[name], recursive=True) if name in known else stale(name)
            for name in it.rules
        )

    def rule(self, it: Rule, recursive: bool = False) -> RuleView:
        """A rule; recursively, with its route."""
        action: dict[str, Any] = {}
        if it.rewrite:
            action["rewrite"] = tuple(
                Rewrite(path=step.path, value=step.value) for step in it.rewrite
            )
        if it.route is not None:
            action["route"] = self._route(it.route) if recursive else it.route
        if it.apply is not None:
            action["apply"] = it.apply
        match = it.match if isinstance(it.match, dict) else EVERYTHING
        return RuleView(name=it.name, match=match, action=ActionView(**action))

    def _route(self, name: str) -> RouteView | str:
        found = self._config.routes.get(name)
        return stale(name) if found is None else self.route(found, recursive=True)

    def route(self, it: Route, recursive: bool = False) -> RouteView:
        """A route; recursively, with its clusters."""
        warnings = self._warnings.get(it.name)
        given = _framing(it.framing)
        if warnings:
            given["warnings"] = tuple(warnings)
        is_default = it.retry.dump() == {"retry_on": "never"}
        return RouteView(
            name=it.name,
            destination=self._stage(it.destination, recursive),
            ingress=tuple(self._stage(name, recursive) for name in it.ingress),
            egress=tuple(self._stage(name, recursive) for name in it.egress),
            retry=NEVER if is_default else it.retry,
            **given,
        )

    def _stage(self, name: str, recursive: bool) -> ClusterView | str:
        if not recursive:
            return name
        found = self._config.clusters.get(name)
        return stale(name) if found is None else self.cluster(found, recursive=True)

    def cluster(self, it: Cluster, recursive: bool = False) -> ClusterView:
        """A cluster; recursively, with its endpoints."""
        given = _framing(it.framing)
        if it.options is not None:
            given["options"] = it.options
        return ClusterView(
            name=it.name,
            spec=it.spec,
            endpoints=self._endpoints(it) if recursive else len(it.endpoints),
            loadbalancer=_balancer(it.loadbalancer),
            **given,
        )

    def _endpoints(self, cluster: Cluster) -> tuple[EndPointView, ...]:
        if cluster.virtual:
            where = EndPointSpecView(address=VIRTUAL)
            return (EndPointView(name=cluster.name, spec=where),)
        return tuple(self.endpoint(one) for one in cluster.endpoints)

    def endpoint(self, it: EndPoint, cluster: str | None = None) -> EndPointView:
        """An endpoint, with the name of its cluster where that has to be said."""
        spec = {"address": it.address} | ({} if it.port is None else {"port": it.port})
        return EndPointView(
            name=it.name,
            spec=EndPointSpecView.model_validate(spec),
            weight=it.weight,
            **({} if cluster is None else {"cluster": cluster}),
        )

    def config(
        self,
        version: str,
        sessions: Iterable[SessionView] = (),
        recursive: bool = False,
    ) -> ConfigView:
        """
        Everything, by name; recursively, clusters with their endpoints.

        No further: every object is in its own section already.
        """
        it = self._config
        return ConfigView(
            admin=self.admin(version),
            listeners=tuple(self.listener(one) for one in it.listeners.values()),
            clusters=tuple(self.cluster(c, recursive) for c in it.clusters.values()),
            rulelists=tuple(self.rulelist(one) for one in it.rulelists.values()),
            rules=tuple(self.rule(one) for one in it.rules.values()),
            routes=tuple(self.route(one) for one in it.routes.values()),
            endpoints=tuple(
                self.endpoint(endpoint, cluster.name)
                for cluster in it.clusters.values()
                for endpoint in cluster.endpoints
            ),
            sessions=tuple(sessions),
        )


def _framing(it: Framing | None) -> dict[str, Any]:
    return {} if it is None else {"framing": spoken(it)}


def _listed(interfaces: str | tuple[str, ...]) -> tuple[str, ...]:
    """The names of interfaces, which can be given as one text with commas."""
    if isinstance(interfaces, str):
        names = (name.strip() for name in interfaces.split(","))
        return tuple(name for name in names if name)
    return interfaces


def _balancer(it: LoadBalancer) -> LoadBalancerView:
    if it.key is not None:
        return LoadBalancerView(policy=it.policy, key=it.key)
    if it.policy in ("ConsistentHash", "HashRing"):
        return LoadBalancerView(policy=it.policy, key=RANDOM)
    return LoadBalancerView(policy=it.policy)
