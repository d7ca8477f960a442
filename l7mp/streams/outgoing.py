"""The socket from which a session speaks to its endpoint."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import NamedTuple

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import Metadata
from l7mp.model.sockets import SocketOptions, SourceBind
from l7mp.model.udp import UDPClusterSpec
from l7mp.streams import multicast, sockopts
from l7mp.streams.address import V4, Numeric, Sockaddr, host_port, literal
from l7mp.streams.udpsocket import loss_of, open_socket

OWN_BUFFER = 1 << 20
"""Bytes that may wait in the kernel for the socket of one session."""

STRAYS = 1 << 14
"""More datagrams than such a buffer can hold."""

MIXED = "one is IPv4, the other IPv6"
"""Why the two ends of a flow may not fit together."""

_PORTS = ("UDP", "TCP", "SCTP")
"""Where metadata may have the port of a client."""

TRANSPARENT = SocketOptions(transparent=True)
"""What it takes to speak from another's address."""


class Place(NamedTuple):
    """Where to send from, as far as it matters."""

    local: Numeric | None = None
    port: int = 0
    """0 for any."""
    is_foreign: bool = False
    """Whether the address is somebody else's."""

    def sockaddr(self, family: int) -> Sockaddr | None:
        """What to bind; None for nothing."""
        if self.local is not None:
            return (self.local.sockaddr[0], self.port, *self.local.sockaddr[2:])
        everywhere = "0.0.0.0" if family == V4 else "::"  # noqa: S104
        return (everywhere, self.port) if self.port else None

    def suits(self, remote: Numeric) -> bool:
        """Whether ``remote`` can be spoken to from here: both are IPv4, or both IPv6."""
        return self.local is None or self.local.family == remote.family

    def __str__(self) -> str:
        place = self.sockaddr(V4)
        return host_port(*place[:2]) if place else "any port"


def places(
    bind: SourceBind | None, local: Numeric | None, metadata: Metadata
) -> Iterator[Place]:
    """
    From where a session may be sent, the best place first.

    ``local`` is the address in ``bind``, resolved.  Raises ``RemoteError`` if the
    client's own port is required and it has none.
    """
    if bind is None or bind.preserve is None:
        yield Place(local, (bind.port or 0) if bind else 0)
        return
    port = _client_port(metadata)
    if bind.preserve == "client":
        host = literal(str(metadata.get("IP", {}).get("src_addr", "")))
        best = Place(host, port, is_foreign=True) if host and port else None
    else:
        best = Place(local, port) if port else None
    if best is not None:
        yield best
    elif bind.required:
        what = "the session has no client with an IP address and a port to preserve"
        raise RemoteError(Loss(Reason.LOCAL, what))
    if not bind.required:
        yield Place(local)


def _client_port(metadata: Metadata) -> int:
    found = (metadata.get(name, {}).get("src_port") for name in _PORTS)
    return next((port for port in found if isinstance(port, int)), 0)


def open_from(place: Place, remote: Numeric, spec: UDPClusterSpec) -> socket.socket:
    """
    A socket bound as asked, which hears nobody but ``remote`` unless anybody may answer.

    Raises ``RemoteError`` if that is not possible, ``LocalError`` if the options are not.
    """
    hears_all = spec.options.answers == "any"
    if not place.suits(remote):
        what = f"cannot send from {place} to {remote.sockaddr[0]}: {MIXED}"
        raise RemoteError(Loss(Reason.LOCAL, what))

    def prepare(sock: socket.socket) -> None:
        _prepare(sock, place, spec)

    where = place.sockaddr(remote.family)
    if where is None and hears_all:
        where = ("0.0.0.0" if remote.family == V4 else "::", 0)  # noqa: S104
    try:
        sock = open_socket(
            remote.family,
            where,
            buffer=OWN_BUFFER,
            reuse=bool(place.port) and not hears_all,
            prepare=prepare,
        )
    except OSError as error:
        what = f"cannot send from {place}: {error.strerror}"
        raise RemoteError(Loss(Reason.LOCAL, what)) from error
    if not hears_all:
        _connect(sock, remote)
        if place.port:
            _discard_strays(sock)
    return sock


def _prepare(sock: socket.socket, place: Place, spec: UDPClusterSpec) -> None:
    if place.is_foreign:
        sockopts.prepare(sock, TRANSPARENT)
    sockopts.prepare(sock, spec.socket)
    if spec.broadcast:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    if spec.multicast is not None:
        multicast.aim(sock, spec.multicast)


def _connect(sock: socket.socket, remote: Numeric) -> None:
    try:
        sock.connect(remote.sockaddr)
    except OSError as error:
        sock.close()
        loss = loss_of(error)
        if error.errno == errno.EACCES:
            host = remote.sockaddr[0]
            what = f"{loss.detail}: if {host} is for everybody, say broadcast: true"
            loss = Loss(loss.reason, what)
        raise RemoteError(loss) from error


def _discard_strays(sock: socket.socket) -> None:
    """Forget what anybody sent to a known port before it heard only one peer."""
    try:
        for _ in range(STRAYS):
            sock.recv(1)
    except BlockingIOError:
        return
