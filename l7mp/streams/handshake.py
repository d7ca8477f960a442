"""Reading a header from a newborn stream, and giving the stream back as if unread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.components import proxyForInterface

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import SINK, IStream
from l7mp.streams.stream import Stream

T = TypeVar("T")


class _Reader(Stream):
    """The sink of a stream whose header is awaited."""

    def __init__(
        self, stream: IStream, judge: Callable[[bytes], T | None], got: Deferred[T]
    ) -> None:
        super().__init__()
        self._stream, self._judge, self._got = stream, judge, got

    def write(self, data: bytes) -> None:
        """Data came: enough, or not yet."""
        verdict = self._judge(data)
        if verdict is not None and not self._got.called:
            self._stream.hold(SINK)
            self._got.callback(verdict)

    def end(self) -> None:
        """The peer has ended before its header was complete."""
        self.lost(Loss(Reason.FIN, "ended before the header"))

    def lost(self, loss: Loss) -> None:
        """There will be no header."""
        if not self._got.called:
            self._got.errback(RemoteError(loss))


def read_header(stream: IStream, judge: Callable[[bytes], T | None]) -> Deferred[T]:
    """
    What ``judge`` makes of the first data, given piece by piece while it says None.

    The stream is held again afterwards.  Fails with ``RemoteError`` if it ends before;
    cancelling leaves it held.
    """
    got: Deferred[T] = Deferred(lambda _: stream.hold(SINK))
    reader = _Reader(stream, judge, got)
    stream.deliver_to(reader)
    lost = stream.when_lost().addCallback(reader.lost)
    got.addBoth(_stop_watching, lost)
    stream.release(SINK)
    return got


def _stop_watching(result: T, lost: Deferred[Any]) -> T:
    lost.addErrback(lambda _: None)
    if not lost.called:
        lost.cancel()
    return result


class Continued(proxyForInterface(IStream, "inner")):  # type: ignore[misc]
    """
    A stream of which a header was read, with what was read behind it.

    Data goes straight from the inner stream to its sink; only control passes here.
    """

    def __init__(self, inner: IStream, rest: bytes = b"") -> None:
        super().__init__(inner)
        self._rest = rest
        self._reasons: set[object] = {SINK}
        self._sink: IStream | None = None

    def deliver_to(
        self, sink: IStream, ended: Callable[[], None] | None = None
    ) -> None:
        self._sink = sink
        self.inner.deliver_to(sink, ended)

    def hold(self, reason: object) -> None:
        self._reasons.add(reason)
        self.inner.hold(reason)

    def release(self, reason: object) -> None:
        self._reasons.discard(reason)
        rest, sink = self._rest, self._sink
        if rest and not self._reasons and sink is not None:
            self._rest = b""
            sink.write(rest)
        self.inner.release(reason)
