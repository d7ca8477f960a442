"""One stream of an HTTP/2 connection, between its call and its connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IProducer

from l7mp.errors import Loss
from l7mp.streams.http import Headers
from l7mp.streams.httpcall import ONCE, Call, opens_tunnel
from l7mp.streams.httptunnel import SWITCHING
from l7mp.wire.httpwebsocket import accept_headers

HIGH = 64 << 10
"""Bytes of one request that may wait for the server before its producer is paused."""


class Lanes(Protocol):
    """What a lane asks of the connection."""

    def taken(self, lane: Lane, charged: int) -> None:
        """A call took data: the server may send as much again."""

    def ready(self, lane: Lane) -> None:
        """The lane has something to send."""

    def checked(self, lane: Lane) -> None:
        """Something has ended; the lane goes when both directions have."""

    def forget(self, lane: Lane) -> None:
        """The stream is no more."""

    def cancel(self, lane: Lane) -> None:
        """Reset a stream whose call was given up."""


class Lane:
    """A ``Line``: one stream of a connection."""

    def __init__(self, engine: Lanes, number: int, call: Call) -> None:
        self._engine, self.number, self.call = engine, number, call
        self._inbox: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        """What waits to be told, in order."""
        self._bringing = False
        self._trailers: Headers = []
        self.outbox = bytearray()
        self.ends = False
        """Whether the end of the outbox is that of the request."""
        self.last_fields: Headers = []
        self.request_ended = self.response_ended = False
        self._producer: Any = None
        self._paused = self._heard = False
        self._reused = number > 1

    # -- the response -------------------------------------------------------------

    def arrived(self, tell: Callable[..., None], *what: Any) -> None:
        """Something came, to be told when the call may hear of it."""
        self._heard = self._heard or tell != self.lost
        self._inbox.append((tell, what))
        self._bring()

    def pause(self) -> None:
        """See ``Line``: what comes waits, up to the window."""

    def resume(self) -> None:
        """See ``Line``."""
        self._bring()

    def _bring(self) -> None:
        if self._bringing:
            return
        self._bringing = True
        while self._inbox and self.call.wants_data:
            tell, what = self._inbox.popleft()
            tell(*what)
        self._bringing = False

    def data(self, data: bytes, charged: int) -> None:
        """Some of the body came, ``charged`` to our window."""
        self._engine.taken(self, charged)
        if data:
            self.call.body(data)

    def inform(self, status: int, headers: Headers) -> None:
        """An interim response came."""
        self.call.inform(status, headers)

    def head(self, status: int, headers: Headers) -> None:
        """The head of the response came."""
        request = self.call.request
        if request.is_upgrade and 200 <= status <= 299:
            status = SWITCHING  # as the same is called in HTTP/1.1
            headers = [*headers, *accept_headers(dict(request.headers))]
        if opens_tunnel(request, status):
            self.call.opened(status, headers, self)
        else:
            self.call.head(status, headers)

    def trailers(self, trailers: Headers) -> None:
        """What is behind the body came."""
        self._trailers = trailers

    def ended(self) -> None:
        """The response is complete, or nothing more comes through the tunnel."""
        self.response_ended = True
        if self.call.is_tunnel:
            self.call.body_ended()
        else:
            self.call.completed(self._trailers)
        self._engine.checked(self)

    def lost(self, loss: Loss, tries: int) -> None:
        """The stream is no more; ``tries`` as for ``Call.gone``."""
        self._engine.forget(self)
        if not self.response_ended:
            self.call.gone(loss, tries=tries)

    @property
    def tries(self) -> int:
        """The same, if the connection ends: that was as likely as an answer, or not."""
        unheard = self._reused and not self._heard and self.call.may_repeat()
        return ONCE if unheard else 0

    # -- the request --------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """See ``Line``."""
        self.outbox += data
        self._engine.ready(self)
        if len(self.outbox) > HIGH and self._producer is not None and not self._paused:
            self._paused = True
            self._producer.pauseProducing()

    def finish(self, trailers: Headers) -> None:
        """See ``Line``."""
        self.last_fields = trailers
        self.end_half()

    def end_half(self) -> None:
        """See ``Line``."""
        if not self.ends:
            self.ends = True
            self._engine.ready(self)

    def emptied(self) -> None:
        """Nothing waits for the server."""
        if self._paused:
            self._paused = False
            self._producer.resumeProducing()

    def drop(self) -> None:
        """See ``Line``."""
        self._engine.cancel(self)

    def part(self) -> None:
        """See ``Line``."""
        self._engine.cancel(self)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """See ``Line``."""
        self._producer, self._paused = producer, len(self.outbox) > HIGH
        if self._paused:
            self._producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """See ``Line``."""
        self._producer, self._paused = None, False
