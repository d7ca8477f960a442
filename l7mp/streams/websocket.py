"""
WebSocket connections (RFC 6455) as streams of messages: the adapter to autobahn.

How a connection ended becomes the reason of a loss: close codes 1000, 1001 and none
are ``fin``; 1002, 1003, 1007, 1008, 1009 and 1010 ``protocol-error``; 1006, that is no
close at all, ``reset``; others, such as 1011, ``fin`` with the code in the detail.
The other way round a session that ended well closes with 1000, a proxy that stops with
1001, and everything else with 1011.

No timer of autobahn's is used: they run on a global reactor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import txaio
from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from autobahn.websocket.types import ConnectionDeny
from twisted.internet.interfaces import IDelayedCall, IProducer

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import Metadata
from l7mp.streams.queueing import QueueingStream
from l7mp.wire.httpmeta import request_metadata

txaio.use_twisted()

MessageType = Literal["binary", "text", "auto"]

HANDSHAKE = 10.0
"""Seconds that a client has for its opening handshake."""

CLOSE = 2.0
"""Seconds that a peer has to answer a close frame."""

MAX_REASON = 123
"""Bytes of a close reason (RFC 6455, section 5.5)."""

_PROTOCOL = frozenset({1002, 1003, 1007, 1008, 1009, 1010})
_NORMAL = frozenset({None, 1000, 1001, 1005})
_CODES = {
    Reason.FIN: 1000,
    Reason.DELETED: 1000,
    Reason.IDLE: 1000,
    Reason.RECONFIGURED: 1000,
    Reason.SHUTDOWN: 1001,
}


def loss_of_close(code: int | None, reason: str | None) -> Loss:
    """What a close code (RFC 6455, section 7.4.1) means."""
    detail = f"close {code} {reason or ''}".strip() if code is not None else ""
    if code in _NORMAL:
        return Loss(Reason.FIN, detail)
    if code == 1006:
        return Loss(Reason.RESET, "gone without a close frame")
    if code in _PROTOCOL:
        return Loss(Reason.PROTOCOL, detail)
    return Loss(Reason.FIN, detail)


class WebSocketStream(QueueingStream):
    """One WebSocket connection, of either side."""

    def __init__(self, protocol: Any, clock: Any, message_type: MessageType) -> None:
        super().__init__()
        self._protocol, self._clock = protocol, clock
        self._auto = message_type == "auto"
        self._binary = message_type != "text"
        self._closing: Loss | None = None
        self._timer: IDelayedCall | None = None

    @property
    def transport(self) -> Any:
        """Twisted's transport under the connection."""
        return self._protocol.transport

    # -- the read half ------------------------------------------------------

    def _pause(self) -> None:
        if self.loss is None and self._closing is None:
            self._protocol.transport.pauseProducing()

    def _resume_reading(self) -> None:
        if self.loss is None:
            self._protocol.transport.resumeProducing()

    def received(self, payload: bytes, is_binary: bool) -> None:
        """The peer sent a message."""
        if self._auto:
            self._binary = is_binary
        if self._closing is None:
            self._arrived(payload)
        else:
            self._drop("closing")

    # -- the write half -----------------------------------------------------

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        if self.loss is None:
            self._protocol.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        if self.loss is None:
            self._protocol.transport.unregisterProducer()

    def write(self, data: bytes) -> None:
        self.messages_out += 1
        self.bytes_out += len(data)
        if self._timer is None and self.loss is None:
            self._protocol.sendMessage(data, self._binary)
        else:
            self._drop("closed")

    def end(self) -> None:
        """Begin to close; what the peer still sends until it has closed is read."""
        self._say_goodbye(1000, "")

    def close(self, loss: Loss) -> None:
        if self._closing is not None or self.loss is not None:
            return
        self._closing = loss
        self._discard_queue("closing")
        self.unregisterProducer()
        self._protocol.transport.resumeProducing()
        code = _CODES.get(loss.reason, 1011)
        self._say_goodbye(code, "" if loss.reason is Reason.FIN else str(loss))

    def _say_goodbye(self, code: int, why: str) -> None:
        if self._timer is not None or self.loss is not None:
            return
        late = self._protocol.transport.abortConnection
        self._timer = self._clock.callLater(CLOSE, late)
        self._protocol.sendClose(code, why.encode()[:MAX_REASON].decode("utf-8", "ignore"))

    def abort(self, loss: Loss) -> None:
        if self.loss is None:
            self._closing = self._closing or loss
            self._discard_queue("aborted")
            self._protocol.transport.abortConnection()

    # -- the end --------------------------------------------------------------

    def closed(self, code: int | None, reason: str | None) -> None:
        """The connection is no more."""
        loss = loss_of_close(code, reason)
        if self._timer is not None:
            loss = Loss(Reason.FIN)  # we closed it ourselves
            if self._timer.active():
                self._timer.cancel()
        self._lose(self._closing or loss)


