"""TCP: byte streams over IP (RFC 9293)."""

from __future__ import annotations

from functools import partial

from twisted.internet.defer import Deferred, execute

from l7mp.core.registry import Accept, Context, Protocol
from l7mp.core.tls import connect_tls, prepare_tls, serve_tls
from l7mp.interfaces import IListening, IStream, Kind, Metadata
from l7mp.model.config import EndPoint
from l7mp.model.sockets import SourceBind, TCPSocketOptions
from l7mp.model.spec import Spec
from l7mp.model.tls import TLSClient, TLSServer
from l7mp.model.types import Address, Port
from l7mp.streams.endpoint import (
    connect_stream,
    factory_of,
    listen_tcp,
    tcp_metadata,
    tune,
)
from l7mp.streams.tcp_from import tcp_from
from l7mp.streams.transport import Plumbing, TransportStream


class TCPListenerSpec(Spec):
    """Accept TCP connections; each is a session."""

    port: Port
    """The port to listen on."""
    address: Address | None = None
    """The local address to listen on; all, of IPv4 and IPv6, if missing."""
    tls: TLSServer | None = None
    """Speak TLS with the clients."""
    socket: TCPSocketOptions | None = None
    """What to ask of the sockets."""


class TCPClusterSpec(Spec):
    """Open a TCP connection for each session."""

    port: Port
    """The port to connect to, for endpoints that name none of their own."""
    bind: SourceBind | None = None
    """The local address and port to connect from."""
    tls: TLSClient | None = None
    """Speak TLS with the endpoint."""
    socket: TCPSocketOptions | None = None
    """What to ask of each session's socket."""


def listen(
    context: Context, spec: TCPListenerSpec, accept: Accept
) -> Deferred[IListening]:
    """Bind the port."""

    def ready(stream: TransportStream) -> None:
        tune(stream, spec.socket)
        accept(stream, *tcp_metadata(stream.transport))

    factory = factory_of(lambda: Plumbing(context.reactor, ready))

    def bind() -> IListening:
        served = serve_tls(context, spec.tls, factory)
        return listen_tcp(context.reactor, spec.port, spec.address, served, spec.socket)

    return execute(bind)


def connect(
    context: Context, spec: TCPClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """Connect to the endpoint."""
    where = (endpoint.address, endpoint.port or spec.port)
    to = tcp_from(context.reactor, where, spec.bind, spec.socket, metadata)
    to = connect_tls(context, spec.tls, to, endpoint.address)
    return connect_stream(context.reactor, to, partial(tune, options=spec.socket))


protocol = Protocol(
    name="TCP",
    kind=Kind.BYTES,
    summary="Byte streams over IP.",
    listener=TCPListenerSpec,
    listen=listen,
    cluster=TCPClusterSpec,
    connect=connect,
    prepare=prepare_tls,
)
