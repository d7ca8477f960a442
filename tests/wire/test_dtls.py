"""Records of DTLS in datagrams."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from l7mp.wire.dtls import HEADER, datagrams


def record(content: bytes) -> bytes:
    return b"\x16\xfe\xfd" + bytes(8) + len(content).to_bytes(2) + content


RECORDS = st.lists(st.binary(max_size=300).map(record), max_size=20)


@given(RECORDS, st.integers(1, 1000))
def test_whole_records_in_small_datagrams(records: list[bytes], mtu: int) -> None:
    """Nothing is lost, no record is split, and only one that is longer exceeds the MTU."""
    found = list(datagrams(b"".join(records), mtu))
    assert b"".join(found) == b"".join(records)
    at = 0
    for datagram in found:
        inside = 0
        size = 0
        while size < len(datagram):
            size += len(records[at])
            at, inside = at + 1, inside + 1
        assert size == len(datagram)
        assert size <= mtu or inside == 1


@given(RECORDS, st.integers(1, 1000))
def test_datagrams_are_full(records: list[bytes], mtu: int) -> None:
    """No two neighbors would have fitted into one."""
    found = list(datagrams(b"".join(records), mtu))
    assert all(
        len(one) + HEADER + int.from_bytes(other[HEADER - 2 : HEADER]) > mtu
        for one, other in pairwise(found)
    )


@given(st.binary(max_size=100))
def test_anything_can_be_cut(data: bytes) -> None:
    """Whatever it is, all of it leaves."""
    assert b"".join(datagrams(data, 50)) == data
