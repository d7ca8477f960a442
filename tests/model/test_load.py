"""From bytes to documents."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.model.load import decode, parse
from l7mp.model.problem import Invalid


@pytest.mark.parametrize("name", ["a.yaml", "b.yml", "C.YAML", "d.Yml"])
def test_yaml_is_known_by_its_name(name: str) -> None:
    """A name that ends in .yaml or .yml, in any case, is of a YAML file."""
    document = parse("a: 1", name)
    assert (document.value, document.source) == ({"a": 1}, name)


@pytest.mark.parametrize("name", ["a.json", "b", "-", "yaml", "c.yaml.txt"])
def test_everything_else_is_json(name: str) -> None:
    """A file of any other name is JSON."""
    document = parse('{"a": 1}', name)
    assert (document.value, document.source) == ({"a": 1}, name)
    with pytest.raises(Invalid, match="unexpected"):
        parse("a: 1", name)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_utf_8_is_read_with_and_without_a_mark(text: str) -> None:
    """Bytes are UTF-8; a byte order mark before them is no part of the text."""
    bare = text.removeprefix("\ufeff")
    assert decode(bare.encode()) == bare
    assert decode(codecs.BOM_UTF8 + text.encode()) == text


@given(st.binary())
def test_any_bytes_are_text_or_a_problem(data: bytes) -> None:
    """Bytes are decoded, or refused as a problem of the document."""
    try:
        text = decode(data)
    except Invalid:
        with pytest.raises(UnicodeDecodeError):
            data.decode()
    else:
        assert text == data.decode("utf-8-sig")


def test_bad_utf_8_is_told_with_its_place() -> None:
    """A byte that is not UTF-8 is told with line and column, counting characters."""
    with pytest.raises(Invalid) as caught:
        decode("a: 1\nöb: ".encode() + b"\xe9", "x.yaml")
    assert str(caught.value) == (
        "x.yaml:2:5: not UTF-8: unexpected byte 0xe9; save it as UTF-8"
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_other_encodings_are_named(encoding: str) -> None:
    """A file in UTF-16 or UTF-32 is refused with a word on its encoding."""
    with pytest.raises(Invalid, match="looks like UTF-16 or UTF-32; save it as UTF-8"):
        decode("\ufeffa".encode(encoding))
