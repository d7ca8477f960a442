"""
JSON (RFC 8259), strictly: no duplicate keys, no NaN, nothing that overflows.

The standard library's decoder reads what is right, fast.  A reader of our own, which
knows where it is, reads again only when something is wrong.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left
from functools import cache, partial
from typing import Any, NoReturn

from l7mp.model.document import MAX_DEPTH, Document, Place, syntax_error
from l7mp.model.problem import Invalid, quoted

_SPACE = re.compile(r"[ \t\n\r]*")
_WORD = re.compile(r"[-+.\w]+")
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

_TOO_DEEP = f"more than {MAX_DEPTH} lists and mappings inside one another"

_STRING_ERRORS = (
    ("Unterminated", ("this text is not closed", "end it with a double quote")),
    (
        "Invalid control",
        (
            "a line break, tab or other control character inside a text",
            r"write it as an escape such as \n, or close the text before it",
        ),
    ),
    (r"Invalid \u", ("an incomplete escape", r"write \u and four hexadecimal digits")),
    ("", ("an unknown escape after a backslash", r"write \\ for a backslash")),
)
"""The decoder's messages, by how they begin, and ours."""

_UNEXPECTED = {
    "": "the text ends before the value is complete",
    "'": "text must be in double quotes",
    "/": "JSON has no comments",
    "#": "JSON has no comments",
}


def parse_json(text: str, source: str = "") -> Document:
    """Read a JSON text, which may begin with a byte order mark; else ``Invalid``."""
    text = text.removeprefix("\ufeff")
    reader = partial(_Reader, text, source)
    try:
        value = _fast(text)
    except (ValueError, RecursionError):
        # The careful reader says what is wrong, or else that nothing is.
        value, place = reader().document()
        return Document(value, source, lambda: place)
    return Document(value, source, cache(lambda: reader().document()[1]))


def _fast(text: str) -> Any:
    if _ESCAPED_SURROGATE.search(text) or _SURROGATE.search(text):
        raise ValueError("for the careful reader")
    value = json.loads(
        text,
        object_pairs_hook=_unique,
        parse_constant=_no_constant,
        parse_float=_finite,
    )
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(value, 0)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is given twice")
    return value


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError("this number is too large")
    return value


def _check_depth(value: Any, depth: int) -> None:
    if not isinstance(value, dict | list):
        return
    if depth == MAX_DEPTH:
        raise ValueError(_TOO_DEEP)
    for inner in value.values() if isinstance(value, dict) else value:
        _check_depth(inner, depth + 1)


class _Reader:
    """Reads one text from left to right, keeping account of places."""

    _leaf = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)

    def __init__(self, text: str, source: str) -> None:
        self._text = text
        self._source = source
        self._breaks = [found.start() for found in re.finditer("\n", text)]
        self._next = 0

    def document(self) -> tuple[Any, Place]:
        """The value of the whole text, and the place of each of its parts."""
        if not self._peek():
            raise self._error(self._next, "the document is empty")
        value, place = self._value(0)
        if following := self._peek():
            what = f"unexpected {quoted(following)} after the end of the value"
            raise self._error(self._next, what)
        return value, place

    def _position(self, offset: int) -> tuple[int, int]:
        row = bisect_left(self._breaks, offset)
        begin = self._breaks[row - 1] + 1 if row else 0
        return row + 1, offset - begin + 1

    def _error(self, offset: int, message: str, hint: str = "") -> Invalid:
        return syntax_error(self._source, *self._position(offset), message, hint)

    def _peek(self) -> str:
        """The next character that is no space; empty at the end."""
        found = _SPACE.match(self._text, self._next)
        assert found is not None
        self._next = found.end()
        return self._text[self._next : self._next + 1]

    def _value(self, depth: int) -> tuple[Any, Place]:
        first = self._peek()
        if first and first in "{[":
            if depth == MAX_DEPTH:
                raise self._error(self._next, _TOO_DEEP)
            return self._mapping(depth) if first == "{" else self._list(depth)
        line, column = self._position(self._next)
        if first == '"':
            return self._string(), Place(line, column)
        return self._word(first), Place(line, column)

    def _mapping(self, depth: int) -> tuple[dict[str, Any], Place]:
        value: dict[str, Any] = {}
        inner: dict[str, Place] = {}
        line, column = self._position(self._next)
        while self._another("}", first=not value):
            offset = self._next
            key = self._key()
            if key in value:
                earlier = inner[key]
                what = f"the key {quoted(key)} is given twice"
                where = f"first in line {earlier.line}, column {earlier.column}"
                raise self._error(offset, what, where)
            value[key], place = self._value(depth + 1)
            inner[key] = Place(*self._position(offset), place.inner)
        return value, Place(line, column, inner)

    def _list(self, depth: int) -> tuple[list[Any], Place]:
        value: list[Any] = []
        inner: dict[str, Place] = {}
        line, column = self._position(self._next)
        while self._another("]", first=not value):
            item, inner[str(len(value))] = self._value(depth + 1)
            value.append(item)
        return value, Place(line, column, inner)

    def _another(self, end: str, *, first: bool) -> bool:
        """Whether an item follows; steps over the comma or bracket before it."""
        if first:
            self._next += 1
            found = self._peek()
        elif (found := self._peek()) == ",":
            comma = self._next
            self._next += 1
            if self._peek() == end:
                raise self._error(comma, f'a comma before "{end}"', "remove the comma")
            return True
        elif found != end:
            what = self._unexpected(found)
            raise self._error(self._next, what, f'expected "," or "{end}"')
        if found != end:
            return True
        self._next += 1
        return False

    def _key(self) -> str:
        found = self._peek()
        if found != '"':
            what = _UNEXPECTED.get(found, "a key must be text in double quotes")
            raise self._error(self._next, what)
        key = self._string()
        if (found := self._peek()) != ":":
            what = f"expected a colon after the key {quoted(key)}"
            raise self._error(self._next, what)
        self._next += 1
        return key

    def _string(self) -> str:
        begin = self._next
        try:
            value, self._next = self._leaf.raw_decode(self._text, begin)
        except json.JSONDecodeError as error:
            told = [t for prefix, t in _STRING_ERRORS if error.msg.startswith(prefix)]
            raise self._error(error.pos, *told[0]) from None
        assert isinstance(value, str)
        if _SURROGATE.search(value):
            what = (
                r"half of a pair of escapes (\ud800 to \udfff), which is no character"
            )
            raise self._error(begin, what)
        return value

    def _word(self, first: str) -> Any:
        """A number, true, false or null."""
        found = _WORD.match(self._text, self._next)
        if found is None:
            raise self._error(self._next, self._unexpected(first))
        word, begin = found.group(), self._next
        try:
            value, end = self._leaf.raw_decode(word)
        except json.JSONDecodeError:
            hint = "put it in double quotes if it is text"
            raise self._error(begin, f"unexpected {quoted(word)}", hint) from None
        except ValueError as error:
            raise self._error(begin, _told(error)) from None
        if end < len(word):
            raise self._error(begin, f"{quoted(word)} is not a JSON number")
        self._next = found.end()
        return value

    @staticmethod
    def _unexpected(found: str) -> str:
        return _UNEXPECTED.get(found) or f"unexpected {quoted(found)}"


def _told(error: ValueError) -> str:
    """Our own words, instead of Python's about the length of integers."""
    text = str(error)
    return "this number is too long" if text.startswith("Exceeds") else text
