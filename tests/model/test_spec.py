"""Specifications of protocols, known at run time only."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AliasChoices, Field, ValidationError

from l7mp.model.base import Declared, Items, validate
from l7mp.model.document import Document
from l7mp.model.explain import problems_of
from l7mp.model.load_yaml import parse_yaml
from l7mp.model.problem import Invalid
from l7mp.model.spec import ClusterSpec, Flow, KindOf, ListenerSpec, Spec, Vocabulary
from l7mp.model.types import AddressPort, Name, Port
from tests.model.json_values import json_values


class UDPListener(Spec):
    """Datagrams."""

    port: Port
    connect: AddressPort | None = None


class TCPListener(Spec):
    """Bytes."""

    tolerates: ClassVar[frozenset[str]] = frozenset({"connect", "port"})
    port: Port


class JSONSocketListener(Spec):
    """A header, then another protocol."""

    transport: ListenerSpec = Field(
        validation_alias=AliasChoices("transport", "transport_spec")
    )


class Plain(Spec):
    """Nothing to say."""


WORDS = Vocabulary(
    listeners={
        "UDP": UDPListener,
        "TCP": TCPListener,
        "JSONSocket": JSONSocketListener,
    },
    clusters={"Echo": Plain, "UDP": Plain, "WebSocket": Plain},
    aliases={"ws": "WebSocket", "json-socket": "JSONSocket"},
    virtual=frozenset({"Echo"}),
    kinds={"UDP": "datagrams", "Echo": None},
)


class Listener(Declared):
    """Has one specification."""

    name: Name
    spec: ListenerSpec


class Config(Declared):
    """Has them in every position."""

    listeners: Items[Listener] = ()
    cluster: ClusterSpec | None = None
    either: Name | ClusterSpec | None = None


def config(text: str) -> Config:
    return validate(Config, parse_yaml(text, "x.yaml"), WORDS)


def told(text: str) -> list[str]:
    with pytest.raises(Invalid) as caught:
        config(text)
    return str(caught.value).split("\n")


def test_the_protocol_picks_the_model() -> None:
    """What may be said is decided by the protocol, also inside of specifications."""
    found = config(
        "listeners:\n"
        "- {name: a, spec: {protocol: UDP, port: 1}}\n"
        "- {name: b, spec: {protocol: JSONSocket,"
        " transport: {protocol: TCP, port: 2}}}\n"
        "either: {protocol: Echo}\n"
    )
    first, second = (listener.spec for listener in found.listeners)
    assert first == UDPListener(protocol="UDP", port=1)
    assert isinstance(second, JSONSocketListener)
    assert second.transport == TCPListener(protocol="TCP", port=2)
    assert found.either == Plain(protocol="Echo")


@pytest.mark.parametrize(
    ("word", "name"),
    [("WebSocket", "WebSocket"), ("websocket", "WebSocket"), ("WS", "WebSocket")],
)
def test_every_spelling_becomes_the_canonical_name(word: str, name: str) -> None:
    """Names of protocols are known in any case, and by their aliases."""
    assert WORDS.canonical(word) == name
    assert WORDS.cluster({"protocol": word}) == Plain(protocol=name)
    assert WORDS.cluster({"protocol": word}).dump() == {"protocol": name}


def test_what_is_not_known_has_no_name() -> None:
    """A word that stands for no protocol has no canonical name."""
    assert WORDS.canonical("SCTP") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cluster: 5", "1:1: /cluster: must be a mapping, not 5"),
        ("cluster: {}", '1:1: /cluster: the key "protocol" is missing'),
        (
            "cluster: {protocol: [x]}",
            "1:11: /cluster/protocol: must be a protocol's name, not a list",
        ),
        (
            "cluster: {protocol: Ecco}",
            (
                '1:11: /cluster/protocol: unknown protocol "Ecco"; '
                'did you mean "Echo"? known are Echo, UDP, WebSocket'
            ),
        ),
        (
            "cluster: {protocol: SCTP}",
            (
                '1:11: /cluster/protocol: unknown protocol "SCTP"; '
                "known are Echo, UDP, WebSocket"
            ),
        ),
        (
            "cluster: {protocol: tcp}",
            (
                '1:11: /cluster/protocol: protocol "TCP" is not for a cluster; '
                "known are Echo, UDP, WebSocket"
            ),
        ),
        ("either: 5", "1:1: /either: must be a name or a definition, not 5"),
        (
            "either: {protocol: Echo, x: 1}",
            '1:26: /either/x: unknown key "x"',
        ),
    ],
)
def test_what_is_wrong_with_a_protocol_is_told(text: str, expected: str) -> None:
    """A protocol that is missing, unknown or of the other side is told as such."""
    assert told(text) == [f"x.yaml:{expected}"]


def test_problems_inside_are_told_where_they_are() -> None:
    """Specifications in specifications tell their problems with full paths."""
    assert told(
        "listeners:\n"
        "- name: a\n"
        "  spec:\n"
        "    protocol: jsonsocket\n"
        "    transport_spec:\n"
        "      protocol: udp\n"
        "      prot: 1\n"
        "- name: b c\n"
        "  spec: {protocol: UDP, port: 0, connect: {address: 5}}\n"
    ) == [
        'x.yaml:5:5: /listeners/0/spec/transport_spec: the key "port" is missing',
        (
            'x.yaml:7:7: /listeners/0/spec/transport_spec/prot: unknown key "prot"; '
            'did you mean "port"?'
        ),
        (
            "x.yaml:8:3: /listeners/1/name: must be one word without white space, "
            'not "b c"'
        ),
        "x.yaml:9:25: /listeners/1/spec/port: must be a port, from 1 to 65535, not 0",
        "x.yaml:9:44: /listeners/1/spec/connect/address: must be an address, not 5",
    ]


def test_tolerated_words_are_dropped_and_remembered() -> None:
    """What the original took without effect is dropped, and can be warned about."""
    spec = WORDS.listener({"protocol": "TCP", "port": 1, "connect": {"port": 2}})
    assert isinstance(spec, TCPListener)
    assert (spec.port, spec.ignored) == (1, ("connect",))
    assert spec.dump() == {"protocol": "TCP", "port": 1}
    bare = TCPListener(protocol="TCP", port=1)
    assert bare.ignored == ()
    assert spec == bare
    assert hash(spec) == hash(bare)
    assert spec != TCPListener(protocol="TCP", port=2)
    assert spec != UDPListener(protocol="TCP", port=1)


def test_other_unknown_words_are_refused_all_the_same() -> None:
    """Only what is tolerated is dropped."""
    with pytest.raises(ValidationError) as caught:
        WORDS.listener({"protocol": "TCP", "port": 1, "conect": 1, "connect": 1})
    (problem,) = problems_of(caught.value, value={"conect": 1})
    assert str(problem) == '/conect: unknown key "conect"'


def test_a_specification_is_taken_as_it_is() -> None:
    """A value that is a specification already needs no vocabulary."""
    spec = UDPListener(protocol="UDP", port=1)
    assert Listener(name="a", spec=spec).spec is spec
    assert TCPListener.model_validate(TCPListener(protocol="TCP", port=1)).port == 1


def test_without_a_vocabulary_there_are_no_words() -> None:
    """To validate without a vocabulary is a fault of the program's."""
    with pytest.raises(TypeError, match="with a Vocabulary as context"):
        validate(Listener, Document({"name": "a", "spec": {"protocol": "UDP"}}))


