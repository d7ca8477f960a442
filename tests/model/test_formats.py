"""The types that a JSON predicate can ask for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.model.formats import TYPES
from l7mp.model.pointer import MISSING

VALUES: dict[str, list[Any]] = {
    "number": [0, 1, -1.5, 1e300],
    "string": ["", "text"],
    "boolean": [True, False],
    "object": [{}, {"a": 1}],
    "array": [[], [1]],
    "null": [None],
    "undefined": [MISSING],
}


@pytest.mark.parametrize("name", VALUES)
def test_json_types(name: str) -> None:
    """Each JSON type has its own values and nobody else's; a boolean is no number."""
    for other, values in VALUES.items():
        assert [TYPES[name](value) for value in values] == [name == other] * len(values)


@pytest.mark.parametrize("name", sorted(set(TYPES) - set(VALUES)))
def test_only_strings_have_formats(name: str) -> None:
    """What is no string has none of the formats of strings."""
    others = [value for kind in VALUES if kind != "string" for value in VALUES[kind]]
    assert not any(TYPES[name](value) for value in others)


@pytest.mark.parametrize(
    ("name", "yes", "no"),
    [
        (
            "date",
            ["1985-04-12", "2024-02-29", "2000-02-29", "0000-12-31"],
            [
                "2023-02-29",
                "1900-02-29",
                "2023-13-01",
                "2023-00-01",
                "2023-04-31",
                "2023-04-00",
                "85-04-12",
                "1985-4-12",
                "1985-04-12\n",
                "1985-04-12Z",
            ],
        ),
        (
            "time",
            [
                "23:20:50.52Z",
                "10:10:10z",
                "10:10:10+05:30",
                "23:59:60Z",
                "00:00:00-00:00",
            ],
            [
                "10:10:10",
                "24:00:00Z",
                "10:60:00Z",
                "10:10:61Z",
                "10:10:10+24:00",
                "10:10:10+05:60",
                "10:10:10.Z",
                "10:10Z",
                "10:10:10Z\n",
            ],
        ),
        (
            "date-time",
            ["1985-04-12T23:20:50.52Z", "1990-12-31t15:59:60-08:00"],
            ["1985-04-12", "23:20:50Z", "1985-04-12 23:20:50Z", "1985-13-12T23:20:50Z"],
        ),
        (
            "lang",
            [
                "en",
                "en-US",
                "zh-Hant-TW",
                "sl-rozaj-biske",
                "de-CH-1901",
                "es-419",
                "zh-cmn-Hans-CN",
                "en-a-myext-b-another",
                "x-private",
                "en-x-twain",
                "I-Klingon",
                "art-lojban",
                "zh-min-nan",
                "sgn-BE-FR",
                "en-GB-oed",
            ],
            [
                "",
                "e",
                "en-",
                "en_US",
                "a-DE",
                "ar-a",
                "en-US\n",
                "*",
                "\u212a\u212a",
                "verylonglanguage",
                "i-unknown",
                "x",
            ],
        ),
        (
            "lang-range",
            ["*", "CH-*", "CH-de", "en", "*-CH", "de-*-DE-1996"],
            ["", "en-", "toolonglang", "de_DE", "1-a", "**"],
        ),
        (
            "iri",
            [
                "https://github.com/x/y#test",
                "urn:isbn:0451450523",
                "//host/p",
                "/p?q#f",
                "",
                "p/q",
                "?q",
                "#f",
                "mailto:a@b.example",
                "file:///etc/motd",
                "a:",
                "http://user:pw@[::1]:80/",
                "http://[v7.x:y]/",
                "http://exämple/日",
                "http://h:/",
                "http://h?\ue000",
                "a%20b",
                "\U000e1000",
            ],
            [
                "a b",
                "http://h/<>",
                "%zz",
                "%2",
                "1a:b",
                ":a",
                "http://[::1",
                "http://[x]",
                "http://[fe80::1%25eth0]/",
                "http://h:80x/",
                "http://a:b:80/",
                "/\ue000",
                "http://a@b@c/",
                "http://u\x00@h/",
                "http://h\\/",
                "a#b#c",
                "\ufffe",
                "a\n",
                "\U000e0001",
                "http://[::1]x/",
                "http://h/?[",
                "#[",
            ],
        ),
        (
            "absolute-iri",
            [
                "https://github.com/x/y#test",
                "urn:isbn:0451450523",
                "a:",
                "tcp://1.2.3.4:5",
            ],
            ["", "/p", "p/q:r", "//host/p", "?a:b", "#a:b", "1a:b", "a b:c"],
        ),
    ],
)
def test_formats(name: str, yes: list[str], no: list[str]) -> None:
    """Strings have the formats of the RFCs that the draft names."""
    assert [text for text in yes if not TYPES[name](text)] == []
    assert [text for text in no if TYPES[name](text)] == []


@given(st.dates())
def test_every_date(day: Any) -> None:
    """Every day of the calendar is a date."""
    assert TYPES["date"](day.isoformat())


@given(st.text(alphabet="a:/?#[]@%2. \xe9", max_size=12))
def test_an_iri_is_a_reference(text: str) -> None:
    """Every IRI is an IRI-reference, and none is without a colon."""
    absolute, reference = TYPES["absolute-iri"](text), TYPES["iri"](text)
    assert reference or not absolute
    assert not absolute or ":" in text
