"""Listening on, and connecting to, byte-stream sockets by way of Twisted."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
)
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from l7mp.errors import LocalError
from l7mp.interfaces import IListening, IStream, Metadata
from l7mp.model.sockets import SocketOptions, TCPSocketOptions
from l7mp.model.types import AddressPort
from l7mp.streams.address import V6, host_port, literal, shown, wildcard
from l7mp.streams.prepared import listening_socket
from l7mp.streams.transport import Plumbing, TransportStream

BACKLOG = 1024
"""How many connections may wait to be accepted."""

_PLAIN = TCPSocketOptions()


def factory_of(build: Callable[[], Protocol]) -> Factory:
    """A quiet factory of what ``build`` makes."""
    factory = cast(Factory, Factory.forProtocol(cast(Any, build)))
    factory.noisy = False
    return factory


@implementer(IListening)
class TCPListening:
    """A bound TCP port."""

    def __init__(self, port: Any) -> None:
        self._port = port

    def address(self) -> dict[str, Any]:
        host = self._port.getHost()
        return {"address": shown(host.host), "port": host.port}

    def stop(self) -> Deferred[None]:
        return cast("Deferred[None]", maybeDeferred(self._port.stopListening))


def listen_tcp(
    reactor: Any,
    port: int,
    address: str | None,
    factory: Factory,
    options: SocketOptions | None = None,
) -> TCPListening:
    """
    Bind a TCP port, on all addresses of both families unless one is given.

    Connections inherit the options.  Raises ``LocalError`` that names the address, the
    port and a remedy, or the option that cannot be had.
    """
    interface = address or wildcard()
    try:
        if options is None:
            bound = reactor.listenTCP(port, factory, BACKLOG, interface)
        else:
            with listening_socket(interface, port, BACKLOG, options) as sock:
                bound = reactor.adoptStreamPort(sock.fileno(), sock.family, factory)
    except CannotListenError as error:
        raise bind_error("TCP", interface, port, error.socketError) from error
    except OSError as error:
        raise bind_error("TCP", interface, port, error) from error
    return TCPListening(bound)


def bind_error(protocol: str, address: str, port: int, error: Any) -> LocalError:
    """Why a socket could not be bound, and what can be done about it."""
    code = getattr(error, "errno", None)
    remedies = {
        errno.EADDRINUSE: "another process or listener uses it: choose another port",
        errno.EACCES: "ports below 1024 need privileges (CAP_NET_BIND_SERVICE)",
        errno.EADDRNOTAVAIL: "this machine does not have that address",
    }
    why = os.strerror(code) if code else str(error)
    remedy = f"; {remedies[code]}" if code in remedies else ""
    where = host_port(address, port)
    return LocalError(f"cannot listen on {protocol} {where}: {why}{remedy}")


def tcp_endpoint(
    reactor: Any, address: str, port: int, bind: AddressPort | None = None
) -> IStreamClientEndpoint:
    """Where to connect to; names are looked up, literals are not."""
    local = None if bind is None else (bind.address or "", bind.port or 0)
    numeric = literal(address)
    if numeric is None:
        return HostnameEndpoint(reactor, address, port, bindAddress=local)
    kind = TCP6ClientEndpoint if numeric.family == V6 else TCP4ClientEndpoint
    return kind(reactor, address, port, bindAddress=local)


def connect_stream(
    reactor: Any,
    endpoint: IStreamClientEndpoint,
    prepare: Callable[[TransportStream], None] | None = None,
) -> Deferred[IStream]:
    """A stream over ``endpoint``; cancelling drops the connection at once."""
    made: Deferred[IStream] = Deferred(lambda _: connecting.cancel())

    def ready(stream: TransportStream) -> None:
        if prepare is not None:
            prepare(stream)
        if not made.called:
            made.callback(stream)
        else:
            stream.transport.abortConnection()

    def failed(failure: Any) -> None:
        if not made.called:
            failure.trap(Exception)
            made.errback(failure)
        else:
            failure.trap(CancelledError, Exception)

    connecting = endpoint.connect(factory_of(lambda: Plumbing(reactor, ready)))
    connecting.addErrback(failed)
    return made


def tune(stream: Any, options: TCPSocketOptions | None = None) -> None:
    """
    Small messages leave at once, and dead peers are noticed some day.

    ``stream`` has a ``transport`` over TCP.
    """
    options = options or _PLAIN
    stream.transport.setTcpNoDelay(options.nodelay)
    stream.transport.setTcpKeepAlive(options.keepalive)


def tcp_metadata(transport: Any) -> tuple[Metadata, str]:
    """What is known of a TCP connection, and the words that tell it apart."""
    own, peer = transport.getHost(), transport.getPeer()
    source, destination = shown(peer.host), shown(own.host)
    metadata: Metadata = {
        "IP": {"src_addr": source, "dst_addr": destination},
        "TCP": {"src_port": peer.port, "dst_port": own.port},
    }
    metadata |= tls_metadata(transport)
    return (
        metadata,
        f"{host_port(source, peer.port)}-{host_port(destination, own.port)}",
    )


def tls_metadata(transport: Any) -> Metadata:
    """What is known of TLS on a connection; nothing without it."""
    facts = getattr(transport, "tls_facts", None)
    return {"TLS": facts} if facts else {}
