"""Finding and reading JSON objects in a stream of bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.wire.json_object import (
    MAX_NESTING,
    ObjectScanner,
    is_shallow,
    read_object,
    skip_space,
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(alphabet='a"\\{}[]é', max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(alphabet='a"\\{}', max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
objects = st.dictionaries(
    st.text(alphabet='b"\\}', max_size=3), json_values, max_size=3
)


def encoded(value: Any, ascii_only: bool) -> bytes:
    """A JSON document, with or without escapes for what is not ASCII."""
    return json.dumps(value, ensure_ascii=ascii_only).encode()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """``data`` in pieces."""
    ends = sorted({min(place, len(data)) for place in places} | {len(data)})
    return [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]


@given(objects, st.booleans(), st.binary(max_size=5), st.lists(st.integers(0, 60)))
def test_the_end_is_found(
    value: dict[str, Any], ascii_only: bool, behind: bytes, places: list[int]
) -> None:
    """However an object is cut, its end is found, whatever is in it or behind it."""
    document = encoded(value, ascii_only)
    scanner, passed = ObjectScanner(), 0
    for piece in cut(document + behind, places):
        end = scanner.find_end(piece)
        if end is not None:
            assert passed + end == len(document)
            break
        passed += len(piece)
    else:
        pytest.fail("no end was found")


def test_start() -> None:
    """An object may begin anywhere in a piece."""
    assert ObjectScanner().find_end(b'}}"{"a":1}', 3) == 10


def test_escape_at_the_edge() -> None:
    """A backslash at the end of a piece still escapes what comes next."""
    scanner = ObjectScanner()
    assert [scanner.find_end(piece) for piece in (b'{"\\', b"", b'"}', b'"}')] == [
        None,
        None,
        None,
        2,
    ]


def test_skip_space() -> None:
    """White space is what JSON calls so."""
    assert skip_space(b" \t\r\n{") == 4
    assert skip_space(b"x  {", 1) == 3
    assert skip_space(b"\x0b{") == 0
    assert skip_space(b"  ") == 2
    assert skip_space(b"x", 1) == 1


@given(objects, st.booleans())
def test_read(value: dict[str, Any], ascii_only: bool) -> None:
    """An object in UTF-8 is read as what it was."""
    assert read_object(encoded(value, ascii_only)) == value


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"null",
        b"1",
        b"[]",
        b'"{}"',
        b"{",
        b"{}}",
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": "\xff"}',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * (MAX_NESTING + 1) + b"1" + b"}" * (MAX_NESTING + 1),
    ],
)
def test_not_an_object(document: bytes) -> None:
    """Anything but a JSON object of reasonable depth is a ValueError."""
    with pytest.raises(ValueError):
        read_object(document)


def test_nesting() -> None:
    """Values may nest so deep, and no deeper."""
    value: Any = {}
    for _ in range(MAX_NESTING):
        value = [value]
    assert is_shallow(value)
    assert not is_shallow({"a": value})
    assert is_shallow(1)


@given(st.binary(max_size=60) | st.text('{}[]"\\,:01e', max_size=60).map(str.encode))
def test_any_document(data: bytes) -> None:
    """Whatever bytes come are an object, not too deep, or a ValueError."""
    try:
        value = read_object(data)
    except ValueError:
        return
    assert isinstance(value, dict)
    assert is_shallow(value)


@given(
    st.text('{}[]"\\x', max_size=60).map(str.encode),
    st.lists(st.integers(0, 60), max_size=5),
)
def test_any_cut(data: bytes, places: list[int]) -> None:
    """Whatever follows a brace ends at the same place, or not at all, in any pieces."""
    data = b"{" + data
    scanner, passed, found = ObjectScanner(), 0, None
    for piece in cut(data, places):
        end = scanner.find_end(piece)
        if end is not None:
            found = passed + end
            break
        passed += len(piece)
    assert found == ObjectScanner().find_end(data)
