"""What GET shows, as values and as schemas."""

from __future__ import annotations

import jsonschema  # type: ignore[import-untyped]
import pytest
from pydantic import ValidationError

from l7mp.model.declared import Retry
from l7mp.model.spec import Spec, Vocabulary
from l7mp.model.view import (
    INVALID,
    ClusterView,
    ConfigView,
    CountersView,
    LoadBalancerView,
    RouteView,
    SourceView,
    stale,
)

NOTHING = CountersView(messages_in=0, bytes_in=0, messages_out=0, bytes_out=0)
TRIVIAL = LoadBalancerView(policy="Trivial")


class Plain(Spec):
    """Nothing to say, but for a color."""

    color: str = "black"


WORDS = Vocabulary(listeners={"Plain": Plain}, clusters={"Plain": Plain})
SPEC = WORDS.cluster({"protocol": "plain"})


def test_only_what_was_set_is_shown() -> None:
    """What an object does not have is left out, and never null."""
    route = RouteView(
        name="r", destination="c", ingress=(), egress=(), retry=Retry(retry_on="never")
    )
    assert route.dump() == {
        "name": "r",
        "destination": "c",
        "ingress": [],
        "egress": [],
        "retry": {"retry_on": "never"},
    }


def test_specifications_are_shown_as_given() -> None:
    """A specification has its canonical protocol, and no defaults."""
    cluster = ClusterView(name="c", spec=SPEC, endpoints=2, loadbalancer=TRIVIAL)
    assert cluster.dump() == {
        "name": "c",
        "spec": {"protocol": "Plain"},
        "endpoints": 2,
        "loadbalancer": {"policy": "Trivial"},
    }


def test_what_is_gone_stands_as_a_word() -> None:
    """The listener of a session is its specification, or that it was deleted."""
    for listener, shown in ((SPEC, {"protocol": "Plain"}), (INVALID, "<INVALID>")):
        view = SourceView(
            origin="l",
            listener=listener,  # type: ignore[arg-type]  # one after the other
            status="END",
            counters=NOTHING,
        )
        assert view.dump()["listener"] == shown
    assert stale("x") == "x:<STALE>"


def test_nothing_undeclared_is_shown() -> None:
    """A view with a field that its schema lacks cannot be made."""
    with pytest.raises(ValidationError):
        LoadBalancerView(policy="Trivial", keys="x")  # type: ignore[call-arg]


def test_the_schema_is_closed_and_knows_no_null() -> None:
    """The schema of a view takes what is shown and nothing else."""
    schemas = WORDS.components(models=[ConfigView])
    assert "null" not in repr(schemas["RouteView"])
    assert "default" not in repr(schemas["RouteView"])
    everything = {"$ref": "#/components/schemas/ClusterView"}
    schema = {**everything, "components": {"schemas": schemas}}
    valid = jsonschema.Draft202012Validator(schema)
    good = ClusterView(name="c", spec=SPEC, endpoints=(), loadbalancer=TRIVIAL).dump()
    valid.validate(good)
    for bad in ({"more": 1}, {"endpoints": None}, {"spec": {"protocol": "Fancy"}}):
        assert not valid.is_valid({**good, **bad})
