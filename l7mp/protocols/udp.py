"""UDP (RFC 768): every peer of a listener is a session, every session its own socket."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any, Literal

from pydantic import model_validator
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from l7mp.core.registry import Accept, Context, Protocol
from l7mp.errors import LocalError, Loss, Reason, RemoteError
from l7mp.interfaces import IListening, IStream, Kind, Metadata
from l7mp.model.base import Declared
from l7mp.model.config import EndPoint
from l7mp.model.spec import Spec
from l7mp.model.types import Address, AddressPort, Port, Seconds
from l7mp.streams.address import Numeric, host_port, resolve, shown, wildcard
from l7mp.streams.datagram import ClientFlow, DatagramServer, ServerFlow
from l7mp.streams.endpoint import bind_error

IDLE_TIMEOUT = 60
LINGER = 1.0


class UDPListenerOptions(Declared):
    """How peers become sessions."""

    mode: Literal["server", "singleton"] | None = None
    """server: every peer a session; singleton: one session, with ``connect``."""
    idle_timeout: Seconds = IDLE_TIMEOUT
    """Seconds of silence in both directions after which a session ends; 0: never."""


class UDPListenerSpec(Spec):
    """Give every peer that sends a datagram a session of its own."""

    port: Port
    """The port to listen on."""
    address: Address | None = None
    """The local address to listen on; all, of IPv4 and IPv6, if missing."""
    connect: AddressPort | None = None
    """Accept only this address, or port; both: a session with that peer, at once."""
    options: UDPListenerOptions | None = None

    @model_validator(mode="after")
    def _singleton_needs_a_peer(self) -> UDPListenerSpec:
        if self.mode == "singleton" and not self._has_peer():
            raise ValueError(
                "singleton mode needs connect with both an address and a port"
            )
        return self

    def _has_peer(self) -> bool:
        peer = self.connect
        return bool(peer and peer.address and peer.port)

    @property
    def mode(self) -> str:
        """As given, or singleton if the whole peer is."""
        if self.options is not None and self.options.mode is not None:
            return self.options.mode
        return "singleton" if self._has_peer() else "server"


class UDPClusterOptions(Declared):
    """How sessions end."""

    linger: Seconds = LINGER
    """Seconds of silence for which answers are awaited after the client has ended."""


class UDPClusterSpec(Spec):
    """Send datagrams to the endpoint, from a socket of each session's own."""

    port: Port
    """The port to send to, for endpoints that name none of their own."""
    bind: AddressPort | None = None
    """The local address and port to send from."""
    options: UDPClusterOptions | None = None


@implementer(IListening)
class _Listening:
    """One listener on a socket that it may share with others."""

    def __init__(
        self,
        server: DatagramServer,
        accept: Accept,
        peer: tuple[str | None, int | None],
        idle_timeout: float,
    ) -> None:
        self._server, self._accept = server, accept
        self._wanted, self._idle_timeout = peer, idle_timeout
        self._offer = self.offer
        server.add(self._offer)

    def offer(self, flow: ServerFlow) -> bool:
        """Take the flow if its peer is one of ours."""
        address, port = self._wanted
        host, source = flow.peer
        if (address is not None and host != address) or port not in (None, source):
            return False
        flow.idle_timeout = self._idle_timeout
        (own, at) = flow.own
        metadata: Metadata = {
            "IP": {"src_addr": host, "dst_addr": own},
            "UDP": {"src_port": source, "dst_port": at},
        }
        self._accept(flow, metadata, f"{host_port(host, source)}-{host_port(own, at)}")
        return True

    def address(self) -> dict[str, Any]:
        return {"address": shown(self._server.address), "port": self._server.port}

    def stop(self) -> Deferred[None]:
        self._server.remove(self._offer)
        return succeed(None)


def listen(
    context: Context, spec: UDPListenerSpec, accept: Accept
) -> Deferred[IListening]:
    """Bind the port, or join the listeners that already share it."""

    async def go() -> IListening:
        only = spec.connect or AddressPort()
        address = only.address
        if address is not None:
            (found, *_) = await resolve(context.reactor, address)
            address = shown(found.sockaddr[0])
        server = _shared(context, spec.address or wildcard(), spec.port)
        options = spec.options or UDPListenerOptions()
        listening = _Listening(
            server, accept, (address, only.port), options.idle_timeout
        )
        if spec.mode == "singleton":
            listening.offer(server.flow((address, only.port)))
        return listening

    return Deferred.fromCoroutine(go())


def _shared(context: Context, address: str, port: int) -> DatagramServer:
    owner = ("UDP", "listening", address, port)
    resources = context.resources

    def make() -> DatagramServer:
        try:
            return DatagramServer(
                context.reactor, address, port, lambda: resources.forget(owner)
            )
        except OSError as error:
            raise bind_error("UDP", address, port, error) from error

    return resources.get(owner, make)


def connect(
    context: Context, spec: UDPClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """A connected socket for one session."""

    async def go() -> IStream:
        port = endpoint.port or spec.port
        (peer, *_) = await resolve(context.reactor, endpoint.address, port)
        options = spec.options or UDPClusterOptions()
        sock, release = _connected(context, peer, spec.bind)
        return ClientFlow(context.reactor, sock, options.linger, release)

    return Deferred.fromCoroutine(go())


def _connected(
    context: Context, numeric: Numeric, bind: AddressPort | None
) -> tuple[socket.socket, Callable[[], None]]:
    family, peer = numeric.family, numeric.sockaddr
    local = (bind.address or "", bind.port or 0) if bind else None
    release = _claim(context, local, peer)
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if local is not None:
            if local[1]:
                # Only for a port that was asked for: on one of the system's choice
                # two sessions could get the same.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(local)
        sock.connect(peer)
    except OSError as error:
        sock.close()
        release()
        raise _connect_error(error, local, peer) from error
    return sock, release


def _claim(
    context: Context, local: tuple[str, int] | None, peer: tuple[Any, ...]
) -> Callable[[], None]:
    """Make sure that no other session has the same two ends."""
    if local is None or not local[1]:
        return lambda: None
    taken: set[object] = context.resources.get(("UDP", "bound"), set)
    ends = (local, peer)
    if ends in taken:
        raise LocalError(
            f"{host_port(*local)} is in use by another session to {host_port(*peer[:2])}:"
            " leave out the port of bind"
        )
    taken.add(ends)
    return lambda: taken.discard(ends)


def _connect_error(
    error: OSError, local: tuple[str, int] | None, peer: tuple[Any, ...]
) -> Exception:
    why = os.strerror(error.errno or 0)
    if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        loss = Loss(Reason.UNREACHABLE, f"{host_port(*peer[:2])}: {why}")
        return RemoteError(loss)
    where = f" from {host_port(*local)}" if local else ""
    return LocalError(f"cannot send to {host_port(*peer[:2])}{where}: {why}")


protocol = Protocol(
    name="UDP",
    kind=Kind.DATAGRAMS,
    summary="Datagrams over IP.",
    listener=UDPListenerSpec,
    listen=listen,
    cluster=UDPClusterSpec,
    connect=connect,
)
