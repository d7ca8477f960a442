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
from l7mp.errors import LocalError
from l7mp.interfaces import IListening, IStream, Kind, Metadata
from l7mp.model.config import EndPoint
from l7mp.model.spec import Spec
from l7mp.model.types import Address
from l7mp.streams.endpoint import (
    BACKLOG,
    connect_stream,
    factory_of,
    unix_socket_in_use,
)
from l7mp.streams.transport import Plumbing, TransportStream


class UnixDomainSocketListenerSpec(Spec):
    """Accept connections at a socket file; each is a session."""

    filename: Address
    """The path of the socket file; a stale one is replaced, one in use is not."""


class UnixDomainSocketClusterSpec(Spec):
    """Connect to the socket file that is the endpoint's address."""


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


def _bind(context: Context, path: str, accept: Accept) -> IListening:
    _clear(path)

    def ready(stream: TransportStream) -> None:
        accept(stream, {"UNIX": {"filename": path}}, "")

    factory = factory_of(lambda: Plumbing(context.reactor, ready))
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
    return execute(_bind, context, spec.filename, accept)


def connect(
    context: Context,
    spec: UnixDomainSocketClusterSpec,
    endpoint: EndPoint,
    metadata: Metadata,
) -> Deferred[IStream]:
    """Connect to the socket file."""
    to = UNIXClientEndpoint(context.reactor, endpoint.address)
    return connect_stream(context.reactor, to)


protocol = Protocol(
    name="UnixDomainSocket",
    kind=Kind.BYTES,
    summary="Byte streams between processes of one machine.",
    listener=UnixDomainSocketListenerSpec,
    listen=listen,
    cluster=UnixDomainSocketClusterSpec,
    connect=connect,
    tag="UNIX",
    aliases=("UDS", "Unix"),
)
