"""
The adapter to autobahn, which speaks WebSocket (RFC 6455): no other module imports it.

Both sides do without autobahn's timers, which run on a reactor of their own; the
client writes its own request, because autobahn would add to it.  Compression is agreed
upon by ``l7mp.wire.deflate``, and autobahn never hears of it.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any

from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from l7mp.errors import Loss, Reason
from l7mp.interfaces import Metadata
from l7mp.streams.transport import loss_of
from l7mp.streams.websocket import Settings, WebSocketStream
from l7mp.streams.websocket_link import MAX_HEAD, ConnectionLink
from l7mp.wire.deflate import agreement, answer, longest, offer
from l7mp.wire.httpmeta import (
    Target,
    head_fields,
    offered_subprotocols,
    request_metadata,
    websocket_request,
)

_OPTIONS: dict[str, Any] = {
    # With 0 autobahn starts no timer of its own.
    "openHandshakeTimeout": 0,
    "closeHandshakeTimeout": 0,
    # It tells peers what they did wrong instead of hanging up, and repeats their code.
    "failByDrop": False,
    "echoCloseCodeReason": True,
    "tcpNoDelay": True,
}

_EXTENSIONS = "Sec-WebSocket-Extensions"


def _longest(settings: Settings) -> int:
    """What autobahn is to take for the longest message on the wire."""
    return longest(settings.max_message) if settings.deflate else settings.max_message


def _listed(fields: Iterable[tuple[bytes, bytes]]) -> str:
    """The extensions that a head speaks of."""
    wanted = _EXTENSIONS.lower().encode()
    found = [value for name, value in fields if name.lower() == wanted]
    return b",".join(found).decode("latin-1")


class _ServerLink(ConnectionLink, WebSocketServerProtocol):  # type: ignore[misc]
    """A connection that a client has made."""

    _about: dict[str, Any]

    def connectionMade(self) -> None:
        self.factory.shaking.add(self)
        super().connectionMade()

    def onConnect(
        self, request: ConnectionRequest
    ) -> tuple[str | None, dict[str, str]]:
        head = self.http_request_data
        target = self.http_request_uri
        if not target.isascii():
            raise ConnectionDeny(400, "a request target is ASCII (RFC 3986)")
        self._about = request_metadata("GET", target, "1.1", head_fields(head))
        path = self._about["url"]["path"].partition("?")[0]
        if self.factory.path not in (None, path):
            raise ConnectionDeny(404, f"there is nothing at {path}")
        offered = offered_subprotocols({"HTTP": self._about})
        wanted = self.factory.subprotocols
        known = (name for name in offered if wanted is None or name in wanted)
        return next(known, None), self._agree(head)

    def _agree(self, head: bytes) -> dict[str, str]:
        self.websocket_extensions = []  # or autobahn would answer them
        settings = self.settings
        if not settings.deflate:
            return {}
        agreed = answer(_listed(head_fields(head)), settings.deflate_context)
        if agreed is None:
            return {}
        self._compress(agreed[0], is_server=True)
        return {_EXTENSIONS: agreed[1]}

    def onOpen(self) -> None:
        self.factory.shaking.discard(self)
        self.factory.ready(self._born(), self._about)

    def sendHttpErrorResponse(
        self,
        code: int,
        reason: str,
        responseHeaders: Sequence[tuple[str, str]] | None = None,
    ) -> None:
        # autobahn would put its reason on the status line and leave the end open.
        body = f"{reason}\n".encode("utf-8", "replace")
        fields = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
            *(responseHeaders or ()),
            *_HEADERS.get(code, ()),
        ]
        status = f"HTTP/1.1 {code} {HTTPStatus(code).phrase}"
        lines = [status, *(f"{name}: {value}" for name, value in fields), "", ""]
        self.sendData("\r\n".join(lines).encode("ascii") + body)

    def _refuse_head(self) -> None:
        self.failHandshake(f"the request is longer than {MAX_HEAD} octets", 431)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.shaking.discard(self)
        super().connectionLost(reason)


_HEADERS = {
    405: (("Allow", "GET"),),
    426: (("Upgrade", "websocket"),),
}
"""What a status must bring along (RFC 9110, sections 15.5.6 and 15.5.22)."""


class ServerFactory(WebSocketServerFactory):
    """Shakes hands with clients and tells ``ready`` of each stream and its request."""

    protocol = _ServerLink
    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        ready: Callable[[WebSocketStream, Metadata], None],
        settings: Settings = Settings(),  # noqa: B008  # which is frozen
        path: str | None = None,
        subprotocols: Sequence[str] | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        """
        Any ``path`` and the first of the subprotocols offered, unless given.

        ``headers`` are added to each response that lets a client in.
        """
        super().__init__(reactor=clock, server="", headers=dict(headers))
        self.ready, self.settings = ready, settings
        self.path, self.subprotocols = path, subprotocols
        self.shaking: set[_ServerLink] = set()
        self.setProtocolOptions(
            **_OPTIONS,
            maxMessagePayloadSize=_longest(settings),
            webStatus=False,
            allowNullOrigin=True,
        )

    def stop(self) -> None:
        """Part with those that have not shaken hands yet."""
        for link in self.shaking:
            link.hang_up()


class _ClientLink(ConnectionLink, WebSocketClientProtocol):  # type: ignore[misc]
    """A connection that we have made."""

    def connectionMade(self) -> None:
        self.factory.link = self
        super().connectionMade()

    def startHandshake(self) -> None:
        self.websocket_key = base64.b64encode(os.urandom(16))
        self.sendData(self.factory.request(self.websocket_key.decode()))

    def processHandshake(self) -> None:
        # autobahn takes a head that is no UTF-8 for a fault of its own.
        end = self.data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.data[:end].decode("ascii", "replace").encode("ascii", "replace")
        try:
            self.data = self._agree(head) + self.data[end:]
        except ValueError as error:
            self.failHandshake(str(error))
            return
        super().processHandshake()

    def _agree(self, head: bytes) -> bytes:
        """A response without what it says about compression, which is heeded."""
        if not self.settings.deflate or not head.startswith(b"HTTP/1.1 101"):
            return head
        agreed = agreement(_listed(head_fields(head)))
        if agreed is None:
            return head
        self._compress(agreed, is_server=False)
        lines = head.split(b"\r\n")
        wanted = _EXTENSIONS.lower().encode()
        kept = (line for line in lines if line.split(b":")[0].lower() != wanted)
        return b"\r\n".join(kept)

    def onOpen(self) -> None:
        self.factory.ready(self._born())

    def failHandshake(self, reason: str) -> None:
        words = getattr(self, "http_status_line", "").split(None, 1)
        loss = Loss(Reason.PROTOCOL, reason)
        if len(words) > 1 and not words[1].startswith("101"):
            loss = Loss(Reason.REFUSED, f"HTTP {words[1]}")
        self.factory.refused(loss)
        super().failHandshake(reason)

    def _refuse_head(self) -> None:
        self.failHandshake(f"the response is longer than {MAX_HEAD} octets")

    def _late(self, seconds: float) -> None:
        if self.stream is None:
            self.factory.refused(Loss(Reason.TIMEOUT, "the handshake took too long"))
        super()._late(seconds)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        if self.stream is None:
            loss = loss_of(reason)
            detail = loss.detail or "the server closed during the handshake"
            self.factory.refused(Loss(Reason.RESET, detail))


class ClientFactory(WebSocketClientFactory):
    """
    Shakes hands with one server.

    ``ready`` hears of the stream or, with the reason, ``refused`` of the failure.
    """

    protocol = _ClientLink
    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        target: Target,
        ready: Callable[[WebSocketStream], None],
        refused: Callable[[Loss], None],
        headers: Sequence[tuple[str, str]] = (),
        subprotocols: Sequence[str] = (),
        settings: Settings = Settings(),  # noqa: B008  # which is frozen
    ) -> None:
        super().__init__(protocols=list(subprotocols), reactor=clock)
        self.ready, self.refused, self.settings = ready, refused, settings
        self.link: _ClientLink | None = None
        self._target, self._headers = target, headers
        self.setProtocolOptions(
            **_OPTIONS,
            maxMessagePayloadSize=_longest(settings),
            serverConnectionDropTimeout=0,
        )

    def request(self, key: str) -> bytes:
        """The request, with the nonce of its connection."""
        settings = self.settings
        offered = offer(settings.deflate_context) if settings.deflate else ""
        return websocket_request(
            self._target, key, self._headers, self.protocols, offered
        )

    def hang_up(self) -> None:
        """Drop the connection, if there is one."""
        if self.link is not None:
            self.link.hang_up()
