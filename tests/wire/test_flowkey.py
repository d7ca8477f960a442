"""Keys of sessions, out of datagrams that anybody may have sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from l7mp.wire.flowkey import MAX_KEY, json_key, payload_key


def at_id(document: dict[str, Any]) -> Any:
    return document.get("id")


@given(st.binary(max_size=40), st.integers(0, 20), st.integers(1, 20))
def test_bytes_of_the_payload(datagram: bytes, offset: int, length: int) -> None:
    """The key is the bytes at their place, and nothing where they are not complete."""
    key = payload_key(offset, length)(datagram)
    if len(datagram) < offset + length:
        assert key is None
    else:
        assert key is not None
        assert bytes.fromhex(key) == datagram[offset : offset + length]


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.dictionaries(st.just("id"), st.integers() | st.text()).map(
        lambda value: json.dumps(value).encode()
    )
)
@example(b'{"id": "' + b"x" * (MAX_KEY + 1) + b'"}')
@example(b'{"id": ' + b"9" * 5000 + b"}")
@example(b'{"id": 1e999}')
@example(b'{"id": "\\ud800"}')
def test_a_stranger_gets_a_key_or_none(datagram: bytes) -> None:
    """Whatever comes, there is a key of bounded length, or none, and no exception."""
    key = json_key(at_id)(datagram)
    assert key is None or len(key) <= MAX_KEY


@pytest.mark.parametrize(
    ("datagram", "key"),
    [
        (b'{"id": "a"}', "a"),
        (b'{"x": [1], "id": ""}', ""),
        (b'{"id": 7}', "7"),
        (b'{"id": 1.5}', "1.5"),
        (b'{"id": true}', "true"),
        (b'{"id": null}', None),
        (b'{"id": {}}', None),
        (b'{"id": ["a"]}', None),
        (b"{}", None),
        (b'["id"]', None),
        (b"", None),
        (b'{"id": "\\ud800"}', None),
        (b'{"id": "%s"}' % (b"x" * MAX_KEY), "x" * MAX_KEY),
        (b'{"id": "%s"}' % (b"x" * (MAX_KEY + 1)), None),
    ],
)
def test_values_in_json(datagram: bytes, key: str | None) -> None:
    """Strings, numbers and truth values are keys; the rest is none."""
    assert json_key(at_id)(datagram) == key
