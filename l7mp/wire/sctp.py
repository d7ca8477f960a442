"""
What an SCTP stack tells its user about an association, as bytes (RFC 6458).

Linux and libusrsctp lay out notifications alike and number them differently.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

MAX_STREAM = 65535
"""The highest number of a stream (RFC 9260, section 3.3.1)."""

MAX_PPID = 0xFFFFFFFF
"""The highest payload protocol identifier."""

HEADER = 12
"""Bytes of the common header (RFC 9260, section 3.1)."""

CHUNK = 4
"""Bytes of the shortest chunk (RFC 9260, section 3.2)."""

AF_CONN = 123
"""The address family of paths that libusrsctp knows by a number only."""

_AF_INET, _AF_INET6 = 2, 10  # Linux

COMM_UP = "COMM_UP"
COMM_LOST = "COMM_LOST"
RESTART = "RESTART"
SHUTDOWN_COMP = "SHUTDOWN_COMP"
CANT_STR_ASSOC = "CANT_STR_ASSOC"
SHUTDOWN_EVENT = "SHUTDOWN_EVENT"
PARTIAL_DELIVERY = "PARTIAL_DELIVERY_ABORTED"

_HEAD = struct.Struct("=HHI")
_ASSOC_CHANGE = struct.Struct("=HHIHHHHI")
_SOCKADDR_STORAGE = 128
_STATE = struct.Struct("=II")
_PORT = struct.Struct("!H")
_FAMILY = struct.Struct("=H")
_IPV4 = struct.Struct("=H2s4s8x")
_IPV6 = struct.Struct("=H2s4x16sI")
_CONN = struct.Struct("=H2s4xQ")

_CAUSES = {
    1: "invalid stream identifier",
    2: "missing mandatory parameter",
    3: "stale cookie",
    4: "out of resource",
    5: "unresolvable address",
    6: "unrecognized chunk type",
    7: "invalid mandatory parameter",
    8: "unrecognized parameters",
    9: "no user data",
    10: "cookie received while shutting down",
    11: "restart with new addresses",
    12: "user-initiated abort",
    13: "protocol violation",
}
"""Error causes (RFC 9260, section 3.3.10)."""


@dataclass(frozen=True)
class Dialect:
    """How a stack numbers its notifications."""

    assoc_change: int
    addr_change: int
    shutdown: int
    partial_delivery: int
    assoc_states: Mapping[int, str]
    addr_states: Mapping[int, str]
    causes_are_swapped: bool
    """Whether causes of errors are as they came, most significant byte first."""

    @property
    def types(self) -> tuple[int, ...]:
        """The notifications to subscribe to."""
        return (
            self.assoc_change,
            self.addr_change,
            self.shutdown,
            self.partial_delivery,
        )


_ASSOC_STATES = (COMM_UP, COMM_LOST, RESTART, SHUTDOWN_COMP, CANT_STR_ASSOC)
_ADDR_STATES = (
    "ADDR_AVAILABLE",
    "ADDR_UNREACHABLE",
    "ADDR_REMOVED",
    "ADDR_ADDED",
    "ADDR_MADE_PRIM",
    "ADDR_CONFIRMED",
    "ADDR_POTENTIALLY_FAILED",
)

LINUX = Dialect(
    0x8001, 0x8002, 0x8005, 0x8006,
    dict(enumerate(_ASSOC_STATES)), dict(enumerate(_ADDR_STATES)),
    causes_are_swapped=True,
)  # fmt: skip
"""``linux/sctp.h``."""

USRSCTP = Dialect(
    1, 2, 5, 7,
    dict(enumerate(_ASSOC_STATES, 1)), dict(enumerate(_ADDR_STATES[:6], 1)),
    causes_are_swapped=False,
)  # fmt: skip
"""``usrsctp.h``."""


@dataclass(frozen=True)
class Notification:
    """What happened to an association, with facts as JSON values."""

    word: str
    facts: dict[str, Any] = field(default_factory=dict)
    address: Sockaddr | None = None
    """The peer's address that it is about."""


