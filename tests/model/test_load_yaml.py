"""YAML as far as it is JSON, with places."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from l7mp.model import load_yaml
from l7mp.model.document import MAX_DEPTH, Document
from l7mp.model.load_yaml import MAX_REPEATED, parse_yaml
from l7mp.model.problem import Invalid, Problem
from tests.model.json_values import json_values, nested, offset_of, pointers, texts

TAGS = "only JSON's own types can be told by a tag, such as !!str"
BREAKS = {"\x85", "\u2028", "\u2029"}  # which PyYAML writes as they are
UNREADABLE = "write it as an escape, in double quotes"


def parse_slowly(text: str, source: str = "") -> Document:
    """Read with PyYAML's own parser, as where libyaml is missing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load_yaml, "_FAST", yaml.SafeLoader)
        return parse_yaml(text, source)


PARSERS = [parse_yaml, parse_slowly]
Parser = Callable[..., Document]
parsers = st.sampled_from(PARSERS)
with_both = pytest.mark.parametrize("parse", PARSERS)


def problem(text: str, parse: Parser = parse_yaml) -> Problem:
    with pytest.raises(Invalid) as caught:
        parse(text, "x.yaml")
    (one,) = caught.value.problems
    assert one.source == "x.yaml"
    return one


def write(value: Any, style: str, *, unicode: bool) -> str:
    # With quotes everywhere: without, 0E0 is text to YAML 1.1, by which PyYAML writes.
    return str(
        yaml.safe_dump(value, default_style=style, allow_unicode=unicode, width=20)
    )


@given(parsers, json_values, st.sampled_from(["'", '"', "|", ">"]), st.booleans())
def test_what_is_written_is_read(
    parse: Parser, value: Any, style: str, unicode: bool
) -> None:
    """Every JSON value is read as PyYAML writes it, in each style of quotes."""
    text = write(value, style, unicode=unicode)
    assume(not set(text) & BREAKS)
    assert parse(text).value == value
    assert parse("\ufeff" + text).value == value


@given(parsers, json_values, st.sampled_from([None, 2]))
def test_json_is_yaml(parse: Parser, value: Any, indent: int | None) -> None:
    """A JSON text is a YAML text with the same meaning (YAML 1.2, section 1.3)."""
    assert parse(json.dumps(value, indent=indent)).value == value


@given(parsers, json_values, st.booleans())
def test_everything_is_where_it_is_said_to_be(
    parse: Parser, value: Any, flow: bool
) -> None:
    """At the place of an entry is its key, at that of anything else its value."""
    text = json.dumps(value, indent=2 if flow else None)
    document = parse(text)
    for pointer in pointers(value):
        found, _ = json.JSONDecoder().raw_decode(
            text, offset_of(document, text, pointer)
        )
        around = document.at(pointer.rpartition("/")[0]) if pointer else None
        key = pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
        assert found == (key if isinstance(around, dict) else document.at(pointer))


@given(parsers, json_values, st.data())
def test_a_damaged_text_is_a_problem_or_another_document(
    parse: Parser, value: Any, data: st.DataObject
) -> None:
    """Of a text with a piece missing or added, nothing but Invalid comes."""
    text = str(yaml.safe_dump(value, default_flow_style=data.draw(st.booleans())))
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, min(len(text), begin + 3)))
    pieces = [*"{}[],:'\"\\-?!&*|>%@\n\t \0#", "- ", ": ", "--- ", "<<: ", "&a ", "*a "]
    damaged = text[:begin] + data.draw(st.sampled_from(pieces)) + text[end:]
    try:
        value = parse(damaged).value
    except Invalid as invalid:
        value = [[one.line, one.column] for one in invalid.problems]
        unplaced = any(0 in place for place in value)
    else:
        unplaced = False
    json.dumps(value, allow_nan=False)
    assert not unplaced


@given(parsers, texts)
def test_any_text_is_read_or_refused(parse: Parser, text: str) -> None:
    """Whatever the text, it is a document or a problem."""
    told = ""
    try:
        parse(text)
    except Invalid as invalid:
        told = str(invalid)
    assert told.isprintable()


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "---\n...\n"])
@with_both
def test_an_empty_document_is_none(text: str, parse: Parser) -> None:
    """A text without a value has the value None, and a place all the same."""
    document = parse(text)
    assert document.value is None
    assert 0 not in document.locate("/a")


