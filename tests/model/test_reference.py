"""The reference that is written from the models."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import l7mp.protocols
from l7mp.core.registry import Registry
from l7mp.model.reference import page, reference

REGISTRY = Registry.discover(l7mp.protocols)
WORDS = REGISTRY.vocabulary()
DOCS = Path(__file__).parent.parent.parent / "docs"


def test_committed_reference_is_current() -> None:
    """docs/configuration.rst is what ``make reference`` writes."""
    assert (DOCS / "configuration.rst").read_text() == reference(WORDS), (
        "run make reference"
    )


@pytest.mark.parametrize("name", REGISTRY.protocols)
def test_every_protocol_has_its_page(name: str) -> None:
    """docs/protocols has, of each, what is told by hand and what it can be told."""
    file = f"{name.lower()}.rst"
    told = (DOCS / "protocols" / "parts" / file).read_text()
    made = page(WORDS, name, REGISTRY.protocols[name].summary, told)
    assert (DOCS / "protocols" / file).read_text() == made, "run make reference"
    for link in re.findall(r"`(\w+)`_", made):
        assert f".. _{link}:" in made, f"{name}: {link}"


@pytest.mark.parametrize("name", REGISTRY.protocols)
def test_every_protocol_is_described(name: str) -> None:
    """Each protocol of the registry has its section, with every field of its specs."""
    text = reference(WORDS)
    assert f"\n{name}\n{'=' * len(name)}\n" in text
    for side, of in (("listener", WORDS.listeners), ("cluster", WORDS.clusters)):
        if name in of:
            section = text.split(f"\n{name} {side} spec\n")[1].split("\n====")[0]
            fields = {i.alias or n for n, i in of[name].model_fields.items()}
            assert all(f"``{one}``: " in section for one in fields - {"protocol"})


def test_types_defaults_and_docstrings_are_shown() -> None:
    """A field is shown with its type, its default and its docstring."""
    text = reference(WORDS)
    assert (
        "``timeout``: a whole number of milliseconds; default ``2000``\n"
        "    How long an attempt may take" in text
    )
    assert "``port``: a port number; required\n" in text
    assert '``log_format``: ``"text"`` or ``"hex"``; default ``"text"``' in text


def test_what_is_referred_to_is_described() -> None:
    """Every link leads to an object that is described."""
    text = reference(WORDS)
    for line in text.splitlines():
        for link in line.split("`_")[:-1]:
            assert f"\n.. _{link.rpartition('`')[2]}:\n" in text, line
