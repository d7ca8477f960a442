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
from l7mp.streams.address import resolve
from l7mp.streams.endpoint import (
    connect_stream,
    factory_of,
    listen_tcp,
    tcp_endpoint,
    tcp_metadata,
    tune,
)
from l7mp.streams.outgoing import places
from l7mp.streams.prepared import PreparedEndpoint
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

    @property
    def is_plain(self) -> bool:
        """Whether nothing is asked of sockets that Twisted does not do itself."""
        return self.socket is None and (self.bind is None or not self.bind.preserve)


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
    return Deferred.fromCoroutine(_connect(context, spec, endpoint, metadata))


async def _connect(
    context: Context, spec: TCPClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> IStream:
    reactor, bind = context.reactor, spec.bind
    host, port = endpoint.address, endpoint.port or spec.port
    if spec.is_plain:
        to = tcp_endpoint(reactor, host, port, bind)
    else:
        local = None
        if bind is not None and bind.address is not None:
            local = (await resolve(reactor, bind.address))[0]
        where = list(places(bind, local, metadata))
        to = PreparedEndpoint(reactor, host, port, spec.socket, where)
    to = connect_tls(context, spec.tls, to, host)
    return await connect_stream(reactor, to, partial(tune, options=spec.socket))


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
