"""Documents: values that know where they were written."""

from __future__ import annotations

import pytest

from l7mp.model.document import Document, Place, syntax_error
from l7mp.model.problem import Invalid, Problem

DOCUMENT = Document(
    {"a": {"b": [1, 2]}, "x/y": 3},
    "conf.yaml",
    lambda: Place(
        1,
        1,
        {
            "a": Place(1, 2, {"b": Place(2, 3, {"0": Place(2, 7), "1": Place(2, 10)})}),
            "x/y": Place(3, 2),
        },
    ),
)


@pytest.mark.parametrize(
    ("pointer", "place"),
    [
        ("", (1, 1)),
        ("/a", (1, 2)),
        ("/a/b", (2, 3)),
        ("/a/b/1", (2, 10)),
        ("/x~1y", (3, 2)),
        ("/a/c", (1, 2)),
        ("/a/b/2/d", (2, 3)),
        ("/q", (1, 1)),
    ],
)
def test_everything_is_found_or_what_is_around_it(
    pointer: str, place: tuple[int, int]
) -> None:
    """A pointer leads to its place, or to the nearest ancestor that exists."""
    assert DOCUMENT.locate(pointer) == place


def test_a_value_without_a_text_has_no_place() -> None:
    """Of a value that was never a text, no line is known."""
    assert Document({"a": 1}).locate("/a") == (0, 0)


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", {"a": {"b": [1, 2]}, "x/y": 3}),
        ("/a/b", [1, 2]),
        ("/a/b/1", 2),
        ("/x~1y", 3),
    ],
)
def test_a_pointer_picks_a_part(pointer: str, value: object) -> None:
    """The part that a pointer names can be taken out."""
    assert DOCUMENT.at(pointer) == value


@pytest.mark.parametrize(
    ("pointer", "around", "step"),
    [
        ("/c", "", "c"),
        ("/a/b/2", "/a/b", "2"),
        ("/a/b/-1", "/a/b", "-1"),
        ("/a/b/01", "/a/b", "01"),
        ("/x~1y/z", "/x~1y", "z"),
    ],
)
def test_a_part_that_is_missing_is_told(pointer: str, around: str, step: str) -> None:
    """Asking for what is not there says what is missing, and from where."""
    with pytest.raises(Invalid) as caught:
        DOCUMENT.at(pointer)
    (problem,) = caught.value.problems
    assert problem.path == around
    assert problem.message == f'the key "{step}" is missing'
    assert (problem.line, problem.column) == DOCUMENT.locate(around)


def test_problems_are_located_in_the_order_of_the_text() -> None:
    """Problems found elsewhere are given their places, and sorted by them."""
    found = DOCUMENT.located([Problem("/x~1y", "late"), Problem("/a", "early", "hint")])
    assert found == (
        Problem("/a", "early", "hint", "conf.yaml", 1, 2),
        Problem("/x~1y", "late", "", "conf.yaml", 3, 2),
    )


def test_a_problem_of_the_whole_text() -> None:
    """A text that is no document has one problem, at a line and a column."""
    error = syntax_error("x.json", 3, 4, "no", "yes")
    assert str(error) == "x.json:3:4: no; yes"
