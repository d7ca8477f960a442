"""Streams over transports of which no more is known than that Twisted knows them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IHandshakeListener,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import IFlowTransport, IStream
from l7mp.model.tls import HANDSHAKE
from l7mp.streams.endpoint import factory_of
from l7mp.streams.queueing import MAX_BYTES
from l7mp.streams.transport import Plumbing, TransportStream, loss_of

Ready = Callable[[TransportStream], None]


def is_plain(transport: Any) -> bool:
    """
    Whether this is a socket of Twisted's own, with nothing in between.

    What is in between, such as TLS, claims everything that is below it, half-close and
    all; to half-close would then cut the connection in the middle of a record.
    """
    if not isinstance(transport, FileDescriptor):
        return False
    listener = getattr(transport, "protocol", None)
    return IHalfCloseableDescriptor.providedBy(transport) and (
        IHalfCloseableProtocol.providedBy(listener)
    )


class Lenient:
    """A transport that has all words, though some of them may mean little."""

    def __init__(self, inside: Any) -> None:
        self._inside = inside

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inside, name)

    def pauseProducing(self) -> None:
        getattr(self._inside, "pauseProducing", _nothing)()

    def resumeProducing(self) -> None:
        getattr(self._inside, "resumeProducing", _nothing)()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        getattr(self._inside, "registerProducer", _nothing)(producer, streaming)

    def unregisterProducer(self) -> None:
        getattr(self._inside, "unregisterProducer", _nothing)()

    def abortConnection(self) -> None:
        abort = getattr(self._inside, "abortConnection", None)
        (abort or self._inside.loseConnection)()

    def unsent(self) -> list[bytes]:
        """What is in between may have changed what was written, so nobody knows."""
        return []


def _nothing(*_: object) -> None:
    pass


class ForeignStream(TransportStream):
    """
    A stream over any transport.

    It half-closes where that is sure to work.  What a transport delivers although it
    was asked to pause waits here; one that delivers too much of that is given up.
    """

    def __init__(self, transport: Any, clock: IReactorTime) -> None:
        self.half_close = is_plain(transport)
        known = transport if self.half_close else Lenient(transport)
        self._early: deque[bytes] = deque()
        self._draining = self._late_end = False
        self._late_loss: Loss | None = None
        super().__init__(cast(IFlowTransport, known), clock)

    def received(self, data: bytes) -> None:
        if self._closing is not None or not (self._early or self.is_held):
            super().received(data)
            return
        self._early.append(data)
        if sum(map(len, self._early)) > MAX_BYTES:
            self.abort(Loss(Reason.LOCAL, "the transport cannot be made to wait"))

    def _resume(self) -> None:
        if self._draining:
            return
        self._draining = True
        while self._early and not self.is_held and self._closing is None:
            self._deliver(self._early.popleft())
        self._draining = False
        if not self._early and not self.is_held:
            self._drained()

    def _drained(self) -> None:
        if self._late_end:
            self._late_end = False
            super().peer_ended()
        if self._late_loss is not None:
            super().gone(self._late_loss)
        else:
            super()._resume()

    def peer_ended(self) -> None:
        if self._early and self._closing is None:
            self._late_end = True
        else:
            super().peer_ended()

    def gone(self, loss: Loss) -> None:
        if self._early and self._closing is None and loss.orderly:
            self._late_loss = loss
        else:
            super().gone(loss)

    def close(self, loss: Loss) -> None:
        self._forget_early("closing")
        if self._late_loss is not None:
            super().gone(self._late_loss)
        super().close(loss)

    def _forget_early(self, why: str) -> None:
        waiting = sum(map(len, self._early))
        if waiting:
            self._drop(why, waiting)
            self._early.clear()

    def abort(self, loss: Loss) -> None:
        self._forget_early("aborted")
        if self._late_loss is not None:
            super().gone(self._late_loss)
        super().abort(loss)

    def end(self) -> None:
        if self.half_close:
            super().end()
        elif not self._write_ended:
            self._write_ended = True
            self.unregisterProducer()
            self.transport.loseConnection()


@implementer(IHandshakeListener)
class ForeignPlumbing(Plumbing):
    """
    Feeds a ``ForeignStream``.

    It begins behind the handshake of Twisted's TLS, and behind the header of the PROXY
    protocol, as far as that can be seen: with the client's first data.
    """

    def __init__(
        self,
        clock: IReactorTime,
        ready: Ready,
        failed: Callable[[Loss], None] = lambda _: None,
    ) -> None:
        """``failed`` hears why there is no stream."""
        super().__init__(clock, ready)
        self._failed = failed
        self._limit: Any = None
        self._begun = False

    def connectionMade(self) -> None:
        self._mend_wrapper()
        if _shakes_hands(self.transport) or _reads_header(self.transport):
            transport = cast(Any, self.transport)
            self._limit = self._clock.callLater(HANDSHAKE, transport.abortConnection)
        else:
            self._begin()

    def _mend_wrapper(self) -> None:
        """
        Have Twisted hear that what it has wrapped around us knows half-close, too.

        Of several such things the wrapper of a client's endpoint claims the last only.
        Others, as the PROXY protocol's, do not know it, but lend out by the same name
        what their transport has for another purpose.
        """
        wrapper = getattr(self.transport, "protocol", None)
        knows = hasattr(type(wrapper), "readConnectionLost")
        if isinstance(wrapper, Protocol) and knows:
            alsoProvides(wrapper, IHalfCloseableProtocol)

    def handshakeCompleted(self) -> None:
        self._begin()

    def dataReceived(self, data: bytes) -> None:
        if not self._begun:
            self._begin()
        super().dataReceived(data)

    def _begin(self) -> None:
        self._stop_waiting()
        self._begun = True
        self.stream = ForeignStream(self.transport, self._clock)
        self._ready(self.stream)

    def _stop_waiting(self) -> None:
        if self._limit is not None and self._limit.active():
            self._limit.cancel()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_waiting()
        if self._begun:
            self.stream.gone(foreign_loss(reason))
        else:
            self._failed(foreign_loss(reason))


def _shakes_hands(transport: object) -> bool:
    try:
        from twisted.protocols.tls import TLSMemoryBIOProtocol
    except ImportError:  # nobody can, without OpenSSL
        return False
    return isinstance(transport, TLSMemoryBIOProtocol)


def _reads_header(transport: object) -> bool:
    return type(transport).__module__.startswith("twisted.protocols.haproxy.")


def foreign_loss(reason: Failure) -> Loss:
    """What a reason of Twisted's means, TLS included."""
    try:
        from OpenSSL.SSL import Error
        from service_identity import VerificationError

        from l7mp.streams.tls_words import tls_loss
    except ImportError:
        return loss_of(reason)
    if isinstance(reason.value, VerificationError):
        return Loss(Reason.TLS, "wrong name: the certificate is for somebody else")
    if isinstance(reason.value, Error):
        return tls_loss(reason.value)
    return loss_of(reason)


