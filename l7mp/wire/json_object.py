"""Finding where a JSON object ends in a stream of bytes, and reading it safely."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

MAX_NESTING = 64
"""How deep what a stranger sends may nest: everything that walks it relies on this."""

_OUTSIDE = re.compile(rb'["{}\[\]]')
_IN_STRING = re.compile(rb'["\\]')
_SPACE = re.compile(rb"[ \t\r\n]*")


def skip_space(data: bytes, start: int = 0) -> int:
    """The position of the first byte at or after ``start`` that is not white space."""
    found = _SPACE.match(data, start)
    assert found is not None, "no white space is white space, too"
    return found.end()


class ObjectScanner:
    """
    Follows one JSON object, given in pieces, from its opening brace to its end.

    Each byte is looked at once, however the object is cut. Only brackets and strings
    matter here; whether what is between them is JSON shows when it is read.
    """

    __slots__ = ("_depth", "_escaped", "_in_string")

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def find_end(self, piece: bytes, start: int = 0) -> int | None:
        """The position in this piece just behind the object, None if it goes on."""
        at = start + self._escaped
        self._escaped = at > len(piece)
        while found := (_IN_STRING if self._in_string else _OUTSIDE).search(piece, at):
            at, mark = found.end(), found[0]
            if mark == b'"':
                self._in_string = not self._in_string
            elif mark == b"\\":
                at += 1
                self._escaped = at > len(piece)
            elif mark in b"{[":
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth == 0:
                    return at
        return None


def read_object(document: bytes) -> dict[str, Any]:
    """
    The JSON object that the bytes are (RFC 8259, in UTF-8).

    Raises ValueError for anything else, also for numbers that JSON does not have and
    for nesting deeper than MAX_NESTING.
    """
    try:
        value = json.loads(document.decode(), parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004  # the document's fault
    if not is_shallow(value):
        raise ValueError("nested too deep")
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def is_shallow(value: Any) -> bool:
    """Whether a JSON value nests no deeper than MAX_NESTING."""
    level = [value]
    for _ in range(MAX_NESTING + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return True
    return False
