"""The contract of transforms."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from l7mp.wire.transform import Identity, Transform


@given(st.lists(st.binary()))
def test_identity(pieces: list[bytes]) -> None:
    """Identity hands on each piece as it is, and keeps nothing."""
    transform: Transform = Identity()
    assert [out for piece in pieces for out in transform.feed(piece)] == pieces
    assert list(transform.end()) == []
