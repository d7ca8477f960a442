"""One stream of an HTTP/2 connection, between its exchange and its connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IProducer

from l7mp.errors import Loss
from l7mp.streams.http import Exchange, Headers
from l7mp.streams.transport import FLUSH

HIGH = 64 << 10
"""Bytes of one response that may wait for the client before its producer is paused."""


class Lanes(Protocol):
    """What a lane asks of the connection."""

    def taken(self, lane: Lane, charged: int) -> None:
        """A session took data: the client may send as much again."""

    def inform(self, lane: Lane, status: int) -> None:
        """Send an interim response."""

    def begin(self, lane: Lane, status: int, headers: Headers) -> None:
        """Send the head of a response."""

    def ready(self, lane: Lane) -> None:
        """The lane has something to send."""

    def end(self, lane: Lane) -> None:
        """Send the end of a response; the rest of the request is not wanted."""

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
        self.outbox = bytearray()
        self.last: Callable[[Lane], None] | None = None
        """What ends the stream when the outbox is empty."""
        self._producer: Any = None
        self._paused = False
        self._timer: IDelayedCall | None = None

    # -- the request ------------------------------------------------------------------

    def data(self, data: bytes, charged: int) -> None:
        """The client sent some of the body, ``charged`` to its window."""
        self._inbox.append((data, charged))
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
            self._engine.inform(self, 100)
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
            self.exchange.body_ended()

    # -- the response -----------------------------------------------------------------

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

    def finish(self) -> None:
        """See ``Carrier``."""
        self._end(self._engine.end)

    def cut(self) -> None:
        """See ``Carrier``."""
        self._end(self._engine.reset)

    def _end(self, last: Callable[[Lane], None]) -> None:
        self.last = last
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
        self.exchange.gone(loss)
