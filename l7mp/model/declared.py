"""
The words of the configuration, as a user may write them.

Wherever an object can be named it can also be defined on the spot; ``config`` has
the same objects after every definition has been given a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from l7mp.model.base import Declared, Items
from l7mp.model.framing import Format, Framing
from l7mp.model.spec import ClusterSpec, ListenerSpec
from l7mp.model.types import Address, Milliseconds, Name, Port, Seconds

LogLevel = Literal[
    "silly", "verbose", "info", "http", "timing", "notice", "warn", "error", "silent"
]
RetryOn = Literal["never", "connect-failure", "disconnect", "always"]


def _renamed(value: Any, old: str, new: str) -> Any:
    """``value`` with a word of the original's replaced by ours."""
    if isinstance(value, Mapping) and old in value and new not in value:
        return {new if key == old else key: inner for key, inner in value.items()}
    return value


class Admin(Declared):
    """Settings of the proxy itself."""

    log_level: LogLevel = "info"
    """How much to log, from the most talkative, silly, to silent."""
    log_file: str = "stderr"
    """Where to log: stderr, stdout or the path of a file."""
    access_log_path: str | None = None
    """Where an access log is wanted."""
    strict: bool = False
    """Whether the original's strict mode was asked for; checks are always strict."""
    boundaries: Literal["warn", "refuse"] = "warn"
    """What to do about a route that mixes messages and bytes without a framing."""
    offload: bool | Literal["init", "no_init", "disable"] | None = None
    """Whether the kernel may forward traffic by itself."""
    offload_ifs: str | Items[str] | None = None
    """Interfaces for which it may: a list, comma-separated names, or ``all``."""
    version: str | None = None
    """What GET shows; ignored on input."""

    @model_validator(mode="before")
    @classmethod
    def _without_version(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: value[key] for key in value if key != "version"}
        return value


class EndPointSpec(Declared):
    """Where an endpoint is."""

    address: Address
    """IP address, host name, or the path of a Unix domain socket."""
    port: Port | None = None
    """A port of its own, instead of the cluster's."""
    weight: Annotated[int, Field(ge=0)] | None = None
    """The place where the original's schema put the weight."""


class EndPoint(Declared):
    """One upstream that a cluster can choose."""

    name: Name | None = None
    """Unique among all endpoints; generated if missing."""
    spec: EndPointSpec
    weight: Annotated[int, Field(ge=0)] | None = None
    """Share of the sessions among all endpoints of the cluster, 1 by default."""
    cluster: Name | None = None
    """Which cluster it belongs to, where a dump lists endpoints by themselves."""


class LoadBalancer(Declared):
    """How a cluster chooses among its endpoints."""

    policy: Literal["Trivial", "ConsistentHash", "HashRing", "None"]
    """Trivial takes the first; ConsistentHash (alias HashRing) hashes the key."""
    key: str | None = None
    """JSON path of the metadata to hash; without it the choice is random."""


class Cluster(Declared):
    """Where sessions go: a protocol and the endpoints that speak it."""

    name: Name | None = None
    spec: ClusterSpec
    endpoints: Items[EndPoint] | int | None = None
    """The endpoints; a number is what GET shows, and taken as "see endpoints"."""
    loadbalancer: LoadBalancer | None = None
    framing: Format | Framing | None = None
    """How messages are told apart, where the protocol carries a stream of bytes."""
    options: Any = None


class Retry(Declared):
    """When a stage of a session is connected again."""

    retry_on: RetryOn
    """Which failures are retried."""
    num_retries: Annotated[int, Field(ge=0)] = 1
    """How often, after the first attempt."""
    timeout: Milliseconds = 2000
    """How long an attempt may take, and how long to wait before the next, in ms."""


class Route(Declared):
    """Where a matching session goes, and through what."""

    name: Name | None = None
    destination: Name | Cluster
    ingress: Items[Name | Cluster] | None = None
    """Transforms on the way to the destination, in order."""
    egress: Items[Name | Cluster] | None = None
    """Transforms on the way back, in order."""
    retry: Retry | None = None
    framing: Format | Framing | None = None
    """The framing of byte streams that name none, if there are messages on the way."""
    warnings: Any = None
    """What GET shows; ignored on input."""

    @model_validator(mode="before")
    @classmethod
    def _original_spelling(cls, value: Any) -> Any:
        return _renamed(value, "cluster", "destination")


class Rewrite(Declared):
    """A change of the session's metadata."""

    path: str
    """JSON path of what to set; missing parts are created."""
    value: Any
    """Any JSON value."""


class Action(Declared):
    """What to do with a session that matches."""

    rewrite: Items[Rewrite] | None = None
    """Changes of the metadata, in order."""
    route: Name | Route | None = None
    apply: Name | None = None
    """Another rulelist to which the decision is deferred."""


class Rule(Declared):
    """A condition on metadata, and what to do when it holds."""

    name: Name | None = None
    match: Any = None
    """A JSON predicate (draft-snell-json-test-07); without it every session matches."""
    action: Action


class RuleList(Declared):
    """Rules that are tried in order; the first that matches counts."""

    name: Name | None = None
    rules: Items[Name | Rule]


class ListenerOptions(Declared):
    """Optional features of a listener."""

    track: Annotated[int, Field(ge=0)] = 0
    """Seconds for which ended sessions stay listed."""
    idle_timeout: Seconds | None = None
    """Seconds of silence in both directions after which a session ends; 0: never."""


class Listener(Declared):
    """Where sessions begin."""

    name: Name
    spec: ListenerSpec
    rules: Name | Items[Name | Rule] | RuleList
    """The name of a rulelist, or its rules."""
    framing: Format | Framing | None = None
    """How messages are told apart, where the protocol carries a stream of bytes."""
    options: ListenerOptions | None = None


class Config(Declared):
    """Everything that can be configured."""

    admin: Admin = Admin()
    clusters: Items[Cluster] = ()
    listeners: Items[Listener] = ()
    rulelists: Items[RuleList] = ()
    rules: Items[Rule] = ()
    routes: Items[Route] = ()
    endpoints: Items[EndPoint] = ()
    """As GET shows them; used for clusters whose endpoints are only counted."""
    sessions: Any = None
    """As GET shows them; ignored on input."""


class ListenerRequest(Declared):
    """Wrapper of a listener."""

    listener: Listener


class ClusterRequest(Declared):
    """Wrapper of a cluster."""

    cluster: Cluster


class EndPointRequest(Declared):
    """Wrapper of an endpoint."""

    endpoint: EndPoint


class RuleListRequest(Declared):
    """Wrapper of a rulelist."""

    rulelist: RuleList


class RuleRequest(Declared):
    """Wrapper of a rule."""

    rule: Rule


class RuleReferenceRequest(Declared):
    """Wrapper of a rule or of the name of one."""

    rule: Name | Rule


class RouteRequest(Declared):
    """Wrapper of a route."""

    route: Route


class AdminRequest(Declared):
    """Wrapper of the admin settings."""

    admin: Admin
