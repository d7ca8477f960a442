"""Operations on sessions, and how these are shown."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from l7mp.admin.operation import OK, Call, NotFound, Operation
from l7mp.core.session import Session
from l7mp.core.stage import Stage
from l7mp.errors import Loss, Reason
from l7mp.model.config import Config, EndPoint
from l7mp.model.edit import Unknown
from l7mp.model.view import (
    INVALID,
    PENDING,
    ChosenView,
    CountersView,
    EndPointSpecView,
    PendingView,
    ReasonView,
    SessionView,
    SourceView,
    StageView,
    View,
)
from l7mp.observers.journal import Journal

COUNTERS = ("messages_in", "bytes_in", "messages_out", "bytes_out")


# -- as GET shows them ------------------------------------------------------------------


def session_view(session: Session, config: Config, journal: Journal) -> SessionView:
    """One session, what became of it so far, and what ``config`` still has of it."""
    source, *stages = session.stages
    shown: dict[str, list[StageView]] = {"ingress": [], "destination": [], "egress": []}
    for stage in stages:
        shown[stage.role].append(_stage(stage, config))
    given: dict[str, Any] = {}
    if session.warnings:
        given["warnings"] = tuple(session.warnings)
    if session.loss is not None:
        given["reason"] = _reason(session.loss)
    return SessionView(
        name=session.name,
        metadata={k: v for k, v in session.metadata.items() if k != "name"},
        source=_source(session, source, config),
        destination=next(iter(shown["destination"]), PendingView(status=PENDING)),
        ingress=tuple(shown["ingress"]),
        egress=tuple(shown["egress"]),
        status=session.status,
        events=journal.events(session.name),
        counters=_counters(source),
        drops=_drops(session),
        **given,
    )


def _source(session: Session, source: Stage, config: Config) -> SourceView:
    """A listener of the same name that does something else is not the session's."""
    spec = session.listener.spec
    found = config.listeners.get(source.origin)
    return SourceView(
        origin=source.origin,
        listener=spec if found is not None and found.spec == spec else INVALID,
        status=source.status,
        counters=_counters(source),
    )


def _stage(stage: Stage, config: Config) -> StageView:
    cluster = config.clusters.get(stage.origin)
    return StageView(
        origin=stage.origin,
        endpoint=_endpoint(stage, config),
        protocol=stage.protocol or (cluster.spec.protocol if cluster else ""),
        status=stage.status,
        counters=_counters(stage),
    )


def _endpoint(stage: Stage, config: Config) -> ChosenView | Literal["<INVALID>"]:
    endpoint, cluster = stage.endpoint, config.clusters.get(stage.origin)
    if endpoint is None:
        return ChosenView()
    if cluster is None or not (cluster.virtual or endpoint in cluster.endpoints):
        return INVALID
    return ChosenView(name=endpoint.name, spec=_where(endpoint))


def _where(endpoint: EndPoint) -> EndPointSpecView:
    if endpoint.port is None:
        return EndPointSpecView(address=endpoint.address)
    return EndPointSpecView(address=endpoint.address, port=endpoint.port)


def _counters(stage: Stage) -> CountersView:
    stream = stage.stream
    counts = {name: getattr(stream, name) if stream else 0 for name in COUNTERS}
    return CountersView(**counts)


def _drops(session: Session) -> dict[str, int]:
    total: Counter[str] = Counter()
    for stage in session.stages:
        if stage.stream is not None:
            total.update(stage.stream.drops)
    return dict(total)


def _reason(loss: Loss) -> ReasonView:
    code: dict[str, Any] = {} if loss.code is None else {"code": loss.code}
    return ReasonView(reason=loss.reason.value, detail=loss.detail, **code)


# -- operations -------------------------------------------------------------------------


def session_views(call: Call) -> tuple[SessionView, ...]:
    """All of them, in the order of their birth."""
    return tuple(_show(call, session) for session in call.proxy.sessions.values())


def _show(call: Call, session: Session) -> SessionView:
    return session_view(session, call.config, call.journal)


async def _list(call: Call) -> tuple[SessionView, ...]:
    return session_views(call)


async def _get(call: Call) -> SessionView:
    session = call.proxy.sessions.get(call.path["name"])
    if session is None:
        raise NotFound
    return _show(call, session)


async def _delete(call: Call) -> View:
    name = call.path["name"]
    session = call.proxy.sessions.get(name)
    if session is None:
        raise Unknown(f'Cannot delete session: Unknown session "{name}"')
    if name != call.session:  # which ends by itself, with this reply
        session.end(Loss(Reason.DELETED, "deleted over REST"))
    return OK


OPERATIONS = (
    Operation(
        name="getSessions",
        method="GET",
        path="/sessions",
        summary="Get a list of Sessions",
        handler=_list,
        reply=SessionView,
        is_list=True,
    ),
    Operation(
        name="getSession",
        method="GET",
        path="/sessions/<name>",
        summary="Get a named Session",
        handler=_get,
        reply=SessionView,
    ),
    Operation(
        name="deleteSession",
        method="DELETE",
        path="/sessions/<name>",
        summary="End a named Session",
        handler=_delete,
    ),
)