class _Attempt:
    """From an endpoint to a stream, if all goes well and nobody cancels it."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._built: list[ForeignPlumbing] = []
        self.made: Deferred[IStream] = Deferred(lambda _: self._cancel())

    def begin(self, endpoint: IStreamClientEndpoint) -> None:
        self._connecting = endpoint.connect(factory_of(self._build))
        self._connecting.addCallbacks(lambda _: None, self._failed)

    def _build(self) -> ForeignPlumbing:
        fresh = ForeignPlumbing(self._clock, self._ready, self._lost)
        self._built.append(fresh)
        return fresh

    def _ready(self, stream: TransportStream) -> None:
        if self.made.called:
            stream.transport.abortConnection()
        else:
            self.made.callback(stream)

    def _lost(self, loss: Loss) -> None:
        if not self.made.called:
            self.made.errback(RemoteError(loss))

    def _failed(self, failure: Failure) -> None:
        if not self.made.called:
            self.made.errback(failure)

    def _cancel(self) -> None:
        self._connecting.cancel()
        for one in self._built:
            if one.transport is not None:
                Lenient(one.transport).abortConnection()


def connect_foreign(
    clock: IReactorTime, endpoint: IStreamClientEndpoint
) -> Deferred[IStream]:
    """A stream over any endpoint; cancelling drops the connection at once."""
    attempt = _Attempt(clock)
    attempt.begin(endpoint)
    return attempt.made
