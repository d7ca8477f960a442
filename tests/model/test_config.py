"""The configuration as the proxy runs it."""

from __future__ import annotations

from l7mp.model.config import Config, Rule
from tests.model.vocabulary import built, cluster


def test_endpoint_by_name() -> None:
    """An endpoint is found with the cluster that it belongs to."""
    config = built(clusters=[cluster(name="a"), cluster("UDP", "x", "y", name="b")])
    found = config.endpoint("b-EndPoint-1")
    assert found is not None
    assert (found[0].name, found[1].address) == ("b", "y")
    assert config.endpoint("b-EndPoint-2") is None


def test_default_predicate() -> None:
    """A rule without a predicate holds always."""
    assert Rule("r", None, (), None, None).matches({})


def test_counters_make_no_difference() -> None:
    """Configurations that only count differently are equal."""
    assert Config(serials={"Rule": 7}) == Config()
