"""JSONEncap: a transform that wraps messages, with the session's metadata, in JSON."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed

from l7mp.core.registry import Context, Protocol
from l7mp.interfaces import IStream, Kind, Metadata
from l7mp.model.config import EndPoint
from l7mp.model.spec import REMOTE_WORDS, Spec
from l7mp.streams.transform import TransformStream
from l7mp.wire.encap import Encap


class JSONEncapClusterSpec(Spec):
    """Wrap each message: metadata under /metadata, the data in base64 under /payload."""

    tolerates = REMOTE_WORDS


def connect(
    context: Context,
    spec: JSONEncapClusterSpec,
    endpoint: EndPoint,
    metadata: Metadata,
) -> Deferred[IStream]:
    """An encapsulator for one session."""
    return succeed(TransformStream(Encap(metadata)))


protocol = Protocol(
    name="JSONEncap",
    kind=Kind.DATAGRAMS,
    takes=(Kind.BYTES, Kind.DATAGRAMS),
    summary="Wraps each message, with the session's metadata, in a JSON object.",
    cluster=JSONEncapClusterSpec,
    connect=connect,
    virtual=True,
    aliases=("JSONENcap",),
)
