"""AF_PACKET: frames of a network interface, or the payloads in them (packet(7))."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from l7mp.core.registry import Accept, Context, Protocol
from l7mp.errors import LocalError, Loss, Reason, RemoteError
from l7mp.interfaces import IListening, IStream, Kind, Metadata
from l7mp.model import pointer
from l7mp.model.base import Items
from l7mp.model.config import EndPoint
from l7mp.model.explain import complaint
from l7mp.model.spec import Spec
from l7mp.model.types import Seconds
from l7mp.streams.packet import Heard, PacketFlow, PacketSocket, To
from l7mp.streams.packetsocket import Wanted, open_packet_socket, why_not
from l7mp.streams.pcapfilter import ETHERNET, IP, Program, compile_filter
from l7mp.wire.ethernet import (
    ALL,
    BROADCAST,
    BadFrame,
    ethertype,
    mac,
    parse,
    shown,
)

IDLE = 60.0
"""Seconds of silence after which the session of one source ends."""

RETURN = 1.0
"""Seconds between two looks whether an interface is there again."""

LONGEST_PROGRAM = 4096


# -- what a user declares ------------------------------------------------------


def _checked_type(said: int | str) -> int | str:
    try:
        ethertype(said)
    except ValueError as error:
        raise complaint(str(error), 'such as "IPv4", 0x88b5 or "all"') from error
    return said


def _checked_mac(said: str) -> str:
    try:
        mac(said)
    except ValueError as error:
        raise complaint(str(error), "such as 02:00:5e:10:00:01") from error
    return said


EtherType = Annotated[int | str, AfterValidator(_checked_type)]
MAC = Annotated[
    str, AfterValidator(_checked_mac), Field(examples=["02:00:5e:10:00:01"])
]
_Word = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]
Instruction = Annotated[Items[_Word], Field(min_length=4, max_length=4)]


class _PacketSpec(Spec):
    """What both sides say."""

    type: Literal["raw", "cooked"] = "raw"
    """
    Whole frames with their Ethernet header, or the payloads in them: packets of IP
    and the like.
    """
    ethertype: EtherType = "all"
    """Only frames of this type: a number, or a name such as ``ARP``."""
    filter: str | None = None
    """Only what passes this filter, in the words of tcpdump: ``icmp or port 53``."""
    filter_bytes: Items[Instruction] | None = None
    """
    The same as instructions of classic BPF: code, jump if true, jump if false,
    operand, as ``tcpdump -ddd`` prints them.
    """
    promiscuous: bool = False
    """Whether to hear also what is for other machines."""
    outgoing: bool = False
    """Whether to hear also what this machine sends."""
    destination: MAC | None = None
    """Cooked: where payloads go, instead of to whoever spoke last."""

    @model_validator(mode="after")
    def _makes_sense(self) -> _PacketSpec:
        if self.filter is not None and self.filter_bytes is not None:
            raise complaint("filter and filter_bytes are two filters", "give one")
        if self.filter_bytes is not None:
            _check_program(self.filter_bytes)
        if self.type == "raw" and self.destination is not None:
            hint = "leave it out, or say type: cooked"
            raise complaint("raw frames have their destination in them", hint)
        return self


def _check_program(program: tuple[tuple[int, ...], ...]) -> None:
    if not 0 < len(program) <= LONGEST_PROGRAM:
        raise complaint(f"a filter has 1 to {LONGEST_PROGRAM} instructions")
    for number, (code, jt, jf, _) in enumerate(program):
        if code > 0xFFFF or jt > 0xFF or jf > 0xFF:
            hint = "they are [code, jump if true, jump if false, operand]"
            raise complaint(f"instruction {number} of the filter is out of range", hint)


Interface = Annotated[str, Field(min_length=1, max_length=15, examples=["eth0"])]


class AF_PACKETListenerSpec(_PacketSpec):  # noqa: N801  # as the protocol is called
    """Listen to a network interface: one session, or one for every source."""

    interface: Interface
    """The name of the interface, as ``ip link`` shows it."""
    sessions: Literal["single", "per-source"] = "single"
    """
    A single session, which begins at once, or one for each hardware address that
    frames come from, which begins with its first frame.
    """
    max_sessions: Annotated[int, Field(ge=1)] | None = 4096
    """How many sessions there may be; frames from further sources are dropped."""
    idle_timeout: Seconds | None = None
    """
    Seconds of silence in both directions after which a session ends; 0: never.

    60 for sessions per source; a single one goes on for ever.
    """

    @model_validator(mode="after")
    def _knows_what_it_sends(self) -> AF_PACKETListenerSpec:
        if self.destination is not None and ethertype(self.ethertype) == ALL:
            raise complaint("a destination needs an ethertype", 'such as "IPv4"')
        return self


class AF_PACKETClusterSpec(_PacketSpec):  # noqa: N801  # as the protocol is called
    """
    Send frames out of a network interface, and hear what comes in there.

    The address of an endpoint is the interface; with ``interface`` given here, and for
    cooked payloads, it may be the hardware address to send to.
    """

    interface: Interface | None = None
    """The name of the interface, if the endpoints' addresses are not."""


