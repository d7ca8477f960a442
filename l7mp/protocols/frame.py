"""Frame: a transform that puts each message into a frame of a stream of bytes."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed

from l7mp.core.registry import Context, Protocol
from l7mp.interfaces import IStream, Kind, Metadata
from l7mp.model.config import EndPoint
from l7mp.model.framing import RealFraming, framing_of
from l7mp.model.spec import REMOTE_WORDS, Spec
from l7mp.streams.transform import TransformStream
from l7mp.wire.framing import Packer, codec


class FrameClusterSpec(Spec):
    """Put each message into a frame; drop what has none."""

    tolerates = REMOTE_WORDS

    framing: RealFraming
    """How messages are to be told apart."""


def connect(
    context: Context, spec: FrameClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """What frames one session's messages."""
    framing = framing_of(spec.framing)
    return succeed(TransformStream(Packer(codec(framing.format, framing.max_message))))


protocol = Protocol(
    name="Frame",
    kind=Kind.BYTES,
    takes=(Kind.DATAGRAMS,),
    summary="Puts messages into frames, so that they survive a stream of bytes.",
    cluster=FrameClusterSpec,
    connect=connect,
    virtual=True,
)
