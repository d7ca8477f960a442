"""
What GET shows: the canonical form of every object, and of sessions.

A view refers to other objects by name or, in recursive output, contains them. What
makes views of a configuration is in ``viewer``.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.json_schema import SkipJsonSchema

from l7mp.model.declared import ListenerOptions, LogLevel, Retry, Rewrite
from l7mp.model.framing import Format, Framing
from l7mp.model.spec import ClusterSpec, ListenerSpec

VIRTUAL: Final = "<VIRTUAL>"
"""The address of the one endpoint of a cluster that reaches nothing remote."""

RANDOM: Final = "<RANDOM>"
"""The key of a load balancer that chooses at random."""

INVALID: Final = "<INVALID>"
"""Stands for what was deleted while the session lived on."""

PENDING: Final = "PENDING"
"""The status of a destination while the route is not known."""

Absent = SkipJsonSchema[None]
"""The type of what is not shown; null never is."""

Reference = Annotated[
    str,
    Field(description="A name; `<name>:<STALE>` if it should be shown and is gone."),
]


def stale(name: str) -> str:
    """How a name is shown that stands for nothing, or nothing any more."""
    return f"{name}:<STALE>"


def _drop_null_defaults(schema: dict[str, Any]) -> None:
    """What is absent by default has no default."""
    for field in schema.get("properties", {}).values():
        if field.get("default", ...) is None:
            del field["default"]


class View(BaseModel):
    """Something that is shown: only what was set, and nothing that is not declared."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra=_drop_null_defaults,
    )

    def dump(self) -> dict[str, Any]:
        """The view as JSON values."""
        return self.model_dump(mode="json", exclude_unset=True, by_alias=True)


# -- the configuration ---------------------------------------------------------------


class AdminView(View):
    """Settings of the proxy itself."""

    log_level: LogLevel
    strict: bool
    boundaries: Literal["refuse"] | Absent = None
    """Shown where routes that mix messages and bytes without a framing are refused."""
    offload: bool
    """Whether the kernel may forward traffic by itself."""
    version: str
    """The version of the proxy."""
    log_file: str | Absent = None
    access_log_path: str | Absent = None
    offload_ifs: tuple[str, ...] | Absent = None
    """The interfaces on which the kernel may."""


class EndPointSpecView(View):
    """Where an endpoint is."""

    address: str
    port: int | Absent = None


class EndPointView(View):
    """One upstream of a cluster."""

    name: str
    spec: EndPointSpecView
    weight: int | Absent = None
    """Its share of the sessions; missing where there is nothing to share."""
    cluster: str | Absent = None
    """The cluster that it belongs to, where the endpoints of all are listed."""


class LoadBalancerView(View):
    """How a cluster chooses among its endpoints."""

    policy: Literal["Trivial", "ConsistentHash", "HashRing", "None"]
    key: str | Absent = None
    """The path of the metadata that is hashed, or `<RANDOM>`."""


class ClusterView(View):
    """Where sessions go."""

    name: str
    spec: ClusterSpec
    endpoints: int | tuple[EndPointView, ...]
    """How many there are; recursively, the endpoints."""
    loadbalancer: LoadBalancerView
    framing: Format | Framing | Absent = None
    """How messages are told apart in its streams of bytes."""
    options: Any = None


class RouteView(View):
    """Where a session goes, and through what."""

    name: str
    destination: Reference | ClusterView
    ingress: tuple[Reference | ClusterView, ...]
    egress: tuple[Reference | ClusterView, ...]
    retry: Retry
    framing: Format | Framing | Absent = None
    """The framing of byte streams that name none."""
    warnings: tuple[str, ...] | Absent = None
    """What is lost on the way, if anything."""


class ActionView(View):
    """What to do with a session."""

    rewrite: tuple[Rewrite, ...] | Absent = None
    route: Reference | RouteView | Absent = None
    apply: str | Absent = None


class RuleView(View):
    """A condition, and what follows from it."""

    name: str
    match: Any
    """The predicate; `{"match": "*"}` for a rule that matches everything."""
    action: ActionView


class RuleListView(View):
    """Rules, in order."""

    name: str
    rules: tuple[Reference | RuleView, ...]


class ListenerView(View):
    """Where sessions begin."""

    name: str
    spec: ListenerSpec
    rules: Reference | tuple[Reference | RuleView, ...]
    """The name of a rulelist; recursively, its rules."""
    framing: Format | Framing | Absent = None
    """How messages are told apart in its streams of bytes."""
    options: ListenerOptions


# -- sessions -----------------------------------------------------------------------------


class CountersView(View):
    """What was read from a peer (in) and written to it (out)."""

    messages_in: int
    bytes_in: int
    messages_out: int
    bytes_out: int


class EventView(View):
    """Something that happened to a session."""

    event: str
    timestamp: str
    """ISO 8601, UTC, with milliseconds."""
    message: str
    content: dict[str, JsonValue]


class ReasonView(View):
    """Why something ended."""

    reason: str
    detail: str
    code: int | Absent = None
    """The number that the peer gave, in the words of its protocol."""


class SourceView(View):
    """Where a session began."""

    origin: str
    """The name of the listener."""
    listener: Literal["<INVALID>"] | ListenerSpec = Field(union_mode="left_to_right")
    """Its specification, unless it was deleted since."""
    status: str
    counters: CountersView


class ChosenView(View):
    """The endpoint of a stage; empty until one is chosen."""

    name: str | Absent = None
    spec: EndPointSpecView | Absent = None


class StageView(View):
    """A stage between the source and itself."""

    origin: str
    """The name of the cluster."""
    endpoint: Literal["<INVALID>"] | ChosenView
    """The endpoint, unless it was deleted since."""
    protocol: str
    status: str
    counters: CountersView


class PendingView(View):
    """A destination that is not known yet."""

    status: Literal["PENDING"]


class SessionView(View):
    """A session."""

    name: str
    metadata: dict[str, Any]
    source: SourceView
    destination: StageView | PendingView
    ingress: tuple[StageView, ...]
    egress: tuple[StageView, ...]
    status: str
    events: tuple[EventView, ...]
    counters: CountersView
    """As seen at the source."""
    drops: dict[str, int]
    """What reached nobody, counted by reason."""
    warnings: tuple[str, ...] | Absent = None
    reason: ReasonView | Absent = None
    """Why it ended, once it has."""


class ConfigView(View):
    """Everything."""

    admin: AdminView
    listeners: tuple[ListenerView, ...]
    clusters: tuple[ClusterView, ...]
    rulelists: tuple[RuleListView, ...]
    rules: tuple[RuleView, ...]
    routes: tuple[RouteView, ...]
    endpoints: tuple[EndPointView, ...]
    sessions: tuple[SessionView, ...]
