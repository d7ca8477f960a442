"""A resource of twisted.web as a stage: a request goes in, a response comes out."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from twisted.web.server import Request, Site
from zope.interface import Interface, implementer

from l7mp.errors import Loss, Reason
from l7mp.interfaces import Kind, Metadata
from l7mp.streams.http import error_response
from l7mp.streams.stream import Stream
from l7mp.wire.httpmeta import plain_headers, request_path

MAX_BODY = 64 << 20
"""Bytes of a request's body taken, at most."""

PIECE = 64 << 10
"""Bytes of a response handed on at once, so that a slow client can be waited for."""

_NOT_OURS = frozenset({"transfer-encoding", "connection", "date", "server"})
"""Headers of a response that whoever puts it on a wire decides."""

_PROTO = b"HTTP/2"
"""What requests are told to have come by: for 1.1 they would make chunks themselves."""


class ISessionName(Interface):
    """
    A request's component that tells which session carries it: a ``str`` of it.

    ``str(ISessionName(request, ""))`` is the name, or nothing for other requests.
    """


@implementer(ISessionName)
class SessionName(str):
    """See ``ISessionName``."""

    __slots__ = ()


class ResourceStream(Stream):
    """
    Collects the request's body, has the resource answer, passes the answer on.

    A request that is too large is answered 413.  A resource that registers no producer
    is not slowed down: what it writes waits here.
    """

    kind = Kind.BYTES
    half_close = True

    def __init__(
        self, site: Site, metadata: Metadata, clock: Any, max_body: int = MAX_BODY
    ) -> None:
        super().__init__()
        self._metadata, self._max_body = metadata, max_body
        self._about: Mapping[str, Any] = metadata["HTTP"]
        self._queue: deque[bytes] = deque()
        self._facts: Metadata | None = None
        """The head of the response, until the first of its body follows."""
        self._answering = self._complete = self._draining = False
        self._channel = _Channel(self, site, metadata, clock)
        self._request = self._make_request(site)

    def _make_request(self, site: Site) -> Request:
        request: Request = site.requestFactory(self._channel, queued=False)
        length = None
        for name, value in plain_headers(self._about["headers"]):
            request.requestHeaders.addRawHeader(
                name, value.encode("latin-1", "replace")
            )
            if name.lower() == "content-length" and value.isdigit():
                length = min(int(value), self._max_body)
        bodiless = self._about["method"] in ("GET", "HEAD")
        request.gotLength(0 if length is None and bodiless else length)
        request.parseCookies()
        name = SessionName(self._metadata.get("name", ""))
        request.setComponent(ISessionName, name)
        return request

    # -- the write half: the request ----------------------------------------------

    def write(self, data: bytes) -> None:
        if self._answering or self.loss is not None:
            self._drop("closing", len(data))
            return
        self.messages_out += 1
        self.bytes_out += len(data)
        if self.bytes_out > self._max_body:
            self.refuse(413, f"at most {self._max_body} bytes are taken")
        else:
            self._request.handleContentChunk(data)

    def end(self) -> None:
        """The request is complete: answer it."""
        if self._answering or self.loss is not None:
            return
        self._answering = True
        self._request.requestReceived(
            str(self._about["method"]).encode("latin-1", "replace"),
            request_path(str(self._about["url"]["path"])).encode("ascii"),
            _PROTO,
        )

    def refuse(self, status: int, detail: str) -> None:
        """Answer in the resource's place."""
        self._answering = True
        self._hang_up(detail)
        accept = str(self._about["headers"].get("accept", ""))
        headers, body = error_response(status, detail, accept)
        shown = {name.decode(): value.decode() for name, value in headers}
        self.head({"HTTP": {"status": status, "headers": shown}})
        self.put(body)
        self.complete()

    # -- the read half: the response ------------------------------------------------

    def head(self, facts: Metadata) -> None:
        """The head of the response; it travels with the first of the body."""
        self._facts = facts

    def put(self, data: bytes) -> None:
        """Some of the response's body."""
        if self.loss is not None:
            return
        for start in range(0, len(data), PIECE):
            self._queue.append(data[start : start + PIECE])
        self._drain()

    def complete(self) -> None:
        """Nothing more will be put."""
        self._complete = True
        self._drain()

    def _pause(self) -> None:
        self._channel.pause()

    def _resume(self) -> None:
        self._drain()

    def _drain(self) -> None:
        """Deliver what waits, as far as it is taken, and then what is to be said."""
        if self._draining:
            return
        self._draining = True
        while self._queue and not self.is_held and self.loss is None:
            self._announce()
            self._deliver(self._queue.popleft())
        self._draining = False
        if self._queue or self.is_held or self.loss is not None:
            return
        if self._complete:
            self._announce()
            self._read_ended()
            self._lose(Loss(Reason.FIN))
        else:
            self._channel.resume()

    def _announce(self) -> None:
        facts, self._facts = self._facts, None
        if facts is not None and self._sink is not None:
            self._sink.describe(facts)

    # -- the end --------------------------------------------------------------------

    def abort(self, loss: Loss) -> None:
        """Tell the resource, and forget what was not delivered."""
        if self.loss is not None:
            return
        if self._queue:
            self._drop("aborted", sum(map(len, self._queue)))
            self._queue.clear()
        self._lose(loss)
        if not self._complete:
            self._answering = True
            self._hang_up(str(loss))

    def _hang_up(self, why: str) -> None:
        self._channel.stop()
        self._request.connectionLost(Failure(ConnectionLost(why)))


