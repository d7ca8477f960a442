"""SCTP: messages on numbered streams of an association (RFC 9260)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from l7mp.core.registry import Accept, Context, Protocol
from l7mp.errors import LocalError, Loss, Reason, RemoteError
from l7mp.interfaces import IListening, IStream, Kind, Metadata
from l7mp.model.base import Declared, Items
from l7mp.model.config import EndPoint
from l7mp.model.explain import Says
from l7mp.model.spec import Spec
from l7mp.model.types import Address, AnyPort, Port, Seconds
from l7mp.streams.address import (
    V4,
    Numeric,
    host_port,
    literal,
    resolve,
    shown,
    wildcard,
)
from l7mp.streams.association import Association, Ends
from l7mp.streams.association_stream import (
    AssociationStream,
    Attempt,
    FirstMessage,
    Manner,
)
from l7mp.streams.stack import Door, Stack
from l7mp.streams.usrsctp import Tuning, engine
from l7mp.wire.sctp import MAX_PPID, MAX_STREAM

TUNNEL = 9899
"""The port of UDP for encapsulated SCTP (RFC 6951, section 5.1)."""

_ONE_PATH = (
    "several addresses need the SCTP of the kernel (engine: kernel):"
    " in user space an association has one path"
)

# -- what a user declares ------------------------------------------------------

Addresses = Address | Annotated[Items[Address], Field(min_length=1)]
"""One address, or several of the same machine."""

StreamNumber = Annotated[
    int,
    Field(ge=0, le=MAX_STREAM),
    Says("a stream's number", f"must be a stream, from 0 to {MAX_STREAM}"),
]

Ppid = Annotated[
    int,
    Field(ge=0, le=MAX_PPID),
    Says("an identifier", f"must be from 0 to {MAX_PPID}"),
]

Count = Annotated[
    int,
    Field(ge=1, le=MAX_STREAM),
    Says("a whole number", f"must be from 1 to {MAX_STREAM}"),
]


class SCTPListenerEncapsulation(Declared):
    """SCTP inside of UDP (RFC 6951)."""

    port: AnyPort = TUNNEL
    """The port of UDP to listen on; 0 for any that is free."""


class SCTPClusterEncapsulation(Declared):
    """SCTP inside of UDP (RFC 6951)."""

    port: AnyPort = 0
    """The port of UDP to send from; 0 for any that is free."""
    remote_port: Port = TUNNEL
    """The port of UDP where the peer has its SCTP."""


class SCTPBind(Declared):
    """Our side of an association, as far as it is given."""

    address: Addresses | None = None
    """IP address or host name; several for a multihomed association."""
    port: Port | None = None
    """The port of SCTP; any that is free if missing."""


class SCTPOptions(Declared):
    """How associations are kept."""

    streams: Count = 16
    """How many streams to have in each direction, if the peer has as many."""
    heartbeat: Seconds = 30
    """Seconds of silence after which to see whether the peer is there; 0: never."""
    retransmissions: Count = 10
    """How many times in a row a peer may not answer before it is given up."""


class _Spec(Spec):
    """What both sides say."""

    engine: Literal["auto", "kernel", "user"] = "auto"
    """
    Whose SCTP: the kernel's, or ours in user space, by libusrsctp.

    Unless told, the kernel's if it has one and nothing is encapsulated.
    """
    stream: StreamNumber | None = None
    """
    The stream to send on, unless ``/SCTP/stream`` of the metadata is one.

    If neither, the one on which it came, when it came over SCTP, or 0.
    """
    ppid: Ppid | None = None
    """The payload protocol identifier to send; as for ``stream``."""
    unordered: bool = False
    """Whether messages may overtake each other on the way to the peer."""
    options: SCTPOptions = SCTPOptions()
    """How associations are kept."""

    @property
    def manner(self) -> Manner:
        """How to send what is not said otherwise."""
        return Manner(self.stream, self.ppid, self.unordered)

    @property
    def tuning(self) -> Tuning:
        """The options, for the stack."""
        said = self.options
        return Tuning(said.streams, said.heartbeat, said.retransmissions)


class SCTPListenerSpec(_Spec):
    """Let peers make associations; each is a session."""

    port: AnyPort
    """The port to listen on; 0 for any that is free."""
    address: Addresses | None = None
    """
    The local address to listen on; every one of the machine if missing.

    Several make multihomed associations, with the kernel's SCTP.
    """
    encapsulation: SCTPListenerEncapsulation | None = None
    """Take SCTP inside of UDP; on IP itself if missing."""
    begin: Literal["association", "message"] = "association"
    """
    What begins a session: that the peer is there, or that it has said something.

    With its first message, ``/SCTP/stream`` and ``/SCTP/ppid`` are known to rules.
    """


class SCTPClusterSpec(_Spec):
    """Make an association for each session."""

    port: Port
    """The port of endpoints that have none of their own."""
    bind: SCTPBind | None = None
    """Our addresses and port."""
    encapsulation: SCTPClusterEncapsulation | None = None
    """Send SCTP inside of UDP; on IP itself if missing."""


# -- listeners -----------------------------------------------------------------


def metadata_of(ends: Ends) -> Metadata:
    """What is known of an association that a peer has made."""
    about: Metadata = {
        "src_port": ends.peer_port,
        "dst_port": ends.own_port,
        "src_addrs": list(ends.peer),
        "dst_addrs": list(ends.own),
        "streams": {"in": ends.streams_in, "out": ends.streams_out},
    }
    if ends.udp is not None:
        about["encapsulation"] = {"src_port": ends.udp[1], "dst_port": ends.udp[0]}
    return {"IP": {"src_addr": ends.peer[0], "dst_addr": ends.own[0]}, "SCTP": about}


class _Reception:
    """Makes sessions of the associations that come to a listener."""

    def __init__(self, spec: SCTPListenerSpec, accept: Accept) -> None:
        self._spec, self._accept = spec, accept
        self._silent: set[FirstMessage] = set()

    def welcome(self, association: Association) -> None:
        """A peer has made an association."""
        ends = association.ends()
        if self._spec.begin == "association":
            self._begin(association, ends, None)
            return

        def came(first: tuple[bytes, int, int]) -> None:
            stream = self._begin(association, ends, first)
            for note in waiting.notes:
                stream.happened(note)

        waiting = FirstMessage(association, came, self._silent.discard)
        self._silent.add(waiting)

    def _begin(
        self,
        association: Association,
        ends: Ends,
        first: tuple[bytes, int, int] | None,
    ) -> AssociationStream:
        metadata = metadata_of(ends)
        if first is not None:
            metadata["SCTP"].update(stream=first[1], ppid=first[2])
        stream = AssociationStream(association, self._spec.manner, first)
        peer, own = ends.peer[0], ends.own[0]
        words = f"{host_port(peer, ends.peer_port)}-{host_port(own, ends.own_port)}"
        self._accept(stream, metadata, words)
        return stream

    def close(self) -> None:
        """Be rid of those that have not said a word."""
        for waiting in list(self._silent):
            waiting.association.abort(Loss(Reason.SHUTDOWN))


@implementer(IListening)
class _Listening:
    def __init__(self, reception: _Reception, place: Any) -> None:
        self._reception, self._place = reception, place

    def address(self) -> dict[str, Any]:
        found: dict[str, Any] = self._place.address()
        return found

    def stop(self) -> Deferred[None]:
        self._place.close()
        self._reception.close()
        return succeed(None)


class _UserPlace:
    """Where a listener is, in user space."""

    def __init__(self, stack: Stack, door: Door, host: str, is_udp: bool) -> None:
        self._stack, self._door, self._host, self._is_udp = stack, door, host, is_udp

    def address(self) -> dict[str, Any]:
        about: dict[str, Any] = {"address": self._host, "port": self._door.port}
        if self._is_udp:
            (carrier,) = self._door.carriers
            about["encapsulation"] = {"port": carrier.own[1]}
        return about

    def close(self) -> None:
        self._stack.shut(self._door)


def listen(
    context: Context, spec: SCTPListenerSpec, accept: Accept
) -> Deferred[IListening]:
    """See ``Listen``."""
    return Deferred.fromCoroutine(_listen(context, spec, accept))


async def _listen(
    context: Context, spec: SCTPListenerSpec, accept: Accept
) -> IListening:
    try:
        places = await _locals(context.reactor, spec.address)
    except RemoteError as error:
        raise LocalError(error.loss.detail) from error
    reception = _Reception(spec, accept)
    place = _user_place(context, spec, places, reception)
    return _Listening(reception, place)


def _user_place(
    context: Context,
    spec: SCTPListenerSpec,
    places: list[Numeric],
    reception: _Reception,
) -> _UserPlace:
    stack = _stack(context)
    host = shown(_only(places).sockaddr[0]) if places else wildcard()
    place = literal(host, spec.encapsulation.port if spec.encapsulation else 0)
    assert place is not None, "an address is an address"
    hosts = None
    if spec.encapsulation is not None:
        carriers = [stack.udp(place)]
    elif places:
        carriers, hosts = [stack.raw(place.family)], [host]
    else:
        carriers = [stack.raw(V4)]
    door = Door(carriers, spec.port, hosts, reception.welcome)
    try:
        stack.listen(door, spec.tuning)
    except LocalError:
        for carrier in carriers:
            carrier.tidy()
        raise
    return _UserPlace(stack, door, host, spec.encapsulation is not None)


# -- both sides ------------------------------------------------------------------


def _stack(context: Context) -> Stack:
    """SCTP in user space, of this proxy."""

    def make() -> Stack:
        return Stack(context.reactor, engine())

    return context.resources.get(("SCTP", "stack"), make)


def _only(places: list[Numeric]) -> Numeric:
    if len(places) > 1:
        raise LocalError(_ONE_PATH)
    return places[0]


async def _locals(reactor: Any, address: str | tuple[str, ...] | None) -> list[Numeric]:
    """Our addresses, as numbers."""
    names = [address] if isinstance(address, str) else list(address or ())
    found = []
    for name in names:
        numbers = await resolve(reactor, name)
        # IPv4 before IPv6, where a name has both
        found.append(min(numbers, key=lambda number: number.family != V4))
    return found


# -- clusters ------------------------------------------------------------------


def connect(
    context: Context, spec: SCTPClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """See ``Connect``."""
    return Deferred.fromCoroutine(_connect(context, spec, endpoint, metadata))


async def _connect(
    context: Context, spec: SCTPClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> IStream:
    port = spec.port if endpoint.port is None else endpoint.port
    bind = spec.bind or SCTPBind()
    places = await _locals(context.reactor, bind.address)
    family = places[0].family if places else None
    names = [name.strip() for name in endpoint.address.split(",")]
    if len(names) > 1:
        raise LocalError(_ONE_PATH)
    found = await resolve(context.reactor, names[0], port, family)
    manner = spec.manner.with_facts(metadata)
    last = RemoteError(Loss(Reason.UNREACHABLE, endpoint.address))
    for remote in sorted(found, key=lambda number: number.family != V4):
        attempt = Attempt()
        try:
            attempt.association = _user_association(
                context, spec, remote, places, attempt
            )
            association = await attempt.made
        except LocalError as error:
            last = RemoteError(Loss(Reason.LOCAL, str(error)))
            continue
        except RemoteError as error:
            last = error
            continue
        stream = AssociationStream(association, manner)
        for note in attempt.notes:
            stream.happened(note)
        return stream
    raise last


def _user_association(
    context: Context,
    spec: SCTPClusterSpec,
    remote: Numeric,
    places: list[Numeric],
    attempt: Attempt,
) -> Association:
    stack, tunnel = _stack(context), spec.encapsulation
    everywhere = "0.0.0.0" if remote.family == V4 else "::"  # noqa: S104  # any is right
    host = _only(places).sockaddr[0] if places else everywhere
    if tunnel is None:
        carrier = stack.raw(remote.family)
    else:
        place = literal(host, tunnel.port)
        assert place is not None, "an address is an address"
        carrier = stack.udp(place)
    peer = remote.sockaddr
    if tunnel is not None:
        peer = (peer[0], tunnel.remote_port, *peer[2:])
    own_port = spec.bind.port if spec.bind and spec.bind.port else 0
    ports = (own_port, remote.sockaddr[1])
    try:
        return stack.connect(carrier, peer, ports, spec.tuning, attempt)
    except LocalError:
        carrier.tidy()
        raise


protocol = Protocol(
    name="SCTP",
    kind=Kind.DATAGRAMS,
    summary="Messages on numbered streams of an association over IP or UDP.",
    listener=SCTPListenerSpec,
    listen=listen,
    cluster=SCTPClusterSpec,
    connect=connect,
)
