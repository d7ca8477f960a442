"""A resource of twisted.web as a stage: a request goes in, a response comes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from twisted.web.server import Request, Site
from zope.interface import Interface, implementer

from l7mp.errors import Loss, Reason
from l7mp.interfaces import Kind, Metadata
from l7mp.streams.stream import Stream

MAX_BODY = 64 << 20
"""Bytes of a request's body taken, at most."""

FRAMING = frozenset({"transfer-encoding", "connection", "date", "server"})


class ISessionName(Interface):
    """A request's component that tells which session carries it: a ``str`` of it."""


@implementer(ISessionName)
class SessionName(str):
    """See ``ISessionName``."""

    __slots__ = ()


class ResourceStream(Stream):
    """Collects the request's body, has the resource answer, passes the answer on."""

    kind = Kind.BYTES
    half_close = True

    def __init__(self, site: Site, metadata: Metadata) -> None:
        super().__init__()
        self.site = site
        self._metadata = metadata
        self._body: list[bytes] = []
        self._request: Request | None = None
        self._answer: list[bytes] = []
        self.is_done = False
        """Whether the response is complete."""

    # -- the request ------------------------------------------------------------

    def write(self, data: bytes) -> None:
        self.messages_out += 1
        self.bytes_out += len(data)
        if self.bytes_out <= MAX_BODY:
            self._body.append(data)
        else:
            self._body.clear()

    def end(self) -> None:
        """The request is complete: answer it."""
        if self._request is None and self.loss is None:
            self._request = Request(
                _Channel(self, self._metadata, self.site), queued=False
            )
            if self.bytes_out > MAX_BODY:
                self._too_large()
            else:
                self._render(self._request)

    def _too_large(self) -> None:
        about = {"status": 413, "headers": {"content-type": "text/plain"}}
        self.tell({"HTTP": about})
        self.put(f"at most {MAX_BODY} bytes are taken\n".encode())
        self.done()

    def _render(self, request: Request) -> None:
        about = self._metadata["HTTP"]
        headers = {k: v for k, v in about["headers"].items() if k != "content-length"}
        for name, value in headers.items():
            request.requestHeaders.addRawHeader(name, str(value))
        body = b"".join(self._body)
        self._body.clear()
        request.gotLength(len(body))
        request.site = self.site
        request.parseCookies()
        if body:
            request.handleContentChunk(body)
        name = SessionName(self._metadata.get("name", ""))
        request.setComponent(ISessionName, name)
        request.requestReceived(
            about["method"].encode("ascii"),
            about["url"]["path"].encode("latin-1", "replace"),
            b"HTTP/1.0",  # which spares us the chunks
        )

    # -- the response -----------------------------------------------------------------

    def tell(self, facts: Metadata) -> None:
        """The head of the response."""
        if self._sink is not None and self.loss is None:
            self._sink.describe(facts)

    def put(self, data: bytes) -> None:
        """A piece of the response's body."""
        if self.is_held:
            self._answer.append(data)
        elif self.loss is None and data:
            self._deliver(data)

    def done(self) -> None:
        """Nothing more will be put."""
        self.is_done = True
        self._finish_if_drained()

    def _resume(self) -> None:
        while self._answer and not self.is_held:
            self._deliver(self._answer.pop(0))
        self._finish_if_drained()

    def _finish_if_drained(self) -> None:
        if self.is_done and not self._answer and not self.is_held and self.loss is None:
            self._read_ended()
            self._lose(Loss(Reason.FIN))

    # -- the end --------------------------------------------------------------

    def abort(self, loss: Loss) -> None:
        if self.loss is None:
            request, self._request = self._request, None
            self._lose(loss)
            if request is not None and not self.is_done:
                request.connectionLost(Failure(ConnectionDone()))


class _Channel:
    """What a request of twisted.web expects of the connection that brought it."""

    factory = None

    def __init__(self, stage: ResourceStream, metadata: Metadata, site: Site) -> None:
        self._stage, self._metadata, self.site = stage, metadata, site
        self.transport = self

    def writeHeaders(
        self, version: bytes, code: bytes, reason: bytes, headers: Any
    ) -> None:
        """The head of the response."""
        pairs = (
            ((k, v) for k, values in headers.getAllRawHeaders() for v in values)
            if isinstance(headers, Headers)
            else headers
        )
        words = ((k.decode("ascii").lower(), v.decode("latin-1")) for k, v in pairs)
        shown = {name: value for name, value in words if name not in FRAMING}
        self._stage.tell({"HTTP": {"status": int(code), "headers": shown}})

    def write(self, data: bytes) -> None:
        """A piece of the response's body."""
        self._stage.put(data)

    def writeSequence(self, pieces: Sequence[bytes]) -> None:
        """Pieces of the response's body."""
        self._stage.put(b"".join(pieces))

    def requestDone(self, request: Request) -> None:
        """The response is complete."""
        self._stage.done()

    def loseConnection(self) -> None:
        """The resource wants no more of it."""
        self._stage.done()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Responses are as large as the configuration, which is in memory anyway."""
        if not streaming:
            while not self._stage.is_done:
                producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """See ``registerProducer``."""

    def getPeer(self) -> IPv4Address:
        """Where the request came from."""
        return self._side("src")

    def getHost(self) -> IPv4Address:
        """Where it was sent to."""
        return self._side("dst")

    def _side(self, which: str) -> IPv4Address:
        address = self._metadata.get("IP", {}).get(f"{which}_addr", "")
        port = self._metadata.get("TCP", {}).get(f"{which}_port", 0)
        return IPv4Address("TCP", str(address), port)

    def isSecure(self) -> bool:
        """Nothing is known of TLS here."""
        return False


def is_request(metadata: Metadata) -> bool:
    """Whether a session began with an HTTP request, and still knows it."""
    about = metadata.get("HTTP")
    return isinstance(about, dict) and {"method", "url", "headers"} <= about.keys()


def site_of(resource: IResource) -> Site:
    """A site around ``resource``, without a log of its own."""
    site = Site(resource)
    site.noisy = False
    return site
