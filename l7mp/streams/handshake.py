"""Reading a header from a newborn stream, and giving the stream back as if unread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.components import proxyForInterface

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import SINK, IKernelFlow, IStream, Metadata
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

    ``rest`` is that data, ``facts`` what the header said of it; both go ahead of all
    else.  Data then goes straight from the inner stream to its sink; only control
    passes here.
    """

    def __init__(
        self,
        inner: IStream,
        rest: Iterable[bytes] = (),
        facts: Metadata | None = None,
    ) -> None:
        super().__init__(inner)
        self._rest, self._facts = deque(rest), facts
        self._reasons: set[object] = {SINK}
        self._sink: IStream | None = None
        self._on_end: Callable[[], None] | None = None
        self._has_ended = False
        """Whether the peer had nothing more to say before there was a sink."""
        inner.deliver_to(Stream(), self._ended_early)
        if self._rest:
            inner.when_lost().addCallback(lambda _: self._hand_on_rest())

    def __conform__(self, interface: object) -> object:
        """What the kernel could do with the inner stream it could do with this one."""
        if interface is IKernelFlow and self._is_transparent():
            return IKernelFlow(self.inner, None)
        return None

    def _is_transparent(self) -> bool:
        """Whether nothing but the inner stream's data passes any more."""
        return not self._rest

    def deliver_to(
        self, sink: IStream, ended: Callable[[], None] | None = None
    ) -> None:
        self._sink, self._on_end = sink, ended or sink.end
        self.inner.deliver_to(sink, ended)

    def _ended_early(self) -> None:
        self._has_ended = True

    def hold(self, reason: object) -> None:
        self._reasons.add(reason)
        self.inner.hold(reason)

    def release(self, reason: object) -> None:
        self._reasons.discard(reason)
        if not self._reasons and self._sink is not None:
            self._begin(self._sink)
        self.inner.release(reason)

    def write(self, data: bytes) -> None:
        self.inner.write(data)  # looked up by the proxy it would take twice the time

    def _begin(self, sink: IStream) -> None:
        """What comes first, as far as ``sink`` takes it."""
        facts, self._facts = self._facts, None
        if facts:
            sink.describe(facts)
        while self._rest and not self._reasons:
            sink.write(self._rest.popleft())
        if self._has_ended and not self._rest and self._on_end is not None:
            self._has_ended = False
            self._on_end()

    def _hand_on_rest(self) -> None:
        """The inner stream is gone: held or not, what was read is still delivered."""
        if self._sink is not None and self._sink.loss is None:
            while self._rest:
                self._sink.write(self._rest.popleft())
        if self._rest:
            drops = self.inner.drops
            drops["aborted"] = drops.get("aborted", 0) + len(self._rest)
            self._rest.clear()
