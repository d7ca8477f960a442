"""Unix domain sockets (unix(7)): streams, datagrams, and packets in a connection."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Annotated, Any, Literal, cast

from pydantic import Field, model_validator
from twisted.internet.defer import Deferred, execute, succeed
from zope.interface import implementer

from l7mp.core.registry import Accept, Context, Protocol
from l7mp.core.tls import connect_tls, prepare_tls, serve_tls
from l7mp.errors import LocalError
from l7mp.interfaces import IListening, IStream, Kind, Metadata
from l7mp.model.base import Declared, spelled
from l7mp.model.config import EndPoint
from l7mp.model.explain import Says, complaint
from l7mp.model.spec import KindOf, Spec
from l7mp.model.tls import TLSClient, TLSServer
from l7mp.model.types import Account, Address, FileMode, Seconds
from l7mp.streams.acceptor import Acceptor
from l7mp.streams.access import Access
from l7mp.streams.census import Census
from l7mp.streams.endpoint import (
    BACKLOG,
    connect_stream,
    factory_of,
    tls_metadata,
)
from l7mp.streams.sparing import Sparing
from l7mp.streams.transport import Plumbing, TransportStream
from l7mp.streams.unixdatagram import LINGER, DatagramFlow, DatagramHall, DatagramPeer
from l7mp.streams.unixendpoint import UnixEndpoint, adopt
from l7mp.streams.unixpacket import PacketStream
from l7mp.streams.unixsocket import (
    TYPES,
    Bound,
    bind,
    dial,
    facts_of,
    is_abstract,
    peer_of,
    shown,
)

IDLE = 60.0
"""Seconds of silence after which a session with a sender of datagrams ends."""

MOST = 4096
"""How many senders of datagrams may have sessions at once, unless it is said."""

TURNED_AWAY = "{topic}: new senders are refused (datagrams: {count})"

Count = Annotated[int, Field(ge=1), Says("a whole number", "must be 1 or more")]

Type = Annotated[
    Literal["stream", "dgram", "seqpacket"],
    spelled(datagram="dgram", packet="seqpacket"),
]


# -- what a user declares ------------------------------------------------------


class UnixDomainSocketListenerOptions(Declared):
    """How a listener treats its peers."""

    idle_timeout: Seconds | None = None
    """
    Seconds of silence in both directions after which a session ends; 0: never.

    60 for dgram, whose peers have no other way to say that they are gone; never for
    the other types.
    """
    max_sessions: Count | None = None
    """With dgram: how many there may be at once; 4096 if missing."""
    max_sessions_per_source: Count | None = None
    """With dgram: how many there may be at once with one user; any number if missing."""


class UnixDomainSocketListenerSpec(Spec):
    """Accept connections at a socket file; each is a session."""

    filename: Address
    """
    The path of the socket file; a stale one is replaced, one in use is not.

    A name that begins with @ is abstract: it is no file, and goes with the listener.
    """
    type: Type = "stream"
    """
    stream: bytes; seqpacket: messages, in a connection; dgram: messages, without one.

    With dgram each address that sends is a session, as in UDP.
    """
    mode: FileMode | None = None
    """Who may connect, as "0660"; what the umask leaves of 0777 if missing."""
    owner: Account | None = None
    """The user to whom the file belongs; which takes root."""
    group: Account | None = None
    """The group to which the file belongs."""
    options: UnixDomainSocketListenerOptions = UnixDomainSocketListenerOptions()
    """How to treat peers."""
    tls: TLSServer | None = None
    """Speak TLS with the clients, over streams."""

    def carries(self, kind_of: KindOf) -> str | None:
        return _kind(self.type)

    @model_validator(mode="after")
    def _only_streams_are_secure(self) -> UnixDomainSocketListenerSpec:
        _check_tls(self.tls, self.type)
        return self

    @model_validator(mode="after")
    def _only_datagrams_are_counted(self) -> UnixDomainSocketListenerSpec:
        given = (self.options.max_sessions, self.options.max_sessions_per_source)
        if self.type != "dgram" and any(one is not None for one in given):
            hint = "leave max_sessions and max_sessions_per_source out"
            raise complaint(f"there is no limit to sessions of type {self.type}", hint)
        return self

    @model_validator(mode="after")
    def _only_files_have_owners(self) -> UnixDomainSocketListenerSpec:
        given = (self.mode, self.owner, self.group)
        if is_abstract(self.filename) and any(one is not None for one in given):
            hint = "leave them out, or give the path of a file"
            raise complaint("an abstract name has no mode, owner or group", hint)
        return self

    @property
    def idle_timeout(self) -> float:
        """Seconds of silence after which a session ends; 0: never."""
        if self.options.idle_timeout is not None:
            return self.options.idle_timeout
        return IDLE if self.type == "dgram" else 0.0


class UnixDomainSocketClusterOptions(Declared):
    """How a cluster ends its sessions."""

    linger: Seconds = LINGER
    """With dgram: how long to wait for a late answer, in seconds of silence."""


class UnixDomainSocketClusterSpec(Spec):
    """Connect to the socket that is the endpoint's address, a path or @name."""

    type: Type = "stream"
    """The type of the socket there: stream, seqpacket or dgram."""
    options: UnixDomainSocketClusterOptions = UnixDomainSocketClusterOptions()
    """How sessions end."""
    tls: TLSClient | None = None
    """
    Speak TLS with the endpoint, over a stream.

    It needs a ``server_name``, or no ``verify``.
    """

    @model_validator(mode="after")
    def _only_streams_are_secure(self) -> UnixDomainSocketClusterSpec:
        _check_tls(self.tls, self.type)
        return self

    def carries(self, kind_of: KindOf) -> str | None:
        return _kind(self.type)


