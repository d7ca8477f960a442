"""Writes docs/configuration.rst from the models; run it as ``make reference``."""

from __future__ import annotations

from pathlib import Path

import l7mp.protocols
from l7mp.core.registry import Registry
from l7mp.model.reference import reference

TARGET = Path(__file__).parent.parent / "docs" / "configuration.rst"

if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(reference(Registry.discover(l7mp.protocols).vocabulary()))
