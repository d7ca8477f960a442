"""JSON Schemas for an OpenAPI document."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pydantic import BaseModel

from l7mp.model.base import Declared, Items
from l7mp.model.components import components
from l7mp.model.spec import ListenerSpec


class Options(Declared):
    """Shared by two protocols."""

    slow: bool = False


class Sender(Declared):
    """Speaks."""

    protocol: str
    port: int
    options: Options | None = None


class Silent(Declared):
    """Says nothing."""

    protocol: str


class Above(Silent):
    """Stands on another one."""

    transport: ListenerSpec


class Listener(Declared):
    """Refers to the union."""

    name: str
    spec: ListenerSpec
    others: Items[ListenerSpec] = ()


UNIONS: dict[str, dict[str, type[BaseModel]]] = {
    "ListenerSpec": {"UDP": Sender, "JSONSocket": Above},
    "ClusterSpec": {"Echo": Silent, "Discard": Silent},
}


def ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def test_members_are_told_apart_by_their_protocol() -> None:
    """A union is of components, one for each protocol, also where models are shared."""
    found = components(UNIONS)
    assert found["ClusterSpec"] == {
        "title": "ClusterSpec",
        "oneOf": [ref("EchoClusterSpec"), ref("DiscardClusterSpec")],
        "discriminator": {
            "propertyName": "protocol",
            "mapping": {
                "Echo": "#/components/schemas/EchoClusterSpec",
                "Discard": "#/components/schemas/DiscardClusterSpec",
            },
        },
    }
    for name in ("Echo", "Discard"):
        schema = found[f"{name}ClusterSpec"]
        assert schema["title"] == f"{name}ClusterSpec"
        assert schema["description"] == "Says nothing."
        assert schema["properties"]["protocol"]["const"] == name
        assert schema["required"] == ["protocol"]
        assert schema["additionalProperties"] is False


def test_there_is_what_is_referred_to_and_nothing_else() -> None:
    """Components refer to one another, and none is there for nothing."""
    assert sorted(components(UNIONS)) == [
        "ClusterSpec",
        "DiscardClusterSpec",
        "EchoClusterSpec",
        "JSONSocketListenerSpec",
        "ListenerSpec",
        "Options",
        "UDPListenerSpec",
    ]
    found = components(UNIONS, [Listener])
    assert found.keys() - components(UNIONS).keys() == {"Listener"}
    assert found["Listener"]["properties"]["spec"] == ref("ListenerSpec")
    above = found["JSONSocketListenerSpec"]["properties"]
    assert above["transport"] == ref("ListenerSpec")


def test_references_take_the_form_that_is_asked_for() -> None:
    """Where the components will be is said by the template."""
    found = components(UNIONS, [Listener], ref_template="#/$defs/{model}")
    assert found["Listener"]["properties"]["spec"] == {"$ref": "#/$defs/ListenerSpec"}
    mapping = found["ListenerSpec"]["discriminator"]["mapping"]
    assert mapping["UDP"] == "#/$defs/UDPListenerSpec"


def test_models_that_are_also_members_are_kept() -> None:
    """A model that is asked for is there under its own name, too."""
    assert "Sender" in components(UNIONS, [Sender])


def test_a_union_of_nothing_accepts_nothing() -> None:
    """Without protocols there is nothing that could be said."""
    assert components({"ListenerSpec": {}}) == {
        "ListenerSpec": {"title": "ListenerSpec", "not": {}}
    }


def test_a_property_may_be_called_ref() -> None:
    """Only references are followed, not properties that look like them."""

    class Odd(Declared):
        """Has words in it."""

        kind: Literal["$ref"] = "$ref"

    assert list(components({}, [Odd])) == ["Odd"]


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        ({"protocol": "UDP", "port": 1}, True),
        ({"protocol": "UDP", "port": 1, "options": {"slow": True}}, True),
        ({"protocol": "UDP"}, False),
        ({"protocol": "udp", "port": 1}, False),
        ({"protocol": "UDP", "prt": 1}, False),
        (
            {"protocol": "JSONSocket", "transport": {"protocol": "UDP", "port": 1}},
            True,
        ),
        ({"protocol": "JSONSocket", "transport": {"protocol": "Echo"}}, False),
    ],
)
def test_the_schemas_say_what_is_valid(value: Any, valid: bool) -> None:
    """By the schemas (JSON Schema 2020-12), documents are accepted or refused."""
    schemas = components(UNIONS, [Listener])
    schema = {**ref("Listener"), "components": {"schemas": schemas}}
    Draft202012Validator.check_schema(schema)
    listener = {"name": "a", "spec": value}
    assert Draft202012Validator(schema).is_valid(listener) is valid