class _Channel:
    """What a request of twisted.web expects of the connection that brought it."""

    transport = None
    factory = None

    def __init__(
        self, stage: ResourceStream, site: Site, metadata: Metadata, clock: Any
    ) -> None:
        self._stage, self.site = stage, site
        self._metadata, self._clock = metadata, clock
        self._producer: Any = None
        self._paused = False

    # -- the response -----------------------------------------------------------------

    def writeHeaders(
        self, version: bytes, code: bytes, reason: bytes, headers: Headers
    ) -> None:
        """The head of the response."""
        every = {
            name.decode("latin-1").lower(): [
                value.decode("latin-1") for value in values
            ]
            for name, values in headers.getAllRawHeaders()
        }
        shown = {
            name: values[0] if len(values) == 1 else values
            for name, values in every.items()
            if name not in _NOT_OURS
        }
        self._stage.head({"HTTP": {"status": int(code), "headers": shown}})

    def write(self, data: bytes) -> None:
        """Some of the response's body."""
        self._stage.put(data)

    def writeSequence(self, pieces: Sequence[bytes]) -> None:
        """The same, in pieces."""
        self._stage.put(b"".join(pieces))

    def requestDone(self, request: Request) -> None:
        """The response is complete."""
        self._stage.complete()

    def loseConnection(self) -> None:
        """The resource leaves the response as it is."""
        self._stage.complete()

    def abortConnection(self) -> None:
        """The resource wants nobody to take the response for complete."""
        self._stage.abort(Loss(Reason.RESET, "the resource gave up"))

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Twisted could make nothing of a form."""
        self._stage.refuse(400, "the form is malformed")

    # -- pressure ---------------------------------------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Whoever makes the response wants to know when to wait."""
        self._producer = producer if streaming else _Pull(producer, self._clock)
        self._paused = not streaming
        if self._stage.is_held:
            self.pause()
        else:
            self.resume()

    def unregisterProducer(self) -> None:
        """It has made everything."""
        producer, self._producer = self._producer, None
        if isinstance(producer, _Pull):
            producer.pauseProducing()

    def pause(self) -> None:
        """Nobody takes more of the response for now."""
        if self._producer is not None and not self._paused:
            self._paused = True
            self._producer.pauseProducing()

    def resume(self) -> None:
        """All that was made is taken."""
        if self._producer is not None and self._paused:
            self._paused = False
            self._producer.resumeProducing()

    def stop(self) -> None:
        """Nobody will ever take more."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()

    # -- both ends --------------------------------------------------------------------

    def getPeer(self) -> IPv4Address | IPv6Address:
        """Where the request came from."""
        return self._side("src")

    def getHost(self) -> IPv4Address | IPv6Address:
        """Where it was sent to."""
        return self._side("dst")

    def _side(self, which: str) -> IPv4Address | IPv6Address:
        address = str(self._metadata.get("IP", {}).get(f"{which}_addr", ""))
        port = self._metadata.get("TCP", {}).get(f"{which}_port", 0)
        kind = IPv6Address if ":" in address else IPv4Address
        return kind("TCP", address, port)

    def isSecure(self) -> bool:
        """Nothing is known of TLS here."""
        return False


class _Pull:
    """A producer that has to be asked for every piece, as one that can be paused."""

    def __init__(self, producer: Any, clock: Any) -> None:
        self._producer, self._clock = producer, clock
        self._next: IDelayedCall | None = None

    def resumeProducing(self) -> None:
        """Ask again and again, but let others have their turn in between."""
        if self._next is None:
            self._next = self._clock.callLater(0, self._ask)

    def _ask(self) -> None:
        self._next = self._clock.callLater(0, self._ask)
        self._producer.resumeProducing()

    def pauseProducing(self) -> None:
        """Ask no more for now."""
        call, self._next = self._next, None
        if call is not None and call.active():
            call.cancel()

    def stopProducing(self) -> None:
        """Ask never again."""
        self.pauseProducing()
        self._producer.stopProducing()


def is_request(metadata: Metadata) -> bool:
    """Whether a session began with an HTTP request, and still knows it."""
    about = metadata.get("HTTP")
    return (
        isinstance(about, Mapping)
        and {"method", "url", "headers"} <= about.keys()
        and isinstance(about["headers"], Mapping)
        and isinstance(about["url"], Mapping)
        and "path" in about["url"]
    )


def site_of(resource: IResource, reactor: Any = None) -> Site:
    """A site around ``resource``, without a log of its own."""
    site = Site(resource, reactor=reactor)
    site.noisy = False
    return site
