"""UDP: listeners whose sessions share a socket, clusters with one for each session."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from pydantic import model_validator
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from l7mp.core.registry import Accept, Context, Protocol
from l7mp.errors import LocalError, Loss, Reason, RemoteError
from l7mp.interfaces import IListening, IStream, Kind, Metadata
from l7mp.model.base import Declared
from l7mp.model.config import EndPoint
from l7mp.model.explain import complaint
from l7mp.model.spec import Spec
from l7mp.model.types import Address, AddressPort, AnyPort, Port, Seconds
from l7mp.streams.address import (
    V4,
    Numeric,
    Sockaddr,
    host_port,
    literal,
    resolve,
    shown,
    wildcard,
)
from l7mp.streams.connected import LINGER, ConnectedFlow
from l7mp.streams.datagram import PeerFlow, SharedSocket
from l7mp.streams.door import Door
from l7mp.streams.endpoint import bind_error
from l7mp.streams.udpsocket import loss_of, open_socket

IDLE = 60.0
"""Seconds of silence after which a session of a server ends."""

SHARED_BUFFER = 4 << 20
"""Bytes that may wait in the kernel for the one socket of many peers."""

OWN_BUFFER = 1 << 20
"""The same for the socket of one session."""

STRAYS = 1 << 14
"""More datagrams than such a buffer can hold."""


# -- what a user declares ------------------------------------------------------


class UDPListenerOptions(Declared):
    """How a UDP listener treats its peers."""

    mode: Literal["server", "singleton"] | None = None
    """
    A server has a session for every peer, a singleton one with the peer in connect.

    Singleton if connect has both address and port, server otherwise.
    """
    idle_timeout: Seconds | None = None
    """
    Seconds of silence in both directions after which a session ends; 0: never.

    60 for a server; a singleton waits for its peer for ever.
    """


class UDPListenerSpec(Spec):
    """Listen for datagrams; a peer's first one begins a session."""

    port: AnyPort
    """The port to listen on; 0 for any that is free."""
    address: Address | None = None
    """The local address to listen on; every one of the machine if missing."""
    connect: AddressPort | None = None
    """Only from here; others are ignored."""
    options: UDPListenerOptions = UDPListenerOptions()
    """How to treat peers."""

    @model_validator(mode="after")
    def _singleton_has_its_peer(self) -> UDPListenerSpec:
        if self.is_singleton and not self._names_peer:
            hint = "give both, or leave options.mode out"
            what = "singleton mode needs connect.address and connect.port"
            raise complaint(what, hint)
        return self

    @property
    def _names_peer(self) -> bool:
        connect = self.connect
        return connect is not None and None not in (connect.address, connect.port)

    @property
    def is_singleton(self) -> bool:
        """Whether there is one session only, with a peer that is known beforehand."""
        if self.options.mode is None:
            return self._names_peer
        return self.options.mode == "singleton"

    @property
    def idle_timeout(self) -> float:
        """Seconds of silence after which a session ends; 0: never."""
        if self.options.idle_timeout is not None:
            return self.options.idle_timeout
        return 0.0 if self.is_singleton else IDLE


class UDPClusterOptions(Declared):
    """How a UDP cluster ends its sessions."""

    linger: Seconds = LINGER
    """How long to wait for a late answer when all was sent: seconds of silence."""


class UDPClusterSpec(Spec):
    """Send datagrams to an endpoint, from a socket of each session's own."""

    port: Port
    """The port of endpoints that have none of their own."""
    bind: AddressPort | None = None
    """
    The local address and port to send from.

    With a port, sessions can be told apart by their endpoints alone, so there is at
    most one to each.
    """
    options: UDPClusterOptions = UDPClusterOptions()
    """How sessions end."""


# -- listeners -----------------------------------------------------------------


