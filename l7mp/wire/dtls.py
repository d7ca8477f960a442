"""Records of DTLS 1.2 and the datagrams that carry them (RFC 6347, section 4.1.1)."""

from __future__ import annotations

from collections.abc import Iterator

HEADER = 13
"""Octets before the content of a record; the last two of them are its length."""

MAX_CONTENT = 1 << 14
"""Octets that one record can carry."""


def datagrams(records: bytes, mtu: int) -> Iterator[bytes]:
    """
    ``records`` in datagrams of at most ``mtu`` octets, or of one record that is longer.

    A datagram carries whole records only, and a record is never split.
    """
    start = end = 0
    while end < len(records):
        length = HEADER + int.from_bytes(records[end + HEADER - 2 : end + HEADER])
        if start < end and end + length - start > mtu:
            yield records[start:end]
            start = end
        end += length
    if start < end:
        yield records[start:]
