"""From pydantic's errors to problems."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from l7mp.model.explain import (
    Says,
    complaint,
    listed,
    nested,
    problems_of,
    shown,
    wrong_kind,
)
from l7mp.model.problem import Problem
from tests.model.json_values import json_values, pointers

STRICT = ConfigDict(strict=True, extra="forbid")


class Part(BaseModel):
    """A model without the help of ours."""

    model_config = STRICT
    size: int
    note: str = ""


class Other(BaseModel):
    """A mapping with more required keys than a part has."""

    model_config = STRICT
    a: int
    b: int
    c: int


Name = Annotated[str, Field(pattern=r"^\S+$"), Says("a name", "must be one word")]


def problems(kind: Any, value: Any, prefix: str = "") -> list[Problem]:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(
            kind, config=None if _is_model(kind) else ConfigDict(strict=True)
        ).validate_python(value)
    return problems_of(caught.value, prefix, value=value)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def told(kind: Any, value: Any) -> list[str]:
    return [str(problem) for problem in problems(kind, value)]


def _refuse(value: Any) -> Any:
    raise ValueError("never good enough")


def _complain(value: Any) -> Any:
    raise complaint("{never} good", "give up")


def _name(value: Any) -> Any:
    raise complaint("UDP has none")


QUOTE = 'if it is text, write it in quotes: "5"'
SEVERAL = list[int]


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (int, "80", 'must be a whole number, not "80"'),
        (int, 1.5, "must be a whole number, not 1.5"),
        (int, None, "must be a whole number, not null"),
        (int, True, "must be a whole number, not true"),
        (float, "x", 'must be a number, not "x"'),
        (str, [1], "must be text, not a list"),
        (str, 5, f"must be text, not 5; {QUOTE}"),
        (
            str,
            False,
            'must be text, not false; if it is text, write it in quotes: "false"',
        ),
        (bool, 1, "must be true or false, not 1"),
        (bool, "Yes", 'must be true or false, not "Yes"; write true'),
        (bool, "off", 'must be true or false, not "off"; write false'),
        (bool, "x", 'must be true or false, not "x"'),
        (list[int], {}, "must be a list, not a mapping"),
        (
            tuple[int, ...],
            "x",
            'must be a list, not "x"; write a list, even of one: [ … ]',
        ),
        (dict[str, int], [], "must be a mapping, not a list"),
        (Part, 5, "must be a mapping, not 5"),
        (
            Part,
            True,
            "must be a mapping, not true; say in { … } how, or {} if nothing else"
            " need be said",
        ),
        (None, 5, "must be null, not 5"),
        (Literal["a"], "b", 'must be "a", not "b"'),
        (Literal["a"], 5, 'must be "a", not 5'),
        (Literal[1, 2], 3, "must be one of 1 or 2, not 3"),
        (Literal[1, 2], 1.1, "must be one of 1 or 2, not 1.1"),
        (Literal[-1], "1", 'must be -1, not "1"'),
        (
            Literal["never", "always"],
            "alway",
            'must be one of "never" or "always", not "alway"; did you mean "always"?',
        ),
        (Annotated[int, Field(ge=1)], 0, "must be at least 1, not 0"),
        (Annotated[int, Field(gt=1)], 0, "must be more than 1, not 0"),
        (Annotated[int, Field(le=1)], 2, "must be at most 1, not 2"),
        (Annotated[int, Field(lt=1)], 2, "must be less than 1, not 2"),
        (Annotated[int, Field(multiple_of=4)], 2, "must be a multiple of 4, not 2"),
        (
            Annotated[str, Field(pattern="^a$")],
            "b",
            'must match the pattern ^a$, not "b"',
        ),
        (Annotated[str, Field(min_length=1)], "", "must not be empty"),
        (Annotated[list[int], Field(min_length=1)], [], "must not be empty"),
        (Annotated[str, Field(min_length=2)], "", "must have at least 2 characters"),
        (Annotated[str, Field(max_length=1)], "ab", "must have at most 1 characters"),
        (Annotated[SEVERAL, Field(min_length=2)], [1], "must have at least 2 items"),
        (Annotated[SEVERAL, Field(max_length=1)], [1, 2], "must have at most 1 items"),
        (Annotated[int, AfterValidator(_refuse)], 5, "never good enough"),
        (Annotated[int, AfterValidator(_complain)], 5, "{never} good; give up"),
        (Annotated[int, AfterValidator(_name)], 5, "UDP has none"),
        (bytes, 5, "must be a valid bytes"),
        (Name, "a b", 'must be one word, not "a b"'),
        (Name, 5, "must be a name, not 5"),
    ],
)
def test_every_mistake_is_told_in_plain_words(kind: Any, value: Any, text: str) -> None:
    """What is wrong, what was found and what would help are told in one sentence."""
    assert told(kind, value) == [text]


def test_an_assertion_is_told() -> None:
    """What a validator asserts is told in the validator's words."""

    def insist(value: Any) -> Any:
        if value:
            raise AssertionError("must be nothing")
        return value

    assert told(Annotated[int, AfterValidator(insist)], 5) == ["must be nothing"]


