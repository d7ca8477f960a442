"""UDP: listeners whose sessions share a socket, clusters with one for each session."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from l7mp.core.registry import Accept, Context, Protocol
from l7mp.core.tls import connect_dtls, prepare_dtls, serve_dtls
from l7mp.errors import LocalError, Loss, Reason, RemoteError
from l7mp.interfaces import IListening, IStream, Kind, Metadata
from l7mp.model import pointer
from l7mp.model.config import EndPoint
from l7mp.model.udp import (
    ContentKey,
    UDPClusterSpec,
    UDPListenerOptions,
    UDPListenerSpec,
)
from l7mp.streams import multicast, sockopts
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
from l7mp.streams.capped import CappedDoor, WatchedFlow
from l7mp.streams.census import Census
from l7mp.streams.connected import ConnectedFlow
from l7mp.streams.datagram import PeerFlow, SharedSocket
from l7mp.streams.door import Door, Make
from l7mp.streams.endpoint import bind_error
from l7mp.streams.guarded import GuardedFlow, WatchedGuardedFlow
from l7mp.streams.keyed import KeyedFlow, KeyedSocket, KeyOf, by_host, key_of_flow
from l7mp.streams.openflow import OpenFlow
from l7mp.streams.outgoing import Place, open_from, places
from l7mp.streams.sparing import Sparing
from l7mp.streams.udpsocket import open_socket
from l7mp.wire.flowkey import json_key, payload_key

TURNED_AWAY = "{topic} is reached, new peers are refused (datagrams: {count})"

SHARED_BUFFER = 4 << 20
"""Bytes that may wait in the kernel for the one socket of many peers."""


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

    def ready(stream: IStream, flow: PeerFlow, facts: Metadata) -> None:
        peer, port, own, own_port, _ = flow.five_tuple()
        metadata: Metadata = {
            "IP": {"src_addr": peer, "dst_addr": own},
            "UDP": {"src_port": port, "dst_port": own_port},
            **facts,
        }
        key = key_of_flow(flow)
        if key is not None:
            metadata["UDP"]["key"] = key
        accept(stream, metadata, f"{host_port(peer, port)}-{host_port(own, own_port)}")

    def plain(flow: PeerFlow) -> None:
        ready(flow, flow, {})

    take = serve_dtls(context, spec.tls, ready) if spec.tls else plain
    shared = _shared_socket(context, place, spec)
    door = _door(context, shared, take, allowed, spec)
    return _Listening(shared, door, context.reactor)


def _door(
    context: Context,
    shared: SharedSocket,
    ready: Callable[[PeerFlow], None],
    allowed: _From,
    spec: UDPListenerSpec,
) -> Door:
    options, idle, admits = spec.options, spec.idle_timeout, allowed.admits
    make = _maker(options)
    if not options.is_capped:
        return Door(shared, ready, admits, idle, allowed.first, make)
    census: Census[PeerFlow] = Census(
        options.max_sessions, options.max_sessions_per_source
    )
    replaces = options.when_full == "replace"
    sparing = Sparing(context.reactor, context.warn, TURNED_AWAY)
    return CappedDoor(shared, ready, admits, idle, census, replaces, make, sparing)


def _maker(options: UDPListenerOptions) -> Make:
    """What makes flows that do what is asked, and nothing more for each datagram."""
    is_watched = options.is_capped and options.when_full == "replace"
    guard = options.amplification
    if guard is None:
        if is_watched:
            return WatchedFlow
        return PeerFlow if options.session_key == "4-tuple" else KeyedFlow
    kind = WatchedGuardedFlow if is_watched else GuardedFlow
    return partial(kind, factor=guard.factor, never=guard.until == "never")


def _key_of(options: UDPListenerOptions) -> KeyOf | None:
    """What tells sessions apart, if not their addresses."""
    key = options.session_key
    if not isinstance(key, ContentKey):
        return by_host if key == "source-ip" else None
    if key.payload is not None:
        cut = payload_key(key.payload.offset, key.payload.length)
        return lambda _, datagram: cut(datagram)
    parts = pointer.parse(key.pointer or "")
    find = json_key(lambda document: pointer.get(document, parts, None))
    return lambda _, datagram: find(datagram)


def _shared_socket(
    context: Context, place: Numeric, spec: UDPListenerSpec
) -> SharedSocket:
    """The socket of all who listen there, made by the first."""
    resources = context.resources
    terms = (spec.options.session_key, spec.socket, spec.multicast)

    def owner(sockaddr: Sockaddr) -> tuple[object, ...]:
        return ("UDP", "listening", *sockaddr)

    def make() -> SharedSocket:
        sock = _bound(place, spec)
        name = owner(sock.getsockname())
        shared = _watched(context, sock, spec, lambda: resources.forget(name))
        shared.terms = terms
        return shared

    if not place.sockaddr[1]:
        fresh = make()
        real = (place.sockaddr[0], fresh.own[1], *place.sockaddr[2:])
        return resources.get(owner(real), lambda: fresh)
    found = resources.get(owner(place.sockaddr), make)
    if found.terms != terms:
        _clear(found, place, spec)
        found = resources.get(owner(place.sockaddr), make)
    return found


def _clear(shared: SharedSocket, place: Numeric, spec: UDPListenerSpec) -> None:
    """Have a socket go that is not as it is wanted now."""
    if shared.is_offered:
        where = host_port(shown(place.sockaddr[0]), place.sockaddr[1])
        what = f"another listener has UDP {where} with other terms"
        terms = "session_key, socket and multicast"
        raise LocalError(f"{what}: listeners that share a port must agree on {terms}")
    # Only sessions of a listener that is gone are left; they go if we can take over.
    host, _, *rest = place.sockaddr
    _asked_for(Numeric(place.family, (host, 0, *rest)), spec).close()
    shared.end_all(Loss(Reason.RECONFIGURED, "the port has other terms now"))


def _watched(
    context: Context,
    sock: socket.socket,
    spec: UDPListenerSpec,
    emptied: Callable[[], None],
) -> SharedSocket:
    key_of = _key_of(spec.options)
    if key_of is None:
        shared = SharedSocket(context.reactor, sock, emptied)
    else:
        shared = KeyedSocket(context.reactor, sock, emptied, key_of)
    shared.drops = context.drops()
    return shared


def _bound(place: Numeric, spec: UDPListenerSpec) -> socket.socket:
    try:
        return _asked_for(place, spec)
    except OSError as error:
        host, port = place.sockaddr[:2]
        raise bind_error("UDP", shown(host), port, error) from error


def _asked_for(place: Numeric, spec: UDPListenerSpec) -> socket.socket:
    """A socket at ``place`` with all that is asked of it."""

    def prepare(sock: socket.socket) -> None:
        sockopts.prepare(sock, spec.socket)
        if spec.multicast is not None:
            multicast.join(sock, spec.multicast)

    return open_socket(
        place.family, place.sockaddr, buffer=SHARED_BUFFER, prepare=prepare
    )


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
    return Deferred.fromCoroutine(_connect(context, spec, endpoint, metadata))


async def _connect(
    context: Context, spec: UDPClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> IStream:
    reactor, bind = context.reactor, spec.bind
    port = spec.port if endpoint.port is None else endpoint.port
    local = None
    if bind is not None and bind.address is not None:
        local = await _local(reactor, bind.address, bind.port or 0)
    family = local.family if local else None
    found = await resolve(reactor, endpoint.address, port, family)
    last = RemoteError(Loss(Reason.UNREACHABLE, endpoint.address))
    for remote in _old_first(found):
        for place in places(bind, local, metadata):
            try:
                flow = _flow(context, spec, remote, place)
            except RemoteError as error:
                last = error
                continue
            if spec.tls is None:
                return flow
            linger = spec.options.linger
            return await connect_dtls(context, spec.tls, flow, endpoint.address, linger)
    raise last


def _flow(
    context: Context, spec: UDPClusterSpec, remote: Numeric, place: Place
) -> ConnectedFlow:
    reactor, linger = context.reactor, spec.options.linger
    sock = open_from(place, remote, spec)
    if spec.options.answers == "any":
        return OpenFlow(reactor, reactor, sock, remote.sockaddr, linger)
    # A port that the kernel chose is nobody else's.
    release = _claim(context, sock) if place.port else None
    flow = ConnectedFlow(reactor, reactor, sock, linger)
    if release is not None:
        flow.when_lost().addCallback(lambda _: release())
    return flow


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
    prepare=prepare_dtls,
    tag="UDP",
)
