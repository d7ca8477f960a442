"""Sessions as GET shows them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from l7mp.core.registry import VIRTUAL
from l7mp.core.session import Session
from l7mp.core.stage import Stage
from l7mp.model.config import Config, EndPoint
from l7mp.observers.journal import Journal

INVALID = "<INVALID>"
"""Stands for what was deleted while the session lived on."""


def session_view(session: Session, config: Config, journal: Journal) -> dict[str, Any]:
    """One session, with what became of it so far."""
    source, *stages = session.stages
    listener = config.listeners.get(source.origin)
    metadata = {k: v for k, v in session.metadata.items() if k != "name"}
    shown = {
        "name": session.name,
        "metadata": metadata,
        "source": {
            "origin": source.origin,
            "listener": listener.spec.dump() if listener else INVALID,
            "status": source.status,
            "counters": _counters(source),
        },
        "destination": {"status": "PENDING"},
        "ingress": _in(stages, "ingress", config),
        "egress": _in(stages, "egress", config),
        "status": session.status,
        "events": journal.events(session.name),
        "counters": _counters(source),
        "drops": _drops(session),
    }
    for destination in _in(stages, "destination", config):
        shown["destination"] = destination
    if session.warnings:
        shown["warnings"] = list(session.warnings)
    if session.loss is not None:
        loss = session.loss
        shown["reason"] = {"reason": loss.reason.value, "detail": loss.detail}
    return shown


def _in(stages: list[Stage], role: str, config: Config) -> list[dict[str, Any]]:
    return [_stage(stage, config) for stage in stages if stage.role == role]


def _stage(stage: Stage, config: Config) -> dict[str, Any]:
    return {
        "origin": stage.origin,
        "endpoint": _endpoint(stage, config),
        "protocol": stage.protocol,
        "status": stage.status,
        "counters": _counters(stage),
    }


def _endpoint(stage: Stage, config: Config) -> Any:
    endpoint = stage.endpoint
    if endpoint is None:
        return {}
    cluster = config.clusters.get(stage.origin)
    if cluster is None:
        return INVALID
    if endpoint.address != VIRTUAL and endpoint not in cluster.endpoints:
        return INVALID
    return {"name": endpoint.name, "spec": _spec(endpoint)}


def _spec(endpoint: EndPoint) -> dict[str, Any]:
    spec: dict[str, Any] = {"address": endpoint.address}
    if endpoint.port is not None:
        spec["port"] = endpoint.port
    return spec


def _counters(stage: Stage) -> dict[str, int]:
    """Data read from the stage's peer (in) and written to it (out)."""
    stream = stage.stream
    names = ("messages_in", "bytes_in", "messages_out", "bytes_out")
    return {name: 0 if stream is None else getattr(stream, name) for name in names}


def _drops(session: Session) -> dict[str, int]:
    total: Counter[str] = Counter()
    for stage in session.stages:
        if stage.stream is not None:
            total.update(stage.stream.drops)
    return dict(total)
