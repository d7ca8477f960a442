"""One stream of an HTTP/2 connection, between its exchange and its connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IProducer

from l7mp.errors import Loss
from l7mp.streams.http import Exchange, Headers
from l7mp.streams.httpengine import Patience
from l7mp.streams.httptunnel import SWITCHING
from l7mp.streams.transport import FLUSH
from l7mp.wire.httpwebsocket import ACCEPT

HIGH = 64 << 10
"""Bytes of one response that may wait for the client before its producer is paused."""


class Lanes(Protocol):
    """What a lane asks of the connection."""

    def taken(self, lane: Lane, charged: int) -> None:
        """A session took data: the client may send as much again."""

    def inform(self, lane: Lane, status: int, headers: Headers) -> None:
        """Send an interim response."""

    def begin(self, lane: Lane, status: int, headers: Headers) -> None:
        """Send the head of a response."""

    def ready(self, lane: Lane) -> None:
        """The lane has something to send."""

    def end(self, lane: Lane) -> None:
        """Send the end of a response; the rest of the request is not wanted."""

    def end_half(self, lane: Lane) -> None:
        """Send the end of what comes out of a tunnel."""

    def reset(self, lane: Lane) -> None:
        """Let the client know that the response is incomplete."""

    def drop(self, lane: Lane) -> None:
        """Reset a stream, whatever still waits."""

    def later(self, seconds: float, act: Callable[[], object]) -> IDelayedCall | None:
        """A call that the lane cancels, while there is a connection."""


class Lane:
    """A ``Carrier``: one stream of a connection."""

    def __init__(self, engine: Lanes, number: int, expects: bool) -> None:
        self._engine, self.number = engine, number
        self._expects = expects
        """Whether the client waits for 100 Continue."""
        self.exchange: Exchange
        self._inbox: deque[tuple[bytes, int]] = deque()
        self._bringing = False
        self.request_ended = False
        self.trailers: Headers = []
        """What came behind the body of the request."""
        self.last_fields: Headers = []
        """What goes behind that of the response."""
        self.stays = self.is_half_ended = False
        """Whether the end of the outbox is not that of the stream."""
        self._patience: Patience | None = None
        self.outbox = bytearray()
        self.last: Callable[[Lane], None] | None = None
        """What ends the stream when the outbox is empty."""
        self._producer: Any = None
        self._paused = False
        self._timer: IDelayedCall | None = None

    def watch(self, seconds: float) -> None:
        """Do not wait longer than that for more of the body of the request."""
        if self.exchange.request["body"]:
            self._patience = Patience(self.exchange, seconds, self._engine.later)

    # -- the request ------------------------------------------------------------------

    def data(self, data: bytes, charged: int) -> None:
        """The client sent some of the body, ``charged`` to its window."""
        self._inbox.append((data, charged))
        if self._patience is not None:
            self._patience.heard = True
        self._bring()

    def ended(self) -> None:
        """The request is complete."""
        self.request_ended = True
        self._bring()

    def pause(self) -> None:
        """See ``Carrier``: what comes waits, up to the window."""

    def resume(self) -> None:
        """See ``Carrier``."""
        if self._expects:
            self._expects = False
            self._engine.inform(self, 100, [])
        self._bring()

    def _bring(self) -> None:
        if self._bringing:
            return
        self._bringing = True
        while self._inbox and self.exchange.wants_data:
            data, charged = self._inbox.popleft()
            self._engine.taken(self, charged)
            if data:
                self.exchange.body(data)
        self._bringing = False
        if self.request_ended and not self._inbox and self.exchange.wants_data:
            self.exchange.body_ended(self.trailers)

    # -- the response -----------------------------------------------------------------

    def inform(self, status: int, headers: Headers) -> None:
        """See ``Carrier``."""
        self._engine.inform(self, status, headers)

    def open_tunnel(self, status: int, headers: Headers) -> Lane:
        """See ``Carrier``; nothing is switched here, and no key answered (RFC 8441)."""
        ours = [one for one in headers if one[0] != ACCEPT.encode()]
        self.stays = True
        self._engine.begin(self, 200 if status == SWITCHING else status, ours)
        return self

    def end_half(self) -> None:
        """See ``Carrier``."""
        self.is_half_ended = True
        self.last = self._engine.end_half
        self._engine.ready(self)

    def begin(self, status: int, headers: Headers) -> None:
        """See ``Carrier``."""
        self._expects = False
        self._engine.begin(self, status, headers)

    def send(self, data: bytes) -> None:
        """See ``Carrier``."""
        self.outbox += data
        self._engine.ready(self)
        if len(self.outbox) > HIGH and self._producer is not None and not self._paused:
            self._paused = True
            self._producer.pauseProducing()

    def finish(self, trailers: Headers) -> None:
        """See ``Carrier``."""
        self.last_fields = trailers
        self._end(self._engine.end)

    def cut(self) -> None:
        """See ``Carrier``."""
        self._end(self._engine.reset)

    def _end(self, last: Callable[[Lane], None]) -> None:
        self.last = last
        self.stays = False
        self._engine.ready(self)
        self._bring()  # what came of the request goes nowhere

    def emptied(self) -> None:
        """Nothing waits for the client."""
        if self._paused:
            self._paused = False
            self._producer.resumeProducing()

    def drop(self) -> None:
        """See ``Carrier``."""
        self._engine.drop(self)

    def hurry(self) -> None:
        """See ``Carrier``."""
        if self._timer is None:
            self._timer = self._engine.later(FLUSH, self.drop)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """See ``Carrier``; the rings have push producers only."""
        self._producer, self._paused = producer, len(self.outbox) > HIGH
        if self._paused:
            self._producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """See ``Carrier``."""
        self._producer, self._paused = None, False

    def over(self, loss: Loss) -> None:
        """The stream is no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._patience is not None:
            self._patience.stop()
        self.exchange.gone(loss)