def test_numbers_must_be_finite() -> None:
    """Infinity is refused where numbers must be finite."""
    kind = Annotated[float, Field(allow_inf_nan=False)]
    assert told(kind, float("inf")) == ["must be a finite number, not inf"]


def test_all_problems_are_told_at_once() -> None:
    """Every problem has its own path, below that of the whole."""
    value = [{"size": "x", "note": 1}, {"note": "", "sise": 2}]
    assert [(one.path, one.message) for one in problems(list[Part], value, "/p")] == [
        ("/p/0/size", 'must be a whole number, not "x"'),
        ("/p/0/note", "must be text, not 1"),
        ("/p/1", 'the key "size" is missing'),
        ("/p/1/sise", 'unknown key "sise"'),
    ]


def test_paths_are_json_pointers() -> None:
    """Slashes and tildes in keys are escaped (RFC 6901)."""
    (one,) = problems(dict[str, int], {"a/b~c": "x"})
    assert one.path == "/a~1b~0c"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, ["must be a name or a definition, not 5"]),
        (None, ["must be a name or a definition, not null"]),
        ([1], ["must be a name or a definition, not a list"]),
        ("a b", ['must be one word, not "a b"']),
        ({"size": "x"}, ['/size: must be a whole number, not "x"']),
        (
            {"sise": 1},
            ['the key "size" is missing', '/sise: unknown key "sise"'],
        ),
    ],
)
def test_of_a_union_the_arm_that_fits_is_told(value: Any, expected: list[str]) -> None:
    """Only the arm for this kind of value is told about, or that none is."""
    assert told(Name | Part, value) == expected


def test_of_two_arms_the_nearer_is_told() -> None:
    """If several arms take values of this kind, the one with fewer problems counts."""
    assert told(Other | Part, {"note": ""}) == ['the key "size" is missing']
    assert told(Part | Other, {"a": 1, "b": 2}) == ['the key "c" is missing']


def test_equal_problems_of_two_arms_are_one() -> None:
    """What two arms say in the same words is said once."""
    positive = Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0)]
    assert told(positive, -1) == ["must be at least 0, not -1"]


def test_arms_may_be_words_or_kinds() -> None:
    """For a value of a strange kind, words count as one of the kinds."""
    kind = bool | Literal["init", "disable"]
    assert told(kind, 5) == [
        'must be true or false or one of "init" or "disable", not 5'
    ]
    assert told(kind, "ini") == [
        'must be one of "init" or "disable", not "ini"; did you mean "init"?'
    ]


def test_unions_in_unions_are_told_as_one() -> None:
    """Unions inside of unions, and what is inside of them, make one sentence."""
    inner = Annotated[int | list[Name | Part], BeforeValidator(lambda value: value)]
    kind = Name | inner
    assert told(kind, True) == [
        "must be a name, a whole number or a list, not true",
    ]
    assert told(kind, ["a", 5, {"size": ""}]) == [
        "/1: must be a name or a definition, not 5",
        '/2/size: must be a whole number, not ""',
    ]