class _From(NamedTuple):
    """Which peers may come in: their hosts and their port, None for any."""

    hosts: frozenset[str] | None
    port: int | None
    first: Sockaddr | None
    """The one peer of a singleton."""

    def admits(self, peer: Sockaddr) -> bool:
        """Whether ``peer`` is one of them."""
        return (self.hosts is None or peer[0] in self.hosts) and (
            self.port is None or peer[1] == self.port
        )


@implementer(IListening)
class _Listening:
    """A door of a shared socket."""

    def __init__(self, shared: SharedSocket, door: Door, clock: Any) -> None:
        self._own, self._door = shared.own, door
        self._beginning: IDelayedCall | None = None
        if door.peer is not None:
            # Not before whoever asked to listen knows that we do.
            self._beginning = clock.callLater(0, self._begin)

    def _begin(self) -> None:
        self._beginning = None
        self._door.begin()

    def address(self) -> dict[str, Any]:
        return {"address": self._own[0], "port": self._own[1]}

    def stop(self) -> Deferred[None]:
        if self._beginning is not None:
            self._beginning.cancel()
            self._beginning = None
        self._door.close()
        return succeed(None)


def listen(
    context: Context, spec: UDPListenerSpec, accept: Accept
) -> Deferred[IListening]:
    """See ``Listen``."""
    return Deferred.fromCoroutine(_listen(context, spec, accept))


async def _listen(
    context: Context, spec: UDPListenerSpec, accept: Accept
) -> IListening:
    try:
        place = await _local(context.reactor, spec.address, spec.port)
        allowed = await _allowed(context.reactor, spec, place.family)
    except RemoteError as error:
        raise LocalError(error.loss.detail) from error

    def ready(flow: PeerFlow) -> None:
        peer, port, own, own_port, _ = flow.five_tuple()
        metadata: Metadata = {
            "IP": {"src_addr": peer, "dst_addr": own},
            "UDP": {"src_port": port, "dst_port": own_port},
        }
        accept(flow, metadata, f"{host_port(peer, port)}-{host_port(own, own_port)}")

    shared = _shared_socket(context, place)
    door = Door(shared, ready, allowed.admits, spec.idle_timeout, allowed.first)
    return _Listening(shared, door, context.reactor)


def _shared_socket(context: Context, place: Numeric) -> SharedSocket:
    """The socket of all who listen there, made by the first."""

    def owner(sockaddr: Sockaddr) -> tuple[object, ...]:
        return ("UDP", "listening", *sockaddr)

    def make() -> SharedSocket:
        sock = _bound(place)
        name = owner(sock.getsockname())
        forget = context.resources.forget
        return SharedSocket(context.reactor, sock, lambda: forget(name))

    if place.sockaddr[1]:
        return context.resources.get(owner(place.sockaddr), make)
    fresh = make()
    real = (place.sockaddr[0], fresh.own[1], *place.sockaddr[2:])
    return context.resources.get(owner(real), lambda: fresh)


def _bound(place: Numeric) -> socket.socket:
    try:
        return open_socket(place.family, place.sockaddr, buffer=SHARED_BUFFER)
    except OSError as error:
        host, port = place.sockaddr[:2]
        raise bind_error("UDP", shown(host), port, error) from error


async def _allowed(reactor: Any, spec: UDPListenerSpec, family: int) -> _From:
    connect = spec.connect
    if connect is None or connect.address is None:
        return _From(None, connect.port if connect else None, None)
    found = await resolve(reactor, connect.address, connect.port or 0)
    fitting = [number.for_family(family) for number in _old_first(found)]
    peers = [peer for peer in fitting if peer is not None]
    if not peers:
        what = f"nobody at {connect.address} can reach {spec.address}"
        raise LocalError(f"{what}: one is IPv4, the other IPv6")
    if spec.is_singleton:
        return _From(frozenset({peers[0][0]}), connect.port, peers[0])
    return _From(frozenset(peer[0] for peer in peers), connect.port, None)


