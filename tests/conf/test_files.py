"""Every example under conf/ loads, and says how to try it."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import yaml

import l7mp.protocols
from l7mp import tap
from l7mp.core.registry import Registry
from l7mp.model import declared, edit
from l7mp.model.viewer import Viewer
from tests.conf.running import CONF, FILES, HOST

PLACES = ("port", "filename", "interface", "path", "server")
"""The keys that say where a listener is."""


@pytest.mark.parametrize("name", FILES)
def test_loads(name: str) -> None:
    """Every file in conf/ is a configuration without a single problem."""
    options = tap.Options()
    options.parseOptions(["-c", str(CONF / name)])
    config = tap.configuration(options, Registry.discover(l7mp.protocols))
    assert config.listeners


@pytest.mark.parametrize("is_recursive", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_comes_back(name: str, is_recursive: bool) -> None:
    """What REST shows of a configuration can be sent back, and changes nothing."""
    options = tap.Options()
    options.parseOptions(["-c", str(CONF / name)])
    registry = Registry.discover(l7mp.protocols)
    words = registry.vocabulary()

    def shown(config: Any) -> Any:
        view = Viewer(config, words.flow_of).config("1", (), is_recursive)
        return json.loads(json.dumps(view.dump()))

    config = tap.configuration(options, registry)
    said = declared.Config.model_validate(shown(config), context=words)
    change = edit.replace_all(config, words, said)
    assert shown(change.config) == shown(edit.build(words, said)) == shown(config)
    assert not change.severed


def spoken(value: Any) -> set[str]:
    """What is given as a protocol anywhere."""
    if isinstance(value, list):
        return set().union(*map(spoken, value))
    if not isinstance(value, dict):
        return set()
    own = {value["protocol"]} if isinstance(value.get("protocol"), str) else set()
    return own | spoken(list(value.values()))


def test_every_protocol_has_an_example() -> None:
    """There is no protocol that no file in conf/ speaks."""
    registry = Registry.discover(l7mp.protocols)
    words = registry.vocabulary()
    texts = [yaml.safe_load((CONF / name).read_text()) for name in FILES]
    assert {words.canonical(word) for word in spoken(texts)} == set(registry.protocols)


def test_ports_are_distinct() -> None:
    """Examples can run beside each other: no two listen at the same place."""
    seen: dict[tuple[str, Any], str] = {}
    for name in FILES:
        for listener in yaml.safe_load((CONF / name).read_text())["listeners"]:
            spec = listener["spec"].get("transport", listener["spec"])
            own = next(spec[key] for key in PLACES if key in spec)
            where = (spec["protocol"], own)
            assert where not in seen, f"{name} and {seen.get(where)}: {where}"
            seen[where] = name
            local = "port" not in spec or spec["address"] == HOST
            assert local or spec["multicast"]["interface"] == "lo", name


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".yaml")])
def test_says_how_to_try_it(name: str) -> None:
    """An example begins with a comment that has commands to try it with."""
    lines = (CONF / name).read_text().splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
    assert any(line.startswith("#   ") for line in comment)
