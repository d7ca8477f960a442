"""What the versions of HTTP have in common on a connection: its clock and its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPullProducer
from zope.interface import implementer

from l7mp.errors import Loss, Reason
from l7mp.interfaces import Metadata
from l7mp.streams.http import Carrier, Exchange
from l7mp.streams.httptunnel import TunnelExchange
from l7mp.streams.transport import FLUSH, LINGER

HEAD_TIME = 60.0
"""Seconds that a client has for the head of a request it has begun."""

KEEP_ALIVE = 75.0
"""Seconds for which a connection without a request is kept."""

MAX_HEAD = 64 << 10
"""Bytes of request line and headers that are taken, at most."""

BODY_TIME = 60.0
"""Seconds for which the body of a request may stop coming before it is answered."""

TICKS = 4
"""How often in that time it is looked at: it may last a quarter longer."""

Serve = Callable[[Exchange], None]
"""Hears of each request, as a newborn stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a listener lets its clients do."""

    max_body: int | None = None
    """Bytes of the body of a request, at most; None: any number."""
    head_timeout: float = HEAD_TIME
    body_timeout: float = BODY_TIME
    """0: for ever."""
    keep_alive: float = KEEP_ALIVE
    tunnel: bool = False
    """Whether to open tunnels for CONNECT."""
    upgrade: bool = False
    """Whether to open tunnels for what asks to be upgraded."""


USUAL = Settings()


class Patience:
    """Notices that the body of a request does not come any more."""

    def __init__(
        self, exchange: Exchange, seconds: float, later: Callable[..., Any]
    ) -> None:
        """``later(seconds, act)`` is the clock, while there is a connection."""
        self._exchange, self._seconds, self._later = exchange, seconds, later
        self.heard = True
        """Set whenever some of it has come."""
        self._missed = 0
        self._timer: IDelayedCall | None = None
        if seconds:
            self._wind()

    def _wind(self) -> None:
        self._timer = self._later(self._seconds / TICKS, self._tick)

    def _tick(self) -> None:
        if self._exchange.read_ended or self._exchange.is_over:
            return
        idle = self._exchange.is_waiting and not self.heard
        self._missed = self._missed + 1 if idle else 0
        self.heard = False
        if self._missed < TICKS:
            self._wind()
        else:
            what = f"nothing of the request came for {self._seconds:g} s"
            self._exchange.fail(408, Loss(Reason.TIMEOUT, what))

    def stop(self) -> None:
        """Nobody waits any more."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()


@implementer(IPullProducer)
class _Drain:
    """Notices that everything written to a transport has left."""

    def __init__(self, transport: Any, then: Callable[[], None]) -> None:
        self._transport, self._then = transport, then
        self._asked = False
        transport.registerProducer(self, False)
        self._asked = True
        # Asks soon even if there is nothing left to write.
        transport.startWriting()

    def resumeProducing(self) -> None:
        if self._asked:  # not merely registered
            self.stop()
            self._then()

    def stop(self) -> None:
        """Do not wait any longer."""
        self._transport.unregisterProducer()

    def stopProducing(self) -> None:
        """The connection is lost; its protocol hears of that by itself."""


class Engine:
    """
    Speaks a version of HTTP on an established connection.

    Subclasses override ``heard``, ``client_ended``, ``broken`` and ``retire``.
    """

    def __init__(
        self, transport: Any, clock: Any, serve: Serve, settings: Settings = USUAL
    ) -> None:
        self._transport, self._clock, self._serve = transport, clock, serve
        self._settings = settings
        self._timer: IDelayedCall | None = None
        self._eof = False
        """The client will send nothing more."""
        self._stopping = False
        """No request will be taken any more."""
        self._leaving = False
        """Our end was sent, or waits to be; what comes is not looked at."""
        self._lost = False
        """The connection is no more, or no more ours."""
        self._drain: _Drain | None = None

    # -- what the protocol says -----------------------------------------------------

    def received(self, data: bytes) -> None:
        """The client sent ``data``."""
        if not self._leaving:
            self.heard(data)

    def peer_ended(self) -> None:
        """The client will send nothing more."""
        self._eof = True
        if self._leaving:
            self._transport.loseConnection()
        else:
            self.client_ended()

    def flushed(self) -> None:
        """Our end has left."""
        self._set_timer(LINGER, self._transport.loseConnection)

    def lost(self, loss: Loss) -> None:
        """The connection is no more."""
        self.forget()
        self.broken(loss)

    def forget(self) -> None:
        """Let go of the connection."""
        self._lost = self._leaving = True
        self._set_timer(None)

    # -- what a version makes of it -------------------------------------------------

    def heard(self, data: bytes) -> None:
        """Something to look at came."""
        raise NotImplementedError

    def client_ended(self) -> None:
        """The client's end came before ours."""
        raise NotImplementedError

    def broken(self, loss: Loss) -> None:
        """Tell the exchanges that there is no connection any more."""
        raise NotImplementedError

    def retire(self) -> None:
        """Take no more requests; those under way are served."""
        raise NotImplementedError

    # -- for the versions -----------------------------------------------------------

    def _exchange_of(self, carrier: Carrier, about: Metadata) -> Exchange:
        """The exchange, or tunnel, that a request begins."""
        if about.get("tunnel"):
            return TunnelExchange(carrier, about)
        return Exchange(carrier, about, self._settings.max_body)

    def _admit(self, exchange: Exchange) -> None:
        """Serve a request, or say why not."""
        about, most = exchange.request, self._settings.max_body
        length = about["headers"].get("content-length", "")
        if about["method"] == "CONNECT" and not about.get("tunnel"):
            exchange.refuse(501, "no tunnels are opened here", last=True)
        elif most is not None and length.isdigit() and int(length) > most:
            exchange.refuse_body(most)
        else:
            self._serve(exchange)

    def _when_drained(self, then: Callable[[], None]) -> None:
        """Call ``then`` when all that was written has left, unless it never does."""

        def drained() -> None:
            self._drain = None
            then()

        if not self._lost:
            self._drain = _Drain(self._transport, drained)

    def _write(self, data: bytes) -> None:
        if data and not self._lost:
            self._transport.write(data)

    def _leave(self) -> None:
        """Send our end, and wait a moment for the client's so that it reads all."""
        if self._leaving:
            return
        self._leaving = True
        if self._drain is not None:
            self._drain.stop()  # Twisted ends no connection that is to be drained first
        self._set_timer(FLUSH, self._transport.abortConnection)
        if self._eof:
            self._transport.loseConnection()
        else:
            self._transport.resumeProducing()
            self._transport.loseWriteConnection()

    def _set_timer(
        self, seconds: float | None, act: Callable[[], object] | None = None
    ) -> None:
        """Replace what is to be done if nothing else happens in time."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if seconds is not None and act is not None and not self._lost:
            self._timer = self._clock.callLater(seconds, act)
