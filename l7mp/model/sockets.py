"""
What can be asked of a socket, for listeners and clusters alike.

How each is asked of the kernel is in ``l7mp/streams/sockopts.py``, which has a row for
every field here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from l7mp.model.base import Declared
from l7mp.model.explain import Says, complaint
from l7mp.model.types import AddressPort, Milliseconds

Octet = Annotated[
    int,
    Field(ge=0, le=255),
    Says("a number from 0 to 255", "must be from 0 to 255"),
]
"""One byte of a header."""

Hops = Annotated[
    int,
    Field(ge=1, le=255),
    Says("a number of hops", "must be from 1 to 255 hops"),
]
"""How far a datagram may go."""

Word = Annotated[
    int,
    Field(ge=0, le=0xFFFF_FFFF),
    Says("a whole number", "must be from 0 to 4294967295"),
]
"""A number of 32 bits."""

Bytes = Annotated[
    int,
    Field(ge=1, le=1 << 30),
    Says("a number of bytes", "must be from 1 to 1073741824 bytes"),
]
"""The size of a buffer."""

WholeSeconds = Annotated[
    int,
    Field(ge=1, le=32767),
    Says("a whole number of seconds", "must be from 1 to 32767 seconds"),
]
"""A span of time, for the kernel."""

Interface = Annotated[
    str,
    Field(pattern=r"^[^\s/]{1,15}$", examples=["eth0", "lo"]),
    Says("the name of an interface", "must be the name of a network interface"),
]
"""A network interface of this machine."""

DSCP_BITS = 6


class SocketOptions(Declared):
    """What is asked of a socket, before it is bound; refused if it cannot be had."""

    reuse_port: bool = False
    """Share the port with other processes that ask for it, too (SO_REUSEPORT)."""
    reuse_address: bool = False
    """Bind a port also while others have it, or have had it (SO_REUSEADDR)."""
    tos: Octet | None = None
    """The type of service of IPv4, the traffic class of IPv6: DSCP and ECN in a byte."""
    dscp: Annotated[
        int | None,
        Field(ge=0, lt=1 << DSCP_BITS),
        Says("a DSCP", "must be from 0 to 63"),
    ] = None
    """The same as the code point alone (RFC 2474): 46 is expedited forwarding."""
    ttl: Hops | None = None
    """Hops that a packet may make: the TTL of IPv4, the hop limit of IPv6."""
    mark: Word | None = None
    """The mark of packets, for routing and filters (SO_MARK); needs CAP_NET_ADMIN."""
    priority: Word | None = None
    """The priority for queueing (SO_PRIORITY); above 6 it needs CAP_NET_ADMIN."""
    receive_buffer: Bytes | None = None
    """
    Bytes that the kernel may keep until they are read.

    More than net.core.rmem_max needs CAP_NET_ADMIN.
    """
    send_buffer: Bytes | None = None
    """Bytes that the kernel may keep until they are sent; limited by wmem_max."""
    device: Interface | None = None
    """Only by way of this interface (SO_BINDTODEVICE)."""
    freebind: bool = False
    """Bind an address that this machine does not have yet (IP_FREEBIND)."""
    transparent: bool = False
    """
    Bind the address of another, for transparent proxying (IP_TRANSPARENT).

    Needs CAP_NET_ADMIN, and routes that lead the answers here.
    """

    @model_validator(mode="after")
    def _one_type_of_service(self) -> SocketOptions:
        if self.tos is not None and self.dscp is not None:
            raise complaint("tos and dscp are the same byte", "give one of them")
        return self

    def given(self) -> dict[str, Any]:
        """What is asked for, by name."""
        fields = type(self).model_fields
        every = {name: getattr(self, name) for name in fields}
        return {k: v for k, v in every.items() if v != fields[k].default}


class UDPSocketOptions(SocketOptions):
    """What is asked of a UDP socket."""

    dont_fragment: bool = False
    """
    Never fragment (IP_MTU_DISCOVER): what is larger than the path takes is dropped,
    and counted as ``too-big``.
    """


class TCPSocketOptions(SocketOptions):
    """What is asked of a TCP socket."""

    nodelay: bool = True
    """Send small messages at once (TCP_NODELAY)."""
    keepalive: bool = True
    """Ask from time to time whether a silent peer is still there (SO_KEEPALIVE)."""
    keepalive_idle: WholeSeconds | None = None
    """Seconds of silence before it is asked first (TCP_KEEPIDLE)."""
    keepalive_interval: WholeSeconds | None = None
    """Seconds between questions (TCP_KEEPINTVL)."""
    keepalive_count: Annotated[
        int | None,
        Field(ge=1, le=127),
        Says("a number of questions", "must be from 1 to 127"),
    ] = None
    """Unanswered questions after which the connection is lost (TCP_KEEPCNT)."""
    user_timeout: Milliseconds | None = None
    """
    Milliseconds for which what was sent may stay unacknowledged before the connection
    is lost (TCP_USER_TIMEOUT, RFC 5482).
    """


class SourceBind(AddressPort):
    """The local side of a cluster's sessions."""

    preserve: Literal["port", "client"] | None = None
    """
    Send from the client's own port, or from its address and port, as if there were no
    proxy; the latter needs CAP_NET_ADMIN, and routes that lead the answers here.
    """
    required: bool = False
    """Whether a session ends whose client's port is taken; otherwise it uses another."""

    @model_validator(mode="after")
    def _either(self) -> SourceBind:
        if self.preserve is not None and self.port is not None:
            raise complaint("bind.port and bind.preserve exclude each other")
        if self.preserve == "client" and self.address is not None:
            what = "bind.address and bind.preserve: client exclude each other"
            raise complaint(what, "to keep only the port, say preserve: port")
        if self.required and self.preserve is None:
            raise complaint("bind.required means nothing without bind.preserve")
        return self