def test_a_key_that_looks_like_an_arm_is_a_key() -> None:
    """Steps that exist in the value are believed to be steps."""
    found = problems(str | dict[str, int], {"str": "x"})
    assert {one.path for one in found} == {"/str"}
    assert 'must be a whole number, not "x"' in [one.message for one in found]


def test_keys_can_be_wrong() -> None:
    """A key that breaks the rule for keys is told at its entry."""
    assert told(dict[Name, int], {"a b": 1}) == ['/a b: must be one word, not "a b"']


def test_nested_errors_are_told_where_they_are() -> None:
    """The errors of a validation inside a validator are told with full paths."""

    def inside(value: Any) -> Any:
        try:
            return TypeAdapter(list[Part]).validate_python(value)
        except ValidationError as error:
            raise nested(error.errors()) from None

    def outside(value: Any) -> Any:
        try:
            return TypeAdapter(
                dict[str, Annotated[Any, AfterValidator(inside)]]
            ).validate_python(value)
        except ValidationError as error:
            raise nested(error.errors()) from None

    kind = Annotated[Any, AfterValidator(outside)]
    value = {"a": [{"size": 1}, {"size": "x"}], "b": 5}
    assert told(kind, value) == [
        '/a/1/size: must be a whole number, not "x"',
        "/b: must be a list, not 5",
    ]


def test_nested_errors_are_readable_by_themselves() -> None:
    """To a programmer, pydantic's own message shows what is nested."""

    def inside(value: Any) -> Any:
        with pytest.raises(ValidationError) as caught:
            TypeAdapter(list[int]).validate_python(value)
        raise nested(caught.value.errors())

    with pytest.raises(ValidationError, match="/0: Input should be a valid integer"):
        TypeAdapter(Annotated[Any, AfterValidator(inside)]).validate_python(["x"])


def test_kinds_of_our_own_take_part_in_unions() -> None:
    """A validator can say that a value is of another kind altogether."""

    def even(value: Any) -> Any:
        if not isinstance(value, int):
            raise wrong_kind("an even number")
        raise complaint("must be even")

    kind = Annotated[Any, BeforeValidator(even)] | Part
    assert told(kind, "x") == ['must be an even number or a mapping, not "x"']
    assert told(kind, 5) == ["must be even"]
    assert told(kind, {"size": ""}) == ['/size: must be a whole number, not ""']


def test_what_a_validator_made_of_the_value_does_not_mislead() -> None:
    """A path ends where the value as it was written has no such step."""
    kind: Any = Annotated[list[Part], BeforeValidator(lambda value: [value])]
    assert told(kind, {"size": "x"}) == ['/size: must be a whole number, not "x"']
    kind = Annotated[dict[str, int], BeforeValidator(lambda value: {"made": value})]
    assert told(kind, "x") == ['must be a whole number, not "x"']


@given(json_values)
def test_every_path_exists(value: Any) -> None:
    """Whatever the value, every problem is about something that is there."""
    kind: Any = TypeAdapter(Name | Part | list[Name | Part] | dict[str, Part])
    try:
        kind.validate_python(value)
    except ValidationError as error:
        found = problems_of(error, value=value)
        paths = {one.path for one in found}
        lost = paths - set(pointers(value)) or not found
    else:
        lost = False
    assert not lost


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (1.5, "1.5"), ("a", '"a"'), ({}, "a mapping")],
)
def test_values_are_shown_in_few_words(value: Any, text: str) -> None:
    """Values of the user's are shown as they would write them."""
    assert shown(value) == text


@pytest.mark.parametrize(
    ("words", "text"),
    [([], ""), (["a"], "a"), (["a", "b"], "a or b"), (["a", "b", "c"], "a, b or c")],
)
def test_words_are_listed_as_in_a_sentence(words: list[str], text: str) -> None:
    """Several words are joined by commas and one conjunction."""
    assert listed(words) == text
    assert listed(words, "and") == text.replace(" or ", " and ")
