"""What scalars of YAML mean."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.model.load_yaml_scalar import (
    LONGEST_NUMBER,
    SCALAR_TAGS,
    ScalarError,
    meaning,
)

TAG = "tag:yaml.org,2002:"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("NULL", None),
        ("true", True),
        ("FALSE", False),
        ("12", 12),
        ("-7", -7),
        ("+7", 7),
        ("0", 0),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("-1e3", -1000.0),
        ("00.5", 0.5),
        ("yes", "yes"),
        ("No", "No"),
        ("on", "on"),
        ("OFF", "OFF"),
        ("tRUE", "tRUE"),
        ("12:30", "12:30"),
        ("22:22:22", "22:22:22"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("-0x1F", "-0x1F"),
        ("127.0.0.1", "127.0.0.1"),
        ("=", "="),
        ("<<", "<<"),
        ("١٢", "١٢"),
        ("1e", "1e"),
        (".", "."),
    ],
)
def test_plain_scalars_follow_the_core_schema(text: str, value: Any) -> None:
    """Without quotes, a scalar means what YAML 1.2's core schema says (10.3.2)."""
    found = meaning(text, None, plain=True)
    assert found == value
    assert type(found) is type(value)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_quotes_make_text(text: str) -> None:
    """In quotes, or with the tag !!str, a scalar is text."""
    assert meaning(text, None, plain=False) == text
    assert meaning(text, TAG + "str", plain=True) == text


def test_pairs_of_escapes_are_one_character() -> None:
    """JSON escapes a character beyond U+FFFF as two, and JSON is YAML."""
    assert meaning("a\ud83d\ude00", None, plain=False) == "a😀"


@given(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
)
def test_scalars_of_json_mean_the_same(value: Any) -> None:
    """Every number and word of JSON means in YAML what it means in JSON."""
    found = meaning(json.dumps(value), None, plain=True)
    assert found == value
    assert type(found) is type(value)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(SCALAR_TAGS))
def test_every_scalar_is_json_or_refused(text: str, tag: str) -> None:
    """Whatever a scalar says, its meaning can be said in JSON."""
    for told in (None, tag):
        try:
            value = meaning(text, told, plain=True)
        except ScalarError:
            continue
        assert json.loads(json.dumps(value, allow_nan=False)) == value


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (".inf", ".inf is not a number in JSON", "put it in quotes if it is text"),
        ("-.INF", "-.INF is not a number in JSON", "put it in quotes if it is text"),
        (".nan", ".nan is not a number in JSON", "put it in quotes if it is text"),
        ("1e999", "this number is too large", "put it in quotes if it is text"),
        (
            "9" * (LONGEST_NUMBER + 1),
            "this number is too long",
            "put it in quotes if it is text",
        ),
        (
            "0x" + "f" * LONGEST_NUMBER,
            "this number is too long",
            "put it in quotes if it is text",
        ),
        (
            "0600",
            "0600 could be meant in base 8 or 10",
            "write 600, or 0o600 for base 8, or put it in quotes",
        ),
        (
            "00",
            "00 could be meant in base 8 or 10",
            "write 0, or 0o0 for base 8, or put it in quotes",
        ),
        ("\ud800", "half of a pair of escapes, which is no character", ""),
    ],
)
def test_what_json_cannot_say_is_refused(text: str, message: str, hint: str) -> None:
    """Numbers that JSON does not have, or that two versions read in two ways."""
    with pytest.raises(ScalarError) as caught:
        meaning(text, None, plain=True)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize(
    ("tag", "text", "value"),
    [
        ("int", "12", 12),
        ("float", "1", 1.0),
        ("float", "1.5", 1.5),
        ("bool", "true", True),
        ("null", "", None),
    ],
)
def test_tags_are_obeyed(tag: str, text: str, value: Any) -> None:
    """A tag of the core schema says what a scalar is, also in quotes."""
    found = meaning(text, TAG + tag, plain=False)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("tag", "text", "noun"),
    [
        ("int", "1.5", "a whole number"),
        ("int", "true", "a whole number"),
        ("float", "x", "a number"),
        ("bool", "yes", "true or false"),
        ("null", "x", "null"),
    ],
)
def test_tags_must_be_true(tag: str, text: str, noun: str) -> None:
    """A tag that the scalar contradicts is refused."""
    with pytest.raises(ScalarError) as caught:
        meaning(text, TAG + tag, plain=True)
    assert caught.value.message == f'"{text}" is not {noun}, as its tag says'
