"""Finding regular expressions in strings."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.model import regex
from l7mp.model.regex_syntax import RegexError


def finds(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Whether the pattern is found, twice: with an empty and a full memory."""
    search = regex.compile(pattern, ignore_case=ignore_case)
    first = search(text)
    assert search(text) == first
    return first


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("", ["", "x"], []),
        ("b", ["b", "abc"], ["", "ac"]),
        ("^b", ["b", "bc"], ["ab", "a\nb"]),
        ("b$", ["b", "ab"], ["b\n", "bc"]),
        ("^$", [""], ["\n", "a"]),
        ("a|b|", ["", "x"], []),
        ("^(?:ab|c)+$", ["ab", "cab", "abc"], ["", "a", "abcb"]),
        ("^a{2}$", ["aa"], ["a", "aaa"]),
        ("^a{2,}$", ["aa", "aaa"], ["a"]),
        ("^a{1,2}$", ["a", "aa"], ["", "aaa"]),
        ("^a{0}$", [""], ["a"]),
        ("^(a?){3}$", ["", "a", "aaa"], ["aaaa"]),
        ("^(a*)*$", ["", "aa"], ["b"]),
        ("^a.c$", ["abc", "a\tc"], ["a\nc", "a\rc", "a\u2028c", "a\u2029c"]),
        ("^[^]$", ["\n", "x"], [""]),
        ("[]", [], ["", "a"]),
        (r"^\d$", ["0", "9"], ["\u0661", "a"]),
        (r"^\w$", ["a", "_", "0"], ["é", "-"]),
        (r"^\W$", ["é", "-"], ["a", "_"]),
        (r"^\s$", [" ", "\t", "\xa0", "\ufeff"], ["a", "\x85", "\x1c"]),
        (r"^[^\S]$", [" "], ["a"]),
        (r"\bfoo\b", ["foo", "a foo.", "éfoo"], ["foot", "a_foo"]),
        (r"\Boo\B", ["foot"], ["foo", "oot"]),
        (r"^\B$", [""], ["a"]),
        ("^a(?=b)", ["ab"], ["a", "ac"]),
        ("^a(?!b)", ["a", "ac"], ["ab"]),
        ("(?<=a)b", ["ab"], ["b", "cb"]),
        ("(?<!a)b", ["b", "cb"], ["ab"]),
        ("(?<=a+)b$", ["aab"], ["b"]),
        ("(?<=^|,)x(?=,|$)", ["x", "a,x", "x,b"], ["ax", "xa"]),
        ("(?=(?<=a)b)", ["ab"], ["b"]),
        ("^(?!/admin(?:/|$))", ["/", "/administer"], ["/admin", "/admin/x"]),
        (r"(?=\bx\b)", ["a x b"], ["axb"]),
        ("[1-9x^]*J\\/l", ["1x10^6J/l"], ["J"]),
    ],
)
def test_matching(pattern: str, yes: list[str], no: list[str]) -> None:
    """Patterns match what JavaScript's do, anywhere in the string."""
    assert [text for text in yes if not finds(pattern, text)] == []
    assert [text for text in no if finds(pattern, text)] == []


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("^aB$", ["ab", "AB", "Ab"], ["ac"]),
        ("^[a-c]$", ["B"], ["D"]),
        ("^[^a-c]$", ["D"], ["B"]),
        ("^é$", ["É"], ["e"]),
        ("^\u03c3$", ["\u03a3", "\u03c2"], ["s"]),
        ("^ß$", ["ß"], ["ẞ", "SS"]),
        ("^k$", ["K"], ["\u212a"]),
        ("^s$", ["S"], ["\u017f"]),
        ("(?<=A)b", ["aB"], ["cB"]),
    ],
)
def test_ignore_case(pattern: str, yes: list[str], no: list[str]) -> None:
    """Without case, letters match as they do with JavaScript's flag ``i``."""
    assert [text for text in yes if not finds(pattern, text, ignore_case=True)] == []
    assert [text for text in no if finds(pattern, text, ignore_case=True)] == []


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(a+)+$", "a" * 20_000 + "b"),
        ("^(a|a)*$", "a" * 20_000 + "b"),
        ("(.*a){12}$", "a" * 5_000 + "b"),
        ("foo.*bar.*baz", "foobar" * 3_000),
        ("(a?){30}a{30}b", "a" * 30),
    ],
)
def test_no_string_makes_it_slow(pattern: str, text: str) -> None:
    """Strings that keep a backtracking matcher busy for ages are answered at once."""
    assert not finds(pattern, text)


@pytest.mark.parametrize(
    "pattern", ["(a{50}){50}", "((){1000}){1000}", "(?=a{900})(?!b{900})c{900}"]
)
def test_too_large(pattern: str) -> None:
    """A pattern that would become too large is refused."""
    with pytest.raises(RegexError, match="more than 2000 steps"):
        regex.compile(pattern)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pattern remembers is limited, and forgetting changes no answer."""
    monkeypatch.setattr(regex, "MAX_REMEMBERED", 3)
    search = regex.compile("^[^x]*y$")
    assert search("abcdefghy")
    assert not search("abcdefgxy")
    machine = search.__self__  # type: ignore[attr-defined]
    assert sum(len(state.edges) for state in machine._states.values()) <= 3


atoms = st.sampled_from(
    ["a", "b", "[ab]", "[^a]", ".", "^", r"\b", "(?=b)", "(?!a)", "(?<=a)", "(?<!b)"]
)
repeatable = st.sampled_from(["a", "b", "[ab]", "[^b]", "."])
patterns = st.recursive(
    atoms | st.tuples(repeatable, st.sampled_from(["*", "+?", "{2}"])).map("".join),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map("".join),
        st.lists(inner, max_size=3).map(lambda items: f"(?:{'|'.join(items)})"),
        inner.map(lambda item: f"({item})?"),
        inner.map(lambda item: f"(?:{item})*"),
    ),
    max_leaves=6,
)


@given(patterns, st.text(alphabet="ab ", max_size=8))
def test_agrees_with_backtracking(pattern: str, text: str) -> None:
    """Where Python and JavaScript mean the same, so does this."""
    assert finds(pattern, text) == bool(re.search(pattern, text))
