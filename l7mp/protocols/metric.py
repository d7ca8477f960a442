"""Metric: an echo that counts what passes, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from twisted.internet.defer import Deferred, succeed

from l7mp.core.registry import Context, Protocol
from l7mp.errors import LocalError
from l7mp.interfaces import IStream, Metadata
from l7mp.model.config import EndPoint
from l7mp.model.explain import complaint
from l7mp.model.spec import REMOTE_WORDS, Spec
from l7mp.streams.transform import TransformStream

RESERVED = frozenset(
    {
        "listener_requests_total",
        "cluster_requests_total",
        "sessions_ended_total",
        "listener_drops_total",
        "handshakes_failed_total",
    }
)
"""What the proxy counts by itself."""


def _free(name: str) -> str:
    if name in RESERVED:
        raise complaint(f"{name} is counted by the proxy itself", "choose another name")
    return name


MetricName = Annotated[
    str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$"), AfterValidator(_free)
]


class MetricClusterSpec(Spec):
    """Count bytes and messages."""

    tolerates = REMOTE_WORDS

    byteCounterName: MetricName = "session_byte_counter_total"  # the original's
    """The metric that counts bytes."""
    packetCounterName: MetricName = "session_packet_counter_total"
    """The metric that counts messages."""
    sessions: Annotated[int, Field(ge=0, le=1000)] = 100
    """How many living sessions are shown by name; the rest, and ended ones, as one."""


class _Count:
    keeps_length = True

    def __init__(self, meter: Any) -> None:
        self._meter = meter

    def feed(self, data: bytes) -> Iterable[bytes]:
        self._meter.bytes += len(data)
        self._meter.messages += 1
        return (data,)

    def end(self) -> Iterable[bytes]:
        return ()


def connect(
    context: Context, spec: MetricClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """A counter of one session's data, added to the cluster's."""
    if "metrics" not in context.services:
        raise LocalError("this proxy was put together without metrics")
    name = context.owner[1]
    metrics = context.services["metrics"]
    group = metrics.group(name, spec.byteCounterName, spec.packetCounterName)
    session = str(metadata.get("name", ""))
    meter = group.enter(session, spec.sessions)
    stream = TransformStream(_Count(meter))
    stream.when_lost().addCallback(lambda _: group.leave(session, meter))
    return succeed(stream)


protocol = Protocol(
    name="Metric",
    kind=None,
    summary="Echoes, and counts what passes.",
    cluster=MetricClusterSpec,
    connect=connect,
    virtual=True,
)
