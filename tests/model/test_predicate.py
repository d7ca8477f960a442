"""JSON predicates."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.errors import LocalError
from l7mp.model import predicate
from l7mp.model.predicate import OPERATORS, PredicateError, equal, match_all

DOCUMENT: dict[str, Any] = {
    "text": "Hello World",
    "empty": "",
    "int": 5,
    "float": 5.0,
    "zero": 0,
    "yes": True,
    "no": False,
    "null": None,
    "array": ["a", "B", 1, {"k": "V"}, [None]],
    "none": [],
    "object": {"a": {"b": "C"}, "x/y": 1},
    "day": "2024-02-29",
}


def holds(op: str, path: str | None = None, **members: Any) -> bool:
    """Whether one predicate holds for DOCUMENT."""
    given = {"op": op, **members}
    if path is not None:
        given["path"] = path
    return predicate.compile(given)(DOCUMENT)


EVERY_PATH = ["/no-such", *(f"/{key}" for key in DOCUMENT)]


@pytest.mark.parametrize("wildcard", [None, "*", {"match": "*"}])
def test_match_all(wildcard: Any) -> None:
    """No predicate, a star and the original's spelling of one match everything."""
    assert predicate.compile(wildcard) is match_all
    assert match_all(DOCUMENT)


# -- first order --------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "yes", "no"),
    [
        ("contains", ["lo Wo", "Hello World", ""], ["lo wo", "Hello World!"]),
        ("starts", ["Hell", "Hello World", ""], ["hell", "World", "Hello World!"]),
        ("ends", ["World", "Hello World", ""], ["world", "Hello", "Oh, Hello World"]),
        ("matches", ["^H.*d$", "o W", r"\bWorld"], ["^W", "hello", "^$"]),
    ],
)
def test_strings(op: str, yes: list[str], no: list[str]) -> None:
    """Operators on strings look for a part of the string, in its own case."""
    assert [value for value in yes if not holds(op, "/text", value=value)] == []
    assert [value for value in no if holds(op, "/text", value=value)] == []


@pytest.mark.parametrize("op", ["contains", "starts", "ends", "matches"])
def test_only_strings_have_parts(op: str) -> None:
    """Operators on strings are false for what is no string, and raise nothing."""
    paths = [path for path in EVERY_PATH if holds(op, path, value="")]
    assert paths == ["/text", "/empty", "/day"]


def test_ends_with_a_repeated_suffix() -> None:
    """A suffix that also occurs earlier is still a suffix."""
    check = predicate.compile({"op": "ends", "path": "/a", "value": "ab"})
    assert check({"a": "abcab"})
    assert not check({"a": "b"})


@pytest.mark.parametrize(
    ("op", "path", "value"),
    [
        ("contains", "/text", "LO WO"),
        ("starts", "/text", "hELL"),
        ("ends", "/text", "WORLD"),
        ("matches", "/text", "^hello"),
        ("test", "/text", "hello world"),
        ("in", "/text", ["x", "HELLO WORLD"]),
        ("in", "/text", [1, "HELLO WORLD"]),
        ("contained", "/array", "b"),
        ("contained", "/array", {"k": "v"}),
        ("intersects", "/array", ["A"]),
        ("test", "/object", {"a": {"b": "c"}, "x/y": 1}),
    ],
)
def test_ignore_case(op: str, path: str, value: Any) -> None:
    """With ignore_case, strings are equal but for case, wherever they are."""
    assert not holds(op, path, value=value)
    assert not holds(op, path, value=value, ignore_case=False)
    assert holds(op, path, value=value, ignore_case=True)


def test_case_of_keys() -> None:
    """Keys of objects are never compared without case."""
    assert not holds("contained", "/array", value={"K": "V"}, ignore_case=True)


@pytest.mark.parametrize("op", ["contains", "starts", "ends", "matches", "test"])
def test_hyphen(op: str) -> None:
    """The draft's own spelling of ignore_case is a hyphen after the operator."""
    assert holds(f"{op}-", "/text", value="HELLO WORLD")
    assert not holds(f"{op}-", "/null", value="HELLO WORLD")
    assert holds("in-", "/text", value=["HELLO WORLD"])


def test_defined() -> None:
    """What exists is defined, null too; everything else is undefined."""
    assert [path for path in EVERY_PATH if not holds("defined", path)] == ["/no-such"]
    assert [path for path in EVERY_PATH if holds("undefined", path)] == ["/no-such"]
    assert holds("undefined", "/null/x")


@pytest.mark.parametrize(
    ("op", "value", "yes"),
    [
        ("less", 5, ["/zero"]),
        ("less", 5.5, ["/int", "/float", "/zero"]),
        ("more", 0, ["/int", "/float"]),
        ("more", -1, ["/int", "/float", "/zero"]),
    ],
)
def test_order(op: str, value: float, yes: list[str]) -> None:
    """Only numbers are less or more, and never what is equal; booleans are none."""
    assert [path for path in EVERY_PATH if holds(op, path, value=value)] == yes


