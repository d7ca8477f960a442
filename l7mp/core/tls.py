"""TLS for protocols: one line each to listen, to connect, and to check beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint

from l7mp.core.events import HandshakeFailed
from l7mp.core.registry import Context
from l7mp.errors import LocalError, Loss
from l7mp.interfaces import IStream, Metadata
from l7mp.model.tls import TLSClient, TLSServer

if TYPE_CHECKING:
    from l7mp.streams.tls_context import ClientTLS


def serve_tls(
    context: Context,
    tls: TLSServer | None,
    factory: IProtocolFactory,
    alpn: Sequence[str] = (),
) -> Any:
    """
    ``factory``, whose protocols are made when clients have shaken hands.

    ``alpn`` are the application protocols to speak where ``tls`` names none.  Raises
    ``LocalError`` that names the file that is of no use.
    """
    if tls is None:
        return factory
    _need_openssl()
    from l7mp.streams.tls_context import ServerTLS
    from l7mp.streams.tls_endpoint import TLSFactory

    def failed(peer: str, loss: Loss) -> None:
        context.observe(HandshakeFailed(context.owner[1], peer, loss))

    security = ServerTLS(tls, alpn, context.warn, context.reactor)
    return TLSFactory(context.reactor, security, factory, failed)


def connect_tls(
    context: Context,
    tls: TLSClient | None,
    endpoint: IStreamClientEndpoint,
    host: str,
    alpn: Sequence[str] = (),
) -> IStreamClientEndpoint:
    """``endpoint``, with TLS towards ``host`` above it."""
    if tls is None:
        return endpoint
    _need_openssl()
    from l7mp.streams.tls_endpoint import TLSEndpoint

    return TLSEndpoint(context.reactor, _client(context, tls, alpn), endpoint, host)


def serve_dtls(
    context: Context, tls: TLSServer, ready: Callable[[IStream, Any, Metadata], None]
) -> Callable[[Any], None]:
    """
    What takes new flows of datagrams, and lets ``ready`` hear of streams inside of them.

    It hears of the stream, the flow, and what metadata says of TLS.
    """
    _need_openssl()
    from l7mp.streams.dtls import DTLSServer
    from l7mp.streams.tls_context import Cookies, ServerTLS

    def failed(peer: str, loss: Loss) -> None:
        context.observe(HandshakeFailed(context.owner[1], peer, loss))

    def secure(cookies: Cookies) -> ServerTLS:
        return ServerTLS(tls, (), context.warn, context.reactor, cookies)

    return DTLSServer(
        context.reactor,
        secure,
        lambda stream, flow: ready(stream, flow, {"TLS": stream.tls_facts}),
        failed,
    ).arrived


def connect_dtls(
    context: Context, tls: TLSClient, flow: IStream, host: str, linger: float
) -> Deferred[IStream]:
    """A stream inside of a newborn flow of datagrams to ``host``."""
    _need_openssl()
    from l7mp.streams.dtls import connect_flow

    security = _client(context, tls, (), datagrams=True)
    return connect_flow(context.reactor, security, flow, host, linger)


def prepare_dtls(context: Context, spec: Any) -> None:
    """The same as ``prepare_tls`` for datagrams."""
    if spec.tls is not None:
        _need_openssl()
        _client(context, spec.tls, (), datagrams=True)


def prepare_tls(context: Context, spec: Any) -> None:
    """Raise ``LocalError`` if what the ``tls`` of a cluster's spec names is of no use."""
    if spec.tls is not None:
        _need_openssl()
        _client(context, spec.tls, ())


def _client(
    context: Context, tls: TLSClient, alpn: Sequence[str], *, datagrams: bool = False
) -> ClientTLS:
    """The cluster's, which reads no files for each session."""
    from l7mp.streams.tls_context import ClientTLS

    def make() -> ClientTLS:
        return ClientTLS(tls, alpn, context.warn, context.reactor, datagrams=datagrams)

    owner = (*context.owner, "DTLS" if datagrams else "TLS", tuple(alpn))
    return context.resources.get(owner, make)


def _need_openssl() -> None:
    try:
        import OpenSSL
        import service_identity  # noqa: F401
    except ImportError as error:
        raise LocalError(
            "tls needs packages that are not installed: pip install 'l7mp[tls]'"
        ) from error
    del OpenSSL