def test_an_alias_stands_for_something() -> None:
    """An alias of a protocol that does not exist is a fault of the program's."""
    with pytest.raises(ValueError, match="ws stands for WebSocket, which does not"):
        Vocabulary({}, {}, {"ws": "WebSocket"})


ports = st.integers(1, 65535)
addresses = st.fixed_dictionaries(
    {}, optional={"address": st.text(min_size=1, max_size=9), "port": ports}
)
spellings = {"UDP": ["UDP", "udp"], "TCP": ["TCP", "Tcp"]}
simple = st.fixed_dictionaries(
    {"protocol": st.just("UDP"), "port": ports}, optional={"connect": addresses}
) | st.fixed_dictionaries({"protocol": st.just("TCP"), "port": ports})
listeners: st.SearchStrategy[Any] = st.recursive(
    simple,
    lambda inner: st.fixed_dictionaries(
        {"protocol": st.just("JSONSocket"), "transport": inner}
    ),
    max_leaves=3,
)


@given(listeners)
def test_a_dump_says_what_was_said(data: Any) -> None:
    """In canonical spelling, a specification is dumped exactly as it was given."""
    spec = WORDS.listener(data)
    assert spec.dump() == data
    assert WORDS.listener(spec.dump()) == spec
    whole = validate(
        Config, Document({"listeners": [{"name": "a", "spec": data}]}), WORDS
    )
    assert whole.dump() == {"listeners": [{"name": "a", "spec": data}]}
    assert json.loads(whole.model_dump_json(exclude_unset=True)) == whole.dump()