@pytest.mark.parametrize("key", DOCUMENT)
def test_equality(key: str) -> None:
    """Each value equals itself, and of the others only the same number."""
    same = ["/int", "/float"] if key in ("int", "float") else [f"/{key}"]
    value = DOCUMENT[key]
    assert [path for path in EVERY_PATH if holds("test", path, value=value)] == same
    assert [path for path in EVERY_PATH if holds("in", path, value=[value])] == same
    assert not any(holds("in", path, value=[]) for path in EVERY_PATH)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (True, 1),
        (False, 0),
        ("1", 1),
        (None, False),
        (None, 0),
        ("", None),
        ([1], [True]),
        ([1], [1, 2]),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": True}),
        ([], {}),
        ("a", ["a"]),
    ],
)
def test_values_are_json(left: Any, right: Any) -> None:
    """Values of different JSON types are different, whatever Python makes of them."""
    assert not equal(left, right)
    assert not equal(right, left)
    assert equal(left, left)
    assert equal(right, right)


def test_contained() -> None:
    """An array contains its elements, compared deeply, and nothing else does."""
    for value in DOCUMENT["array"]:
        paths = [path for path in EVERY_PATH if holds("contained", path, value=value)]
        assert paths == ["/array"]
    assert not holds("contained", "/array", value=True)
    assert not holds("contained", "/text", value="Hello World")


def test_intersects() -> None:
    """Two arrays intersect when they have an element in common."""
    assert holds("intersects", "/array", value=["x", "B"])
    assert holds("intersects", "/array", value=[0, [None]])
    assert not holds("intersects", "/array", value=["x", True])
    assert not holds("intersects", "/array", value=[])
    assert not holds("intersects", "/text", value=["Hello World"])
    assert not holds("intersects", "/none", value=["a"])


def test_type() -> None:
    """Types are those of JSON, and the formats of strings that the draft names."""
    kinds = {path: [] for path in EVERY_PATH}  # type: dict[str, list[str]]
    for name in ("string", "number", "boolean", "null", "array", "object", "undefined"):
        for path in EVERY_PATH:
            if holds("type", path, value=name):
                kinds[path].append(name)
    assert all(len(found) == 1 for found in kinds.values())
    assert holds("type", "/day", value="date")
    assert not holds("type", "/text", value="date")


# -- second order -------------------------------------------------------------

YES, NO = {"op": "defined", "path": "/text"}, {"op": "undefined", "path": "/text"}


@pytest.mark.parametrize(
    ("op", "apply", "want"),
    [
        ("and", [YES, YES], True),
        ("and", [YES, NO], False),
        ("and", [], True),
        ("or", [NO, YES], True),
        ("or", [NO, NO], False),
        ("or", [], True),
        ("not", [NO, NO], True),
        ("not", [NO, YES], False),
        ("not", [], True),
        ("not", [{"op": "not", "apply": [YES]}], True),
    ],
)
def test_logic(op: str, apply: list[Any], want: bool) -> None:
    """All, any or none of what is applied; all three hold for nothing."""
    assert holds(op, apply=apply) is want


def test_new_root() -> None:
    """The path of a second-order predicate is the root of those in it."""
    inner = {"op": "test", "path": "/b", "value": "C"}
    deep = {"op": "and", "path": "a/", "apply": [inner]}
    assert holds("and", "/object", apply=[deep])
    assert not holds("and", "/object/a", apply=[deep])
    assert holds("not", "/no-such", apply=[deep, {"op": "defined"}])


@pytest.mark.parametrize("path", [None, "", "/"])
def test_whole_document(path: str | None) -> None:
    """Without a path, a predicate is about its root."""
    assert holds("type", path, value="object")
    assert holds("and", "/day", apply=[{"op": "type", "value": "date"}])


@pytest.mark.parametrize("path", ["object/x~1y", "/object/x~1y", "/object/x~1y/"])
def test_paths(path: str) -> None:
    """Paths are read as all metadata paths are."""
    assert holds("test", path, value=1)
    assert holds("test", "/array/3/k", value="V")


# -- refusals -----------------------------------------------------------------


def nested(depth: int) -> Any:
    """Predicates in one another."""
    inner: Any = YES
    for _ in range(depth):
        inner = {"op": "and", "apply": [inner]}
    return inner


def nested_value(depth: int) -> Any:
    """A test for arrays in one another, down to an object."""
    value: Any = {"a": 1}
    for _ in range(depth):
        value = [value]
    return {"op": "test", "path": "/a", "value": value}