def _check_tls(tls: object, type_: str) -> None:
    if tls is not None and type_ != "stream":
        raise complaint(f"there is no TLS over {type_}", "leave tls out, or the type")


def _kind(type_: str) -> str | None:
    return None if type_ == "stream" else Kind.DATAGRAMS.value


# -- listeners -----------------------------------------------------------------


@implementer(IListening)
class _Listening:
    def __init__(self, bound: Bound, door: Acceptor | DatagramHall) -> None:
        self._bound, self._door = bound, door

    def address(self) -> dict[str, Any]:
        return {"filename": self._bound.name}

    def stop(self) -> Deferred[None]:
        self._door.close()
        self._bound.remove_file()
        return succeed(None)


def listen(
    context: Context, spec: UnixDomainSocketListenerSpec, accept: Accept
) -> Deferred[IListening]:
    """Bind the socket."""
    return execute(_listen, context, spec, accept)


def _listen(
    context: Context, spec: UnixDomainSocketListenerSpec, accept: Accept
) -> IListening:
    reactor = context.reactor

    def arrived(stream: Any, facts: Metadata, tls: Metadata) -> None:
        stream.idle_timeout = spec.idle_timeout
        accept(stream, {"UNIX": {"filename": spec.filename, **facts}, **tls}, "")

    def connected(stream: TransportStream) -> None:
        sock = cast(Any, stream.transport).socket  # below TLS, too
        arrived(stream, peer_of(sock), tls_metadata(stream.transport))

    def sender(peer: DatagramPeer) -> None:
        name = {"peer": shown(peer.address)} if peer.address else {}
        arrived(peer, {**facts_of(peer.credentials), **name}, {})

    plain = factory_of(lambda: Plumbing(reactor, connected))
    factory = serve_tls(context, spec.tls, plain)

    def taken(sock: socket.socket) -> None:
        if spec.type == "stream":
            adopt(reactor, sock, factory)
        else:
            arrived(PacketStream(reactor, reactor, sock), peer_of(sock), {})

    access = Access.of(spec.mode, spec.owner, spec.group)
    backlog = 0 if spec.type == "dgram" else BACKLOG
    bound = bind(TYPES[spec.type], spec.filename, access, backlog)
    if spec.type == "dgram":
        return _Listening(bound, _hall(context, spec, bound, sender))
    return _Listening(bound, Acceptor(reactor, reactor, bound.sock, taken))


def _hall(
    context: Context,
    spec: UnixDomainSocketListenerSpec,
    bound: Bound,
    sender: Callable[[DatagramPeer], None],
) -> DatagramHall:
    options, reactor = spec.options, context.reactor
    census: Census[DatagramPeer] = Census(
        options.max_sessions or MOST, options.max_sessions_per_source
    )
    warn = Sparing(reactor, context.warn, TURNED_AWAY)
    drops = context.drops()

    def turned_away(why: str) -> None:
        drops[why] = drops.get(why, 0) + 1
        warn(why)

    idle = spec.idle_timeout
    return DatagramHall(reactor, reactor, bound, sender, idle, census, turned_away)


# -- clusters ------------------------------------------------------------------


def connect(
    context: Context,
    spec: UnixDomainSocketClusterSpec,
    endpoint: EndPoint,
    metadata: Metadata,
) -> Deferred[IStream]:
    """Connect to the socket."""
    reactor = context.reactor
    if spec.type == "stream":
        to = UnixEndpoint(reactor, endpoint.address)
        secure = connect_tls(context, spec.tls, to, "a Unix domain socket")
        return connect_stream(reactor, secure)
    return Deferred.fromCoroutine(_connect(reactor, spec, endpoint.address))


async def _connect(
    reactor: Any, spec: UnixDomainSocketClusterSpec, name: str
) -> IStream:
    sock = await dial(reactor, TYPES[spec.type], name)
    if spec.type == "dgram":
        return DatagramFlow(reactor, reactor, sock, spec.options.linger)
    return PacketStream(reactor, reactor, sock)


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
    summary="Streams, datagrams and packets between processes of one machine.",
    listener=UnixDomainSocketListenerSpec,
    listen=listen,
    cluster=UnixDomainSocketClusterSpec,
    connect=connect,
    prepare=prepare,
    tag="UNIX",
    aliases=("UDS", "Unix"),
)
