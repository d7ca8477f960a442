"""The syntax of JavaScript's regular expressions."""

from __future__ import annotations

import re

import pytest

from l7mp.errors import LocalError
from l7mp.model.regex_syntax import (
    DIGITS,
    LINE_ENDS,
    SPACES,
    WORD,
    Assertion,
    Chars,
    Either,
    Look,
    Node,
    RegexError,
    Repeat,
    Sequence,
    complement,
    parse,
)


def chars(*codes: int | str, negated: bool = False) -> Chars:
    """A set of single characters."""
    numbers = [code if isinstance(code, int) else ord(code) for code in codes]
    return Chars(tuple((number, number) for number in numbers), negated)


A, B = chars("a"), chars("b")


@pytest.mark.parametrize(
    ("pattern", "node"),
    [
        ("", Sequence(())),
        ("a", A),
        ("ab", Sequence((A, B))),
        ("a|b", Either((A, B))),
        ("|a", Either((Sequence(()), A))),
        ("(a)", A),
        ("(?:a)", A),
        ("(?<name_1$>a)", A),
        ("(?=a)", Look(A, behind=False, negated=False)),
        ("(?!a)", Look(A, behind=False, negated=True)),
        ("(?<=a)", Look(A, behind=True, negated=False)),
        ("(?<!a)", Look(A, behind=True, negated=True)),
        ("^", Assertion.START),
        ("$", Assertion.END),
        (r"\b", Assertion.BOUNDARY),
        (r"\B", Assertion.NO_BOUNDARY),
        (".", Chars(LINE_ENDS, negated=True)),
    ],
)
def test_structure(pattern: str, node: Node) -> None:
    """Each construct of JavaScript's syntax is recognized."""
    assert parse(pattern) == node


@pytest.mark.parametrize(
    ("quantifier", "low", "high"),
    [
        ("*", 0, None),
        ("+", 1, None),
        ("?", 0, 1),
        ("*?", 0, None),
        ("{2}", 2, 2),
        ("{2,}", 2, None),
        ("{2,3}", 2, 3),
        ("{2,3}?", 2, 3),
        ("{0001}", 1, 1),
        ("{000001}", 1, 1),
    ],
)
def test_quantifiers(quantifier: str, low: int, high: int | None) -> None:
    """Quantifiers say how often; greedy and lazy ones mean the same here."""
    assert parse(f"a{quantifier}") == Repeat(A, low, high)


@pytest.mark.parametrize("pattern", ["(?=a)*", "(?:^)?", "(^)*"])
def test_what_can_be_repeated(pattern: str) -> None:
    """A look ahead and a group can be repeated, whatever is in it."""
    assert isinstance(parse(pattern), Repeat)


@pytest.mark.parametrize(
    "pattern", ["{", "}", "]", "{,5}", "{a}", "a{", "{1", "/", "-"]
)
def test_braces_that_are_no_quantifier(pattern: str) -> None:
    """What is no quantifier and no class stands for itself."""
    letters = tuple(chars(char) for char in pattern)
    assert parse(pattern) == (letters[0] if len(letters) == 1 else Sequence(letters))


@pytest.mark.parametrize(
    ("escape", "code"),
    [
        (r"\t", 9),
        (r"\n", 10),
        (r"\v", 11),
        (r"\f", 12),
        (r"\r", 13),
        (r"\0", 0),
        (r"\cJ", 10),
        (r"\cj", 10),
        (r"\x41", 0x41),
        (r"\u0041", 0x41),
        (r"\u{41}", 0x41),
        (r"\u{0001F600}", 0x1F600),
        (r"\ud83d\ude00", 0x1F600),
        (r"\ud83d", 0xD83D),
        (r"\/", ord("/")),
        (r"\.", ord(".")),
        (r"\\", ord("\\")),
        (r"\-", ord("-")),
        (r"\_", ord("_")),
        ("\\é", ord("é")),
    ],
)
def test_escapes(escape: str, code: int) -> None:
    """An escape stands for one character, in a class too."""
    assert parse(escape) == chars(code)
    assert parse(f"[{escape}]") == chars(code)


@pytest.mark.parametrize(
    ("pattern", "codes"),
    [
        (r"\ud83da", (0xD83D, ord("a"))),
        (r"\ud83d\u0041", (0xD83D, 0x41)),
        (r"\ud83d\u{41}", (0xD83D, 0x41)),
        (r"\ud83d\n", (0xD83D, 10)),
    ],
)
def test_lone_surrogates(pattern: str, codes: tuple[int, int]) -> None:
    """A UTF-16 unit without its other half is a character of its own."""
    assert parse(pattern) == Sequence((chars(codes[0]), chars(codes[1])))


