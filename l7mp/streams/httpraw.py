"""A connection that was HTTP until a tunnel was opened through it."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.interfaces import IProducer

from l7mp.errors import Loss
from l7mp.streams.http import Headers
from l7mp.streams.httpengine import Engine
from l7mp.streams.transport import FLUSH


class Tunnel(Protocol):
    """What has to be known of the stream whose bytes these are."""

    @property
    def wants_data(self) -> bool:
        """Whether ``body`` may be called."""

    def body(self, data: bytes) -> None:
        """Some bytes came."""

    def body_ended(self) -> None:
        """Nothing more will come."""

    def gone(self, loss: Loss) -> None:
        """The connection is no more."""


class RawTunnel(Engine):
    """Carries bytes as they are, and knows half-close."""

    def __init__(
        self, transport: Any, clock: Any, tunnel: Tunnel, early: bytes, eof: bool
    ) -> None:
        """``early`` was read too far; ``eof`` says that nothing follows it."""
        super().__init__(transport, clock, lambda _: None)
        self._tunnel = tunnel
        self._inbox = early
        self._eof = eof
        self._half_closed = False
        self._fate: Loss | None = None
        """How the connection ended, while something of it is still to be told."""

    # -- what comes out -----------------------------------------------------------

    def received(self, data: bytes) -> None:
        """The peer sent ``data``."""
        if self._inbox or not self._tunnel.wants_data:
            self._inbox += data
        else:
            self._tunnel.body(data)

    def client_ended(self) -> None:
        self._bring()

    def _bring(self) -> None:
        if self._inbox and self._tunnel.wants_data:
            data, self._inbox = self._inbox, b""
            self._tunnel.body(data)
        if self._inbox:
            return
        if self._eof and self._tunnel.wants_data:
            self._tunnel.body_ended()
            if self._half_closed and not self._lost:
                self._transport.loseConnection()
        fate, self._fate = self._fate, None
        if fate is not None:
            self._tunnel.gone(fate)

    def pause(self) -> None:
        """See ``Carrier``."""
        if not self._lost and not self._eof and not self._leaving:
            self._transport.pauseProducing()

    def resume(self) -> None:
        """See ``Carrier``."""
        self._bring()
        if not self._lost and not self._eof and self._tunnel.wants_data:
            self._transport.resumeProducing()

    # -- what goes in -------------------------------------------------------------

    def inform(self, status: int, headers: Headers) -> None:
        """See ``Carrier``: nothing is said of what is in a tunnel."""

    def begin(self, status: int, headers: Headers) -> None:
        """See ``Carrier``: it has begun."""

    def open_tunnel(self, status: int, headers: Headers) -> RawTunnel:
        """See ``Carrier``: it is open."""
        return self

    def send(self, data: bytes) -> None:
        """See ``Carrier``."""
        self._write(data)

    def end_half(self) -> None:
        """See ``Carrier``."""
        self._half_closed = True
        if self._lost:
            return
        if self._eof:
            self._transport.loseConnection()
        else:
            self._transport.loseWriteConnection()

    def finish(self, trailers: Headers) -> None:
        """See ``Carrier``."""
        if not self._lost:
            self._leave()

    def cut(self) -> None:
        """See ``Carrier``: only a reset is no orderly end."""
        self._when_drained(self._transport.abortConnection)

    def drop(self) -> None:
        """See ``Carrier``."""
        if not self._lost:
            self._transport.abortConnection()

    def part(self) -> None:
        """See ``Line``."""
        self.drop()

    def hurry(self) -> None:
        """See ``Carrier``."""
        if not self._lost and not self._leaving:
            self._set_timer(FLUSH, self._transport.abortConnection)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """See ``Carrier``."""
        if not self._lost:
            self._transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """See ``Carrier``."""
        if not self._lost:
            self._transport.unregisterProducer()

    # -- the end ------------------------------------------------------------------

    def flushed(self) -> None:
        """Our end has left; only one who leaves waits no longer for the peer's."""
        if self._leaving:
            super().flushed()

    def broken(self, loss: Loss) -> None:
        self._fate = loss
        self._bring()

    def retire(self) -> None:
        """What was accepted lives on."""