@dataclass(frozen=True)
class Sockaddr:
    """A transport address; of family ``AF_CONN`` the host is the number of a path."""

    family: int
    host: str
    port: int


def notification(data: bytes, dialect: Dialect) -> Notification | None:
    """What a notification says; None if that is nothing to us."""
    if len(data) < _HEAD.size:
        return None
    kind, _, _ = _HEAD.unpack_from(data)
    if kind == dialect.assoc_change and len(data) >= _ASSOC_CHANGE.size:
        return _assoc_change(data, dialect)
    if kind == dialect.addr_change:
        return _addr_change(data, dialect)
    if kind == dialect.shutdown:
        return Notification(SHUTDOWN_EVENT)
    if kind == dialect.partial_delivery:
        return Notification(PARTIAL_DELIVERY)
    return None


def _assoc_change(data: bytes, dialect: Dialect) -> Notification | None:
    _, _, _, state, error, outgoing, incoming, _ = _ASSOC_CHANGE.unpack_from(data)
    word = dialect.assoc_states.get(state)
    if word is None:
        return None
    facts: dict[str, Any] = {}
    if word in (COMM_UP, RESTART):
        facts["streams"] = {"in": incoming, "out": outgoing}
    elif error:
        if dialect.causes_are_swapped:
            (error,) = _PORT.unpack(_FAMILY.pack(error))
        facts["error"] = _CAUSES.get(error, f"error {error}")
    return Notification(word, facts)


def _addr_change(data: bytes, dialect: Dialect) -> Notification | None:
    end = _HEAD.size + _SOCKADDR_STORAGE
    if len(data) < end + _STATE.size:
        return None
    state, _ = _STATE.unpack_from(data, end)
    word = dialect.addr_states.get(state)
    if word is None:
        return None
    found, _ = sockaddr(data, _HEAD.size)
    return Notification(word, address=found)


def sockaddr(data: bytes, at: int = 0) -> tuple[Sockaddr | None, int]:
    """The socket address at an offset, None for strange ones, and where it ends."""
    if len(data) < at + _FAMILY.size:
        return None, len(data)
    (family,) = _FAMILY.unpack_from(data, at)
    layout = {_AF_INET: _IPV4, _AF_INET6: _IPV6, AF_CONN: _CONN}.get(family)
    if layout is None or len(data) < at + layout.size:
        return None, len(data)
    _, port, host, *_ = layout.unpack_from(data, at)
    shown = str(host) if family == AF_CONN else _shown(host)
    return Sockaddr(family, shown, _PORT.unpack(port)[0]), at + layout.size


def _shown(host: bytes) -> str:
    """IPv4 always dotted, never mapped into IPv6."""
    number = ip_address(host)
    return str(getattr(number, "ipv4_mapped", None) or number)


def sockaddrs(data: bytes) -> list[Sockaddr]:
    """Socket addresses one after the other, as far as they can be understood."""
    found, at = [], 0
    while at < len(data):
        one, at = sockaddr(data, at)
        if one is not None:
            found.append(one)
    return found


def packed(host: str, port: int, scope: int = 0) -> bytes:
    """The socket address of a numeric IP address; raises ``ValueError`` for others."""
    number = ip_address(host.partition("%")[0])
    if number.version == 4:  # IP's version
        return _IPV4.pack(_AF_INET, _PORT.pack(port), number.packed)
    return _IPV6.pack(_AF_INET6, _PORT.pack(port), number.packed, scope)


def plausible(packet: bytes) -> bool:
    """Whether it is long enough for a header and a chunk, and its ports are ports."""
    return (
        len(packet) >= HEADER + CHUNK
        and packet[0:2] != b"\0\0"
        and packet[2:4] != b"\0\0"
    )
