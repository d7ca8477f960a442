"""WebSocket (RFC 6455): messages for browsers and whoever speaks like them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from twisted.internet.defer import Deferred, execute, fail
from twisted.internet.error import (
    ConnectError,
    ConnectionRefusedError,
    DNSLookupError,
    TCPTimedOutError,
    TimeoutError,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from l7mp.core.registry import Accept, Context, Protocol
from l7mp.core.tls import connect_tls, prepare_tls, serve_tls
from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import IListening, IStream, Kind, Metadata
from l7mp.model.base import Items
from l7mp.model.config import EndPoint
from l7mp.model.explain import Says
from l7mp.model.sockets import SourceBind, TCPSocketOptions
from l7mp.model.spec import Spec
from l7mp.model.tls import TLSClient, TLSServer
from l7mp.model.types import Address, Headers, Port, Seconds
from l7mp.streams.endpoint import TCPListening, listen_tcp, tcp_metadata, tune
from l7mp.streams.tcp_from import tcp_from
from l7mp.streams.websocket import (
    MAX_MESSAGE,
    InvalidText,
    MessageType,
    Settings,
    WebSocketStream,
)
from l7mp.streams.websocket_autobahn import ClientFactory, ServerFactory
from l7mp.wire.httpmeta import (
    Target,
    handshake_headers,
    offered_subprotocols,
    request_path,
    upstream_headers,
    upstream_target,
)

MaxMessage = Annotated[int, Field(ge=1)]
Patience = Annotated[
    Seconds, Field(gt=0), Says("a number of seconds", "must be more than 0 seconds")
]


class _Connection(Spec):
    """What listeners and clusters have in common."""

    message_type: MessageType = "binary"
    """What is sent: binary messages, text, or auto for the kind last received."""
    max_message: MaxMessage = MAX_MESSAGE
    """Octets of the longest message taken (longer ones close with 1009) and sent."""
    invalid_text: InvalidText = "binary"
    """What is done with messages that are no UTF-8 where text is to be sent: they go as
    binary messages, or are dropped and counted as ``not-text``."""
    deflate: bool = False
    """Whether messages may be compressed (permessage-deflate, RFC 7692)."""
    deflate_context: bool = True
    """Whether compression may remember earlier messages, which makes them smaller and
    takes some 300 KiB of memory per connection."""
    ping_interval: Seconds = 0
    """Seconds between pings; 0: none are sent."""
    ping_timeout: Seconds = 0
    """Seconds after a ping in which something must be heard; 0: any time will do."""
    handshake_timeout: Patience = 30
    """Seconds that the opening handshake may take."""
    close_timeout: Patience = 5
    """Seconds that the peer has to answer a close."""

    def settings(self) -> Settings:
        """The same, for a connection."""
        return Settings(
            message_type=self.message_type,
            max_message=self.max_message,
            ping_interval=self.ping_interval,
            ping_timeout=self.ping_timeout,
            invalid_text=self.invalid_text,
            deflate=self.deflate,
            deflate_context=self.deflate_context,
            handshake=self.handshake_timeout,
            answer=self.close_timeout,
        )


class WebSocketListenerSpec(_Connection):
    """Accept WebSocket connections; each is a session."""

    port: Port
    """The port to listen on."""
    address: Address | None = None
    """The local address to listen on; all, of IPv4 and IPv6, if missing."""
    tls: TLSServer | None = None
    """Speak TLS with the clients (``wss``)."""
    socket: TCPSocketOptions | None = None
    """What to ask of the sockets."""
    path: str | None = None
    """The only path to serve, others get a 404; all if missing."""
    subprotocols: Items[str] | None = None
    """Subprotocols to choose from, in the client's order; if missing, its first one."""
    headers: Headers | None = None
    """Headers to add to the response that lets a client in."""


class WebSocketClusterSpec(_Connection):
    """
    Open a WebSocket connection for each session.

    Where to, and with which path and headers, can be set by rewriting
    ``/HTTP/url/{protocol,host,port,path}`` and ``/HTTP/headers``.
    """

    port: Port
    """The port to connect to, for endpoints that name none of their own."""
    path: str | None = None
    """The path to ask for, unless the session's metadata names one; "/" if missing."""
    subprotocols: Items[str] | None = None
    """Subprotocols to offer; if missing, those that the session's client offered."""
    headers: Headers | None = None
    """Headers to send, in place of the client's of the same name."""
    tls: TLSClient | None = None
    """Speak TLS with the endpoint (``wss``), as for ``/HTTP/url/protocol: wss``."""
    bind: SourceBind | None = None
    """The local address and port to connect from."""
    socket: TCPSocketOptions | None = None
    """What to ask of each session's socket."""


# -- listening ------------------------------------------------------------------


@implementer(IListening)
class _Listening:
    """A bound port, and those who are not yet in."""

    def __init__(self, port: TCPListening, factory: ServerFactory) -> None:
        self._port, self._factory = port, factory

    def address(self) -> dict[str, Any]:
        return self._port.address()

    def stop(self) -> Deferred[None]:
        stopped = self._port.stop()
        self._factory.stop()
        return stopped


