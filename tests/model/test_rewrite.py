"""Changes of metadata."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.errors import LocalError
from l7mp.model.pointer import get, parse
from l7mp.model.rewrite import RewriteError, apply


def rewritten(metadata: dict[str, Any], *steps: tuple[str, Any]) -> dict[str, Any]:
    """The metadata after the steps, having checked that the input is untouched."""
    before = copy.deepcopy(metadata)
    try:
        return apply(metadata, [(parse(path), value) for path, value in steps])
    finally:
        assert metadata == before


@pytest.mark.parametrize("path", ["/labels/a", "labels/a", "/labels/a/", "labels/a/"])
@pytest.mark.parametrize(
    "value", ["text", 5, 2.5, True, None, "", {"x": {"y": 1}}, [1, {"z": 2}]]
)
def test_set(path: str, value: Any) -> None:
    """A rewrite creates the way to its path and stores any JSON value."""
    assert rewritten({}, (path, value)) == {"labels": {"a": value}}


@pytest.mark.parametrize(
    ("steps", "want"),
    [
        ([("/a/b/c/d/e", 1)], {"a": {"b": {"c": {"d": {"e": 1}}}}}),
        ([("/a", 1), ("/b", 2)], {"a": 1, "b": 2}),
        ([("/a/x", 1), ("/a/y", 2)], {"a": {"x": 1, "y": 2}}),
        ([("/a", 1), ("/a", 2)], {"a": 2}),
        ([("/a", {"x": 1}), ("/a/y", 2)], {"a": {"x": 1, "y": 2}}),
        ([("/a", {"x": 1}), ("/a", {"y": 2})], {"a": {"y": 2}}),
        ([("/a", [1, 2, 3]), ("/a/1", "two")], {"a": [1, "two", 3]}),
        ([("/a", [1]), ("/a/1", 2)], {"a": [1, 2]}),
        ([("/a", [{"x": 1}]), ("/a/0/y", 2)], {"a": [{"x": 1, "y": 2}]}),
        ([("/a", []), ("/a/0/x", 1)], {"a": [{"x": 1}]}),
        ([("/a/0", "zero")], {"a": {"0": "zero"}}),
        ([("/x~1y/~0", 1)], {"x/y": {"~": 1}}),
        ([], {}),
    ],
)
def test_sequences(steps: list[tuple[str, Any]], want: dict[str, Any]) -> None:
    """Rewrites are applied in order; objects are replaced, elements by index."""
    assert rewritten({}, *steps) == want


def test_siblings_stay() -> None:
    """Existing metadata is overwritten, what stands beside it stays."""
    metadata = {"IP": {"src_addr": "10.0.0.1", "dst_addr": "10.0.0.2"}, "name": "n"}
    assert rewritten(metadata, ("/IP/src_addr", "1.2.3.4"), ("/UDP/x", 1)) == {
        "IP": {"src_addr": "1.2.3.4", "dst_addr": "10.0.0.2"},
        "name": "n",
        "UDP": {"x": 1},
    }


def test_a_new_dict_even_without_rewrites() -> None:
    """The result is always a new dictionary."""
    metadata = {"a": 1}
    assert rewritten(metadata) is not metadata


@pytest.mark.parametrize("path", ["", "/"])
def test_replace_everything(path: str) -> None:
    """A slash replaces all metadata by a copy of the value."""
    value = {"only": ["this"]}
    result = rewritten({"a": 1}, (path, value), ("/only/0", "that"))
    assert result == {"only": ["that"]}
    assert value == {"only": ["this"]}


@pytest.mark.parametrize("value", [1, None, "text", [1]])
def test_metadata_stays_an_object(value: Any) -> None:
    """All metadata can only be replaced by an object."""
    with pytest.raises(RewriteError, match="only be replaced by an obj") as info:
        rewritten({}, ("/", value))
    assert info.value.path == ""


def test_values_are_copied_per_use() -> None:
    """A change of one session's metadata leaves the rule's value alone."""
    value = {"n": 0}
    for _ in range(2):
        assert rewritten({}, ("/a", value), ("/a/n", 1)) == {"a": {"n": 1}}
    assert value == {"n": 0}


@pytest.mark.parametrize(
    ("path", "where", "why"),
    [
        ("/text/x", "/text", "a string"),
        ("/number/x", "/number", "a number"),
        ("/flag/x/y", "/flag", "a boolean"),
        ("/null/x", "/null", "null"),
        ("/list/0/x", "/list/0", "a number"),
        ("/list/2", "/list/2", "an array of 1 has no element '2'"),
        ("/list/x/y", "/list/x", "an array of 1 has no element 'x'"),
    ],
)
def test_no_way(path: str, where: str, why: str) -> None:
    """A path through a scalar or beside an array is an error that says where."""
    metadata = {"text": "t", "number": 1, "flag": True, "null": None, "list": [0]}
    with pytest.raises(RewriteError, match=why) as info:
        rewritten(metadata, (path, 1))
    assert info.value.path == where
    assert isinstance(info.value, LocalError)


def test_very_long_path() -> None:
    """The length of a path is not limited by the interpreter's stack."""
    parts = ("a",) * 5000
    assert get(apply({}, [(parts, 1)]), parts) == 1


@given(
    st.dictionaries(st.sampled_from("ab"), st.just({"x": [1, {"y": 2}]})),
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["a", "b", "x", "0", "1", "y"]), max_size=4),
            st.sampled_from([1, {"x": 1}, [{"y": 1}], None]),
        ),
        max_size=4,
    ),
)
def test_last_rewrite_holds(
    metadata: dict[str, Any], steps: list[tuple[list[str], Any]]
) -> None:
    """What was set last is found at its path, and the input never changes."""
    before = copy.deepcopy((metadata, steps))
    try:
        result = apply(metadata, [(tuple(parts), value) for parts, value in steps])
    except RewriteError:
        result = None
    assert (metadata, steps) == before
    if result is not None and steps:
        parts, value = steps[-1]
        assert get(result, tuple(parts)) == value
