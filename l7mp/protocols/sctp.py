"""SCTP: messages on numbered streams of an association (RFC 9260)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from l7mp.core.registry import Accept, Context, Protocol
from l7mp.errors import LocalError, Loss, Reason, RemoteError
from l7mp.interfaces import IListening, IStream, Kind, Metadata
from l7mp.model.base import Declared, Items
from l7mp.model.config import EndPoint
from l7mp.model.explain import Says, complaint
from l7mp.model.spec import Spec
from l7mp.model.types import Address, AnyPort, Port, Seconds
from l7mp.streams.address import V4, Numeric, resolve
from l7mp.streams.association import Association
from l7mp.streams.association_stream import (
    AssociationStream,
    Attempt,
    Manner,
)
from l7mp.streams.census import Census
from l7mp.streams.kernelsctp import check_tunnel, is_there
from l7mp.streams.reception import Reception
from l7mp.streams.sctp import (
    Place,
    connect_in_kernel,
    connect_in_user_space,
    listen_in_kernel,
    listen_in_user_space,
)
from l7mp.streams.sparing import Sparing
from l7mp.streams.stack import Stack
from l7mp.streams.trunk import Made, Trunk
from l7mp.streams.usrsctp import Tuning, engine
from l7mp.wire.sctp import MAX_PPID, MAX_STREAM

TUNNEL = 9899
"""The port of UDP for encapsulated SCTP (RFC 6951, section 5.1)."""

TURNED_AWAY = "{topic} is reached, new peers are refused (associations: {count})"

IDLE = 60.0
"""Seconds of silence after which a session of a stream ends: no peer says its end."""

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


Limit = Annotated[int, Field(ge=1), Says("a whole number", "must be 1 or more")]


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


class SCTPListenerOptions(SCTPOptions):
    """How associations are kept, and sessions on their streams."""

    idle_timeout: Seconds = IDLE
    """Seconds of silence after which a session of a stream ends; 0: never."""
    max_associations: Limit | None = None
    """How many there may be at once; any number if missing."""
    max_associations_per_source: Limit | None = None
    """How many there may be at once with one address; for IPv6, with one /64 network."""


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
    sessions: Literal["association", "stream"] = "association"
    """
    Whether an association is a session, or each of its streams is one.

    The sessions of a cluster then share an association to each endpoint, and each has
    the stream that ``/SCTP/stream`` says, or any that is free.  At a listener the first
    message on a stream begins a session.
    """
    options: SCTPOptions = SCTPOptions()
    """How associations are kept."""

    @model_validator(mode="after")
    def _streams_are_asked_for(self) -> Self:
        number, streams = self.stream, self.options.streams
        if number is not None and number >= streams:
            what = f"stream {number} is not among the {streams} of options.streams"
            hint = f"say options.streams: {number + 1}, or more"
            raise complaint(what, hint)
        return self

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
    options: SCTPListenerOptions = SCTPListenerOptions()
    """How associations are kept, and sessions on their streams."""
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


@implementer(IListening)
class _Listening:
    def __init__(self, reception: Reception, place: Place) -> None:
        self._reception, self._place = reception, place

    def address(self) -> dict[str, Any]:
        return self._place.address()

    def stop(self) -> Deferred[None]:
        self._place.close()
        self._reception.close()
        return succeed(None)


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
    reception = Reception(
        accept,
        spec.manner,
        is_patient=spec.begin == "message",
        is_shared=spec.sessions == "stream",
        idle_timeout=spec.options.idle_timeout,
        census=Census(
            spec.options.max_associations, spec.options.max_associations_per_source
        ),
        turned_away=_turned_away(context),
    )
    udp = spec.encapsulation.port if spec.encapsulation else None
    if _is_for_kernel(spec, udp is not None):
        if udp is not None:
            check_tunnel(udp)
        place: Place = listen_in_kernel(
            context.reactor, places, spec.port, spec.tuning, reception.welcome
        )
    else:
        place = listen_in_user_space(
            _stack(context), places, spec.port, udp, spec.tuning, reception.welcome
        )
    return _Listening(reception, place)


def _turned_away(context: Context) -> Callable[[str], None]:
    """Counts, and now and then warns of, peers that find no room."""
    warn = Sparing(context.reactor, context.warn, TURNED_AWAY)
    drops = context.drops()

    def turned_away(why: str) -> None:
        drops[why] = drops.get(why, 0) + 1
        warn(why)

    return turned_away


# -- both sides ------------------------------------------------------------------


def _is_for_kernel(spec: _Spec, is_in_udp: bool) -> bool:
    """Whose SCTP it is to be; raises ``LocalError`` if that cannot be."""
    if spec.engine == "auto":
        return not is_in_udp and is_there()
    if spec.engine == "user" and not is_in_udp and is_there():
        what = "the kernel has SCTP, and would answer every packet on IP"
        raise LocalError(f"{what}; say engine: kernel, or encapsulate SCTP in UDP")
    return spec.engine == "kernel"


def _stack(context: Context) -> Stack:
    """SCTP in user space, of this proxy."""

    def make() -> Stack:
        return Stack(context.reactor, engine())

    return context.resources.get(("SCTP", "stack"), make)


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
    manner = spec.manner.with_facts(metadata)
    if spec.sessions == "stream":
        return await _trunk(context, spec, endpoint.address, port).join(manner)
    association, notes = await _associate(context, spec, endpoint.address, port)
    stream = AssociationStream(association, manner)
    for note in notes:
        stream.happened(note)
    return stream


def _trunk(context: Context, spec: SCTPClusterSpec, address: str, port: int) -> Trunk:
    """The association that all sessions of a cluster to an endpoint share."""
    owner = ("cluster", context.owner[1], "SCTP", address, port)

    def make() -> Trunk:
        def associate() -> Deferred[Made]:
            return Deferred.fromCoroutine(_associate(context, spec, address, port))

        def gone() -> None:
            if context.resources.get(owner, lambda: made) is made:
                context.resources.forget(owner)

        made = Trunk(associate, gone)
        return made

    return context.resources.get(owner, make)


async def _associate(
    context: Context, spec: SCTPClusterSpec, address: str, port: int
) -> Made:
    """Make an association with an endpoint."""
    bind = spec.bind or SCTPBind()
    places = await _locals(context.reactor, bind.address)
    family = places[0].family if places else None
    last = RemoteError(Loss(Reason.UNREACHABLE, address))
    for remotes in await _remotes(context.reactor, address, port, family):
        attempt = Attempt()
        try:
            attempt.association = _begin(context, spec, remotes, places, attempt)
            return await attempt.made, attempt.notes
        except LocalError as error:
            last = RemoteError(Loss(Reason.LOCAL, str(error)))
        except RemoteError as error:
            last = error
    raise last


async def _remotes(
    reactor: Any, address: str, port: int, family: int | None
) -> list[list[Numeric]]:
    """
    What to try, one after the other.

    A name may stand for several machines; several names stand for one.
    """
    names = [name.strip() for name in address.split(",")]
    found = [await resolve(reactor, name, port, family) for name in names]
    fitting = [sorted(one, key=lambda number: number.family != V4) for one in found]
    if len(names) == 1:
        return [[number] for number in fitting[0]]
    return [[numbers[0] for numbers in fitting]]


def _begin(
    context: Context,
    spec: SCTPClusterSpec,
    remotes: list[Numeric],
    places: list[Numeric],
    attempt: Attempt,
) -> Association:
    tunnel = spec.encapsulation
    own_port = spec.bind.port if spec.bind and spec.bind.port else 0
    if _is_for_kernel(spec, tunnel is not None):
        if tunnel is not None:
            check_tunnel(tunnel.port)
        remote_udp = tunnel.remote_port if tunnel is not None else None
        return connect_in_kernel(
            context.reactor, remotes, places, own_port, remote_udp, spec.tuning, attempt
        )
    udp = (tunnel.port, tunnel.remote_port) if tunnel is not None else None
    return connect_in_user_space(
        _stack(context), remotes, places, own_port, udp, spec.tuning, attempt
    )


protocol = Protocol(
    name="SCTP",
    kind=Kind.DATAGRAMS,
    summary="Messages on numbered streams of an association over IP or UDP.",
    listener=SCTPListenerSpec,
    listen=listen,
    cluster=SCTPClusterSpec,
    connect=connect,
)
