"""
An HTTP request and its response as one stream, whatever version carries them.

The body of the request is what the stream reads, the body of the response what is
written to it, and both may flow at once.  The stream lives until the response has left
or was given up: what the client still sends of its request after that has no reader
and is dropped, so ``end()`` ends the stream in both directions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Protocol

from twisted.internet.interfaces import IProducer
from twisted.web.http import datetimeToString

from l7mp.errors import Loss, Reason
from l7mp.interfaces import Kind, Metadata
from l7mp.streams.stream import Stream
from l7mp.wire.httpmeta import HOP_BY_HOP, plain_headers
from l7mp.wire.httprequest import trailer_facts, trailers_of

Headers = list[tuple[bytes, bytes]]
"""Names in lower case, and values, in the order of the wire."""

SERVER = b"l7mp"

BODILESS = frozenset({204, 304})
"""Responses without a body (RFC 9112, section 6.3)."""

_PEACEFUL = frozenset({Reason.FIN, Reason.DELETED})
"""Reasons that leave a response which has begun as complete as it will ever be."""


class Carrier(Protocol):
    """
    What an exchange asks of the connection that carries it.

    The exchange calls ``begin`` once, ``send`` any number of times and then one of
    ``finish``, ``cut`` and ``drop``; the carrier calls ``gone`` when that is done.
    A tunnel is opened instead of begun, and may be ended half.
    """

    def pause(self) -> None:
        """Bring nothing more of the request for now."""

    def resume(self) -> None:
        """Bring the request; a client that waits to be asked for it is asked."""

    def inform(self, status: int, headers: Headers) -> None:
        """Send an interim response, where the client's version has any."""

    def begin(self, status: int, headers: Headers) -> None:
        """Send the head of the response."""

    def open_tunnel(self, status: int, headers: Headers) -> Carrier:
        """Send the head that opens a tunnel; what carries the tunnel from now on."""

    def end_half(self) -> None:
        """Tell the client that nothing more comes out of the tunnel."""

    def send(self, data: bytes) -> None:
        """Send a piece of its body."""

    def finish(self, trailers: Headers) -> None:
        """Complete the response, with these behind its body where that can be."""

    def cut(self) -> None:
        """Send what there is, and leave the response visibly incomplete."""

    def drop(self) -> None:
        """Give up at once."""

    def hurry(self) -> None:
        """Give up if what was sent does not leave within a reasonable time."""

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Twisted's, for the body of the response."""

    def unregisterProducer(self) -> None:
        """See ``registerProducer``."""


