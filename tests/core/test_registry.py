"""Protocols are values, found by name, and share what they must through resources."""

from __future__ import annotations

from dataclasses import replace

import pytest
from zope.interface import implementer

import l7mp.protocols
from l7mp.core.events import Warned
from l7mp.core.registry import Context, Registry, Resources
from l7mp.interfaces import ICloseable
from l7mp.observers.metrics import Metrics
from l7mp.protocols import discard, echo


@implementer(ICloseable)
class Thing:
    """Knows whether it was closed."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_two_protocols_of_one_name_are_refused() -> None:
    """A name means one protocol."""
    with pytest.raises(ValueError, match="Echo"):
        Registry.of([echo.protocol, echo.protocol])


def test_every_module_is_a_protocol() -> None:
    """The protocols of the seed are there, each with a summary and a kind or none."""
    registry = Registry.discover(l7mp.protocols)
    names = set(registry.protocols)
    assert {"UDP", "TCP", "HTTP", "WebSocket", "UnixDomainSocket", "Stdio", "Echo",
            "Discard", "Logger", "JSONEncap", "JSONDecap", "L7mpController"} <= names  # fmt: skip
    for protocol in registry.protocols.values():
        assert protocol.summary.endswith(".")
        assert (protocol.listener is None) == (protocol.listen is None)
        assert (protocol.cluster is None) == (protocol.connect is None)


@pytest.mark.parametrize(
    ("word", "name"),
    [("JSONENcap", "JSONEncap"), ("WS", "WebSocket"), ("UDS", "UnixDomainSocket"),
     ("L7MPController", "L7mpController"), ("echo", "Echo")],
)  # fmt: skip
def test_spellings_of_the_original(word: str, name: str) -> None:
    """Other spellings are accepted as aliases."""
    words = Registry.discover(l7mp.protocols).vocabulary()
    assert words.canonical(word) == name


def test_resources_belong_to_owners() -> None:
    """Made once, closed when the owner is forgotten, or with everything."""
    resources, thing = Resources(), Thing()
    assert resources.get(("a",), lambda: thing) is thing
    assert resources.get(("a",), Thing) is thing
    resources.get(("b",), dict)
    resources.forget(("a",))
    resources.forget(("a",))
    assert thing.closed == 1
    other = resources.get(("c",), Thing)
    resources.close()
    assert other.closed == 1


def test_owners_can_have_several() -> None:
    """What belongs to an owner by longer names goes when everything of his does."""
    resources = Resources()
    things = [resources.get(("a", *more), Thing) for more in ((), ("x",), ("y", "z"))]
    other = resources.get(("b", "a"), Thing)
    resources.forget_all(("a",))
    assert [thing.closed for thing in things] == [1, 1, 1]
    assert other.closed == 0


def test_a_protocol_can_check_a_cluster() -> None:
    """A cluster is shown to its protocol before it is in effect."""
    seen: list[object] = []

    def prepare(context: Context, spec: object) -> None:
        seen.append((context.owner, spec))

    checked = replace(echo.protocol, prepare=prepare)
    registry = Registry.of([checked, discard.protocol])
    context = Context(reactor=None, registry=registry).on_behalf_of("cluster", "c")
    words = registry.vocabulary()
    one, other = (words.cluster({"protocol": name}) for name in ("Echo", "Discard"))
    context.prepare(one)
    context.prepare(other)
    assert seen == [(("cluster", "c"), one)]


def test_a_context_warns_of_its_owner() -> None:
    """What a protocol has to tell is told to observers, if there are any."""
    said: list[object] = []
    context = Context(reactor=None, registry=Registry.of([]))
    context.warn("unheard")
    replace(context, owner=("cluster", "c"), observe=said.append).warn("heard")
    assert said == [Warned("cluster c", "heard")]


def test_a_context_can_be_somebodys() -> None:
    """Protocols see on whose behalf they act."""
    context = Context(reactor=None, registry=Registry.of([]))
    assert context.on_behalf_of("cluster", "x").owner == ("cluster", "x")


def test_what_reaches_no_session_is_counted_for_its_listener() -> None:
    """In the metrics where there are any, and otherwise for nobody."""
    metrics = Metrics()
    context = Context(
        reactor=None, registry=Registry.of([]), services={"metrics": metrics}
    )
    context.on_behalf_of("listener", "in").drops()["stranger"] = 2
    assert metrics.drops("in") == {"stranger": 2}
    assert Context(reactor=None, registry=Registry.of([])).drops() == {}
