"""
Cutting lumps of TCP into frames that fit a wire (RFC 9293, RFC 791, RFC 8200).

Hosts leave that to their network interfaces. Where there is none, as between
containers, a packet socket hears the lumps.
"""

from __future__ import annotations

import struct

from l7mp.wire.ethernet import BadFrame, checksum, parse

_IPV4 = 4
_TCP = 6
_TCP_HEADER = 20
_FIN, _PSH, _CWR = 0x01, 0x08, 0x80
_LENGTH, _ID, _HEADER_SUM, _V4_ADDRESSES = 2, 4, 10, slice(12, 20)
_PAYLOAD_LENGTH, _V6_ADDRESSES = 4, slice(8, 40)
_SEQUENCE, _OFFSET, _FLAGS, _SUM = 4, 12, 13, 16
_LEAST = {4: 20, 6: 40}
"""Bytes of the header of each version of IP, at least."""

_SHORT, _LONG = struct.Struct("!H"), struct.Struct("!I")


def segments(data: bytes, start: int, size: int) -> list[bytes]:
    """
    The frames of a lump: each has at most ``size`` bytes of its payload.

    ``start`` is where its TCP header begins. What is no lump of TCP is left as it is.
    """
    try:
        network = parse(data).start
    except BadFrame:
        return [data]
    least = _LEAST.get(data[network] >> 4) if network < len(data) else None
    if least is None or start < network + least or len(data) < start + _TCP_HEADER:
        return [data]
    body = start + (data[start + _OFFSET] >> 4) * 4
    if not size or body < start + _TCP_HEADER or len(data) <= body + size:
        return [data]
    count = -(-(len(data) - body) // size)
    return [_segment(data, network, start, body, size, n, count) for n in range(count)]


def _segment(
    data: bytes, network: int, start: int, body: int, size: int, number: int, count: int
) -> bytes:
    """The frame with this number."""
    payload = data[body + number * size : body + (number + 1) * size]
    packet = bytearray(data[network:body])
    tcp = memoryview(packet)[start - network :]
    (sequence,) = _LONG.unpack_from(tcp, _SEQUENCE)
    _LONG.pack_into(tcp, _SEQUENCE, (sequence + number * size) & 0xFFFFFFFF)
    if number:
        tcp[_FLAGS] &= ~_CWR & 0xFF
    if number < count - 1:
        tcp[_FLAGS] &= ~(_FIN | _PSH) & 0xFF
    _SHORT.pack_into(tcp, _SUM, 0)
    length = len(tcp) + len(payload)
    if packet[0] >> 4 == _IPV4:
        addresses = bytes(packet[_V4_ADDRESSES])
        _write_v4(packet, start - network, len(packet) + len(payload), number)
    else:
        addresses = bytes(packet[_V6_ADDRESSES])
        whole = len(packet) + len(payload) - _LEAST[6]
        _SHORT.pack_into(packet, _PAYLOAD_LENGTH, whole)
    pseudo = addresses + _LONG.pack(length) + _LONG.pack(_TCP)
    _SHORT.pack_into(tcp, _SUM, checksum(pseudo + bytes(tcp) + payload))
    return data[:network] + bytes(packet) + payload


def _write_v4(packet: bytearray, header: int, length: int, number: int) -> None:
    _SHORT.pack_into(packet, _LENGTH, length)
    (identity,) = _SHORT.unpack_from(packet, _ID)
    _SHORT.pack_into(packet, _ID, (identity + number) & 0xFFFF)
    _SHORT.pack_into(packet, _HEADER_SUM, 0)
    _SHORT.pack_into(packet, _HEADER_SUM, checksum(bytes(packet[:header])))
