"""Deframe: a transform that finds the messages in a stream of bytes."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred, succeed

from l7mp.core.registry import Context, Protocol
from l7mp.errors import Loss, Reason
from l7mp.interfaces import IStream, Kind, Metadata
from l7mp.model.config import EndPoint
from l7mp.model.framing import RealFraming, framing_of
from l7mp.model.spec import REMOTE_WORDS, Spec
from l7mp.streams.framed import NO_BOUND
from l7mp.streams.transform import TransformStream
from l7mp.wire.framing import Decoder, codec


class DeframeClusterSpec(Spec):
    """Find messages by their frames; a peer who breaks the rules ends the session."""

    tolerates = REMOTE_WORDS

    framing: RealFraming
    """How messages are told apart."""


class Deframer(TransformStream):
    """Bytes go in, and the messages in them come out."""

    def __init__(self, decoder: Decoder) -> None:
        # the source is made to wait, so no more waits here than was in one chunk
        super().__init__(decoder, NO_BOUND, NO_BOUND)
        self._decoder = decoder

    def _hand_on(self, pieces: Iterable[bytes]) -> None:
        super()._hand_on(pieces)
        if self._decoder.broken and self.loss is None:
            self._lose(Loss(Reason.PROTOCOL, f"the peer sent {self._decoder.broken}"))


def connect(
    context: Context, spec: DeframeClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """What finds one session's messages."""
    framing = framing_of(spec.framing)
    return succeed(Deframer(codec(framing.format, framing.max_message).decoder()))


protocol = Protocol(
    name="Deframe",
    kind=Kind.DATAGRAMS,
    takes=(Kind.BYTES,),
    summary="Finds messages in a stream of bytes, by their frames.",
    cluster=DeframeClusterSpec,
    connect=connect,
    virtual=True,
)
