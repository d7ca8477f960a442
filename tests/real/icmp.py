"""Errors of the network, made by hand: ICMP (RFC 792) and ICMPv6 (RFC 4443)."""

from __future__ import annotations

import socket
import struct

Place = tuple[str, int]


def checksum(data: bytes) -> int:
    """RFC 1071; over an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp_header(source: Place, target: Place, size: int) -> bytes:
    return struct.pack("!HHHH", source[1], target[1], 8 + size, 0)


def report4(source: Place, target: Place, kind: int, code: int, mtu: int = 0) -> None:
    """Tell ``source`` what befell the datagram that it sent to ``target``."""
    ends = socket.inet_aton(source[0]) + socket.inet_aton(target[0])
    head = struct.pack("!BBHHHBBH", 0x45, 0, 36, 1, 0x4000, 64, 17, 0) + ends
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    about = head + udp_header(source, target, 8)
    message = struct.pack("!BBHHH", kind, code, 0, 0, mtu) + about
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.sendto(message, (source[0], 0))


def report6(source: Place, target: Place, kind: int, code: int, mtu: int = 0) -> None:
    """The same for IPv6; the kernel adds the checksum."""
    ends = b"".join(socket.inet_pton(socket.AF_INET6, p[0]) for p in (source, target))
    head = struct.pack("!IHBB", 6 << 28, 16, 17, 64) + ends
    message = struct.pack("!BBHI", kind, code, 0, mtu) + head
    message += udp_header(source, target, 8) + bytes(8)
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        raw.sendto(message, (source[0], 0))


def report(source: Place, target: Place, kind: int, code: int, mtu: int = 0) -> None:
    """Tell ``source`` what befell the datagram that it sent to ``target``."""
    tell = report6 if ":" in source[0] else report4
    tell(source, target, kind, code, mtu)
