"""
HTTP/1.1 connections (RFC 9112) as exchanges: one stream for every request.

The request's body is what the stream reads, the response's body what is written to
it.  Both may flow at once; when the response is complete the exchange is over, whether
the request is or not, and the stream is lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import h11
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IProducer,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.http import datetimeToString
from zope.interface import implementer

from l7mp.errors import Loss, Reason
from l7mp.interfaces import Kind, Metadata
from l7mp.streams.stream import Stream
from l7mp.streams.transport import LINGER, loss_of
from l7mp.wire.httpmeta import request_metadata

HEADERS = 60.0
"""Seconds that a client has to send the headers of a request it has begun."""

KEEP_ALIVE = 75.0
"""Seconds for which a connection without a request is kept."""

MAX_HEADERS = 64 << 10
"""Bytes of headers taken, at most."""

FRAMING = frozenset({"transfer-encoding", "connection", "keep-alive", "upgrade"})
"""Headers of a response that only this connection decides (RFC 9110, 7.6.1)."""

BODILESS = frozenset({204, 304})

_CLEAN = frozenset({Reason.FIN, Reason.DELETED, Reason.RECONFIGURED, Reason.SHUTDOWN})


def status_body(status: int, detail: str, problem: bool) -> tuple[str, bytes]:
    """The content type and body of an error: ours, or that of RFC 9457."""
    phrase = HTTPStatus(status).phrase
    if problem:
        about = {"type": "about:blank", "title": phrase, "status": status}
        kind = "application/problem+json"
        return kind, json.dumps({**about, "detail": detail}).encode()
    said = {"status": status, "message": phrase, "content": detail}
    return "application/json", json.dumps(said, indent=4).encode()


class Exchange(Stream):
    """A request and its response."""

    kind = Kind.BYTES

    def __init__(self, connection: HTTPConnection, request: h11.Request) -> None:
        super().__init__()
        self._connection = connection
        self.request = request
        self._status = 200
        self._headers: dict[str, str] = {}
        self._started = False

    @property
    def transport(self) -> Any:
        """Twisted's transport of the connection."""
        return self._connection.transport

    def metadata(self) -> Metadata:
        """What the request says, for ``/HTTP``."""
        request = self.request
        return request_metadata(
            request.method.decode("ascii"),
            request.target.decode("latin-1"),
            request.http_version.decode("ascii"),
            list(request.headers),
        )

    # -- the read half: the request's body --------------------------------------

    def _pause(self) -> None:
        self._connection.pause(self)

    def _resume(self) -> None:
        self._connection.resume(self)

    def received(self, data: bytes) -> None:
        """A piece of the request's body came."""
        self._deliver(data)

    def complete(self) -> None:
        """The request's body is complete."""
        self._read_ended()

    def established(self) -> None:
        self._connection.welcome()

    # -- the write half: the response ----------------------------------------------

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        if self.loss is None:
            self.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        if self.loss is None:
            self.transport.unregisterProducer()

    def describe(self, facts: Metadata) -> None:
        """Take status and headers from ``/HTTP``, if it is not too late."""
        about = facts.get("HTTP")
        if isinstance(about, Mapping) and not self._started:
            self._status = int(about.get("status", self._status))
            headers = about.get("headers", {})
            self._headers.update(
                (name, str(value))
                for name, value in headers.items()
                if name.lower() not in FRAMING
            )

    def write(self, data: bytes) -> None:
        if self.loss is not None:
            self._drop("closed", len(data))
            return
        self.messages_out += 1
        self.bytes_out += len(data)
        self._start()
        if self._has_body():
            self._connection.send(h11.Data(data=data))

    def _has_body(self) -> bool:
        return self.request.method != b"HEAD" and self._status not in BODILESS

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._connection.respond(self._status, self._headers)

    def end(self) -> None:
        """Complete the response: the exchange is over."""
        if self.loss is None:
            self._start()
            self._finish(Loss(Reason.FIN))

    def close(self, loss: Loss) -> None:
        """Complete the response, with an error if nothing of it was sent."""
        if self.loss is not None:
            return
        if self._started and loss.reason not in _CLEAN:
            self.abort(loss)  # a response that is cut off must not look complete
        elif self._started:
            self._finish(loss)
        else:
            self._refuse(loss)

    def abort(self, loss: Loss) -> None:
        """Drop the connection, unless an error can still be told."""
        if self.loss is not None:
            return
        if not self._started:
            self._refuse(loss)
        else:
            self._connection.drop()
            self.gone(loss)

    def _refuse(self, loss: Loss) -> None:
        self._started = True
        self._status = loss.status
        self._connection.refuse(loss.status, str(loss), self.request)
        self._finish(loss)

    def _finish(self, loss: Loss) -> None:
        self.unregisterProducer()
        try:
            self._connection.send(h11.EndOfMessage())
        except h11.LocalProtocolError as error:  # less than Content-Length promised
            self._drop("incomplete")
            self._connection.drop()
            loss = Loss(Reason.PROTOCOL, str(error))
        self._lose(loss)
        self._connection.finished(self)

    def gone(self, loss: Loss) -> None:
        """The connection is no more."""
        self._lose(loss)


Ready = Callable[[Exchange], None]


