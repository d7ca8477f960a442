"""The words that many declarations share."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.model.base import Declared, validate
from l7mp.model.document import Document
from l7mp.model.problem import Invalid
from l7mp.model.types import (
    MAX_PORT,
    Account,
    Address,
    AddressPort,
    AnyPort,
    FileMode,
    Headers,
    Milliseconds,
    Name,
    Pointer,
    Port,
    Seconds,
)


class Words(Declared):
    """One of each."""

    name: Name = "a"
    port: Port = 1
    any_port: AnyPort = 0
    address: Address = "localhost"
    seconds: Seconds = 0
    milliseconds: Milliseconds = 0
    pointer: Pointer = ""
    pair: AddressPort = AddressPort()
    mode: FileMode = "0600"
    owner: Account = 0
    headers: Headers | None = None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "udp-listener"),
        ("name", "ä/~:[1]"),
        ("port", 1),
        ("port", MAX_PORT),
        ("any_port", 0),
        ("address", "::1"),
        ("seconds", 0),
        ("seconds", 1.5),
        ("milliseconds", 2000),
        ("pointer", "IP/src_addr"),
        ("pair", {}),
        ("mode", "0660"),
        ("mode", "660"),
        ("owner", "www-data"),
        ("headers", {"X-Tenant": "blue\tänd", "X-Number": 5, "DNT": True}),
        ("owner", 33),
        ("pair", {"address": "127.0.0.1", "port": 15001}),
    ],
)
def test_words_are_accepted_and_dumped_as_given(key: str, value: Any) -> None:
    """What is right is kept as it was written."""
    dumped = validate(Words, Document({key: value})).dump()
    assert dumped == {key: value}
    assert type(dumped[key]) is type(value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", "a b", 'must be one word without white space, not "a b"'),
        ("name", "", 'must be one word without white space, not ""'),
        ("name", "a\n", r'must be one word without white space, not "a\n"'),
        ("name", [], "must be a name, not a list"),
        ("port", 0, "must be a port, from 1 to 65535, not 0"),
        ("port", 65536, "must be a port, from 1 to 65535, not 65536"),
        ("port", "80", 'must be a port number, not "80"'),
        ("any_port", -1, "must be a port, up to 65535, or 0 for any, not -1"),
        ("address", "", 'must be an address, not ""'),
        ("address", 5, "must be an address, not 5"),
        ("seconds", -0.5, "must be 0 or more seconds, not -0.5"),
        ("seconds", True, "must be a number of seconds, not true"),
        ("seconds", float("inf"), "must be 0 or more seconds, not inf"),
        ("milliseconds", -1, "must be 0 or more milliseconds, not -1"),
        ("milliseconds", 1.5, "must be a whole number of milliseconds, not 1.5"),
        ("pair", {"port": 0}, "must be a port, from 1 to 65535, not 0"),
        ("headers", {"X A": "b"}, 'must be the name of a header, not "X A"'),
        (
            "headers",
            {"A": "b\r\nC: d"},
            r'must be text without control characters, not "b\r\nC: d"',
        ),
    ],
)
def test_what_is_wrong_is_told_in_the_words_of_the_type(
    key: str, value: Any, message: str
) -> None:
    """Every type has words of its own for what it is."""
    with pytest.raises(Invalid) as caught:
        validate(Words, Document({key: value}))
    assert [one.message for one in caught.value.problems] == [message]


@given(st.integers())
def test_ports_are_16_bits(port: int) -> None:
    """A port is a number from 1 to 65535."""
    accepted = True
    try:
        validate(Words, Document({"port": port}))
    except Invalid:
        accepted = False
    assert accepted is (0 < port < 1 << 16)


def test_the_schema_has_the_limits() -> None:
    """JSON Schema says what the types accept."""
    properties = Words.model_json_schema()["properties"]
    assert properties["port"]["maximum"] == MAX_PORT
    assert properties["name"]["pattern"] == r"^\S+$"
    for mode in ("validation", "serialization"):
        seconds = Words.model_json_schema(mode=mode)["properties"]["seconds"]
        assert (seconds["type"], seconds["minimum"]) == ("number", 0)
