"""Any byte-stream transport of Twisted's (TCP, Unix, a process) as a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.error import ConnectionDone, TimeoutError
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IProducer,
    IReactorTime,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import IFlowTransport, Kind, Note
from l7mp.streams.backlog import unsent
from l7mp.streams.stream import Stream
from l7mp.streams.timer import Timer

FLUSH = 30.0
"""Seconds that a closing stream may take to get rid of what was written."""

LINGER = 1.0
"""
Seconds that a closed stream waits for the peer's end.

Closing a TCP socket on which unread data waits makes the kernel send a reset, and
the reset destroys what the peer has not read yet.
"""


def loss_of(failure: Failure) -> Loss:
    """What Twisted's reason for a lost connection means."""
    if failure.check(ConnectionDone):
        return Loss(Reason.FIN)
    if failure.check(TimeoutError):
        return Loss(Reason.TIMEOUT, failure.getErrorMessage())
    if isinstance(failure.value, RemoteError):
        return failure.value.loss
    return Loss(Reason.RESET, failure.getErrorMessage())


class TransportStream(Stream):
    """An ``IStream`` around a half-closeable transport."""

    kind = Kind.BYTES
    half_close = True

    def __init__(self, transport: IFlowTransport, clock: IReactorTime) -> None:
        super().__init__()
        self.transport = transport
        self._clock = clock
        self._write_ended = self._flushed = False
        self._closing: Loss | None = None
        self._timer = Timer(clock)
        transport.pauseProducing()
        facts = getattr(transport, "tls_facts", None)
        if facts:
            self._note(Note("TLS", f"speaks {facts['version']}", facts))

    # -- the read half ------------------------------------------------------

    def _pause(self) -> None:
        if self.loss is None and not self._closing:
            self.transport.pauseProducing()

    def _resume(self) -> None:
        if self.loss is None and not self.read_ended and not self._closing:
            self.transport.resumeProducing()

    def received(self, data: bytes) -> None:
        """The peer sent ``data``."""
        if self._closing is None:
            self._deliver(data)
        else:
            self._drop("closing", len(data))

    def peer_ended(self) -> None:
        """The peer will send nothing more (FIN)."""
        if self._closing is None:
            self._read_ended()
        else:
            self.read_ended = True
        if self._write_ended:
            self.transport.loseConnection()

    # -- the write half -----------------------------------------------------

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self.transport.unregisterProducer()

    def write(self, data: bytes) -> None:
        self.messages_out += 1
        self.bytes_out += len(data)
        self.transport.write(data)

    def end(self) -> None:
        if self._write_ended or self.loss is not None:
            return
        self._write_ended = True
        # Twisted ends no connection whose paused producer might have more to say.
        self.unregisterProducer()
        if self.read_ended:
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()

    def close(self, loss: Loss) -> None:
        if self._closing is not None or self.loss is not None:
            return
        self._closing = loss
        self._timer.set(FLUSH, self.transport.abortConnection)
        if not self.read_ended:
            self.transport.resumeProducing()
        self.end()
        if self._flushed:
            self.flushed()

    def flushed(self) -> None:
        """Everything written has left, and so has our end."""
        self._flushed = True
        if self._closing is not None and not self.read_ended:
            self._timer.set(LINGER, self.transport.loseConnection)

    def abort(self, loss: Loss) -> None:
        if self.loss is None:
            self._closing = self._closing or loss
            self.transport.abortConnection()

    def unsent(self) -> list[bytes]:
        return unsent(self.transport)

    # -- the end --------------------------------------------------------------

    def gone(self, loss: Loss) -> None:
        """The transport is no more."""
        self._timer.cancel()
        self._lose(self._closing or loss)


@implementer(IHalfCloseableProtocol)
class Plumbing(Protocol):
    """The Twisted protocol that feeds a ``TransportStream``."""

    stream: TransportStream

    def __init__(
        self, clock: IReactorTime, ready: Callable[[TransportStream], None]
    ) -> None:
        self._clock, self._ready = clock, ready

    def connectionMade(self) -> None:
        transport = cast(IFlowTransport, self.transport)
        self.stream = TransportStream(transport, self._clock)
        self._ready(self.stream)

    def dataReceived(self, data: bytes) -> None:
        self.stream.received(data)

    def readConnectionLost(self) -> None:
        self.stream.peer_ended()

    def writeConnectionLost(self) -> None:
        self.stream.flushed()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.stream.gone(loss_of(reason))
