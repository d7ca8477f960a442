"""HTTP/1.1 (RFC 9112) and HTTP/2 (RFC 9113): every request is a session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, cast

from pydantic import Field, model_validator
from twisted.internet.defer import CancelledError, Deferred, execute, fail
from zope.interface import implementer

from l7mp.core.registry import Accept, Context, Protocol
from l7mp.core.tls import connect_tls, prepare_tls, serve_tls
from l7mp.errors import Hopeless, Loss, Reason, RemoteError
from l7mp.interfaces import ICloseable, IListening, IStream, Kind, Metadata
from l7mp.model.base import Declared
from l7mp.model.config import EndPoint
from l7mp.model.explain import complaint
from l7mp.model.spec import Spec
from l7mp.model.tls import TLSClient, TLSServer
from l7mp.model.types import Address, AddressPort, Headers, Port, Seconds
from l7mp.streams.endpoint import tcp_endpoint, tcp_metadata
from l7mp.streams.http import Exchange
from l7mp.streams.httpcall import RESPONSE_TIME, Call, Calling
from l7mp.streams.httpclient2 import IS_AVAILABLE
from l7mp.streams.httpengine import BODY_TIME, HEAD_TIME, KEEP_ALIVE, Settings
from l7mp.streams.httppool import KEEP_ALIVE as KEEP_IDLE
from l7mp.streams.httppool import MAX_IDLE, Keeping, Pool
from l7mp.streams.httpserver import ALPN, listen_http
from l7mp.wire.httpmeta import Target, request_path
from l7mp.wire.httprequest import (
    Defaults,
    Request,
    connect_request,
    upstream_request,
)

Method = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
Amount = Annotated[int, Field(ge=0)]


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
    max_body: Amount | None = None
    """Octets of a request's body taken, at most; larger ones are answered 413."""
    head_timeout: Seconds = HEAD_TIME
    """Seconds that a client has for the head of a request, after which it gets a 408."""
    body_timeout: Seconds = BODY_TIME
    """Seconds for which the body of a request may stop coming (then 408); 0: for ever."""
    keep_alive: Seconds = KEEP_ALIVE
    """Seconds for which a connection without a request is kept."""
    tunnel: bool = False
    """
    Whether a client may ask for a tunnel by CONNECT: whatever it sends and receives
    then is the session's data.  Where to is for the rules to say, which see
    ``/HTTP/url/host`` and ``/HTTP/url/port``.
    """
    upgrade: bool = False
    """
    Whether a client may change the protocol by ``Upgrade``, as WebSocket does: what
    follows is the session's data.  Otherwise it is served as if it had not asked.
    """

    def settings(self) -> Settings:
        """The same, for its connections."""
        return Settings(
            max_body=self.max_body,
            head_timeout=self.head_timeout,
            body_timeout=self.body_timeout,
            keep_alive=self.keep_alive,
            tunnel=self.tunnel,
            upgrade=self.upgrade,
        )


class TunnelTarget(Declared):
    """Where a tunnel leads."""

    host: Address
    """The host that the proxy is asked to connect to, as the proxy knows it."""
    port: Port
    """Its port."""


class HTTPClusterSpec(Spec):
    """
    Send an HTTP request for each session.

    What is written is the body of the request, and the response's body comes back.
    Method, path and headers are those of the session's own request where it has one,
    and can be set by rewriting ``/HTTP/method``, ``/HTTP/url/path`` and
    ``/HTTP/headers``.  Tunnels of a listener pass through.
    """

    port: Port
    """The port to connect to, for endpoints that name none of their own."""
    bind: AddressPort | None = None
    """The local address and port to connect from."""
    tls: TLSClient | None = None
    """Speak TLS with the endpoint."""
    version: Literal[1, 2] | None = None
    """
    The version of HTTP: 1 for HTTP/1.1, 2 for HTTP/2 (which needs the extra http2).  If
    missing, what the endpoint prefers where it speaks TLS (ALPN), and else 1.
    """
    method: Method = "POST"
    """The method, where the session's metadata has none."""
    path: str = "/"
    """The path and query, where the session's metadata has none."""
    headers: Headers | None = None
    """Headers to send, in place of the client's of the same name, Host among them."""
    forwarded: bool = False
    """Whether to add Via, X-Forwarded-For and X-Forwarded-Proto."""
    chunked: bool = False
    """
    Whether to take no notice of the length that the client's request announces, for
    routes with transforms that change it.
    """
    timeout: Seconds = RESPONSE_TIME
    """Seconds for the response to begin when the request is complete; 0: any time."""
    keep_alive: Seconds = KEEP_IDLE
    """Seconds for which an idle connection is kept; 0: each request has its own."""
    max_idle: Amount = MAX_IDLE
    """How many idle connections are kept for each endpoint."""
    connect: TunnelTarget | None = None
    """
    Ask the endpoint, which is a proxy, by CONNECT for a tunnel to there; what is
    written and read is what passes through it.
    """

    @model_validator(mode="after")
    def _can_be(self) -> HTTPClusterSpec:
        if self.version == 2 and not IS_AVAILABLE:
            raise complaint(
                "HTTP/2 needs the package h2", "install l7mp with the extra http2"
            )
        return self


