"""Discard: what goes in is gone."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred, succeed

from l7mp.core.registry import Context, Protocol
from l7mp.interfaces import IStream, Metadata
from l7mp.model.config import EndPoint
from l7mp.model.spec import REMOTE_WORDS, Spec
from l7mp.streams.transform import TransformStream


class DiscardClusterSpec(Spec):
    """Swallow everything."""

    tolerates = REMOTE_WORDS


class _Nothing:
    def feed(self, data: bytes) -> Iterable[bytes]:
        return ()

    def end(self) -> Iterable[bytes]:
        return ()


def connect(
    context: Context, spec: DiscardClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """A black hole for one session."""
    return succeed(TransformStream(_Nothing()))


protocol = Protocol(
    name="Discard",
    kind=None,
    summary="Swallows everything it receives.",
    cluster=DiscardClusterSpec,
    connect=connect,
    virtual=True,
)