class Exchange(Stream):
    """One request and its response."""

    kind = Kind.BYTES

    def __init__(
        self, carrier: Carrier, request: Metadata, max_body: int | None = None
    ) -> None:
        super().__init__()
        self.request = request
        """What metadata has under ``/HTTP``."""
        self._carrier = carrier
        self._max_body = max_body
        self._status = 200
        self._headers: Headers = []
        self._length: int | None = None
        """How much more may be written, where a Content-Length was announced."""
        self._trailers: Headers = []
        self._begun = False
        self.is_over = False
        """Nothing more is read or written, though what was may be under way."""
        self._closing: Loss | None = None

    # -- the read half: the body of the request ---------------------------------

    def _pause(self) -> None:
        if not self.is_over:
            self._carrier.pause()

    def _resume(self) -> None:
        if not self.is_over:
            self._carrier.resume()

    @property
    def wants_data(self) -> bool:
        """Whether ``body`` may be called: not held, or not listening any more."""
        return self.is_over or not self.is_held

    def body(self, data: bytes) -> None:
        """A piece of the request's body came."""
        if self.is_over:
            self._drop("closing", len(data))
        elif self._max_body is not None and self.bytes_in + len(data) > self._max_body:
            self._drop("max-body", len(data))
            self.refuse_body(self._max_body)
        else:
            self._deliver(data)

    def body_ended(self, trailers: Headers | None = None) -> None:
        """The request is complete, with these fields behind its body."""
        if self.is_over:
            self.read_ended = True
            return
        if trailers and not self.read_ended and self._sink is not None:
            self._sink.describe(trailer_facts(trailers))
        self._read_ended()

    @property
    def is_waiting(self) -> bool:
        """Whether nothing but the client keeps the request from being served."""
        return not (self._begun or self.is_over or self.is_held or self.read_ended)

    # -- the write half: the response ---------------------------------------------

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        if not self.is_over:
            self._carrier.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        if not self.is_over:
            self._carrier.unregisterProducer()

    def describe(self, facts: Metadata) -> None:
        """
        Take ``/HTTP/status`` and ``/HTTP/headers``, unless the response has begun.

        Values may be lists, for headers that are repeated.  Headers that concern the
        connection are left alone; a status that is not final is an interim response.
        ``/HTTP/begin`` sends the head at once, and cuts a response that has one
        already; ``/HTTP/trailers`` are sent behind the body.
        """
        about = facts.get("HTTP")
        if self.is_over or not isinstance(about, Mapping):
            return
        trailers = trailers_of(facts)
        if trailers is not None:
            self._trailers = encoded(trailers)
            return
        status, headers = about.get("status"), about.get("headers")
        fields = _final(headers) if isinstance(headers, Mapping) else None
        if isinstance(status, int) and 101 < status < 200:
            self._inform(status, fields or [])
        elif not self._begun:
            self._describe(status, fields, about.get("begin") is True)
        elif about.get("begin") is True:
            self._closing = Loss(Reason.PROTOCOL, "a second response came")
            self._quit(self._carrier.cut)

    def _inform(self, status: int, headers: Headers) -> None:
        if not self._begun:
            self._carrier.inform(status, _without_length(headers))

    def _describe(self, status: Any, fields: Headers | None, now: bool) -> None:
        if isinstance(status, int) and 200 <= status <= 999:
            self._status = status
        if fields is not None:
            self._headers = fields
        if now:
            self._begin()

    def write(self, data: bytes) -> None:
        if self.is_over:
            self._drop("closing", len(data))
            return
        self.messages_out += 1
        self.bytes_out += len(data)
        self._begin()
        self._send(data)

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        if self._status == 204:
            self._headers = _without_length(self._headers)
        self._length = _length_of(self._headers)
        self._carrier.begin(self._status, self._headers)

    def _send(self, data: bytes) -> None:
        if not self._has_body:
            return
        if self._length is not None:
            if len(data) > self._length:
                self._drop("content-length", len(data) - self._length)
                data = data[: self._length]
            self._length -= len(data)
        if data:
            self._carrier.send(data)

    @property
    def _has_body(self) -> bool:
        return self.request["method"] != "HEAD" and self._status not in BODILESS

    def end(self) -> None:
        """Complete the response, an empty one if nothing was written."""
        if self.is_over:
            return
        if not self._begun and self._has_body and _length_of(self._headers) is None:
            self._headers.append((b"content-length", b"0"))
        self._begin()
        if self._has_body and self._length:
            self._closing = Loss(Reason.PROTOCOL, "less than the Content-Length came")
            self._quit(self._carrier.cut)
        else:
            self._quit(self._finish)

    def _finish(self) -> None:
        self._carrier.finish(self._trailers if self._has_body else [])

    def _quit(self, leave: Callable[[], None]) -> None:
        self._carrier.unregisterProducer()
        self.is_over = True
        leave()

    # -- the end ------------------------------------------------------------------

    def refuse(self, status: int, detail: str, *, last: bool = False) -> None:
        """
        Answer with an error that nobody else has a word for.

        ``last`` asks the client to use the connection no more.
        """
        if self.is_over or self._begun:
            return
        accept = self.request["headers"].get("accept", "")
        self._status = status
        self._headers, body = error_response(status, detail, accept)
        if last:
            self._headers.append((b"connection", b"close"))
        self._begin()
        self._send(body)
        self._trailers = []
        self._quit(self._finish)

    def refuse_body(self, most: int) -> None:
        """The request is larger than is taken here."""
        what = f"at most {most} bytes of a request are taken here"
        self.fail(413, Loss(Reason.REFUSED, what))

    def close(self, loss: Loss) -> None:
        """
        Say why, if nothing was said yet; what was begun is ended as it deserves.

        A response that is cut off must not look complete, but for one that somebody
        meant to end here.
        """
        if self.is_over:
            self._carrier.hurry()
            return
        self._closing = loss
        if not self._begun:
            self.refuse(loss.status, str(loss))
        elif loss.reason in _PEACEFUL:
            self.end()
        else:
            self._quit(self._carrier.cut)
        self._carrier.hurry()

    def abort(self, loss: Loss) -> None:
        """Drop the connection; where there is still time for an error, after that."""
        if self.loss is not None:
            return
        self._closing = self._closing or loss
        if not self._begun and not self.is_over:
            self.refuse(loss.status, str(loss), last=True)
            self._carrier.hurry()
        else:
            self.is_over = True
            self._carrier.drop()
        self._lose(self._closing)

    def fail(self, status: int, loss: Loss) -> None:
        """The rest of the request will never come."""
        if self.is_over:
            return
        self._closing = loss
        if self._begun:
            self._quit(self._carrier.cut)
        else:
            self.refuse(status, loss.detail, last=True)
        self._lose(loss)

    def gone(self, loss: Loss) -> None:
        """The carrier is done with it."""
        self.is_over = True
        self._lose(self._closing or loss)


def _final(headers: Mapping[Any, Any]) -> Headers:
    """What may be sent of headers from elsewhere; the connection has its own."""
    given = [(name.lower(), value) for name, value in plain_headers(headers)]
    lengths = [value for name, value in given if name == "content-length"]
    sent = [(n, v) for n, v in given if n not in HOP_BY_HOP | {"content-length"}]
    if len(lengths) == 1 and lengths[0].isascii() and lengths[0].isdigit():
        sent.append(("content-length", lengths[0]))
    return encoded(sent)


def encoded(headers: Iterable[tuple[str, str]]) -> Headers:
    """Headers as they are sent."""
    return [(name.encode("ascii"), _octets(value)) for name, value in headers]


def _octets(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _length_of(headers: Headers) -> int | None:
    lengths = [int(value) for name, value in headers if name == b"content-length"]
    return lengths[0] if lengths else None


def _without_length(headers: Headers) -> Headers:
    return [header for header in headers if header[0] != b"content-length"]


def phrase_of(status: int) -> str:
    """The reason phrase of a status, empty for one that has none."""
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else ""


def error_response(status: int, detail: str, accept: str = "") -> tuple[Headers, bytes]:
    """Headers and body of an error: the original's, or RFC 9457's where it is asked."""
    about: Metadata = {"status": status, "message": phrase_of(status)}
    about["content"] = detail
    kind = "application/json"
    if "application/problem+json" in accept:
        about = {"type": "about:blank", "title": phrase_of(status), "status": status}
        about["detail"] = detail
        kind = "application/problem+json"
    body = json.dumps(about, ensure_ascii=False, indent=4).encode()
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", b"%d" % len(body)),
    ]
    return headers, body


def with_origin(headers: Headers, seconds: float) -> Headers:
    """``headers`` with the date and our name, where they bring none along."""
    named = {name for name, _ in headers}
    own = [(b"date", datetimeToString(seconds)), (b"server", SERVER)]
    return [header for header in own if header[0] not in named] + headers
