"""A TCP port where HTTP is spoken, and the connections that were accepted there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from l7mp.interfaces import IFlowTransport, IListening
from l7mp.streams.endpoint import TCPListening, factory_of, listen_tcp
from l7mp.streams.http import Exchange
from l7mp.streams.http1 import HTTP1
from l7mp.streams.http2 import HTTP2, IS_AVAILABLE, PREFACE
from l7mp.streams.httpengine import USUAL, Engine, Settings
from l7mp.streams.transport import loss_of

ALPN = ("h2", "http/1.1") if IS_AVAILABLE else ("http/1.1",)
"""What can be spoken where client and server agree beforehand (RFC 7301)."""

Ready = Callable[[Exchange, Any], None]
"""Hears of each request: the newborn stream, and the transport of its connection."""


@implementer(IHalfCloseableProtocol)
class HTTPConnection(Protocol):
    """One connection of a server's."""

    def __init__(self, server: HTTPServer) -> None:
        self._server = server

    def connectionMade(self) -> None:
        transport = cast(IFlowTransport, self.transport)
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        self.engine: Engine = HTTP1(
            transport,
            self._server.clock,
            self._serve,
            self._server.settings,
            self._switch,
        )
        self._first: bytes | None = b"" if IS_AVAILABLE else None
        """What came as long as it may be the preface of HTTP/2."""
        agreed = getattr(transport, "negotiatedProtocol", None)
        if agreed == b"h2":
            self._speak_http2()
        elif agreed is not None:
            self._first = None
        self._server.connections.add(self)

    def _speak_http2(self) -> None:
        self._first = None
        self.engine.forget()
        server = self._server
        self.engine = HTTP2(self.transport, server.clock, self._serve, server.settings)

    def _switch(self, engine: Engine) -> None:
        self.engine = engine

    def _serve(self, exchange: Exchange) -> None:
        self._server.ready(exchange, self.transport)

    def dataReceived(self, data: bytes) -> None:
        if self._first is not None:
            data = self._first = self._first + data
            if len(data) < len(PREFACE) and PREFACE.startswith(data):
                return
            self._first = None
            if data.startswith(PREFACE):
                self._speak_http2()
        self.engine.received(data)

    def readConnectionLost(self) -> None:
        if self._first:
            self.engine.received(self._first)
            self._first = None
        self.engine.peer_ended()

    def writeConnectionLost(self) -> None:
        self.engine.flushed()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._server.connections.discard(self)
        self.engine.lost(loss_of(reason))


class HTTPServer:
    """What the connections of one listener share."""

    def __init__(self, clock: Any, ready: Ready, settings: Settings = USUAL) -> None:
        self.clock, self.ready, self.settings = clock, ready, settings
        self.connections: set[HTTPConnection] = set()

    def factory(self) -> Factory:
        """Twisted's maker of connections."""
        return factory_of(lambda: HTTPConnection(self))


@implementer(IListening)
class HTTPListening:
    """A bound port; when it is stopped, connections end with their exchange."""

    def __init__(self, listening: TCPListening, server: HTTPServer) -> None:
        self._listening, self._server = listening, server

    def address(self) -> dict[str, Any]:
        return self._listening.address()

    def stop(self) -> Deferred[None]:
        for connection in list(self._server.connections):
            connection.engine.retire()
        return self._listening.stop()


def listen_http(
    reactor: Any,
    port: int,
    address: str | None,
    ready: Ready,
    secure: Callable[[Factory], Any] = lambda factory: factory,
    settings: Settings = USUAL,
) -> HTTPListening:
    """
    Bind a port and let ``ready`` hear of requests; raises ``LocalError``.

    ``secure`` may put something between the port and HTTP, such as TLS.
    """
    server = HTTPServer(reactor, ready, settings)
    factory = secure(server.factory())
    return HTTPListening(listen_tcp(reactor, port, address, factory), server)
