"""HTTP/1.1 (RFC 9112): every request of a listener is a session."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.protocol import Factory

from l7mp.core.registry import Accept, Context, Protocol
from l7mp.core.tls import serve_tls
from l7mp.interfaces import IListening, Kind
from l7mp.model.spec import Spec
from l7mp.model.tls import TLSServer
from l7mp.model.types import Address, Port
from l7mp.streams.endpoint import tcp_metadata
from l7mp.streams.http import Exchange
from l7mp.streams.httpserver import ALPN, listen_http


class HTTPListenerSpec(Spec):
    """
    Accept HTTP requests; each is a session.

    What the client sends as the body of its request goes to the destination, and what
    comes back is the body of the response.
    """

    port: Port
    """The port to listen on."""
    address: Address | None = None
    """The local address to listen on; all, of IPv4 and IPv6, if missing."""
    tls: TLSServer | None = None
    """Speak TLS with the clients, and HTTP/2 or HTTP/1.1 as they agree (ALPN)."""
    path: str | None = None
    """The only path to serve, whatever the query; all if missing."""


def listen(
    context: Context, spec: HTTPListenerSpec, accept: Accept
) -> Deferred[IListening]:
    """Bind the port."""

    def ready(exchange: Exchange, transport: Any) -> None:
        path = exchange.request["url"]["path"].partition("?")[0]
        if spec.path is not None and path != spec.path:
            exchange.refuse(404, f"nothing is served at {path}")
            return
        metadata, words = tcp_metadata(transport)
        accept(exchange, {**metadata, "HTTP": exchange.request}, words)

    def secure(factory: Factory) -> Any:
        return serve_tls(context, spec.tls, factory, ALPN)

    return execute(listen_http, context.reactor, spec.port, spec.address, ready, secure)


protocol = Protocol(
    name="HTTP",
    kind=Kind.BYTES,
    summary="Requests whose body goes in and whose response's body comes out.",
    listener=HTTPListenerSpec,
    listen=listen,
)
