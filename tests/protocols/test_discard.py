"""Discard: what goes in is gone."""

from __future__ import annotations

from l7mp.protocols import discard
from tests.protocols.one import One


def test_nothing_comes_out_but_the_end() -> None:
    """Data is swallowed, which is no drop; the end passes."""
    stream, sink = One(discard).connect()
    stream.write(b"data")
    before = sink.ended
    stream.end()
    assert sink.written == []
    assert (before, sink.ended) == (False, True)
    assert stream.drops == {}
    assert stream.bytes_out == 4
