"""Metadata paths."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.model.pointer import MISSING, format_pointer, get, index, parse

RFC_DOCUMENT: dict[str, Any] = {
    "foo": ["bar", "baz"],
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ],
)
def test_rfc_examples(path: str, found: object) -> None:
    """The examples of RFC 6901, section 5, lead where it says."""
    assert get(RFC_DOCUMENT, parse(path)) == found


@pytest.mark.parametrize("path", ["", "/"])
def test_whole_document(path: str) -> None:
    """Both the empty path and a lone slash mean the whole document."""
    assert parse(path) == ()
    assert get(RFC_DOCUMENT, parse(path)) is RFC_DOCUMENT


@pytest.mark.parametrize(
    "path", ["IP/src_addr", "/IP/src_addr", "IP/src_addr/", "/IP/src_addr/"]
)
def test_outer_slashes_are_optional(path: str) -> None:
    """A leading and a trailing slash may be written or left out."""
    assert parse(path) == ("IP", "src_addr")


def test_escapes_are_decoded_in_the_right_order() -> None:
    """``~01`` is a tilde and a one, not a slash (RFC 6901, section 4)."""
    assert parse("/~01/~10") == ("~1", "/0")


def test_lone_tilde() -> None:
    """A tilde that begins no escape stands for itself, as in the original."""
    assert parse("/~x/y~") == ("~x", "y~")


@pytest.mark.parametrize(
    ("path", "parts"),
    [("//", ("",)), ("/a//", ("a", "")), ("/a//b", ("a", "", "b")), ("//a", ("", "a"))],
)
def test_empty_keys(path: str, parts: tuple[str, ...]) -> None:
    """A key that is empty is reached by writing one slash more."""
    assert parse(path) == parts


@pytest.mark.parametrize(
    "part", ["2", "-1", "-", "01", "1.0", "", "x", "\u0661", "9" * 5000]
)
def test_what_is_no_index(part: str) -> None:
    """Only digits without a leading zero, below the length, index an array."""
    assert index(part, 2) is None
    assert get([1, 2], (part,)) is MISSING


def test_index() -> None:
    """Digits count the elements from zero."""
    assert [index(part, 11) for part in ("0", "1", "10")] == [0, 1, 10]


@pytest.mark.parametrize(
    "path", ["/no", "/null/x", "/text/0", "/number/x", "/flag/x", "/list/1", "/o/x/y"]
)
def test_nothing_there(path: str) -> None:
    """A path that leads nowhere gives the default, which is MISSING."""
    document: dict[str, Any] = {
        "null": None,
        "text": "text",
        "number": 1,
        "flag": True,
        "list": [0],
        "o": {},
    }
    assert get(document, parse(path)) is MISSING
    assert get(document, parse(path), "default") == "default"


def test_digits_are_a_key_of_an_object() -> None:
    """In an object a component of digits is a key like any other."""
    assert get({"0": "zero"}, parse("/0")) == "zero"


def test_falsy_values_are_found() -> None:
    """Null, false, zero and empty values are values."""
    document: dict[str, Any] = {
        "a": None,
        "b": False,
        "c": 0,
        "d": "",
        "e": [],
        "f": {},
    }
    assert [get(document, (key,)) for key in document] == [*document.values()]


def test_missing_is_one_value() -> None:
    """MISSING survives copying and says what it is."""
    assert copy.deepcopy(MISSING) is MISSING
    assert repr(MISSING) == "MISSING"


def test_canonical_spelling() -> None:
    """The canonical spelling is RFC 6901's: one slash before each component."""
    assert format_pointer(()) == ""
    assert format_pointer(("a/b", "m~n", "", 7)) == "/a~1b/m~0n//7"


keys = st.text(alphabet="ab01~/ é", max_size=4)


@given(st.lists(keys, max_size=5).map(tuple))
def test_parse_undoes_format(parts: tuple[str, ...]) -> None:
    """Parsing the canonical spelling gives the path back, but for empty last keys."""
    spelled = format_pointer(parts)
    if parts and not parts[-1]:
        spelled += "/"
    assert parse(spelled) == parts


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=8,
)


def _places(value: Any, at: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    children: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        children = [*value.items()]
    elif isinstance(value, list):
        children = [(str(number), item) for number, item in enumerate(value)]
    deeper = [place for key, item in children for place in _places(item, (*at, key))]
    return [(at, value), *deeper]


@given(json_values)
def test_every_place_has_a_path(document: Any) -> None:
    """Everything in a JSON document can be reached by its path."""
    for parts, value in _places(document):
        assert get(document, parts) is value