@given(json_values | listeners, st.sampled_from(["UDP", "TCP", "JSONSocket", "x"]))
def test_any_value_is_a_specification_or_invalid(data: Any, protocol: str) -> None:
    """Whatever JSON is given, it is accepted or refused with places that exist."""
    if isinstance(data, dict):
        data = {"port": data.get("port"), "transport": data, "protocol": protocol}
    document = Document({"listeners": [{"name": "a", "spec": data}]})
    paths = ["/listeners/0/spec"]
    try:
        validate(Config, document, WORDS)
    except Invalid as invalid:
        paths = [problem.path for problem in invalid.problems]
    assert paths
    for path in paths:
        assert path.startswith("/listeners/0/spec")
        document.at(path)


def test_the_components_are_those_of_the_vocabulary() -> None:
    """The schemas of all protocols, and of models that use them, are made together."""
    found = WORDS.components(models=[Config])
    assert found["ListenerSpec"]["discriminator"]["mapping"].keys() == {
        *WORDS.listeners
    }
    assert found["ClusterSpec"]["discriminator"]["mapping"].keys() == {*WORDS.clusters}
    spec = found["Listener"]["properties"]["spec"]
    assert spec == {"$ref": "#/components/schemas/ListenerSpec"}
    other = WORDS.components("#/$defs/{model}")
    assert other["UDPListenerSpec"]["properties"]["connect"]["anyOf"][0] == {
        "$ref": "#/$defs/AddressPort"
    }
    assert "Config" not in other


class Sealed(Plain):
    """Carries what it says, whatever the protocol does."""

    words: bool = False

    def carries(self, kind_of: KindOf) -> str | None:
        return "datagrams" if self.words else None


def test_a_specification_may_say_what_it_carries() -> None:
    """Where it does not, its protocol does."""
    words = replace(WORDS, clusters={"UDP": Plain, "Pipe": Sealed}, aliases={})
    assert words.kind_of(words.cluster({"protocol": "UDP"})) == "datagrams"
    assert words.kind_of(words.cluster({"protocol": "Pipe"})) is None
    sealed = words.cluster({"protocol": "Pipe", "words": True})
    assert words.kind_of(sealed) == "datagrams"


def test_what_goes_in_may_differ_from_what_comes_out() -> None:
    """A stage takes what it gives unless its protocol says otherwise."""
    words = replace(
        WORDS, clusters={"UDP": Plain, "Pipe": Plain}, aliases={}, takes={"Pipe": "b"}
    )
    assert words.flow_of(words.cluster({"protocol": "UDP"})) == Flow(
        "datagrams", "datagrams"
    )
    assert words.flow_of(words.cluster({"protocol": "Pipe"})) == Flow("b", None)


@pytest.mark.parametrize("key", ["framing", "rules", "endpoints", "loadbalancer"])
def test_what_belongs_beside_a_specification_is_told_so(key: str) -> None:
    """A word of the listener or cluster, inside of its specification, is in the way."""
    with pytest.raises(ValidationError) as caught:
        WORDS.listener({"protocol": "TCP", "port": 1, key: "lines"})
    (problem,) = problems_of(caught.value, value={key: "lines"})
    assert problem.hint == 'it belongs beside "spec", not in it'
