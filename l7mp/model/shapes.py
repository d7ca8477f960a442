"""What GET shows, as schemas: the shapes of the documents that ``view`` makes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from l7mp.model.declared import LoadBalancer, Retry, Rewrite

Stale = Annotated[str, Field(description="``<name>:<STALE>``: it is not defined.")]


class Shape(BaseModel):
    """The base of everything that GET shows."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class StatusShape(Shape):
    """The outcome of a request."""

    status: int
    """The HTTP status."""
    message: str
    """Its reason phrase."""
    content: Any = None
    """What was wrong: a sentence, or a list of problems."""


class ProblemShape(Shape):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    problems: list[dict[str, Any]] | None = None
    """Everything that is wrong with a document, with JSON pointer, line and column."""


class AdminShape(Shape):
    """Settings of the proxy itself."""

    log_level: str
    strict: bool
    offload: bool
    version: str
    log_file: str | None = None
    access_log_path: str | None = None


class EndPointShape(Shape):
    """One upstream of a cluster."""

    name: str
    spec: dict[str, Any]
    weight: int | None = None
    cluster: str | None = None


class ClusterShape(Shape):
    """Where sessions go."""

    name: str
    spec: dict[str, Any]
    endpoints: int | list[EndPointShape]
    """How many there are; recursively, the endpoints."""
    loadbalancer: LoadBalancer


class RouteShape(Shape):
    """Where a session goes, and through what."""

    name: str
    destination: str | ClusterShape
    ingress: list[str | ClusterShape]
    egress: list[str | ClusterShape]
    retry: Retry
    warnings: list[str] | None = None
    """What is lost on the way."""


class ActionShape(Shape):
    """What to do with a session."""

    rewrite: list[Rewrite] | None = None
    route: str | RouteShape | None = None
    apply: str | None = None


class RuleShape(Shape):
    """A condition and what follows from it."""

    name: str
    match: Any
    action: ActionShape


class RuleListShape(Shape):
    """Rules, in order."""

    name: str
    rules: list[str | RuleShape]


class ListenerShape(Shape):
    """Where sessions begin."""

    name: str
    spec: dict[str, Any]
    rules: str | list[str | RuleShape]
    options: dict[str, Any]


class SessionShape(Shape):
    """A session."""

    name: str
    metadata: dict[str, Any]
    source: dict[str, Any]
    destination: dict[str, Any]
    ingress: list[dict[str, Any]]
    egress: list[dict[str, Any]]
    status: str
    events: list[dict[str, Any]]
    counters: dict[str, int]
    drops: dict[str, int]
    """What reached nobody, counted by reason."""
    warnings: list[str] | None = None
    reason: dict[str, str] | None = None
    """Why it ended."""


class ConfigShape(Shape):
    """Everything."""

    admin: AdminShape
    listeners: list[ListenerShape]
    clusters: list[ClusterShape]
    rulelists: list[RuleListShape]
    rules: list[RuleShape]
    routes: list[RouteShape]
    endpoints: list[EndPointShape]
    sessions: list[SessionShape]
