"""GOAWAY is found in any stream of frames, and nothing else is touched."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from l7mp.wire.http2frames import Goaway, GoawaySieve


def frame(kind: int, payload: bytes, number: int = 1) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, 0])
    return head + struct.pack(">I", number) + payload


def goaway(last: int, code: int, more: bytes = b"") -> bytes:
    return frame(7, struct.pack(">II", last, code) + more, 0)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """The same in pieces of those sizes, and a rest."""
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


OTHERS = st.builds(frame, st.sampled_from([0, 1, 4, 6, 8, 99]), st.binary(max_size=40))
FAREWELLS = st.tuples(
    st.integers(0, (1 << 31) - 1), st.integers(0, (1 << 32) - 1), st.binary(max_size=9)
)


@given(st.lists(OTHERS | FAREWELLS), st.lists(st.integers(1, 30)))
def test_only_farewells_are_taken_out(
    parts: list[bytes | tuple[int, int, bytes]], sizes: list[int]
) -> None:
    """However the frames come in pieces, the same ones pass and the same are found."""
    whole = b"".join(p if isinstance(p, bytes) else goaway(*p) for p in parts)
    sieve, passed, found = GoawaySieve(), b"", []
    for piece in cut(whole, sizes):
        some, those = sieve.feed(piece)
        passed += some
        found += those
    assert passed == b"".join(p for p in parts if isinstance(p, bytes))
    assert found == [Goaway(p[0], p[1]) for p in parts if not isinstance(p, bytes)]


@given(st.lists(st.binary()))
def test_nothing_surprises_it(pieces: list[bytes]) -> None:
    """Whatever comes, there is no exception, and never more than came."""
    sieve = GoawaySieve()
    passed = b"".join(sieve.feed(piece)[0] for piece in pieces)
    assert len(passed) <= len(b"".join(pieces))


def test_a_farewell_too_short_is_one_of_nothing() -> None:
    """What is missing in a frame that is too short counts as zero."""
    assert GoawaySieve().feed(frame(7, b"\0\0\0\x05", 0)) == (b"", [Goaway(5, 0)])


def test_the_reserved_bit_is_none_of_the_number() -> None:
    """The number of a stream has 31 bits (RFC 9113, section 4.1)."""
    assert GoawaySieve().feed(goaway(0x80000003, 2)) == (b"", [Goaway(3, 2)])