class _Common:
    """What both sides do with autobahn's callbacks."""

    stream: WebSocketStream | None = None
    transport: Any
    factory: Any

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.stream is not None:
            self.stream.received(payload, isBinary)

    def _born(self) -> WebSocketStream:
        factory = self.factory
        self.transport.pauseProducing()
        self.stream = WebSocketStream(self, factory.reactor, factory.message_type)
        return self.stream


class ServerProtocol(_Common, WebSocketServerProtocol):  # type: ignore[misc]
    """A connection that a client opened."""

    _shaking: IDelayedCall | None = None
    _metadata: Metadata

    def connectionMade(self) -> None:
        super().connectionMade()
        late = self.transport.abortConnection
        self._shaking = self.factory.reactor.callLater(HANDSHAKE, late)

    def onConnect(self, request: Any) -> Any:
        factory = self.factory
        if factory.path is not None and request.path != factory.path:
            raise ConnectionDeny(404, f"nothing is served at {request.path}")
        self._metadata = request_metadata(
            "GET", self.http_request_uri, "1.1", request.headers.items()
        )
        offered = list(request.protocols)
        if factory.subprotocols is not None:
            offered = [word for word in offered if word in factory.subprotocols]
        return offered[0] if offered else None

    def onOpen(self) -> None:
        if self._shaking is not None and self._shaking.active():
            self._shaking.cancel()
        self.factory.ready(self._born(), self._metadata)

    def connectionLost(self, reason: Any) -> None:
        if self._shaking is not None and self._shaking.active():
            self._shaking.cancel()
        super().connectionLost(reason)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if self.stream is not None:
            self.stream.closed(code, reason)


class ServerFactory(WebSocketServerFactory):  # type: ignore[misc]
    """Makes server connections and tells ``ready`` of each."""

    protocol = ServerProtocol
    noisy = False

    def __init__(
        self,
        reactor: Any,
        ready: Callable[[WebSocketStream, Metadata], None],
        *,
        path: str | None,
        subprotocols: tuple[str, ...] | None,
        message_type: MessageType,
        max_message: int,
    ) -> None:
        super().__init__(reactor=reactor)
        self.ready, self.path, self.subprotocols = ready, path, subprotocols
        self.message_type = message_type
        self.setProtocolOptions(
            webStatus=False, serveFlashSocketPolicy=False, **_options(max_message)
        )


class ClientProtocol(_Common, WebSocketClientProtocol):  # type: ignore[misc]
    """A connection that we open."""

    def onOpen(self) -> None:
        self.factory.ready(self._born())

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if self.stream is not None:
            self.stream.closed(code, reason)
        else:
            detail = reason or "the server closed during the handshake"
            self.factory.refused(RemoteError(Loss(Reason.REFUSED, detail)))


class ClientFactory(WebSocketClientFactory):  # type: ignore[misc]
    """Makes one client connection; ``ready`` or ``refused`` hears of the handshake."""

    protocol = ClientProtocol
    noisy = False

    def __init__(
        self,
        reactor: Any,
        url: str,
        ready: Callable[[WebSocketStream], None],
        refused: Callable[[RemoteError], None],
        *,
        headers: Mapping[str, str],
        subprotocols: list[str],
        message_type: MessageType,
        max_message: int,
    ) -> None:
        super().__init__(
            url=url, headers=dict(headers), protocols=subprotocols, reactor=reactor
        )
        self.ready, self.refused = ready, refused
        self.message_type = message_type
        self.setProtocolOptions(**_options(max_message), serverConnectionDropTimeout=0)


def _options(max_message: int) -> dict[str, Any]:
    return {
        "openHandshakeTimeout": 0,
        "closeHandshakeTimeout": 0,
        "maxMessagePayloadSize": max_message,
        "maxFramePayloadSize": max_message,
        "failByDrop": False,
        "tcpNoDelay": True,
        "utf8validateIncoming": True,
    }
