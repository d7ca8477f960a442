"""JSONDecap: undoes JSONEncap."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from l7mp.protocols import jsondecap, jsonencap
from tests.protocols.one import One


@given(st.lists(st.binary(max_size=40)))
def test_it_undoes_jsonencap(messages: list[bytes]) -> None:
    """What was wrapped comes out as it was."""
    encap, wrapped = One(jsonencap).connect({"name": "s"})
    decap, plain = One(jsondecap).connect()
    for message in messages:
        encap.write(message)
    for one in wrapped.written:
        decap.write(one)
    assert plain.written == messages
    assert decap.drops == {}


def test_everything_else_is_dropped_and_counted() -> None:
    """What nobody wrapped reaches nobody, and that shows."""
    stream, sink = One(jsondecap).connect()
    stream.write(b"plain")
    stream.write(b'{"metadata": {}}')
    stream.write(b'{"payload": "eA=="}')
    assert sink.written == [b"x"]
    assert stream.drops == {"transform": 2}
