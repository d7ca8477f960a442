"""
The configuration as the proxy runs it: one frozen value of named objects.

Every object that was defined inside another has a name of its own here and knows its
``parent``; a recursive delete of the parent takes it along.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from l7mp.model.declared import Admin, ListenerOptions, LoadBalancer, Retry
from l7mp.model.framing import Framing
from l7mp.model.spec import Spec

Pointer = tuple[str, ...]
"""A parsed metadata path, see ``pointer``."""

ObjectKind = Literal[
    "listener", "cluster", "rulelist", "rule", "route", "endpoint", "admin"
]


@dataclass(frozen=True, slots=True)
class EndPoint:
    """One address of a cluster."""

    name: str
    address: str
    port: int | None = None
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Cluster:
    """A place where sessions go."""

    name: str
    spec: Spec
    endpoints: tuple[EndPoint, ...] = ()
    loadbalancer: LoadBalancer = LoadBalancer(policy="Trivial")
    key: Pointer | None = None
    """The parsed key of the load balancer."""
    virtual: bool = False
    framing: Framing | None = None
    parent: str | None = None
    options: Any = None


@dataclass(frozen=True, slots=True)
class Route:
    """Where a session goes, through what, and what happens when it fails."""

    name: str
    destination: str
    ingress: tuple[str, ...] = ()
    egress: tuple[str, ...] = ()
    retry: Retry = Retry(retry_on="never")
    framing: Framing | None = None
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A change of metadata."""

    path: str
    value: Any
    pointer: Pointer


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition and what follows from it."""

    name: str
    match: Any
    """The predicate as it was given, None if there was none."""
    rewrite: tuple[Rewrite, ...]
    route: str | None
    apply: str | None
    parent: str | None = None
    matches: Callable[[Any], bool] = field(
        default=lambda _: True, compare=False, repr=False
    )
    """The compiled predicate."""


@dataclass(frozen=True, slots=True)
class RuleList:
    """The names of rules, in order."""

    name: str
    rules: tuple[str, ...]
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """A place where sessions begin."""

    name: str
    spec: Spec
    rules: str
    options: ListenerOptions | None = None
    framing: Framing | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """Everything an operator has said, and the next number of generated names."""

    admin: Admin = Admin()
    listeners: Mapping[str, Listener] = field(default_factory=dict)
    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    rulelists: Mapping[str, RuleList] = field(default_factory=dict)
    rules: Mapping[str, Rule] = field(default_factory=dict)
    routes: Mapping[str, Route] = field(default_factory=dict)
    serials: Mapping[str, int] = field(default_factory=dict, compare=False)

    def endpoint(self, name: str) -> tuple[Cluster, EndPoint] | None:
        """The endpoint called ``name`` and the cluster it belongs to."""
        for cluster in self.clusters.values():
            for endpoint in cluster.endpoints:
                if endpoint.name == name:
                    return cluster, endpoint
        return None