def _wanted(spec: _PacketSpec, interface: str, program: Program | None) -> Wanted:
    return Wanted(
        interface=interface,
        cooked=spec.type == "cooked",
        ethertype=ethertype(spec.ethertype),
        program=program,
        promiscuous=spec.promiscuous,
        outgoing=spec.outgoing,
    )


async def _program(context: Context, spec: _PacketSpec) -> Program | None:
    """The filter for the kernel; compiling may look up names, so not on the reactor."""
    if spec.filter_bytes is not None:
        return tuple((code, jt, jf, k) for code, jt, jf, k in spec.filter_bytes)
    if spec.filter is None:
        return None
    reactor, begins = context.reactor, IP if spec.type == "cooked" else ETHERNET
    pool = reactor.getThreadPool()
    made: Program = await deferToThreadPool(
        reactor, pool, compile_filter, spec.filter, begins
    )
    return made


# -- listeners -----------------------------------------------------------------


def listen(
    context: Context, spec: AF_PACKETListenerSpec, accept: Accept
) -> Deferred[IListening]:
    """See ``Listen``."""

    async def go() -> IListening:
        wanted = _wanted(spec, spec.interface, await _program(context, spec))
        try:
            return _Listening(context, spec, wanted, accept)
        except OSError as error:
            told = why_not(error, spec.interface).detail
            raise LocalError(f"cannot listen on {told}") from error

    return Deferred.fromCoroutine(go())