@with_both
def test_a_configuration_is_located(parse: Parser) -> None:
    """Keys and items of block style are found in their lines."""
    document = parse("# c\nlisteners:\n  - name: a\n    spec: {port: 1}\n  - b\n")
    assert document.locate("") == (2, 1)
    assert document.locate("/listeners") == (2, 1)
    assert document.locate("/listeners/0") == (3, 5)
    assert document.locate("/listeners/0/spec/port") == (4, 12)
    assert document.locate("/listeners/1") == (5, 5)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: yes", "yes"),
        ("a: 12:30", "12:30"),
        ("a: 0o17", 15),
        ("a: '12'", "12"),
        ('a: "12"', "12"),
        ("a: |\n  12\n", "12\n"),
        ("a: !!str 12", "12"),
        ("a: ! 12", 12),
        ("a: ! '12'", "12"),
        ("a: !!int '12'", 12),
        ("a: !!seq [1]", [1]),
        ("a: !!map {b: 1}", {"b": 1}),
        ("a: ! [1]", [1]),
        ("a:", None),
        ("'yes': 1\na: 2", 2),
        ("yes: 1\na: 2", 2),
        ("a: =", "="),
    ],
)
@with_both
def test_values_mean_what_yaml_1_2_says(text: str, value: Any, parse: Parser) -> None:
    """Words, numbers, quotes and tags follow the core schema of YAML 1.2."""
    assert parse(text).value["a"] == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "a: 1\nb:\n  a: 2\na: 3",
            '4:1: the key "a" is given twice; first in line 1, column 1',
        ),
        ("{a: 1, a: 1}", '1:8: the key "a" is given twice; first in line 1, column 2'),
        ("80: x", '1:1: the key 80 is not text; write it in quotes: "80"'),
        ("true: x", '1:1: the key true is not text; write it in quotes: "true"'),
        ("? \n: x", '1:2: a key is empty; write it in quotes: ""'),
        ("? [a]\n: x", "1:3: a key must be text, not a list or a mapping"),
        ("{{a: b}: x}", "1:2: a key must be text, not a list or a mapping"),
        (
            "- &a 1\n- *a : x",
            "2:3: a key must be text, which this alias does not repeat",
        ),
        (
            "a: !env HOME",
            f'1:4: the tag "!env" has no meaning here; {TAGS}',
        ),
        (
            "a: !!binary aa",
            f'1:4: the tag "!!binary" has no meaning here; {TAGS}',
        ),
        (
            "a: !!str [x]",
            f'1:4: the tag "!!str" has no meaning here; {TAGS}',
        ),
        (
            "a: .inf",
            "1:4: .inf is not a number in JSON; put it in quotes if it is text",
        ),
        (r'a: "\ud800"', "1:4: half of a pair of escapes, which is no character"),
        (
            "a: 1\n---\nb: 2",
            "2:1: a second document begins here; only one is expected: remove the ---",
        ),
        (
            "a: *b",
            '1:4: the alias "*b" repeats nothing; no value before it is marked &b',
        ),
        ("a: &b [*b]", '1:8: the alias "*b" is inside of itself'),
        ("a: &b {c: {d: *b}}", '1:15: the alias "*b" is inside of itself'),
        ("<<: 1", "1:1: << merges mappings, and this is none"),
        ("<<: [{a: 1}, 2]", "1:1: << merges mappings, and this is none"),
        (
            "<<: {a: 1}\n<<: {b: 1}",
            '2:1: the key "<<" is given twice; first in line 1, column 1',
        ),
        ("a:\n\t- b", "2:1: a tab where only spaces can be; indent with spaces"),
        (
            'a:\n  "b\u2028"',
            rf'2:5: the character "\u2028" is not allowed; {UNREADABLE}',
        ),
        (
            "a: \ud800",
            rf'1:4: the character "\ud800" is not allowed; {UNREADABLE}',
        ),
    ],
)
@with_both
def test_what_is_wrong_is_told_with_its_place(
    text: str, told: str, parse: Parser
) -> None:
    """What JSON cannot say, and what is no YAML, is refused with its place."""
    assert str(problem(text, parse)) == f"x.yaml:{told}"


