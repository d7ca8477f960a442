"""Frames as they are sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.wire.wsframe import BINARY, COMPRESSED, TEXT, whole, xored

HELLO_MASK = bytes.fromhex("37fa213d")


@pytest.mark.parametrize(
    ("frame", "wire"),
    [
        # RFC 6455, section 5.7
        (whole(TEXT, b"Hello"), "810548656c6c6f"),
        (whole(TEXT, b"Hello", HELLO_MASK), "818537fa213d7f9f4d5158"),
        # RFC 7692, section 7.2.3.1
        (
            whole(TEXT, bytes.fromhex("f248cdc9c90700"), reserved=COMPRESSED),
            "c107f248cdc9c90700",
        ),
        (whole(BINARY, b""), "8200"),
        (whole(BINARY, b"", HELLO_MASK), "828037fa213d"),
    ],
)
def test_the_rfc(frame: bytes, wire: str) -> None:
    """Frames are those of the examples."""
    assert frame.hex() == wire


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (125, "827d"),
        (126, "827e007e"),
        (256, "827e0100"),
        (65535, "827effff"),
        (65536, "827f0000000000010000"),
    ],
)
@pytest.mark.parametrize("mask", [b"", HELLO_MASK])
def test_lengths(size: int, head: str, mask: bytes) -> None:
    """A length takes as few octets as it can, also where the payload is masked."""
    frame = whole(BINARY, bytes(size), mask)
    start = bytes.fromhex(head)
    assert frame[0] == start[0]
    assert frame[1] == start[1] | (0x80 if mask else 0)
    assert frame[2 : len(start)] == start[2:]
    assert len(frame) == len(start) + len(mask) + size


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_masks(payload: bytes, mask: bytes) -> None:
    """A mask is put on octet by octet, and taken off in the same way."""
    expected = bytes(octet ^ mask[at % 4] for at, octet in enumerate(payload))
    assert xored(payload, mask) == expected
    assert xored(expected, mask) == payload
