"""WebSocket (RFC 6455): messages for browsers and whoever speaks like them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from twisted.internet.defer import CancelledError, Deferred, execute
from twisted.python.failure import Failure

from l7mp.core.registry import Accept, Context, Protocol
from l7mp.errors import LocalError, RemoteError
from l7mp.interfaces import IListening, IStream, Kind, Metadata
from l7mp.model.base import Items
from l7mp.model.config import EndPoint
from l7mp.model.spec import Spec
from l7mp.model.types import Address, Port
from l7mp.streams.address import host_port
from l7mp.streams.endpoint import listen_tcp, tcp_endpoint, tcp_metadata
from l7mp.streams.websocket import (
    ClientFactory,
    MessageType,
    ServerFactory,
    WebSocketStream,
)
from l7mp.wire.httpmeta import (
    Target,
    offered_subprotocols,
    upstream_headers,
    upstream_target,
)

MAX_MESSAGE = 16 << 20

MaxMessage = Annotated[int, Field(ge=1)]


class WebSocketListenerSpec(Spec):
    """Accept WebSocket connections; each is a session."""

    port: Port
    """The port to listen on."""
    address: Address | None = None
    """The local address to listen on; all, of IPv4 and IPv6, if missing."""
    path: str | None = None
    """The only path to serve; all if missing."""
    subprotocols: Items[str] | None = None
    """Which subprotocols to accept; if missing, the first that the client offers."""
    message_type: MessageType = "binary"
    """What is sent: binary or text messages, or auto for the kind last received."""
    max_message: MaxMessage = MAX_MESSAGE
    """Bytes of the longest message taken; longer ones close with 1009."""


class WebSocketClusterSpec(Spec):
    """
    Open a WebSocket connection for each session.

    Where to, and with which path and headers, can be set by rewriting
    ``/HTTP/url/{protocol,host,port,path}`` and ``/HTTP/headers``.
    """

    port: Port
    """The port to connect to, for endpoints that name none of their own."""
    path: str | None = None
    """The path to ask for, unless the session's metadata names one."""
    subprotocols: Items[str] | None = None
    """Which subprotocols to offer; if missing, those that the client offered."""
    message_type: MessageType = "binary"
    """What is sent: binary or text messages, or auto for the kind last received."""
    max_message: MaxMessage = MAX_MESSAGE
    """Bytes of the longest message taken; longer ones close with 1009."""


def listen(
    context: Context, spec: WebSocketListenerSpec, accept: Accept
) -> Deferred[IListening]:
    """Bind the port."""

    def ready(stream: WebSocketStream, about: Metadata) -> None:
        metadata, words = tcp_metadata(stream.transport)
        accept(stream, {**metadata, "HTTP": about}, words)

    factory = ServerFactory(
        context.reactor,
        ready,
        path=spec.path,
        subprotocols=spec.subprotocols,
        message_type=spec.message_type,
        max_message=spec.max_message,
    )
    return execute(listen_tcp, context.reactor, spec.port, spec.address, factory)


def connect(
    context: Context, spec: WebSocketClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """Connect to the endpoint and shake hands."""
    port = endpoint.port or spec.port
    try:
        target = upstream_target(
            metadata, Target(endpoint.address, port, spec.path or "/")
        )
    except ValueError as error:
        raise LocalError(f"/HTTP/url of the session: {error}") from error
    if target.scheme not in ("ws", "http"):
        raise LocalError(f"/HTTP/url/protocol {target.scheme!r}: only ws is known")
    offered = offered_subprotocols(metadata)
    if spec.subprotocols is not None:
        offered = list(spec.subprotocols)
    made: Deferred[IStream] = Deferred(lambda _: connecting.cancel())

    def ready(stream: WebSocketStream) -> None:
        if made.called:
            stream.transport.abortConnection()
        else:
            made.callback(stream)

    def refused(error: RemoteError | Failure) -> None:
        if not made.called:
            made.errback(error)

    factory = ClientFactory(
        context.reactor,
        f"ws://{host_port(target.host, target.port)}{target.path}",
        ready,
        refused,
        headers=dict(upstream_headers(metadata)),
        subprotocols=offered,
        message_type=spec.message_type,
        max_message=spec.max_message,
    )
    to = tcp_endpoint(context.reactor, target.host, target.port)
    connecting = to.connect(factory)
    made.addErrback(_drop_connection, connecting)
    connecting.addErrback(refused)
    return made


def _drop_connection(failure: Failure, connecting: Deferred[object]) -> Failure:
    """Given up while the handshake was under way: let the connection go, too."""
    if failure.check(CancelledError):
        connecting.addCallback(lambda protocol: protocol.transport.abortConnection())  # type: ignore[attr-defined]
    return failure


protocol = Protocol(
    name="WebSocket",
    kind=Kind.DATAGRAMS,
    summary="Messages over HTTP.",
    listener=WebSocketListenerSpec,
    listen=listen,
    cluster=WebSocketClusterSpec,
    connect=connect,
    tag="WS",
    aliases=("WS",),
)
