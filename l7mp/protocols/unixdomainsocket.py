"""Unix domain sockets of the stream type (unix(7))."""

from __future__ import annotations

import errno
import os
import stat
from typing import Any, cast

from twisted.internet.defer import Deferred, execute, maybeDeferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import CannotListenError
from zope.interface import implementer

from l7mp.core.registry import Accept, Context, Protocol
from l7mp.core.tls import connect_tls, prepare_tls, serve_tls
from l7mp.errors import LocalError
from l7mp.interfaces import IListening, IStream, Kind, Metadata
from l7mp.model.config import EndPoint
from l7mp.model.spec import Spec
from l7mp.model.tls import TLSClient, TLSServer
from l7mp.model.types import Address
from l7mp.streams.endpoint import (
    BACKLOG,
    connect_stream,
    factory_of,
    tls_metadata,
    unix_socket_in_use,
)
from l7mp.streams.transport import Plumbing, TransportStream


class UnixDomainSocketListenerSpec(Spec):
    """Accept connections at a socket file; each is a session."""

    filename: Address
    """The path of the socket file; a stale one is replaced, one in use is not."""
    tls: TLSServer | None = None
    """Speak TLS with the clients."""


class UnixDomainSocketClusterSpec(Spec):
    """Connect to the socket file that is the endpoint's address."""

    tls: TLSClient | None = None
    """Speak TLS with the endpoint; it needs a ``server_name``, or no ``verify``."""


@implementer(IListening)
class _Listening:
    def __init__(self, port: Any, path: str) -> None:
        self._port, self._path = port, path
        self._inode = os.stat(path).st_ino

    def address(self) -> dict[str, Any]:
        return {"filename": self._path}

    def stop(self) -> Deferred[None]:
        # Twisted removes a file at that path even when it is no longer ours.
        if not self._is_ours():
            self._port._bindPath = b"\0"  # noqa: SLF001  # so that there is no file
        return cast("Deferred[None]", maybeDeferred(self._port.stopListening))

    def _is_ours(self) -> bool:
        try:
            return os.stat(self._path).st_ino == self._inode
        except OSError:
            return False


def _bind(
    context: Context, path: str, tls: TLSServer | None, accept: Accept
) -> IListening:
    _clear(path)

    def ready(stream: TransportStream) -> None:
        facts = tls_metadata(stream.transport)
        accept(stream, {"UNIX": {"filename": path}, **facts}, "")

    plain = factory_of(lambda: Plumbing(context.reactor, ready))
    factory = serve_tls(context, tls, plain)
    try:
        port = context.reactor.listenUNIX(path, factory, BACKLOG)
    except (CannotListenError, OSError) as error:
        why = getattr(error, "socketError", error)
        raise LocalError(f"cannot listen at {path}: {why}") from error
    return _Listening(port, path)


def _clear(path: str) -> None:
    """Remove a socket file that a process left behind."""
    if not os.path.isdir(os.path.dirname(path) or "."):
        raise LocalError(f"cannot listen at {path}: {os.strerror(errno.ENOENT)}")
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise LocalError(f"cannot listen at {path}: there is a file that is no socket")
    if unix_socket_in_use(path):
        raise LocalError(f"cannot listen at {path}: another process listens there")
    os.unlink(path)


def listen(
    context: Context, spec: UnixDomainSocketListenerSpec, accept: Accept
) -> Deferred[IListening]:
    """Bind the socket file."""
    return execute(_bind, context, spec.filename, spec.tls, accept)


def connect(
    context: Context,
    spec: UnixDomainSocketClusterSpec,
    endpoint: EndPoint,
    metadata: Metadata,
) -> Deferred[IStream]:
    """Connect to the socket file."""
    to = UNIXClientEndpoint(context.reactor, endpoint.address)
    secure = connect_tls(context, spec.tls, to, "a Unix domain socket")
    return connect_stream(context.reactor, secure)


def prepare(context: Context, spec: UnixDomainSocketClusterSpec) -> None:
    """A path is no name that a certificate could be made out to."""
    if spec.tls is not None and spec.tls.verify and spec.tls.server_name is None:
        raise LocalError(
            "tls over a Unix domain socket cannot tell whom to expect:"
            " say server_name (or verify: false)"
        )
    prepare_tls(context, spec)


protocol = Protocol(
    name="UnixDomainSocket",
    kind=Kind.BYTES,
    summary="Byte streams between processes of one machine.",
    listener=UnixDomainSocketListenerSpec,
    listen=listen,
    cluster=UnixDomainSocketClusterSpec,
    connect=connect,
    prepare=prepare,
    tag="UNIX",
    aliases=("UDS", "Unix"),
)
