"""The header that a JSONSocket cluster sends."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.errors import LocalError
from l7mp.model.header import HeaderError, build_header, compile_header
from l7mp.model.rewrite import RewriteError

METADATA: dict[str, Any] = {
    "IP": {"src_addr": "10.0.0.1", "dst_addr": "10.0.0.2"},
    "labels": {"null": None, "no": False, "zero": 0, "empty": "", "list": []},
}


def built(*rules: dict[str, Any]) -> dict[str, Any]:
    """The header by these rules, having checked that nothing else changes."""
    before = copy.deepcopy((METADATA, rules))
    header = build_header(METADATA, rules)
    assert (METADATA, rules) == before
    assert list(header)[-1] == "JSONSocketVersion"
    assert header.pop("JSONSocketVersion") == 1
    return header


def test_bare() -> None:
    """Without entries the header is the version."""
    assert built() == {}


def test_copy() -> None:
    """A path entry copies metadata to a path in the header, creating the way."""
    rule = {"path": {"from": "IP/src_addr", "to": "/from/address"}}
    assert built(rule) == {"from": {"address": "10.0.0.1"}}


@pytest.mark.parametrize(
    "path",
    ["/IP", {"from": "/IP"}, {"from": "/IP", "to": "/"}, {"from": "IP", "to": ""}],
)
def test_copy_as_the_header(path: Any) -> None:
    """Without ``to``, or with a slash there, what is copied becomes the header."""
    first = {"set": {"key": "/a", "value": 1}}
    assert built(first, {"path": path}) == METADATA["IP"]


def test_missing_is_skipped() -> None:
    """What the metadata does not have leaves the header as it is."""
    assert built({"path": {"from": "/no", "to": "/a"}}, {"path": "/no"}) == {}


@pytest.mark.parametrize("name", METADATA["labels"])
def test_falsy_values_are_copied(name: str) -> None:
    """Null, false, zero and empty values are copied like any other."""
    rule = {"path": {"from": f"/labels/{name}", "to": "/x"}}
    assert built(rule) == {"x": METADATA["labels"][name]}


@pytest.mark.parametrize("value", ["text", 5, None, {"x": [1]}])
def test_set(value: Any) -> None:
    """A set entry puts a constant at a path of the header."""
    rule = {"set": {"key": "a/b", "value": value}}
    assert built(rule) == {"a": {"b": value}}


def test_order() -> None:
    """Entries are carried out in order, later ones on top of earlier ones."""
    assert built(
        {"path": "/IP"},
        {"set": {"key": "/src_addr", "value": "hidden"}},
        {"path": {"from": "/labels/zero", "to": "/zero"}},
    ) == {"src_addr": "hidden", "dst_addr": "10.0.0.2", "zero": 0}


def test_version_is_ours() -> None:
    """No entry can claim another version."""
    assert built({"set": {"key": "JSONSocketVersion", "value": 7}}) == {}


def test_nothing_is_shared() -> None:
    """Changing a header changes neither the metadata nor the next header."""
    build = compile_header(
        [
            {"path": {"from": "/IP", "to": "/a"}},
            {"set": {"key": "/b", "value": {"x": 1}}},
        ]
    )
    first = build(METADATA)
    first["a"].clear()
    first["b"].clear()
    second = build(METADATA)
    assert (second["a"], second["b"]) == (METADATA["IP"], {"x": 1})


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ({}, "/1"),
        ({"copy": "/a"}, "/1"),
        ({"path": 1}, "/1"),
        ({"path": {}}, "/1"),
        ({"path": {"to": "/a"}}, "/1"),
        ({"path": {"from": "/a", "to": 1}}, "/1/path"),
        ({"path": {"from": "/a", "into": "/b"}}, "/1/path"),
        ({"path": {"from": "/a", "to": "/b", "x": 1}}, "/1/path"),
        ({"path": "/a", "set": {"key": "/a", "value": 1}}, "/1"),
        ({"path": {"from": "/a"}, "x": 1}, "/1"),
        ({"set": {"key": "/a"}}, "/1"),
        ({"set": {"value": 1}}, "/1"),
        ({"set": {"key": 1, "value": 1}}, "/1"),
        ({"set": {"key": "/a", "value": 1, "x": 1}}, "/1"),
        ({"set": {"key": "/a", "value": 1}, "x": 1}, "/1"),
    ],
)
def test_refused(rule: dict[str, Any], path: str) -> None:
    """An entry that is neither is refused before there is any session."""
    with pytest.raises(HeaderError, match="header entry") as info:
        compile_header([{"path": "/IP"}, rule])
    assert info.value.path == path
    assert isinstance(info.value, LocalError)


@pytest.mark.parametrize("to", ["/", "/IP/src_addr"])
def test_no_object(to: str) -> None:
    """A header stays an object: what would end that is an error of the session."""
    rules = [
        {"path": {"from": "/IP/src_addr", "to": "/IP"}},
        {"path": {"from": "/IP/src_addr", "to": to}},
    ]
    with pytest.raises(RewriteError):
        build_header(METADATA, rules)


@given(st.dictionaries(st.text(max_size=3), st.integers() | st.none()))
def test_everything(metadata: dict[str, Any]) -> None:
    """The whole metadata can be sent."""
    header = build_header(metadata, [{"path": "/"}])
    assert header == {**metadata, "JSONSocketVersion": 1}