def listen(
    context: Context, spec: WebSocketListenerSpec, accept: Accept
) -> Deferred[IListening]:
    """Bind the port."""

    def ready(stream: WebSocketStream, request: Metadata) -> None:
        tune(stream, spec.socket)
        metadata, words = tcp_metadata(stream.transport)
        accept(stream, {**metadata, "HTTP": request}, words)

    def bind() -> IListening:
        path = spec.path and request_path(spec.path)
        factory = ServerFactory(
            context.reactor,
            ready,
            spec.settings(),
            path,
            spec.subprotocols,
            handshake_headers(spec.headers or {}),
        )
        served = serve_tls(context, spec.tls, factory)
        port = listen_tcp(context.reactor, spec.port, spec.address, served, spec.socket)
        return _Listening(port, factory)

    return execute(bind)


# -- connecting -----------------------------------------------------------------


def connect(
    context: Context, spec: WebSocketClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """Connect to the endpoint, or to where metadata says, and shake hands."""
    path = request_path(spec.path or "/")
    scheme = "ws" if spec.tls is None else "wss"
    usual = Target(endpoint.address, endpoint.port or spec.port, path, scheme)
    try:
        target = upstream_target(metadata, usual)
        tls = _security(spec.tls, target.scheme)
    except ValueError as error:
        return _refuse(f"in /HTTP/url, {error}")
    offered = spec.subprotocols
    if offered is None:
        offered = tuple(offered_subprotocols(metadata))
    attempt = _Attempt(spec.socket)
    factory = ClientFactory(
        context.reactor,
        target,
        attempt.ready,
        attempt.refused,
        upstream_headers(metadata, spec.headers or {}),
        offered,
        spec.settings(),
    )
    where = (target.host, target.port)
    to = tcp_from(context.reactor, where, spec.bind, spec.socket, metadata)
    to = connect_tls(context, tls, to, target.host)
    return attempt.begin(to, factory)


def _security(tls: TLSClient | None, scheme: str) -> TLSClient | None:
    """
    How to speak TLS where ``scheme`` asks for it; a cluster need not say how.

    Raises ``ValueError`` for another scheme, and where TLS would be lost.
    """
    if scheme in {"wss", "https"}:
        return tls or TLSClient()
    if scheme not in {"ws", "http"}:
        raise ValueError(f"{scheme!r} is no protocol of WebSocket's: use ws or wss")
    if tls is not None:
        raise ValueError(f"{scheme!r} would be without the TLS of the cluster")
    return None


def _refuse(why: str) -> Deferred[IStream]:
    return fail(RemoteError(Loss(Reason.LOCAL, why)))


_REASONS: dict[type[BaseException], Reason] = {
    ConnectionRefusedError: Reason.REFUSED,
    TimeoutError: Reason.TIMEOUT,
    TCPTimedOutError: Reason.TIMEOUT,
    ConnectError: Reason.UNREACHABLE,
    DNSLookupError: Reason.UNREACHABLE,
    ValueError: Reason.UNREACHABLE,  # a host name that cannot be one
}


class _Attempt:
    """From TCP to a stream, if all goes well and nobody cancels it."""

    def __init__(self, options: TCPSocketOptions | None) -> None:
        self._options = options
        self._made: Deferred[IStream] = Deferred(lambda _: self._cancel())
        self._cancelled = False

    def begin(
        self, to: IStreamClientEndpoint, factory: ClientFactory
    ) -> Deferred[IStream]:
        """Connect; what is returned can be cancelled at any time."""
        self._factory = factory
        self._connecting = to.connect(factory)
        self._connecting.addErrback(self._failed)
        return self._made

    def ready(self, stream: WebSocketStream) -> None:
        """The server has shaken hands."""
        tune(stream, self._options)
        self._made.callback(stream)

    def refused(self, loss: Loss) -> None:
        """It has not; only the first reason counts."""
        if not self._made.called and not self._cancelled:
            self._made.errback(RemoteError(loss))

    def _failed(self, failure: Failure) -> None:
        if isinstance(failure.value, RemoteError):
            self.refused(failure.value.loss)
            return
        kind = failure.check(*_REASONS)
        reason = _REASONS[kind] if kind else Reason.LOCAL
        self.refused(Loss(reason, failure.getErrorMessage()))

    def _cancel(self) -> None:
        self._cancelled = True  # of which the endpoints tell in many ways
        self._connecting.cancel()
        self._factory.hang_up()


protocol = Protocol(
    name="WebSocket",
    kind=Kind.DATAGRAMS,
    summary="Messages over HTTP.",
    listener=WebSocketListenerSpec,
    listen=listen,
    cluster=WebSocketClusterSpec,
    connect=connect,
    prepare=prepare_tls,
    tag="WS",
    aliases=("WS",),
)