def listen(
    context: Context, spec: HTTPListenerSpec, accept: Accept
) -> Deferred[IListening]:
    """Bind the port."""

    only = spec.path and request_path(spec.path)

    def ready(exchange: Exchange, transport: Any) -> None:
        path = exchange.request["url"]["path"].partition("?")[0]
        if only is not None and path != only:
            exchange.refuse(404, f"nothing is served at {path}")
            return
        metadata, words = tcp_metadata(transport)
        accept(exchange, {**metadata, "HTTP": exchange.request}, words)

    def bind() -> IListening:
        return listen_http(
            context.reactor,
            spec.port,
            spec.address,
            ready,
            secure=lambda factory: serve_tls(context, spec.tls, factory, ALPN),
            settings=spec.settings(),
        )

    return execute(bind)


_ALPN = {0: ("h2", "http/1.1"), 1: ("http/1.1",), 2: ("h2",)}
"""What to offer to an endpoint that speaks TLS, by version."""

# -- connecting -----------------------------------------------------------------


@implementer(ICloseable)
class _Pools:
    """The connections of one cluster, by endpoint."""

    def __init__(self) -> None:
        self._pools: dict[tuple[str, int, int], Pool] = {}

    def at(self, where: tuple[str, int, int], make: Callable[[], Pool]) -> Pool:
        """The pool of an endpoint: its address, port and version of HTTP."""
        if where not in self._pools:
            self._pools[where] = make()
        return self._pools[where]

    def close(self) -> None:
        """Keep no connections."""
        for pool in self._pools.values():
            pool.close()


def connect(
    context: Context, spec: HTTPClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """Send the head of a request, on a connection that was kept or is new."""
    port = endpoint.port or spec.port

    version = spec.version or (1 if spec.tls is None or not IS_AVAILABLE else 0)
    try:
        request = _request(spec, metadata, endpoint.address, port)
    except ValueError as error:
        return fail(RemoteError(Loss(Reason.LOCAL, f"in /HTTP, {error}")))
    if request.is_upgrade:
        version = version or 1  # which everybody upgrades from

    def make() -> Pool:
        to = tcp_endpoint(context.reactor, endpoint.address, port, spec.bind)
        to = connect_tls(context, spec.tls, to, endpoint.address, _ALPN[version])
        keeping = Keeping(keep_alive=spec.keep_alive, max_idle=spec.max_idle)
        return Pool(context.reactor, to, version, keeping)

    pools: _Pools = context.resources.get((*context.owner, "HTTP"), _Pools)
    pool = pools.at((endpoint.address, port, version), make)
    about: Any = metadata.get("HTTP")
    if request.strict and about.get("spent"):
        what = "the request was sent, and there is no other to take its place"
        return fail(Hopeless(Loss(Reason.REFUSED, what)))

    def spent() -> None:
        if request.strict:  # what was a client's cannot be had again
            about["spent"] = True

    calling = Calling(context.reactor, pool.again, spec.timeout, spent)
    if spec.connect is None:
        return pool.carry(Call(request, calling))
    return Deferred.fromCoroutine(_open(pool, request, calling))


def _request(
    spec: HTTPClusterSpec, metadata: Metadata, address: str, port: int
) -> Request:
    if spec.connect is not None:
        return connect_request(spec.connect.host, spec.connect.port, spec.headers or {})
    defaults = Defaults(
        method=spec.method,
        path=spec.path,
        headers=spec.headers,
        forwarded=spec.forwarded,
        chunked=spec.chunked,
        scheme="http" if spec.tls is None else "https",
    )
    authority = Target(address, port, scheme=defaults.scheme).authority
    return upstream_request(metadata, defaults, authority)


async def _open(pool: Pool, request: Request, calling: Calling) -> IStream:
    """A tunnel, when the proxy has opened it."""
    opened: Deferred[None] = Deferred()
    call = Call(request, calling, opened)
    try:
        await pool.carry(call)
        await opened
    except CancelledError:
        call.abort(Loss(Reason.TIMEOUT, "given up"))
        raise
    return cast(IStream, call)


protocol = Protocol(
    name="HTTP",
    kind=Kind.BYTES,
    summary="Requests whose body goes in and whose response's body comes out.",
    listener=HTTPListenerSpec,
    listen=listen,
    cluster=HTTPClusterSpec,
    connect=connect,
    prepare=prepare_tls,
)