@implementer(IHalfCloseableProtocol)
class HTTPConnection(Protocol):
    """The server side of a connection; ``ready`` hears of each request."""

    def __init__(self, clock: Any, ready: Ready) -> None:
        self._clock, self._ready = clock, ready
        self._wire = h11.Connection(
            h11.SERVER, max_incomplete_event_size=MAX_HEADERS
        )
        self._exchange: Exchange | None = None
        self._timer: IDelayedCall | None = None
        self._advancing = False
        self._closing = False
        self._paused = False

    # -- what the transport says ----------------------------------------------------

    def connectionMade(self) -> None:
        self._set_timer(HEADERS)

    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            return
        self._wire.receive_data(data)
        self._advance()

    def readConnectionLost(self) -> None:
        if self._exchange is None or self._closing:
            self._hang_up()
            return
        self._wire.receive_data(b"")
        self._advance()

    def writeConnectionLost(self) -> None:
        if self._closing:
            self._set_timer(LINGER)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._set_timer(None)
        exchange, self._exchange = self._exchange, None
        self._closing = True
        if exchange is not None:
            loss = loss_of(reason)
            if loss.reason is Reason.FIN:
                loss = Loss(Reason.RESET, "the client went before the response ended")
            exchange.gone(loss)

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if seconds is not None:
            self._timer = self._clock.callLater(seconds, self._hang_up)

    # -- requests ---------------------------------------------------------------------

    def _advance(self) -> None:
        """Act on what was received, as far as the exchange takes it."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while not self._closing and not self._is_held():
                event = self._wire.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    break
                self._heard(event)
        except h11.RemoteProtocolError as error:
            self._malformed(error)
        finally:
            self._advancing = False
        self._flow()

    def _is_held(self) -> bool:
        return self._exchange is not None and self._exchange.is_held

    def _heard(self, event: Any) -> None:
        exchange = self._exchange
        if isinstance(event, h11.Request):
            if event.http_version not in (b"1.0", b"1.1"):
                raise h11.RemoteProtocolError(
                    "only HTTP/1.1 is spoken here", error_status_hint=505
                )
            self._set_timer(None)
            self._exchange = exchange = Exchange(self, event)
            self._ready(exchange)
        elif isinstance(event, h11.Data) and exchange is not None:
            exchange.received(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage) and exchange is not None:
            exchange.complete()
        elif isinstance(event, h11.ConnectionClosed):
            self._hang_up()

    def _malformed(self, error: h11.RemoteProtocolError) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abort(Loss(Reason.PROTOCOL, str(error)))
        elif self._wire.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.refuse(error.error_status_hint, str(error), None)
            self.send(h11.EndOfMessage())
        self._close_politely()

    def welcome(self) -> None:
        """Tell a client that waits for it to go on (RFC 9110, section 10.1.1)."""
        if self._wire.they_are_waiting_for_100_continue:
            self.send(h11.InformationalResponse(status_code=100, headers=[]))

    def pause(self, exchange: Exchange) -> None:
        """The exchange takes no more for now."""
        if exchange is self._exchange:
            self._flow()

    def resume(self, exchange: Exchange) -> None:
        """The exchange takes more."""
        if exchange is self._exchange:
            self.welcome()
            self._advance()

    def _flow(self) -> None:
        """Read from the client only what can be passed on."""
        if self._closing or not self.transport:
            return
        exchange = self._exchange
        pause = exchange is not None and exchange.is_held
        if pause != self._paused:
            self._paused = pause
            if pause:
                self.transport.pauseProducing()  # type: ignore[attr-defined]
            else:
                self.transport.resumeProducing()  # type: ignore[attr-defined]

    # -- responses ----------------------------------------------------------------------

    def respond(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head of the response."""
        own = {"Server": "l7mp", "Date": datetimeToString().decode("ascii")}
        taken = {name.lower() for name in headers}
        every = {k: v for k, v in own.items() if k.lower() not in taken} | {**headers}
        listed = [(k.encode("ascii"), v.encode("latin-1")) for k, v in every.items()]
        phrase = HTTPStatus(status).phrase if status in iter(HTTPStatus) else ""
        self.send(
            h11.Response(status_code=status, headers=listed, reason=phrase.encode())
        )

    def refuse(self, status: int, detail: str, request: h11.Request | None) -> None:
        """Send the head and the body of an error, but not its end."""
        accept = b""
        if request is not None:
            accept = dict(request.headers).get(b"accept", b"")
        kind, body = status_body(status, detail, b"problem+json" in accept)
        self.respond(
            status, {"Content-Type": kind, "Content-Length": str(len(body))}
        )
        if request is None or request.method != b"HEAD":
            self.send(h11.Data(data=body))

    def send(self, event: Any) -> None:
        """Put an event on the wire."""
        data = self._wire.send(event)
        if data and self.transport is not None:
            self.transport.write(data)

    def finished(self, exchange: Exchange) -> None:
        """The response is complete: the next request, or goodbye."""
        if exchange is not self._exchange:
            return
        self._exchange = None
        if self._wire.our_state is h11.DONE and self._wire.their_state is h11.DONE:
            self._wire.start_next_cycle()
            self._set_timer(KEEP_ALIVE)
            self._advance()
        elif not self._closing:
            self._close_politely()

    # -- the end --------------------------------------------------------------------------

    def _close_politely(self) -> None:
        """Send what is left and our end, then wait a moment for the client's."""
        self._closing = True
        self._set_timer(HEADERS)
        if self.transport is not None:
            self.transport.resumeProducing()  # type: ignore[attr-defined]
            self.transport.loseWriteConnection()  # type: ignore[attr-defined]

    def _hang_up(self) -> None:
        self._closing = True
        self._set_timer(None)
        if self.transport is not None:
            self.transport.loseConnection()

    def drop(self) -> None:
        """Close so that the client can tell that something is missing."""
        self._closing = True
        self._exchange = None
        self._set_timer(None)
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]