async def _local(reactor: Any, address: str | None, port: int) -> Numeric:
    """Where to bind."""
    if address is None:
        everywhere = literal(wildcard(), port)
        assert everywhere is not None, "the wildcard is an address"
        return everywhere
    return _old_first(await resolve(reactor, address, port))[0]


def _old_first(found: list[Numeric]) -> list[Numeric]:
    """
    IPv4 before IPv6, where a name has both.

    Nothing tells a datagram that the other would have been heard, and of the two IPv4
    is what the original spoke.
    """
    return sorted(found, key=lambda number: number.family != V4)


# -- clusters ------------------------------------------------------------------


def connect(
    context: Context, spec: UDPClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """See ``Connect``."""
    return Deferred.fromCoroutine(_connect(context, spec, endpoint))


async def _connect(
    context: Context, spec: UDPClusterSpec, endpoint: EndPoint
) -> IStream:
    reactor, bind = context.reactor, spec.bind or AddressPort()
    port = spec.port if endpoint.port is None else endpoint.port
    local = None
    if bind.address is not None:
        local = await _local(reactor, bind.address, bind.port or 0)
    family = local.family if local else None
    found = await resolve(reactor, endpoint.address, port, family)
    last = RemoteError(Loss(Reason.UNREACHABLE, endpoint.address))
    for remote in _old_first(found):
        try:
            return _flow(context, spec, remote, local)
        except RemoteError as error:
            last = error
    raise last


def _flow(
    context: Context, spec: UDPClusterSpec, remote: Numeric, local: Numeric | None
) -> ConnectedFlow:
    port = spec.bind.port if spec.bind else None
    sock = _connected(remote, local, port)
    # A port that the kernel chose is nobody else's.
    release = _claim(context, sock) if port else None
    flow = ConnectedFlow(context.reactor, context.reactor, sock, spec.options.linger)
    if release is not None:
        flow.when_lost().addCallback(lambda _: release())
    return flow


def _connected(
    remote: Numeric, local: Numeric | None, port: int | None
) -> socket.socket:
    """A socket bound as asked, which hears nobody but ``remote``."""
    place = local.sockaddr if local else None
    if place is None and port:
        place = ("0.0.0.0" if remote.family == V4 else "::", port)  # noqa: S104
    try:
        sock = open_socket(remote.family, place, buffer=OWN_BUFFER, reuse=bool(port))
    except OSError as error:
        where = host_port(*place[:2]) if place else "any port"
        what = f"cannot send from {where}: {error.strerror}"
        raise RemoteError(Loss(Reason.LOCAL, what)) from error
    try:
        sock.connect(remote.sockaddr)
    except OSError as error:
        sock.close()
        raise RemoteError(loss_of(error)) from error
    if port:
        _discard_strays(sock)
    return sock


def _discard_strays(sock: socket.socket) -> None:
    """Forget what anybody sent to a known port before it heard only one peer."""
    try:
        for _ in range(STRAYS):
            sock.recv(1)
    except BlockingIOError:
        return


def _claim(context: Context, sock: socket.socket) -> Callable[[], None]:
    """Have the five-tuple for ourselves, until what is returned is called."""
    own, peer = sock.getsockname(), sock.getpeername()
    owner = ("UDP", "flow", own, peer)
    claim = object()
    if context.resources.get(owner, lambda: claim) is not claim:
        sock.close()
        both = f"{host_port(*own[:2])} to {host_port(*peer[:2])}"
        what = f"the flow from {both} is in use by another session"
        raise RemoteError(Loss(Reason.LOCAL, what))
    return lambda: context.resources.forget(owner)


protocol = Protocol(
    name="UDP",
    kind=Kind.DATAGRAMS,
    summary="Datagrams over IP: a session for every peer.",
    listener=UDPListenerSpec,
    listen=listen,
    cluster=UDPClusterSpec,
    connect=connect,
    tag="UDP",
)