def test_anchors_save_typing() -> None:
    """An alias repeats what an anchor has marked; the copies are independent."""
    document = parse_yaml("a: &x {b: [1]}\nc: *x\n")
    assert document.value == {"a": {"b": [1]}, "c": {"b": [1]}}
    assert document.value["a"]["b"] is not document.value["c"]["b"]
    assert document.locate("/c") == (2, 1)
    assert document.locate("/c/b/0") == (1, 12)


def test_an_anchor_may_be_given_anew() -> None:
    """An alias repeats the last value that was marked (YAML 1.2, section 7.1)."""
    assert parse_yaml("[&a 1, *a, &a 2, *a]").value == [1, 1, 2, 2]


def test_an_alias_can_be_a_key() -> None:
    """A text that was marked can be repeated as a key."""
    assert parse_yaml("- &a b\n- *a : 1").value == ["b", {"b": 1}]


def test_mappings_are_merged() -> None:
    """<< merges mappings: own keys count most, then the earlier ones of a list."""
    document = parse_yaml(
        "- &a {x: 1, y: 1}\n"
        "- &b {x: 2, z: 2}\n"
        "- {x: 0, <<: *a}\n"
        "- {<<: [*b, *a], z: 0}\n"
    )
    assert document.value[2] == {"x": 0, "y": 1}
    assert document.value[3] == {"x": 2, "y": 1, "z": 0}
    assert document.locate("/2/x") == (3, 4)
    assert document.locate("/2/y") == (1, 13)
    assert document.locate("/3/y") == (1, 13)
    assert document.locate("/3/z") == (4, 18)


def test_a_key_in_quotes_does_not_merge() -> None:
    """In quotes, << is a key like any other."""
    assert parse_yaml("'<<': {a: 1}").value == {"<<": {"a": 1}}


@pytest.mark.parametrize("more", [1, 5000])
def test_depth_is_bounded(more: int) -> None:
    """Lists and mappings may be in one another up to a limit, and no deeper."""
    assert parse_yaml(nested(MAX_DEPTH)).locate("/0/0") == (1, 3)
    one = problem(nested(MAX_DEPTH + more))
    assert one.message == f"more than {MAX_DEPTH} lists and mappings inside one another"
    assert (one.line, one.column) == (1, MAX_DEPTH + 1)


def test_aliases_do_not_evade_the_limit_of_depth() -> None:
    """What an alias repeats is as deep as if it were written out."""
    half = MAX_DEPTH // 2
    fits = f"- &a {nested(half)}\n- {'[' * (half - 1)}*a{']' * (half - 1)}"
    assert parse_yaml(fits).value[0] == json.loads(nested(half))
    one = problem(f"- &a {nested(half)}\n- {'[' * half}*a{']' * half}")
    assert one.message == f"more than {MAX_DEPTH} lists and mappings inside one another"


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(
            ["- &a0 [x, x, x, x, x, x, x, x, x, x]"]
            + [f"- &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]" for n in range(9)]
        ),
        f"- &a {'x' * 100_000}\n- [{', '.join(['*a'] * 200)}]",
        f"- &a\n  ? {'x' * 100_000}\n  : 1\n- [{', '.join(['*a'] * 200)}]",
        "- &a {x: 1, y: 2}\n" + "- {<<: [" + ", ".join(["*a"] * 40_000) + "]}",
    ],
    ids=["lists", "texts", "keys", "merges"],
)
def test_aliases_cannot_fill_the_memory(text: str) -> None:
    """Aliases of aliases, and of long texts, repeat a bounded number of values."""
    assert problem(text).message == f"aliases repeat more than {MAX_REPEATED:,} values"


def test_long_documents_are_read() -> None:
    """The limit is on repetition: what is written out may be longer."""
    value = list(range(MAX_REPEATED // 10)) * 11
    assert parse_yaml(json.dumps(value)).value == value
