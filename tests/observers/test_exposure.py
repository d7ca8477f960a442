"""A REST API that anybody can reach is worth a warning."""

from __future__ import annotations

import pytest

import l7mp.protocols
from l7mp.core.registry import Registry
from l7mp.model import declared, edit
from l7mp.observers.exposure import exposed_controllers

REGISTRY = Registry.discover(l7mp.protocols)
WORDS = REGISTRY.vocabulary()


def warnings(protocol: str, spec: dict[str, object]) -> list[str]:
    route = {"destination": {"spec": {"protocol": protocol}}}
    rules = [{"action": {"route": route}}]
    config = {"listeners": [{"name": "in", "spec": spec, "rules": rules}]}
    it = declared.Config.model_validate(config, context=WORDS)
    return list(exposed_controllers(edit.build(WORDS, it), REGISTRY.governing()))


HTTP: dict[str, object] = {"protocol": "HTTP", "port": 1}


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_is_fine(address: str) -> None:
    """Who is on this machine is trusted."""
    assert warnings("L7mpController", {**HTTP, "address": address}) == []


@pytest.mark.parametrize("spec", [HTTP, {**HTTP, "address": "192.0.2.1"}])
def test_the_network_is_not(spec: dict[str, object]) -> None:
    """The sentence names the listener and the remedy."""
    (warning,) = warnings("L7mpController", spec)
    assert '"in"' in warning
    assert "127.0.0.1" in warning


def test_other_destinations_do_not_matter() -> None:
    """Only the controller is of concern, and Unix sockets have owners."""
    assert warnings("Echo", HTTP) == []
    unix: dict[str, object] = {"protocol": "UDS", "filename": "/x"}
    assert warnings("L7mpController", unix) == []
