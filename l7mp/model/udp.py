"""What users say to UDP listeners and clusters."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from l7mp.model.base import Declared
from l7mp.model.explain import Says, complaint
from l7mp.model.multicast import Membership, Sending
from l7mp.model.sockets import SourceBind, UDPSocketOptions
from l7mp.model.spec import Spec
from l7mp.model.tls import TLSClient, TLSServer
from l7mp.model.types import Address, AddressPort, AnyPort, Pointer, Port, Seconds

IDLE = 60.0
"""Seconds of silence after which a session of a server ends."""

LINGER = 1.0
"""
Seconds that a flow to which nothing more will be written waits for late answers.

Datagrams have no end of their own, so silence has to stand for it.
"""

LARGEST = 65507
"""Bytes in the largest datagram of IPv4 (RFC 768)."""

FACTOR = 3.0
"""How much more may be answered than was asked by a stranger (RFC 9000, section 8.1)."""

Count = Annotated[
    int,
    Field(ge=1),
    Says("a whole number", "must be 1 or more"),
]
"""How many there may be."""


# -- listeners -----------------------------------------------------------------


class Slice(Declared):
    """Some of the bytes of a datagram."""

    offset: Annotated[
        int, Field(ge=0, lt=LARGEST), Says("an offset", "must be from 0 to 65506")
    ] = 0
    """How many bytes come before."""
    length: Annotated[
        int, Field(ge=1, le=255), Says("a length", "must be from 1 to 255 bytes")
    ]
    """How many bytes."""


class ContentKey(Declared):
    """Sessions are told apart by something in their datagrams."""

    pointer: Pointer | None = None
    """The path of a string, a number, true or false in each datagram, which is JSON."""
    payload: Slice | None = None
    """Some bytes of each datagram: a connection id, a token."""

    @model_validator(mode="after")
    def _one_of_them(self) -> ContentKey:
        if (self.pointer is None) is (self.payload is None):
            raise complaint("give one of pointer and payload")
        return self


SessionKey = Literal["4-tuple", "source-ip"] | ContentKey
"""By what the sessions of a listener are told apart."""


class Amplification(Declared):
    """How little is sent to a peer that may not be who it says it is."""

    factor: Annotated[float, Field(gt=0), Says("a number", "must be more than 0")] = (
        FACTOR
    )
    """Bytes that may be sent for each byte received."""
    until: Literal["answered", "never"] = "answered"
    """
    A peer is believed when it has spoken again after something was sent to it; or never.

    Who can guess when to speak again can still pretend to be another once: ``never``
    is for services whose answers are short.
    """


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
    session_key: SessionKey = "4-tuple"
    """
    What tells sessions apart: addresses and ports, the address of the peer, a value in
    the datagram or some of its bytes.

    With any but the first, answers go where the session's latest datagram came from.
    """
    max_sessions: Count | None = None
    """How many sessions there may be at once; any number if missing."""
    max_sessions_per_source: Count | None = None
    """
    How many there may be at once with one address; for IPv6, with one /64 network.
    """
    when_full: Literal["refuse", "replace"] = "refuse"
    """
    Whether new peers are refused, or the session that was silent for longest makes
    room: one of the source that has most, which is never one with fewer than the new
    peer's source then has.
    """
    amplification: Amplification | None = None
    """Send little to peers that have not shown that they hear us."""

    @property
    def is_capped(self) -> bool:
        """Whether there is a limit to the number of sessions."""
        return self.max_sessions is not None or self.max_sessions_per_source is not None


class UDPListenerSpec(Spec):
    """Listen for datagrams; a peer's first one begins a session."""

    port: AnyPort
    """The port to listen on; 0 for any that is free."""
    address: Address | None = None
    """The local address to listen on; every one of the machine if missing."""
    connect: AddressPort | None = None
    """Only from here; others are dropped."""
    multicast: Membership | None = None
    """Groups to join."""
    socket: UDPSocketOptions | None = None
    """What to ask of the socket; listeners that share a port must ask the same."""
    options: UDPListenerOptions = UDPListenerOptions()
    """How to treat peers."""
    tls: TLSServer | None = None
    """Speak DTLS 1.2 with peers; who does not is dropped."""

    @model_validator(mode="after")
    def _singleton_has_its_peer(self) -> UDPListenerSpec:
        if self.is_singleton and not self._names_peer:
            hint = "give both, or leave options.mode out"
            what = "singleton mode needs connect.address and connect.port"
            raise complaint(what, hint)
        return self

    @model_validator(mode="after")
    def _singleton_is_one(self) -> UDPListenerSpec:
        options = self.options
        if self.is_singleton and (
            options.is_capped or options.session_key != "4-tuple"
        ):
            what = "a singleton has one session only"
            hint = "leave session_key and max_sessions out, or say mode: server"
            raise complaint(what, hint)
        return self

    @model_validator(mode="after")
    def _groups_can_be_heard(self) -> UDPListenerSpec:
        groups = self.multicast.groups if self.multicast is not None else ()
        if groups and self.address not in (None, "0.0.0.0", "::", *groups):  # noqa: S104
            what = f"what is sent to a group never arrives at {self.address}"
            hint = "leave address out, or give a group's"
            raise complaint(what, hint)
        return self

    @model_validator(mode="after")
    def _one_speaks_tls(self) -> UDPListenerSpec:
        if self.tls and (self.multicast or self.options.session_key != "4-tuple"):
            what = "DTLS is for two, who are known by their addresses and ports"
            raise complaint(what, "leave tls out, or multicast and session_key")
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


# -- clusters ------------------------------------------------------------------


class UDPClusterOptions(Declared):
    """How a UDP cluster treats its sessions."""

    linger: Seconds = LINGER
    """How long to wait for a late answer when all was sent: seconds of silence."""
    answers: Literal["endpoint", "any"] = "endpoint"
    """
    Who is heard: the endpoint alone, or anybody who answers.

    What is sent to a group or to everybody is answered from other addresses.
    """


class UDPClusterSpec(Spec):
    """Send datagrams to an endpoint, from a socket of each session's own."""

    port: Port
    """The port of endpoints that have none of their own."""
    bind: SourceBind | None = None
    """
    The local address and port to send from.

    With a port, sessions can be told apart by their endpoints alone, so there is at
    most one to each.
    """
    broadcast: bool = False
    """Whether endpoints may be broadcast addresses (SO_BROADCAST)."""
    multicast: Sending | None = None
    """How to send to endpoints that are groups."""
    socket: UDPSocketOptions | None = None
    """What to ask of each session's socket."""
    options: UDPClusterOptions = UDPClusterOptions()
    """How sessions are treated."""
    tls: TLSClient | None = None
    """Speak DTLS 1.2 with the endpoint."""

    @model_validator(mode="after")
    def _one_speaks_tls(self) -> UDPClusterSpec:
        if self.tls and (
            self.broadcast or self.multicast or self.options.answers == "any"
        ):
            raise complaint("DTLS is for two", "leave tls out, or the many")
        return self

    @model_validator(mode="after")
    def _own_ports_for_all(self) -> UDPClusterSpec:
        if self.options.answers == "any" and self.bind and self.bind.port:
            what = "sessions that hear anybody cannot share a port"
            raise complaint(what, "leave bind.port out, or answers: any")
        return self
