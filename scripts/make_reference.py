"""Writes docs/configuration.rst and docs/protocols/; run as ``make reference``."""

from __future__ import annotations

from pathlib import Path

import l7mp.protocols
from l7mp.core.registry import Registry
from l7mp.model.reference import page, reference

DOCS = Path(__file__).parent.parent / "docs"
PAGES = DOCS / "protocols"

if __name__ == "__main__":
    registry = Registry.discover(l7mp.protocols)
    words = registry.vocabulary()
    (DOCS / "configuration.rst").write_text(reference(words))
    for name, protocol in registry.protocols.items():
        told = PAGES / "parts" / f"{name.lower()}.rst"
        if not told.exists():
            raise SystemExit(f"{told} is to be written by hand")
        text = page(words, name, protocol.summary, told.read_text())
        (PAGES / f"{name.lower()}.rst").write_text(text)
