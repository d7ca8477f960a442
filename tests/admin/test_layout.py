"""The formats of JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.admin.layout import FORMATS, laid_out
from tests.model.json_values import json_values

VALUE = {"b": [1, "é"], "a": {}}


@given(json_values, st.sampled_from(sorted(FORMATS)))
def test_every_format_is_the_same_json(value: object, style: str) -> None:
    """Whatever its layout, what is read is what was shown."""
    assert json.loads(laid_out(value, style)) == value


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("plain", '{\n  "b": [\n    1,\n    "é"\n  ],\n  "a": {}\n}\n'),
        ("terse", '{"b":[1,"é"],"a":{}}\n'),
        ("space", '{"b": [1, "é"], "a": {}}\n'),
        ("lines", '{\n"b": [\n1,\n"é"\n],\n"a": {}\n}\n'),
        ("diffy", '{\n    "b": [\n        1,\n        "é"\n    ],\n    "a": {}\n}\n'),
    ],
)
def test_layouts(style: str, text: str) -> None:
    """Plain is indented by two, terse has no space, space is one line, others many."""
    assert laid_out(VALUE, style) == text.encode()


def test_plain_is_the_default() -> None:
    """Who asks for no format gets the plain one."""
    assert laid_out(VALUE) == laid_out(VALUE, "plain")


def test_what_utf_8_cannot_say_is_escaped() -> None:
    """Half of a surrogate pair is shown as JSON escapes it."""
    assert laid_out("\udc80") == b'"\\udc80"\n'
    assert json.loads(laid_out("\udc80")) == "\udc80"
