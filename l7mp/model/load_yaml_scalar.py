"""What a scalar of YAML means: the core schema of YAML 1.2 (section 10.3.2)."""

from __future__ import annotations

import math
import re
from typing import Any

from l7mp.model.problem import quoted

_PREFIX = "tag:yaml.org,2002:"
_TYPES = {
    "str": (str, "text"),
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (bool, "true or false"),
    "null": (type(None), "null"),
}

SCALAR_TAGS = tuple(_PREFIX + name for name in _TYPES)
"""The tags that ``meaning`` understands."""

LONGEST_NUMBER = 1000
"""Characters of a number; Python's conversions are quadratic in it."""

_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_DECIMAL = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_AMBIGUOUS = re.compile(r"[-+]?0[0-9]+")
_SURROGATE = re.compile("[\ud800-\udfff]")

_IF_TEXT = "put it in quotes if it is text"


class ScalarError(ValueError):
    """A scalar that JSON cannot say."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def meaning(text: str, tag: str | None, *, plain: bool) -> Any:
    """
    The JSON value of a scalar.

    ``tag`` is one of ``SCALAR_TAGS``, or None; ``plain`` says that there are no quotes.
    """
    if not text.isascii() and _SURROGATE.search(text):
        text = _paired(text)
    if tag is None:
        return _core(text) if plain else text
    kind, noun = _TYPES[tag.removeprefix(_PREFIX)]
    if kind is str:
        return text
    value = _core(text)
    if kind is float and type(value) is int:
        value = _finite(text)
    if type(value) is not kind:
        raise ScalarError(f"{quoted(text)} is not {noun}, as its tag says")
    return value


def _paired(text: str) -> str:
    """``text`` with pairs of escapes, as JSON has them, made into one character."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        what = "half of a pair of escapes, which is no character"
        raise ScalarError(what) from None


def _core(text: str) -> Any:
    """The meaning of a scalar without quotes."""
    if text in _WORDS:
        return _WORDS[text]
    if _NO_NUMBER.fullmatch(text):
        raise ScalarError(f"{text} is not a number in JSON", _IF_TEXT)
    base = _base(text)
    if base is None:
        return text
    if len(text) > LONGEST_NUMBER:
        raise ScalarError("this number is too long", _IF_TEXT)
    return int(text, base) if base else _finite(text)


def _base(text: str) -> int | None:
    """The base of a whole number, 0 for another number, None for text."""
    if _AMBIGUOUS.fullmatch(text):
        number = text.lstrip("-+0") or "0"
        hint = f"write {number}, or 0o{number} for base 8, or put it in quotes"
        raise ScalarError(f"{text} could be meant in base 8 or 10", hint)
    if _DECIMAL.fullmatch(text):
        return 10
    if _OCTAL.fullmatch(text):
        return 8
    if _HEXADECIMAL.fullmatch(text):
        return 16
    return 0 if _FLOAT.fullmatch(text) else None


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ScalarError("this number is too large", _IF_TEXT)
    return value
