"""How framings are declared."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from l7mp.model import declared as say
from l7mp.model.base import validate
from l7mp.model.framing import MAX_MESSAGE, Format, Framing, framing_of, spoken
from l7mp.model.load import parse_json
from l7mp.model.problem import Invalid
from l7mp.wire import framing as wire
from tests.model.vocabulary import WORDS, built, cluster


def test_every_framing_can_be_named() -> None:
    """The words are those that the wire knows, and none."""
    assert set(get_args(Format)) == {*wire.FRAMINGS, "none"}
    assert MAX_MESSAGE == wire.MAX_MESSAGE


@pytest.mark.parametrize(
    ("given", "format_", "most"),
    [
        ("lines", "lines", MAX_MESSAGE),
        ({"format": "u8"}, "u8", MAX_MESSAGE),
        ({"format": "u8", "max_message": 7}, "u8", 7),
    ],
)
def test_forms(given: Any, format_: str, most: int) -> None:
    """One word is enough; the length of messages can be limited."""
    framing = built(clusters=[cluster("TCP", name="c", framing=given)]).clusters["c"]
    assert framing.framing is not None
    assert (framing.framing.format, framing.framing.max_message) == (format_, most)


def test_spoken() -> None:
    """The shortest form says the same."""
    short, long = Framing(format="nul"), Framing(format="nul", max_message=3)
    assert (spoken(short), spoken(long)) == ("nul", long)
    assert [framing_of(spoken(one)) for one in (short, long)] == [short, long]
    assert framing_of(None) is None


@pytest.mark.parametrize(
    ("given", "path", "words"),
    [
        ("line", "", '"lines"'),
        ({"format": "u8", "max_message": 0}, "/max_message", "must be 1 to"),
        ({"max_message": 3}, "", 'the key "format" is missing'),
        (5, "", "must be"),
    ],
)
def test_mistakes(given: Any, path: str, words: str) -> None:
    """What cannot be a framing is refused where it is written, with what could be."""
    document = {"clusters": [cluster("TCP", framing=given)]}
    with pytest.raises(Invalid) as caught:
        validate(say.Config, parse_json(json.dumps(document)), WORDS)
    (problem,) = caught.value.problems
    assert problem.path == f"/clusters/0/framing{path}"
    assert words in f"{problem.message} {problem.hint}"
