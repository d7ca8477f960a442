"""JSON, strictly, with places."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.model.document import MAX_DEPTH
from l7mp.model.load_json import parse_json
from l7mp.model.problem import Invalid, Problem
from tests.model.json_values import json_values, nested, offset_of, pointers

indents = st.sampled_from([None, 0, 3, "\t", "\r\n"])


def problem(text: str) -> Problem:
    with pytest.raises(Invalid) as caught:
        parse_json(text, "x.json")
    (one,) = caught.value.problems
    assert one.source == "x.json"
    return one


@given(json_values, indents, st.booleans())
def test_what_is_written_is_read(value: Any, indent: Any, ascii_only: bool) -> None:
    """Every JSON value is read as it was written, whatever space is between."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert parse_json(text).value == value
    assert parse_json("\ufeff" + text).value == value


@given(json_values, indents, st.booleans())
def test_everything_is_where_it_is_said_to_be(
    value: Any, indent: Any, ascii_only: bool
) -> None:
    """At the place of an entry is its key, at that of anything else its value."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    document = parse_json(text)
    read = json.JSONDecoder().raw_decode
    for pointer in pointers(value):
        found, _ = read(text, offset_of(document, text, pointer))
        key = pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
        around = document.at(pointer.rpartition("/")[0]) if pointer else None
        if isinstance(around, dict):
            assert found == key
        else:
            assert found == document.at(pointer)


@given(json_values, st.data())
def test_a_damaged_text_is_a_problem_or_another_document(
    value: Any, data: st.DataObject
) -> None:
    """Of a text with a piece missing or added, nothing but Invalid comes."""
    text = json.dumps(value, ensure_ascii=False, indent=1)
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, min(len(text), begin + 3)))
    piece = data.draw(st.sampled_from([*"{}[],:\"\\1-.eE \n\0/'", "null", "NaN", ""]))
    damaged = text[:begin] + piece + text[end:]
    try:
        parsed = parse_json(damaged)
    except Invalid as invalid:
        (one,) = invalid.problems
        lines = damaged.split("\n")
        assert 1 <= one.line <= len(lines)
        assert 1 <= one.column <= len(lines[one.line - 1]) + 1
    else:
        assert json.loads(damaged) == parsed.value


@pytest.mark.parametrize(
    ("text", "line", "column", "message", "hint"),
    [
        ("", 1, 1, "the document is empty", ""),
        (" \n ", 2, 2, "the document is empty", ""),
        ("{", 1, 2, "the text ends before the value is complete", ""),
        (
            "[1",
            1,
            3,
            "the text ends before the value is complete",
            'expected "," or "]"',
        ),
        ('{"a":', 1, 6, "the text ends before the value is complete", ""),
        ("[1 2]", 1, 4, 'unexpected "2"', 'expected "," or "]"'),
        ('{"a": 1 "b"}', 1, 9, "unexpected '\"'", 'expected "," or "}"'),
        ("[1,]", 1, 3, 'a comma before "]"', "remove the comma"),
        ('{"a": 1,\n}', 1, 8, 'a comma before "}"', "remove the comma"),
        ("[,]", 1, 2, 'unexpected ","', ""),
        ("{1: 2}", 1, 2, "a key must be text in double quotes", ""),
        ("{'a': 1}", 1, 2, "text must be in double quotes", ""),
        ("['a']", 1, 2, "text must be in double quotes", ""),
        ('{"a" 1}', 1, 6, 'expected a colon after the key "a"', ""),
        ("// x\n1", 1, 1, "JSON has no comments", ""),
        ("[1, # x\n1]", 1, 5, "JSON has no comments", ""),
        ("1 x", 1, 3, 'unexpected "x" after the end of the value', ""),
        ("[x1]", 1, 2, 'unexpected "x1"', "put it in double quotes if it is text"),
        ("+1", 1, 1, 'unexpected "+1"', "put it in double quotes if it is text"),
        ("[01]", 1, 2, '"01" is not a JSON number', ""),
        ("1.", 1, 1, '"1." is not a JSON number', ""),
        ("[NaN]", 1, 2, "NaN is not a JSON number", ""),
        ("-Infinity", 1, 1, "-Infinity is not a JSON number", ""),
        ("[1, 1e999]", 1, 5, "this number is too large", ""),
        ("9" * 5000, 1, 1, "this number is too long", ""),
        ('["abc', 1, 2, "this text is not closed", "end it with a double quote"),
        (r'"\q"', 1, 2, "an unknown escape after a backslash", r"write \\ for a"),
        (r'"\u12"', 1, 3, "an incomplete escape", r"write \u and four"),
        ('"a\nb"', 1, 3, "a line break, tab or other control", "write it as an escape"),
        (r'["a", "\ud83d"]', 1, 7, "half of a pair of escapes", ""),
        (r'{"\udc00": 1}', 1, 2, "half of a pair of escapes", ""),
        ('"\ud800"', 1, 1, "half of a pair of escapes", ""),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    text: str, line: int, column: int, message: str, hint: str
) -> None:
    """Every mistake has a message of its own, with line and column."""
    one = problem(text)
    assert (one.path, one.line, one.column) == ("", line, column)
    assert one.message.startswith(message)
    assert one.hint.startswith(hint)
    assert bool(one.hint) is bool(hint)


def test_duplicate_keys_are_refused_with_both_places() -> None:
    """A key that is given twice is refused; both places are told."""
    one = problem('{"a": 1,\n "b": {"a": 2},\n "a": 3}')
    assert str(one) == (
        'x.json:3:2: the key "a" is given twice; first in line 1, column 2'
    )


def test_escaped_pairs_are_characters() -> None:
    """Two escapes that make one character are that character (RFC 8259, 7)."""
    document = parse_json(r'{"a": "\ud83d\ude00"}')
    assert document.value == {"a": "😀"}
    assert document.locate("/a") == (1, 2)


@pytest.mark.parametrize("more", [1, 5000])
def test_depth_is_bounded(more: int) -> None:
    """Lists and mappings may be in one another up to a limit, and no deeper."""
    assert parse_json(nested(MAX_DEPTH)).locate("/0/0") == (1, 3)
    one = problem(nested(MAX_DEPTH + more))
    assert one.message == f"more than {MAX_DEPTH} lists and mappings inside one another"
    assert (one.line, one.column) == (1, MAX_DEPTH + 1)
    mixed = '{"a":' * 60 + nested(MAX_DEPTH - 60 + more) + "}" * 60
    assert problem(mixed).message == one.message


def test_many_values_are_not_deep() -> None:
    """The limit is on the depth and not on the number of lists."""
    value: list[Any] = [[[], 1] for _ in range(1000)]
    assert parse_json(json.dumps(value)).value == value