@implementer(IListening)
class _Listening:
    """Hears an interface, also when it comes back after it was down or gone."""

    def __init__(
        self,
        context: Context,
        spec: AF_PACKETListenerSpec,
        wanted: Wanted,
        accept: Accept,
    ) -> None:
        """Raises ``OSError``."""
        self._reactor, self._spec, self._wanted = context.reactor, spec, wanted
        self._accept = accept
        self._drops = context.drops()
        self._is_single = spec.sessions == "single"
        default = 0.0 if self._is_single else IDLE
        self._idle = default if spec.idle_timeout is None else spec.idle_timeout
        self._timer: IDelayedCall | None = None
        self._socket = self._opened()

    def _opened(self) -> PacketSocket:
        opened = PacketSocket(
            self._reactor,
            open_packet_socket(self._wanted),
            self._wanted,
            self._take,
            self._lost,
            by_source=not self._is_single,
        )
        opened.drops = self._drops
        if self._is_single:
            # Not before whoever asked to listen knows that we do.
            self._timer = self._reactor.callLater(0, self._begin)
        return opened

    def address(self) -> dict[str, Any]:
        return {"interface": self._wanted.interface}

    def stop(self) -> Deferred[None]:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._socket.take_no_more()
        return succeed(None)

    # -- the interface comes and goes ------------------------------------------

    def _lost(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._reactor.callLater(RETURN, self._try_again)

    def _try_again(self) -> None:
        self._timer = None
        try:
            self._socket = self._opened()
        except OSError:
            self._lost()

    # -- sessions ----------------------------------------------------------------

    def _begin(self) -> None:
        self._timer = None
        if not self._socket.lives(b""):
            facts: Metadata = {"src": shown(self._socket.address)}
            if self._wanted.ethertype != ALL:
                facts["type"] = self._wanted.ethertype
            self._new(self._socket, b"", facts)

    def _take(
        self, heard_by: PacketSocket, key: bytes, heard: Heard
    ) -> PacketFlow | None:
        most = self._spec.max_sessions
        if most is not None and heard_by.population >= most:
            heard_by.drop("max-sessions")
            return None
        return self._new(heard_by, key, _facts(heard_by, heard))

    def _new(self, through: PacketSocket, key: bytes, facts: Metadata) -> PacketFlow:
        to = None
        if self._spec.destination is not None:
            to = To(facts.get("type", 0), mac(self._spec.destination))
        flow = PacketFlow(through, key, to, self._idle)
        through.add(flow)
        interface = self._wanted.interface
        words = f"{shown(key)}-{interface}" if key else interface
        self._accept(flow, {"ETH": {**facts, "interface": interface}}, words)
        return flow


def _facts(heard_by: PacketSocket, heard: Heard) -> Metadata:
    """What is known of a session from its first packet."""
    if heard_by.wanted.cooked:
        facts: Metadata = {"src": shown(heard.source), "type": heard.ethertype}
        if heard.is_for_us:
            facts["dst"] = shown(heard_by.address)
        elif heard.is_for_all:
            facts["dst"] = shown(BROADCAST)
        return facts
    try:
        frame = parse(heard.data)
    except BadFrame:  # which the kernel would not have passed on, nor do we rely on
        return {"src": shown(heard.source)}
    facts = {
        "src": shown(frame.source),
        "dst": shown(frame.destination),
        "type": frame.ethertype,
    }
    return facts if frame.vlan is None else {**facts, "vlan": frame.vlan}


# -- clusters ------------------------------------------------------------------


def connect(
    context: Context, spec: AF_PACKETClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """See ``Connect``."""

    async def go() -> IStream:
        to, interface = _where(spec, endpoint.address, metadata)
        wanted = _wanted(spec, interface, await _program(context, spec))
        try:
            sock = open_packet_socket(wanted)
        except OSError as error:
            raise RemoteError(why_not(error, interface)) from error
        own = PacketSocket(context.reactor, sock, wanted)
        flow = PacketFlow(own, b"", to)
        own.drops = flow.drops
        own.add(flow)
        return flow

    return Deferred.fromCoroutine(go())


def _where(
    spec: AF_PACKETClusterSpec, address: str, metadata: Metadata
) -> tuple[To | None, str]:
    """To whom payloads go, for what is cooked, and out of which interface."""
    interface, said = spec.interface or address, spec.destination
    if said is None and interface != address:
        said = address if _is_mac(address) else None
    if spec.type == "raw":
        return None, interface
    said = said or pointer.get(metadata, ("ETH", "dst"))
    if not isinstance(said, str) or not _is_mac(said):
        raise _unknown("a destination", "destination", "/ETH/dst")
    kind = ethertype(spec.ethertype)
    if kind == ALL:
        kind = _known_type(pointer.get(metadata, ("ETH", "type")))
    return To(kind, mac(said)), interface


def _known_type(said: Any) -> int:
    try:
        kind = ethertype(said) if isinstance(said, int | str) else ALL
    except ValueError:
        kind = ALL
    if kind == ALL:
        raise _unknown("an EtherType", "ethertype", "/ETH/type")
    return kind


def _unknown(what: str, word: str, path: str) -> RemoteError:
    told = f"cooked payloads need {what}: give {word}, or metadata at {path}"
    return RemoteError(Loss(Reason.LOCAL, told))


def _is_mac(text: str) -> bool:
    try:
        mac(text)
    except ValueError:
        return False
    return True


protocol = Protocol(
    name="AF_PACKET",
    kind=Kind.DATAGRAMS,
    summary="Ethernet frames, or the packets in them, of a network interface.",
    listener=AF_PACKETListenerSpec,
    listen=listen,
    cluster=AF_PACKETClusterSpec,
    connect=connect,
    aliases=("Packet", "AFPacket"),
)
