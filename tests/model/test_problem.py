"""Problems: how they are told, and what is suggested."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.errors import LocalError
from l7mp.model.problem import (
    LONGEST_SHOWN,
    LONGEST_WORD,
    Invalid,
    Problem,
    did_you_mean,
    pointer_to,
    printable,
    quoted,
    steps_of,
)


def test_a_problem_is_one_line_with_everything_known() -> None:
    """A problem reads file, line, column, path, message and remedy."""
    problem = Problem(
        "/listeners/0/spec/prot",
        'unknown key "prot"',
        'did you mean "port"?',
        "conf.yaml",
        12,
        7,
    )
    assert str(problem) == (
        "conf.yaml:12:7: /listeners/0/spec/prot: "
        'unknown key "prot"; did you mean "port"?'
    )


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("", "no"), "no"),
        (Problem("/a", "no"), "/a: no"),
        (Problem("", "no", source="x"), "x: no"),
        (Problem("/a", "no", line=3, column=4), "line 3, column 4: /a: no"),
    ],
)
def test_what_is_unknown_is_not_told(problem: Problem, text: str) -> None:
    """A problem without a file, a line or a path is told without it."""
    assert str(problem) == text


def test_a_user_cannot_forge_lines_of_a_log() -> None:
    """Line breaks and control characters of the user's are shown as escapes."""
    problem = Problem("/a\nb", "c\x1b[2J", "d\r", "e\n", 1, 1)
    assert str(problem) == r"e\n:1:1: /a\nb: c\x1b[2J; d\r"


def test_invalid_tells_all_problems_at_once() -> None:
    """Invalid is a local error with one line for each problem."""
    error = Invalid(Problem(path, "no") for path in ("/a", "/b"))
    assert isinstance(error, LocalError)
    assert [problem.path for problem in error.problems] == ["/a", "/b"]
    assert str(error) == "/a: no\n/b: no"


@pytest.mark.parametrize(
    ("word", "question"),
    [
        ("prot", 'did you mean "port"?'),
        ("PORT", 'did you mean "port"?'),
        ("numRetries", 'did you mean "num_retries"?'),
        ("num-retries", 'did you mean "num_retries"?'),
        ("zzz", ""),
        ("", ""),
        ("p" * (LONGEST_WORD + 1), ""),
    ],
)
def test_the_nearest_word_is_suggested(word: str, question: str) -> None:
    """A word that is near to a known one leads to a question; others do not."""
    assert did_you_mean(word, ["protocol", "port", "num_retries"]) == question


def test_text_of_the_users_is_quoted_in_short() -> None:
    """What a user wrote is repeated in quotes, and cut when it is long."""
    assert quoted("a") == '"a"'
    assert quoted('"') == "'\"'"
    assert quoted("\n") == r'"\n"'
    assert quoted("a" * 1000) == f'"{"a" * LONGEST_SHOWN}…"'


@given(st.text())
def test_printable_is_printable(text: str) -> None:
    """Whatever the text, what is shown of it fits on a line."""
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)


@given(st.lists(st.text(alphabet="/~01a", min_size=0)))
def test_pointers_are_taken_apart_as_they_were_put_together(steps: list[str]) -> None:
    """A JSON Pointer names the same steps whatever characters they have (RFC 6901)."""
    assert steps_of(pointer_to(steps)) == steps
