"""
The syntax of JavaScript's regular expressions (ECMA-262, RegExp without flags).

Rules were written for the original, so patterns are JavaScript's: ``\\d``, ``\\w`` and
``\\b`` know ASCII only, ``$`` is the very end, ``[]`` never matches, a brace that is
no quantifier stands for itself. As in a pattern with the flag ``u``, ``\\u{1F600}`` is
a code point, and an escape without a meaning is refused instead of taken for the
letter. Refused besides: back references, which cannot be matched in bounded time,
Unicode properties, and octal escapes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from l7mp.errors import LocalError

Ranges = tuple[tuple[int, int], ...]
"""Code points from ... to, both included."""

MAX_NESTING = 50
"""How deep groups may nest."""
MAX_COUNT = 1000
"""The largest number in braces."""


class RegexError(LocalError):
    """The pattern cannot be used; ``position`` counts its characters from 0."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} at position {position} of the regular expression")
        self.position = position


@dataclass(frozen=True, slots=True)
class Chars:
    """One character that is in the ranges or, if negated, in none of them."""

    ranges: Ranges
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after the other; nothing at all when empty."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """One of several."""

    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """At least ``low`` times and at most ``high``, or without end when None."""

    body: Node
    low: int
    high: int | None


class Assertion(Enum):
    """What can be said of a place between two characters."""

    START = "^"
    END = "$"
    BOUNDARY = "\\b"
    NO_BOUNDARY = "\\B"


@dataclass(frozen=True, slots=True)
class Look:
    """What must follow, or precede, or with ``negated`` must not."""

    body: Node
    behind: bool
    negated: bool


Node = Chars | Sequence | Either | Repeat | Assertion | Look

_LAST = 0x10FFFF


def complement(ranges: Ranges) -> Ranges:
    """All code points that are in none of the ranges."""
    gaps, free = [], 0
    for low, high in sorted(ranges):
        if low > free:
            gaps.append((free, low - 1))
        free = max(free, high + 1)
    return (*gaps, (free, _LAST)) if free <= _LAST else tuple(gaps)


def _ranges(*members: str) -> Ranges:
    """Ranges from their first and last characters, or from single ones."""
    return tuple((ord(member[0]), ord(member[-1])) for member in members)


DIGITS = _ranges("09")
WORD = _ranges("09", "AZ", "_", "az")
SPACES = _ranges(
    "\t\r", " ", "\xa0", "\u1680", "\u2000\u200a", "\u2028\u2029",
    "\u202f", "\u205f", "\u3000", "\ufeff",
)  # fmt: skip
LINE_ENDS = _ranges("\n", "\r", "\u2028\u2029")

_SETS = {
    "d": DIGITS,
    "D": complement(DIGITS),
    "s": SPACES,
    "S": complement(SPACES),
    "w": WORD,
    "W": complement(WORD),
}
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13}
_QUANTIFIER = re.compile(r"([*+?])|\{([0-9]+)(?:(,)([0-9]*))?\}")
_SIGNS: dict[str, tuple[int, int | None]] = {
    "*": (0, None),
    "+": (1, None),
    "?": (0, 1),
}
_PLACE = re.compile(r"[\^$]|\\[bB]|\(\?<[=!]")
"""What only says something of a place cannot be repeated, except a look ahead."""
_GROUP_NAME = re.compile(r"\?<[A-Za-z_$][A-Za-z0-9_$]*>")
_LOOKS = {
    "?=": (False, False),
    "?!": (False, True),
    "?<=": (True, False),
    "?<!": (True, True),
}


def parse(pattern: str) -> Node:
    """Take a pattern apart; raises ``RegexError``."""
    return _Parser(pattern).parse()


class _Parser:
    """Recursive descent; ``_at`` is how far it has come."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0
        self._depth = 0
        self._escapes: dict[str, Callable[[], int]] = {
            "0": self._zero,
            "c": self._control,
            "x": lambda: self._hex(2),
            "u": self._unicode,
        }

    def parse(self) -> Node:
        node = self._either()
        if self._at < len(self._text):
            raise self._error("unmatched )")
        return node

    # -- reading --------------------------------------------------------------

    def _error(self, message: str, back: int = 0) -> RegexError:
        return RegexError(message, self._at - back)

    def _sees(self, text: str) -> bool:
        return self._text.startswith(text, self._at)

    def _take(self, text: str) -> bool:
        seen = self._sees(text)
        if seen:
            self._at += len(text)
        return seen

    def _next(self, missing: str) -> str:
        if self._at == len(self._text):
            raise self._error(f"{missing} expected")
        self._at += 1
        return self._text[self._at - 1]

    # -- structure ------------------------------------------------------------

    def _either(self) -> Node:
        options = [self._sequence()]
        while self._take("|"):
            options.append(self._sequence())
        return options[0] if len(options) == 1 else Either(tuple(options))

    def _sequence(self) -> Node:
        items: list[Node] = []
        while (
            self._at < len(self._text) and not self._sees("|") and not self._sees(")")
        ):
            items.append(self._repeated())
        return items[0] if len(items) == 1 else Sequence(tuple(items))

    def _repeated(self) -> Node:
        if _QUANTIFIER.match(self._text, self._at):
            raise self._error("nothing to repeat")
        place = _PLACE.match(self._text, self._at)
        body = self._term()
        found = _QUANTIFIER.match(self._text, self._at)
        if found is None:
            return body
        if place:
            raise self._error("nothing to repeat")
        low, high = self._bounds(found)
        self._at = found.end()
        self._take("?")  # lazy or greedy, what matches is the same
        return Repeat(body, low, high)

    def _bounds(self, found: re.Match[str]) -> tuple[int, int | None]:
        sign, first, comma, second = found.groups()
        if sign:
            return _SIGNS[sign]
        low = self._count(first)
        if not comma:
            return low, low
        high = self._count(second) if second else None
        if high is not None and high < low:
            raise self._error("numbers out of order in a quantifier")
        return low, high

    def _count(self, digits: str) -> int:
        number = int(digits[-5:])
        if number > MAX_COUNT or digits[:-5].strip("0"):
            raise self._error(f"a count above {MAX_COUNT}")
        return number

    def _term(self) -> Node:
        char = self._next("a character")
        if char == "(":
            return self._group()
        if char == "[":
            return self._class()
        if char == "\\":
            return self._escape()
        if char == ".":
            return Chars(LINE_ENDS, negated=True)
        if char in "^$":
            return Assertion(char)
        return Chars(((ord(char), ord(char)),))

    def _group(self) -> Node:
        opened = self._at - 1
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise self._error(f"groups nested more than {MAX_NESTING} deep", 1)
        look = next((prefix for prefix in _LOOKS if self._take(prefix)), None)
        if look is None:
            self._group_kind()
        body = self._either()
        if not self._take(")"):
            raise RegexError("unclosed group", opened)
        self._depth -= 1
        return body if look is None else Look(body, *_LOOKS[look])

    def _group_kind(self) -> None:
        """Skip what says how a group captures: only whether it matches is asked."""
        name = _GROUP_NAME.match(self._text, self._at)
        if name:
            self._at = name.end()
        elif not self._take("?:") and self._sees("?"):
            raise self._error("unknown kind of group")

    # -- characters -----------------------------------------------------------

    def _escape(self) -> Node:
        char = self._next("an escaped character")
        if char in "bB":
            return Assertion(f"\\{char}")
        if char in _SETS:
            return Chars(_SETS[char])
        if char in "123456789k":
            raise self._error("back references are not supported", 2)
        code = self._code(char)
        return Chars(((code, code),))

    def _code(self, char: str) -> int:
        """The code point that an escape means; ``char`` follows the backslash."""
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char in self._escapes:
            return self._escapes[char]()
        if char in "pP":
            raise self._error("Unicode properties are not supported", 2)
        if char.isascii() and char.isalnum():
            raise self._error(f"the escape \\{char} has no meaning", 2)
        return ord(char)

    def _zero(self) -> int:
        if self._text[self._at : self._at + 1].isdigit():
            raise self._error("octal escapes are not supported", 2)
        return 0

    def _control(self) -> int:
        letter = self._next("a letter")
        if not (letter.isascii() and letter.isalpha()):
            raise self._error("a letter expected", 1)
        return ord(letter) % 32

    def _hex(self, length: int) -> int:
        digits = self._text[self._at : self._at + length]
        if not re.fullmatch(f"[0-9A-Fa-f]{{{length}}}", digits):
            raise self._error(f"{length} hexadecimal digits expected")
        self._at += length
        return int(digits, 16)

    def _unicode(self) -> int:
        if self._take("{"):
            return self._code_point()
        code = self._hex(4)
        if 0xD800 <= code < 0xDC00 and self._sees("\\u"):
            return self._surrogates(code)
        return code

    def _code_point(self) -> int:
        digits = re.compile(r"0*([0-9A-Fa-f]{1,6})\}").match(self._text, self._at)
        if digits is None or int(digits[1], 16) > _LAST:
            raise self._error("the number of a code point expected")
        self._at = digits.end()
        return int(digits[1], 16)

    def _surrogates(self, high: int) -> int:
        """A pair of UTF-16 units is one character; a lone one is what it is."""
        before = self._at
        self._at += 2
        low = 0 if self._sees("{") else self._hex(4)
        if 0xDC00 <= low < 0xE000:
            return 0x10000 + (high - 0xD800) * 0x400 + (low - 0xDC00)
        self._at = before
        return high

    # -- classes --------------------------------------------------------------

    def _class(self) -> Node:
        opened = self._at - 1
        negated = self._take("^")
        ranges: list[tuple[int, int]] = []
        while not self._take("]"):
            if self._at == len(self._text):
                raise RegexError("unclosed character class", opened)
            ranges += self._class_member()
        return Chars(tuple(ranges), negated)

    def _class_member(self) -> Ranges:
        first = self._class_atom()
        if not self._sees("-") or self._sees("-]"):
            return first
        self._take("-")
        last = self._class_atom()
        if not (_single(first) and _single(last)):  # such as [\w-.]
            return (*first, (ord("-"), ord("-")), *last)
        low, high = first[0][0], last[0][0]
        if low > high:
            raise self._error("range out of order in a character class")
        return ((low, high),)

    def _class_atom(self) -> Ranges:
        char = self._next("a character")
        if char != "\\":
            return ((ord(char), ord(char)),)
        char = self._next("an escaped character")
        if char in _SETS:
            return _SETS[char]
        code = 8 if char == "b" else self._code(char)
        return ((code, code),)


def _single(ranges: Ranges) -> bool:
    return len(ranges) == 1 and ranges[0][0] == ranges[0][1]