@pytest.mark.parametrize(
    ("letter", "ranges"), [("d", DIGITS), ("w", WORD), ("s", SPACES)]
)
def test_sets(letter: str, ranges: tuple[tuple[int, int], ...]) -> None:
    """A small letter means a set, a capital one everything else."""
    assert parse(f"\\{letter}") == Chars(ranges)
    assert parse(f"\\{letter.upper()}") == Chars(complement(ranges))
    assert parse(f"[\\{letter}]") == Chars(ranges)


def test_complement() -> None:
    """A complement has everything else and nothing twice."""
    assert complement(((5, 9), (0, 3))) == ((4, 4), (10, 0x10FFFF))
    assert complement(((3, 5), (4, 4))) == ((0, 2), (6, 0x10FFFF))
    assert complement(((1, 0x10FFFF),)) == ((0, 0),)


@pytest.mark.parametrize(
    ("pattern", "node"),
    [
        ("[ab]", chars("a", "b")),
        ("[^ab]", chars("a", "b", negated=True)),
        ("[]", Chars(())),
        ("[^]", Chars((), negated=True)),
        ("[a-c]", Chars(((97, 99),))),
        ("[a-]", chars("a", "-")),
        ("[-a]", chars("-", "a")),
        (r"[\b]", chars(8)),
        (r"[\x41-\x43]", Chars(((0x41, 0x43),))),
        (r"[\d-x]", Chars((*DIGITS, (45, 45), (120, 120)))),
        (r"[x-\d]", Chars(((120, 120), (45, 45), *DIGITS))),
        ("[.*+?^$(){}|]", chars(*".*+?^$(){}|")),
    ],
)
def test_classes(pattern: str, node: Node) -> None:
    """A class is a set of characters, ranges and sets."""
    assert parse(pattern) == node


@pytest.mark.parametrize(
    ("pattern", "message", "position"),
    [
        ("a)", "unmatched )", 1),
        ("a(b", "unclosed group", 1),
        ("a[b", "unclosed character class", 1),
        ("[a-", "a character expected", 3),
        ("*", "nothing to repeat", 0),
        ("a|{2}", "nothing to repeat", 2),
        ("a**", "nothing to repeat", 2),
        ("a++", "nothing to repeat", 2),
        ("^*", "nothing to repeat", 1),
        (r"\b+", "nothing to repeat", 2),
        ("(?<=a)*", "nothing to repeat", 6),
        ("a{3,2}", "numbers out of order", 1),
        ("a{1001}", "a count above 1000", 1),
        ("a{0,100000}", "a count above 1000", 1),
        ("(?P<n>a)", "unknown kind of group", 1),
        ("(?i)a", "unknown kind of group", 1),
        ("(?<1>a)", "unknown kind of group", 1),
        (r"(a)\1", "back references are not supported", 3),
        (r"(?<n>a)\k<n>", "back references are not supported", 7),
        (r"\p{L}", "Unicode properties are not supported", 0),
        (r"\A", r"the escape \A has no meaning", 0),
        (r"[\B]", r"the escape \B has no meaning", 1),
        (r"\01", "octal escapes are not supported", 0),
        (r"\c1", "a letter expected", 2),
        (r"\c", "a letter expected", 2),
        (r"\x4", "2 hexadecimal digits expected", 2),
        (r"\u123x", "4 hexadecimal digits expected", 2),
        (r"\u{110000}", "the number of a code point expected", 3),
        (r"\u{}", "the number of a code point expected", 3),
        ("\\", "an escaped character expected", 1),
        ("[\\", "an escaped character expected", 2),
        ("[b-a]", "range out of order", 4),
        ("(" * 51, "groups nested more than 50 deep", 50),
    ],
)
def test_refusals(pattern: str, message: str, position: int) -> None:
    """What is wrong or not supported is refused, saying what and where."""
    with pytest.raises(RegexError, match=re.escape(message)) as info:
        parse(pattern)
    assert info.value.position == position
    assert isinstance(info.value, LocalError)


def test_deep_enough() -> None:
    """Fifty groups in one another are fine."""
    assert parse("(" * 50 + "a" + ")" * 50) == A
