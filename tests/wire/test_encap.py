"""JSONEncap and JSONDecap."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.wire.encap import Decap, Encap
from l7mp.wire.transform import Transform


def wrapped(message: bytes, **metadata: Any) -> bytes:
    """What Encap makes of one message."""
    (document,) = Encap(metadata).feed(message)
    return document


def unwrapped(decap: Decap, *pieces: bytes) -> list[bytes]:
    """The messages in these pieces."""
    return [message for piece in pieces for message in decap.feed(piece)]


@given(
    st.binary(max_size=50),
    st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3)),
)
def test_encap(message: bytes, metadata: dict[str, Any]) -> None:
    """Each message becomes an object with the metadata and the message in base64."""
    document = json.loads(wrapped(message, IP=metadata))
    assert set(document) == {"metadata", "payload"}
    assert document["metadata"] == {"IP": metadata}
    assert base64.b64decode(document["payload"], validate=True) == message


def test_nothing_is_kept() -> None:
    """Encap has nothing left at the end."""
    transform: Transform = Encap({})
    assert list(transform.end()) == []


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_datagrams(messages: list[bytes]) -> None:
    """Decap undoes Encap message by message, empty messages included."""
    decap = Decap()
    assert unwrapped(decap, *map(wrapped, messages)) == messages
    assert decap.dropped == 0


@given(
    st.lists(st.binary(max_size=20), max_size=4),
    st.sampled_from([b"", b"\n", b" \r\n\t"]),
    st.lists(st.integers(0, 300), max_size=8),
)
def test_streams(messages: list[bytes], between: bytes, places: list[int]) -> None:
    """A stream of bytes may cut and join objects anywhere, with white space between."""
    data = b"".join(wrapped(message, s='}"{\\') + between for message in messages)
    ends = [*sorted(places), len(data)]
    pieces = [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    decap: Decap = Decap()
    assert unwrapped(decap, *pieces) == messages
    assert list(decap.end()) == []
    assert decap.dropped == 0


INVALID = [
    b"garbage",
    b"null",
    b'[{"payload": "aGk="}]',
    b"{}",
    b'{"payload": null}',
    b'{"payload": 1}',
    b'{"payload": ["aGk="]}',
    b'{"payload": {"payload": "aGk="}}',
    b'{"payload": "a"}',
    b'{"payload": "aGk=!"}',
    b'{"payload": "\xc3\xa9"}',
    b'{"payload": "\xff"}',
    b"{nonsense}",
    b'{"payload": "aGk="]',
    b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b"x{",
]


@pytest.mark.parametrize("datagram", INVALID)
def test_invalid(datagram: bytes) -> None:
    """What is no encapsulated message vanishes, is counted, and does no more harm."""
    decap = Decap()
    assert unwrapped(decap, datagram) == []
    assert decap.dropped == 1
    assert unwrapped(decap, wrapped(b"next"), wrapped(b"last")) == [b"next", b"last"]
    assert decap.dropped == 1


def test_invalid_among_valid() -> None:
    """Objects beside an invalid one in a stream are still messages."""
    decap = Decap()
    data = wrapped(b"1") + b'{"no": 1}' + wrapped(b"2") + b" junk " + wrapped(b"lost")
    assert unwrapped(decap, data, wrapped(b"3")) == [b"1", b"2", b"3"]
    assert decap.dropped == 2


def test_truncated_datagram() -> None:
    """A truncated datagram costs itself, not the datagrams after it."""
    decap = Decap()
    assert unwrapped(decap, wrapped(b"1")[:-3], wrapped(b"2"), wrapped(b"3")) == [
        b"2",
        b"3",
    ]
    assert decap.dropped == 1


def test_piece_that_looks_whole() -> None:
    """A piece between braces that is no message belongs to the object it is in."""
    decap = Decap()
    pieces = [b'{"metadata": ', b'{"a": 1}', b', "payload": "aGk="}']
    assert unwrapped(decap, *pieces) == [b"hi"]
    assert decap.dropped == 0


def test_end() -> None:
    """An object that never ended is dropped at the end, and only once."""
    decap = Decap()
    assert unwrapped(decap, b'{"payload": "aG') == []
    assert (list(decap.end()), decap.dropped) == ([], 1)
    assert (list(decap.end()), decap.dropped) == ([], 1)


def test_limit() -> None:
    """An object that goes on for ever is given up at the limit."""
    decap = Decap(limit=10)
    assert unwrapped(decap, b'{"payload"') == []
    assert decap.dropped == 0
    assert unwrapped(decap, b":") == []
    assert decap.dropped == 1
    assert unwrapped(decap, wrapped(b"next")) == [b"next"]


@pytest.mark.parametrize("piece", [b"", b"\n", b"  "])
def test_nothing_is_no_message(piece: bytes) -> None:
    """Nothing, and white space between objects, is neither a message nor a fault."""
    decap = Decap()
    assert unwrapped(decap, piece) == []
    assert decap.dropped == 0


@given(st.lists(st.binary(max_size=30) | st.sampled_from(INVALID), max_size=6))
def test_any_input(pieces: list[bytes]) -> None:
    """No input makes it fail, and afterwards a datagram still gets through."""
    decap = Decap()
    unwrapped(decap, *pieces)
    assert unwrapped(decap, wrapped(b"after")) == [b"after"]
