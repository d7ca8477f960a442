"""
Ethernet frames (IEEE 802.3): addresses, types, VLAN tags.

Nothing here is checked by anybody on the way: a frame is what somebody on the same
wire has sent, of any length.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

HEADER = 14
"""Bytes before the payload of a frame without tags: two addresses and the type."""

LONGEST_TAGS = 2
"""How many VLAN tags are looked through (IEEE 802.1ad has two)."""

ALL = 0x0003
"""Linux's number for frames of every type, see packet(7)."""

BROADCAST = b"\xff" * 6

TAGS = frozenset({0x8100, 0x88A8, 0x9100})
"""Types of VLAN tags: customer, service, and what was in use before there was one."""

NAMES = {
    "all": ALL,
    "IPv4": 0x0800,
    "ARP": 0x0806,
    "WakeOnLAN": 0x0842,
    "VLAN": 0x8100,
    "PROFINET": 0x8892,
    "IPv6": 0x86DD,
    "MPLS": 0x8847,
    "PPPoE-discovery": 0x8863,
    "PPPoE": 0x8864,
    "EAPOL": 0x888E,
    "AoE": 0x88A2,
    "EtherCAT": 0x88A4,
    "QinQ": 0x88A8,
    "GOOSE": 0x88B8,
    "LLDP": 0x88CC,
    "MACsec": 0x88E5,
    "PTP": 0x88F7,
    "FCoE": 0x8906,
    "RoCE": 0x8915,
    "local1": 0x88B5,
    "local2": 0x88B6,
}
"""EtherTypes by the names that configurations may use, in any case."""

_BY_LOWER = {name.lower(): number for name, number in NAMES.items()}
_LEAST_TYPE = 0x0600  # below it is a length (IEEE 802.3, 3.2.6)
_MOST_TYPE = 0xFFFF
_TYPE = struct.Struct("!H")
_TAG = struct.Struct("!HH")
_MAC = re.compile(r"[0-9A-Fa-f]{2}([:-])[0-9A-Fa-f]{2}(?:\1[0-9A-Fa-f]{2}){4}")


class BadFrame(ValueError):
    """What is no Ethernet frame."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What the header of a frame says; ``start`` is where its payload begins."""

    destination: bytes
    source: bytes
    ethertype: int
    """The type of the payload, behind all tags; a length, in old frames."""
    vlan: int | None
    """The number of the outermost VLAN; None without a tag."""
    start: int


def parse(data: bytes) -> Frame:
    """
    The header of a frame.

    Raises ``BadFrame`` if the frame ends before its header does.
    """
    at, vlan = HEADER - _TYPE.size, None
    kind = _number(data, at)
    while kind in TAGS and at < HEADER - _TYPE.size + LONGEST_TAGS * _TAG.size:
        if vlan is None:
            vlan = _number(data, at + _TYPE.size) & 0x0FFF
        at += _TAG.size
        kind = _number(data, at)
    return Frame(bytes(data[:6]), bytes(data[6:12]), kind, vlan, at + _TYPE.size)


def _number(data: bytes, at: int) -> int:
    if len(data) < at + _TYPE.size:
        raise BadFrame(f"a frame of {len(data)} bytes ends in its header")
    number: int = _TYPE.unpack_from(data, at)[0]
    return number


def tagged(data: bytes, tci: int, tpid: int) -> bytes:
    """A frame with a VLAN tag, which the network interface had taken out, put back."""
    return data[:12] + _TAG.pack(tpid, tci) + data[12:]


def summed(data: bytes, start: int, offset: int) -> bytes:
    """
    A frame with the checksum that its sender had left to the network interface.

    It is of all from ``start`` to the end, and goes to ``offset`` behind that, where the
    sum of the pseudo-header is already (RFC 1071). A frame too short is left alone.
    """
    at = start + offset
    if len(data) < at + _TYPE.size:
        return data
    return data[:at] + _TYPE.pack(checksum(data[start:])) + data[at + _TYPE.size :]


def checksum(data: bytes) -> int:
    """
    The Internet's checksum (RFC 1071), never 0: to UDP that means there is none.

    Whoever checks it takes 0 and 65,535 for the same.
    """
    # Words add up to the whole, modulo 65,535.
    whole = int.from_bytes(data + bytes(len(data) % 2), "big")
    return -whole % 0xFFFF or 0xFFFF


def mac(text: str) -> bytes:
    """
    The six bytes of an address such as ``02:00:5e:10:00:00``, also with dashes.

    Raises ``ValueError`` for anything else.
    """
    if not _MAC.fullmatch(text):
        raise ValueError(f"{text!r} is no MAC address")
    return bytes.fromhex(text.replace("-", ":").replace(":", ""))


def shown(address: bytes) -> str:
    """An address for people, and for rules: small letters and colons."""
    return address.hex(":")


def ethertype(said: int | str) -> int:
    """
    The number of an EtherType that is given by number, in hexadecimal, or by name.

    ``all`` stands for every type. Raises ``ValueError`` for what is no type.
    """
    number = said
    if isinstance(said, str):
        number = _BY_LOWER.get(said.lower(), -1)
        if number < 0:
            try:
                number = int(said, 16 if said[:2].lower() == "0x" else 10)
            except ValueError:
                raise ValueError(f"{said!r} is the name of no EtherType") from None
    assert isinstance(number, int), "a name became a number"
    if number != ALL and not _LEAST_TYPE <= number <= _MOST_TYPE:
        raise ValueError(f"{said} is no EtherType: they begin at {_LEAST_TYPE:#06x}")
    return number
