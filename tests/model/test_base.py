"""What users can write: strict, frozen, and explained."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from pydantic import AliasChoices, Field, ValidationError

from l7mp.model.base import Declared, Items, spelled, validate
from l7mp.model.document import Document
from l7mp.model.load_yaml import parse_yaml
from l7mp.model.problem import Invalid
from tests.model.json_values import json_values

POLICY = Annotated[
    Literal["Trivial", "ConsistentHash"], spelled(HashRing="ConsistentHash")
]


class Leaf(Declared):
    """The inner part."""

    size: int = 0
    """How large."""


class Tree(Declared):
    """A bit of everything."""

    name: str
    leaves: Items[Leaf] = ()
    numbers: Items[int] | None = None
    flag: bool = False
    ratio: float = 0.0
    policy: POLICY = "Trivial"
    transport: str = Field(
        "UDP", validation_alias=AliasChoices("transport", "transport_spec")
    )
    source: str = Field("", alias="from")
    target: str = Field("", validation_alias="to")


def tree(text: str, pointer: str = "") -> Tree:
    return validate(Tree, parse_yaml(text, "x.yaml"), pointer=pointer)


def told(text: str, pointer: str = "") -> list[str]:
    with pytest.raises(Invalid) as caught:
        tree(text, pointer)
    return str(caught.value).split("\n")


def test_a_document_becomes_a_model() -> None:
    """Lists become tuples, and what is not given has its default."""
    found = tree("{name: a, leaves: [{size: 1}, {}], numbers: [1, 2]}")
    assert found.leaves == (Leaf(size=1), Leaf(size=0))
    assert found.numbers == (1, 2)
    assert (found.flag, found.ratio) == (False, 0.0)


def test_nothing_changes_once_it_is_made() -> None:
    """Declared values are frozen, and can be keys of mappings."""
    leaf = Leaf(size=1)
    with pytest.raises(ValidationError):
        leaf.size = 2
    assert {leaf: 1}[Leaf(size=1)] == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", ['1:1: the key "name" is missing']),
        ("[]", ["1:1: must be a mapping, not a list"]),
        ("{name: a, leaves: {}}", ["1:11: /leaves: must be a list, not a mapping"]),
        (
            "{name: a, leaves: ab}",
            [
                '1:11: /leaves: must be a list, not "ab"; write a list, even of one:'
                " [ … ]"
            ],
        ),
        ("{name: a, leaves: [5]}", ["1:20: /leaves/0: must be a mapping, not 5"]),
        (
            "{name: a, leaves: [{size: '80'}]}",
            ['1:21: /leaves/0/size: must be a whole number, not "80"'],
        ),
        (
            "{name: a, leaves: [{size: 1.0}]}",
            ["1:21: /leaves/0/size: must be a whole number, not 1.0"],
        ),
        (
            "{name: a, numbers: [1, true]}",
            ["1:24: /numbers/1: must be a whole number, not true"],
        ),
        ("{name: a, flag: 1}", ["1:11: /flag: must be true or false, not 1"]),
        (
            "{name: a, policy: Hash}",
            ['1:11: /policy: must be one of "Trivial" or "ConsistentHash", not "Hash"'],
        ),
        (
            "{name: a, policy: 5}",
            ['1:11: /policy: must be one of "Trivial" or "ConsistentHash", not 5'],
        ),
        (
            "{name: a, nmubers: [], x: 1}",
            [
                '1:11: /nmubers: unknown key "nmubers"; did you mean "numbers"?',
                '1:24: /x: unknown key "x"',
            ],
        ),
        (
            "{name: a, transport: a, transport_spec: b}",
            [
                (
                    '1:25: /transport_spec: the key "transport_spec" means the same as '
                    'another key here ("transport"); remove one of them'
                )
            ],
        ),
        (
            "{name: a, source: a, from: b}",
            [
                (
                    '1:11: /source: the key "source" means the same as another key here '
                    '("from"); remove one of them'
                )
            ],
        ),
        (
            "{name: a, transport_spec: 5}",
            [
                (
                    "1:11: /transport_spec: must be text, not 5; "
                    'if it is text, write it in quotes: "5"'
                )
            ],
        ),
        ("name: a\nfrom: [1]", ["2:1: /from: must be text, not a list"]),
    ],
)
def test_mistakes_are_told_with_place_and_remedy(
    text: str, expected: list[str]
) -> None:
    """Nothing is converted or ignored; every problem names place and path."""
    assert told(text) == [f"x.yaml:{line}" for line in expected]


def test_all_mistakes_are_told_in_the_order_of_the_text() -> None:
    """All problems of a document come at once, from top to bottom."""
    assert told("flag: 1\nname: 5\nleaves:\n  - size: x\n  - sise: 1") == [
        "x.yaml:1:1: /flag: must be true or false, not 1",
        'x.yaml:2:1: /name: must be text, not 5; if it is text, write it in quotes: "5"',
        'x.yaml:4:5: /leaves/0/size: must be a whole number, not "x"',
        'x.yaml:5:5: /leaves/1/sise: unknown key "sise"; did you mean "size"?',
    ]


def test_numbers_are_finite() -> None:
    """Infinity is no number, wherever it may come from."""
    with pytest.raises(Invalid, match="must be a finite number, not inf"):
        validate(Tree, Document({"name": "a", "ratio": float("inf")}))


def test_a_part_of_a_document_can_be_validated() -> None:
    """Paths and places are those of the whole document."""
    text = "tree:\n  name: a\n  flag: 1"
    assert tree("tree: {name: a}", "/tree").name == "a"
    assert told(text, "/tree") == [
        "x.yaml:3:3: /tree/flag: must be true or false, not 1"
    ]
    assert told(text, "/shrub") == ['x.yaml:1:1: the key "shrub" is missing']


def test_every_spelling_is_understood_and_one_is_dumped() -> None:
    """A dump has what was given, under canonical keys and with canonical words."""
    found = tree(
        "{name: a, transport_spec: TCP, policy: HashRing, from: b, to: c, "
        "leaves: [{}], flag: false}"
    )
    assert found.dump() == {
        "name": "a",
        "leaves": [{}],
        "flag": False,
        "policy": "ConsistentHash",
        "transport": "TCP",
        "from": "b",
        "target": "c",
    }
    assert validate(Tree, Document(found.dump())) == found


def test_spellings_name_the_canonical_key() -> None:
    """All keys that are understood are known, with what they are called in a dump."""
    spellings = Tree.spellings()
    assert spellings["transport_spec"] == spellings["transport"] == "transport"
    assert spellings["source"] == spellings["from"] == "from"
    assert spellings["to"] == spellings["target"] == "target"
    assert spellings["name"] == "name"


def test_descriptions_come_from_the_source() -> None:
    """The text below a field is its description in JSON Schema."""
    size = Leaf.model_json_schema()["properties"]["size"]
    assert size["description"] == "How large."


def test_words_that_are_not_text_have_no_spellings() -> None:
    """Only text is looked up among the spellings."""
    assert told("{name: a, policy: [x]}") == [
        'x.yaml:1:11: /policy: must be one of "Trivial" or "ConsistentHash", not a list'
    ]


@given(json_values)
def test_any_value_is_a_model_or_invalid(value: Any) -> None:
    """Whatever JSON is given, it is accepted or refused as Invalid."""
    document = Document({"name": "a", "leaves": [value], "numbers": value})
    refused = False
    try:
        found = validate(Tree, document).dump()
    except Invalid:
        refused = True
    assert refused or found == document.value


class Inner(Declared):
    """What stands inside of another model."""

    depth: int = 0


class Outer(Declared):
    """Holds others."""

    inner: Annotated[Inner | None, Field(validation_alias="within")] = None
    many: Items[Leaf] = ()


def test_a_key_that_belongs_one_step_inside_is_told_so() -> None:
    """A key of a model that stands inside of this one is told where it belongs."""
    with pytest.raises(Invalid) as caught:
        validate(Outer, Document({"depth": 5, "size": 3}))
    assert [str(one) for one in caught.value.problems] == [
        '/depth: unknown key "depth"; it belongs in "inner"',
        '/size: unknown key "size"',
    ]
