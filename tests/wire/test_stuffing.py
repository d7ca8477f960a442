"""COBS and SLIP."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.wire.stuffing import cobs, slip, uncobs, unslip

RUNS = st.lists(
    st.binary(max_size=4) | st.integers(250, 520).map(lambda n: b"x" * n), max_size=6
).map(b"".join)
"""Messages with runs about as long as a block of COBS."""


@pytest.mark.parametrize(
    ("message", "stuffed"),
    [
        (b"", "01"),
        (b"\0", "01 01"),
        (b"\0\0", "01 01 01"),
        (b"\0\x11\0", "01 02 11 01"),
        (b"\x11\x22\0\x33", "03 11 22 02 33"),
        (b"\x11\x22\x33\x44", "05 11 22 33 44"),
        (b"\x11\0\0\0", "02 11 01 01 01"),
        (bytes(range(1, 256)), "ff " + bytes(range(1, 255)).hex() + " 02 ff"),
    ],
)
def test_cobs_vectors(message: bytes, stuffed: str) -> None:
    """Known messages have the known encodings, both ways."""
    assert cobs(message) == bytes.fromhex(stuffed)
    assert uncobs(bytes.fromhex(stuffed)) == message


def test_cobs_may_end_in_a_full_block() -> None:
    """The code behind a full last block can be left out, as some encoders do."""
    assert uncobs(b"\xff" + b"x" * 254) == b"x" * 254


@given(RUNS)
def test_cobs(message: bytes) -> None:
    """What is stuffed has no zeros, and is the message again when unstuffed."""
    stuffed = cobs(message)
    assert 0 not in stuffed
    assert len(stuffed) <= len(message) + len(message) // 254 + 1
    assert uncobs(stuffed) == message


@pytest.mark.parametrize("bad", [b"\x02", b"\x05abc", b"\0", b"\x02a\0"])
def test_bad_cobs(bad: bytes) -> None:
    """A block that is cut short, or has a zero for its code, is no message."""
    assert uncobs(bad) is None


@given(st.binary(max_size=40))
def test_any_cobs(data: bytes) -> None:
    """Whatever bytes come, they are a message or none."""
    assert uncobs(data) is None or isinstance(uncobs(data), bytes)


@given(st.lists(st.sampled_from([b"\xc0", b"\xdb", b"\xdc", b"\xdd", b"x"])))
def test_slip(parts: list[bytes]) -> None:
    """What is escaped has no END, and is the message again when unescaped."""
    message = b"".join(parts)
    assert b"\xc0" not in slip(message)
    assert unslip(slip(message)) == message


@pytest.mark.parametrize("bad", [b"\xdb", b"a\xdbb", b"\xdb\xdb\xdc"])
def test_bad_slip(bad: bytes) -> None:
    """An ESC before anything but its two letters is no message."""
    assert unslip(bad) is None


@given(st.binary(max_size=40))
def test_any_slip(data: bytes) -> None:
    """Whatever bytes come, they are a message or none; a message is the same again."""
    message = unslip(data)
    assert message is None or unslip(slip(message)) == message