@pytest.mark.parametrize(
    ("given", "path", "message"),
    [
        (1, "", "a predicate must be an object; leave it out"),
        ("**", "", "a predicate must be an object"),
        ([], "", "a predicate must be an object"),
        ({}, "", '"op" is missing; use one of'),
        ({"op": 1}, "/op", '"op" must be a string'),
        ({"op": "tset"}, "/op", 'unknown operator "tset"; did you mean "test"?'),
        ({"op": "Contains"}, "/op", 'did you mean "contains"?'),
        ({"op": "zzzzzz"}, "/op", 'unknown operator "zzzzzz"; use one of contained'),
        ({"op": "less-"}, "/op", 'did you mean "less"?'),
        ({"op": "test"}, "", '"value" is missing: test needs a value'),
        ({"op": "in", "value": "a"}, "/value", '"value" of in must be an array'),
        ({"op": "intersects", "value": {}}, "/value", "must be an array"),
        ({"op": "less", "value": "5"}, "/value", "must be a number"),
        ({"op": "more", "value": True}, "/value", "must be a number"),
        ({"op": "ends", "value": None}, "/value", "must be a string"),
        ({"op": "matches", "value": 1}, "/value", "must be a string"),
        ({"op": "matches", "value": "a("}, "/value", "unclosed group at position 1"),
        ({"op": "type", "value": []}, "/value", "must be a string"),
        ({"op": "type", "value": "strnig"}, "/value", 'did you mean "string"?'),
        ({"op": "type", "value": "xxxxxx"}, "/value", "use one of number, string"),
        ({"op": "defined", "path": 1}, "/path", '"path" must be a string'),
        ({"op": "test", "value": 1, "ignore_case": 1}, "/ignore_case", "true or false"),
        ({"op": "test", "valeu": 1}, "/valeu", 'did you mean "value"?'),
        ({"op": "test", "value": 1, "zzz": 1}, "/zzz", "use one of op, path, value"),
        ({"op": "test", "value": 1, 5: 1}, "/5", 'unknown member "5"'),
        ({"op": "and", "apply": [], "a/b": 1}, "/a~1b", "use one of op, path, apply"),
        ({"op": "and"}, "", '"apply" is missing: and needs an array'),
        ({"op": "not", "apply": YES}, "/apply", '"apply" must be an array'),
        ({"op": "or", "apply": [YES, "*"]}, "/apply/1", "must be an object"),
        (
            {"op": "or", "apply": [YES, {"op": "not", "apply": [{"op": "x"}]}]},
            "/apply/1/apply/0/op",
            'unknown operator "x"',
        ),
        (nested(65), "/apply/0" * 65, "predicates nested more than 64 deep"),
        (nested_value(65), "/value", "a value nested more than 64 deep"),
    ],
)
def test_refused(given: Any, path: str, message: str) -> None:
    """What cannot be meant is refused when declared, saying what, where and why."""
    with pytest.raises(PredicateError) as info:
        predicate.compile(given)
    assert info.value.path == path
    assert message in str(info.value)
    assert info.value.hint in str(info.value)
    assert isinstance(info.value, LocalError)


def test_nested_enough() -> None:
    """Reasonable nesting is fine."""
    assert predicate.compile(nested(64))(DOCUMENT)
    assert not predicate.compile(nested_value(63))(DOCUMENT)


def test_harmless_members() -> None:
    """Members that an operator does not use, but others do, are ignored."""
    assert holds("defined", "/text", value=False, ignore_case=True)
    assert holds("less", "/zero", value=5, ignore_case=True)


# -- properties ---------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, 1.0, -1, "", "a", "A", "1", "2024-01-01"])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("aA1"), inner, max_size=3)
    ),
    max_leaves=6,
)
paths = st.sampled_from(["", "/", "/a", "a/1", "/0", "/A/0/"])
first_order = st.one_of(
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(["test", "contained"]),
            "path": paths,
            "value": values,
            "ignore_case": st.booleans(),
        }
    ),
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(["in", "intersects"]),
            "path": paths,
            "value": st.lists(values, max_size=3),
            "ignore_case": st.booleans(),
        }
    ),
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(["contains", "starts", "ends", "matches"]),
            "path": paths,
            "value": st.sampled_from(["", "a", "A", "1"]),
        }
    ),
    st.fixed_dictionaries({"op": st.just("less"), "path": paths, "value": st.just(1)}),
    st.fixed_dictionaries({"op": st.just("defined"), "path": paths}),
)
predicates = st.recursive(
    first_order,
    lambda inner: st.fixed_dictionaries(
        {
            "op": st.sampled_from(["and", "or", "not"]),
            "path": paths,
            "apply": st.lists(inner, max_size=3),
        }
    ),
    max_leaves=5,
)


@given(predicates, values)
def test_never_fails(given: Any, document: Any) -> None:
    """What was accepted says yes or no to every document, and raises nothing."""
    check = predicate.compile(given)
    assert check(document) in (True, False)
    negated = predicate.compile({"op": "not", "apply": [given]})
    assert negated(document) is not check(document)


@given(values, values)
def test_equality_is_symmetric(left: Any, right: Any) -> None:
    """Equality does not depend on the side, and ignoring case only adds to it."""
    assert equal(left, left)
    for ignore_case in (False, True):
        same = equal(left, right, ignore_case=ignore_case)
        assert same is equal(right, left, ignore_case=ignore_case)
    assert equal(left, right, ignore_case=True) or not equal(left, right)


@given(st.sampled_from(OPERATORS), st.dictionaries(st.text(max_size=5), values))
def test_anything_is_accepted_or_refused(op: str, members: dict[str, Any]) -> None:
    """Compiling gives a predicate or a PredicateError, never another error."""
    try:
        check = predicate.compile({**members, "op": op})
    except PredicateError:
        return
    assert callable(check)
