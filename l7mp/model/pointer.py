"""
Metadata paths: JSON Pointers (RFC 6901), read as leniently as the original reads them.

The slashes at both ends are optional: ``IP/src_addr``, ``/IP/src_addr`` and
``IP/src_addr/`` are one path, and both the empty string and ``/`` mean the whole
document. A component of digits indexes an array. Because the last slash may be left
out, a key that is empty can be reached by writing one slash more: ``/a//``.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any, Final

Parts = tuple[str, ...]
"""A path taken apart, escapes decoded; ``()`` is the whole document."""


class Missing(Enum):
    """The type of ``MISSING``."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing.MISSING
"""What is found where nothing is; null is a value and not missing."""

_MAX_DIGITS = 9
"""More digits than any array we hold has elements; keeps int() cheap."""


def parse(path: str) -> Parts:
    """
    Take a path apart.

    Decodes ``~1`` to a slash and ``~0`` to a tilde (RFC 6901, section 4). A tilde
    before anything else stands for itself, as in the original, which knows no escapes.
    """
    if path in ("", "/"):
        return ()
    inner = path.removeprefix("/").removesuffix("/")
    return tuple(
        part.replace("~1", "/").replace("~0", "~") for part in inner.split("/")
    )


def format_pointer(parts: Iterable[str | int]) -> str:
    """The canonical spelling (RFC 6901); the whole document is the empty string."""
    return "".join(
        "/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts
    )


def index(part: str, length: int) -> int | None:
    """The array index below ``length`` that a component names (section 4), or None."""
    if not part.isascii() or not part.isdigit() or len(part) > _MAX_DIGITS:
        return None
    number = int(part)
    leading_zero = part[0] == "0" and part != "0"
    return None if leading_zero or number >= length else number


def get(document: Any, parts: Parts, default: Any = MISSING) -> Any:
    """What ``parts`` leads to in a JSON document, or ``default`` if it leads nowhere."""
    found = document
    for part in parts:
        if isinstance(found, dict):
            if part not in found:
                return default
            found = found[part]
        elif isinstance(found, list):
            position = index(part, len(found))
            if position is None:
                return default
            found = found[position]
        else:
            return default
    return found
