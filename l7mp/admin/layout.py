"""How JSON is laid out: the formats of ``?format=``, which are the original's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

FORMATS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "plain": {"indent": 2},
        "terse": {"separators": (",", ":")},
        "space": {"separators": (", ", ": ")},
        "lines": {"indent": 0},
        "diffy": {"indent": 4},
    }
)
"""What ``json.dumps`` is told."""


def laid_out(value: Any, style: str = "plain") -> bytes:
    """``value`` as JSON in UTF-8, in one of the ``FORMATS``."""
    text = json.dumps(value, ensure_ascii=False, **FORMATS[style])
    # What UTF-8 cannot say, half of a surrogate pair, Python escapes as JSON does.
    return (text + "\n").encode("utf-8", "backslashreplace")
