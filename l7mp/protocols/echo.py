"""Echo: what goes in comes out; as a destination, back to where it came from."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed

from l7mp.core.registry import Context, Protocol
from l7mp.interfaces import IStream, Metadata
from l7mp.model.config import EndPoint
from l7mp.model.spec import REMOTE_WORDS, Spec
from l7mp.streams.transform import TransformStream
from l7mp.wire.transform import Identity


class EchoClusterSpec(Spec):
    """Send everything back."""

    tolerates = REMOTE_WORDS


def connect(
    context: Context, spec: EchoClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """An echo for one session."""
    return succeed(TransformStream(Identity()))


protocol = Protocol(
    name="Echo",
    kind=None,
    summary="Writes back everything it reads.",
    cluster=EchoClusterSpec,
    connect=connect,
    virtual=True,
)
