"""Cutting lumps of TCP."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.wire.segment import segments

SYN_CWR_PSH_FIN = 0x02 | 0x80 | 0x08 | 0x01
ETHERNET = bytes(range(12))


def lump_of(
    payload: bytes, version: int = 4, sequence: int = 7, more: int = 0, extra: int = 0
) -> bytes:
    """A frame with TCP in it, ``more`` words of options, and ``extra`` ones of IP's."""
    options = bytes([1]) * 4 * more
    tcp = struct.pack(
        "!HHIIBBHHH", 80, 5000, sequence, 9, (5 + more) << 4, SYN_CWR_PSH_FIN, 99, 5, 0
    )
    if version == 4:
        words = 5 + extra
        ip = struct.pack("!BBHHHBBH", 0x40 | words, 0, 1, 65535, 0, 64, 6, 7)
        head = b"\x08\x00" + ip + b"\x0a\0\0\1\x0a\0\0\2" + bytes(4 * extra)
    else:
        ip = struct.pack("!IHBB", 6 << 28, 1, 0 if extra else 6, 64)
        head = b"\x86\xdd" + ip + bytes(range(32)) + bytes(8 * extra)
    return ETHERNET + head + tcp + options + payload


def start_of(version: int, extra: int) -> int:
    """Where its TCP begins."""
    return 14 + (20 + 4 * extra if version == 4 else 40 + 8 * extra)


def total(data: bytes) -> int:
    """The sum of RFC 1071, which is all ones where a checksum is right."""
    words = struct.iter_unpack("!H", data + bytes(len(data) % 2))
    found: int = sum(word for (word,) in words)
    while found >> 16:
        found = (found & 0xFFFF) + (found >> 16)
    return found


@given(
    st.binary(min_size=1, max_size=100),
    st.integers(1, 40),
    st.sampled_from([4, 6]),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 10),
    st.integers(0, 2),
)
def test_segments(
    payload: bytes, size: int, version: int, sequence: int, more: int, extra: int
) -> None:
    """Frames have the payload in order, right lengths, numbers, flags and checksums."""
    lump = lump_of(payload, version, sequence, more, extra)
    start = start_of(version, extra)
    body = len(lump) - len(payload)
    found = segments(lump, start, size)
    if len(payload) <= size:
        assert found == [lump]
        return
    assert b"".join(one[body:] for one in found) == payload
    for number, one in enumerate(found):
        assert one[:14] == lump[:14]
        assert len(one) - body <= size
        (at,) = struct.unpack_from("!I", one, start + 4)
        assert at == (sequence + number * size) % (1 << 32)
        is_first, is_last = number == 0, number == len(found) - 1
        flags = 0x02 | 0x80 * is_first | 0x09 * is_last
        assert one[start + 13] == flags
        addresses = one[26:34] if version == 4 else one[22:54]
        pseudo = addresses + struct.pack("!II", len(one) - start, 6)
        assert total(pseudo + one[start:]) == 0xFFFF
        if version == 4:
            length, identity = struct.unpack_from("!HH", one, 16)
            assert (length, identity) == (len(one) - 14, (65535 + number) % (1 << 16))
            assert total(one[14:start]) == 0xFFFF
        else:
            assert struct.unpack_from("!H", one, 18) == (len(one) - 54,)


@pytest.mark.parametrize(
    ("data", "start", "size"),
    [
        (b"short", 34, 10),
        (bytes(14), 34, 10),
        (lump_of(bytes(99)), 33, 10),
        (lump_of(bytes(99)), 34, 0),
        (lump_of(bytes(99)), 200, 10),
        (lump_of(b"")[:-1], 34, 10),
        (lump_of(bytes(99)).replace(b"\x08\x00\x45", b"\x08\x00\x55"), 34, 10),
        (lump_of(bytes(99), more=-1), 34, 10),
    ],
)
def test_what_is_no_lump(data: bytes, start: int, size: int) -> None:
    """What is too short, of no version of IP, or has no place for TCP, is left alone."""
    assert segments(data, start, size) == [data]


@given(st.binary(max_size=120), st.integers(0, 130), st.integers(0, 20))
def test_any_frame(data: bytes, start: int, size: int) -> None:
    """Whatever bytes come, nothing of them gets lost, and none of it does harm."""
    found = segments(data, start, size)
    assert found == [data] or len(found) > 1
    assert sum(map(len, found)) >= len(data)


@given(st.binary(max_size=60), st.integers(14, 60), st.integers(0, 20))
def test_any_packet(data: bytes, start: int, size: int) -> None:
    """The same behind the header of a frame that says that it is IP."""
    for version in (b"\x45", b"\x60"):
        found = segments(ETHERNET + b"\x08\x00" + version + data, start, size)
        assert sum(map(len, found)) >= 15 + len(data)
