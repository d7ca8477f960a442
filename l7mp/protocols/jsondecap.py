"""JSONDecap: a transform that undoes JSONEncap."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed

from l7mp.core.registry import Context, Protocol
from l7mp.interfaces import IStream, Kind, Metadata
from l7mp.model.config import EndPoint
from l7mp.model.spec import REMOTE_WORDS, Spec
from l7mp.streams.transform import TransformStream
from l7mp.wire.encap import Decap


class JSONDecapClusterSpec(Spec):
    """Unwrap what is under /payload of each JSON object; drop everything else."""

    tolerates = REMOTE_WORDS


def connect(
    context: Context,
    spec: JSONDecapClusterSpec,
    endpoint: EndPoint,
    metadata: Metadata,
) -> Deferred[IStream]:
    """A decapsulator for one session."""
    return succeed(TransformStream(Decap()))


protocol = Protocol(
    name="JSONDecap",
    kind=Kind.DATAGRAMS,
    takes=(Kind.BYTES, Kind.DATAGRAMS),
    summary="Unwraps the payload of JSON objects that JSONEncap made.",
    cluster=JSONDecapClusterSpec,
    connect=connect,
    virtual=True,
)
