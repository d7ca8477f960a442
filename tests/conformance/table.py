"""What was found of every pair, as it is kept, served and read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
KEPT = ROOT / "l7mp" / "admin" / "matrix.json"
PAGE = ROOT / "docs" / "matrix.md"

Cell = Mapping[str, Any]
"""``verdict`` (pass, lossy, not applicable), ``why``, and what each check found."""

_SIGNS = {"pass": "✓", "lossy": "≈", "not applicable": "·"}

_HEAD = """# Any to any

Every listener beside every cluster, as `make matrix` found it on real sockets with
peers of another make; the tests hold each pair to it. A proxy tells the same at
`GET /api/v1/matrix`.

| Sign | Meaning |
| --- | --- |
| ✓ | passes, message boundaries included where both sides have them |
| ≈ | passes, but one side has messages and the other has bytes: boundaries are lost, with a warning, unless the route names a framing, with which they are kept |
| · | not applicable; the reasons are below |

"""


def load() -> dict[str, Any]:
    """What was found last; empty if nothing was."""
    if not KEPT.exists():
        return {"checks": {}, "pairs": []}
    found: dict[str, Any] = json.loads(KEPT.read_text())
    return found


def kept(listener: str, cluster: str) -> Cell | None:
    """What was found last of one pair."""
    for cell in load()["pairs"]:
        if (cell["listener"], cell["cluster"]) == (listener, cluster):
            return dict(cell)
    return None


def save(cells: list[Cell], checks: Mapping[str, str]) -> None:
    """Keep what was found, for the proxy and for people."""
    KEPT.write_text(json.dumps({"checks": checks, "pairs": cells}, indent=1) + "\n")
    PAGE.write_text(page(cells, checks))


def page(cells: list[Cell], checks: Mapping[str, str]) -> str:
    """The same for people."""
    rows = list(dict.fromkeys(cell["listener"] for cell in cells))
    columns = list(dict.fromkeys(cell["cluster"] for cell in cells))
    found = {(cell["listener"], cell["cluster"]): cell for cell in cells}
    lines = ["| listener ╲ cluster | " + " | ".join(columns) + " |"]
    lines.append("| --- |" + " :-: |" * len(columns))
    for row in rows:
        signs = (_SIGNS[found[row, column]["verdict"]] for column in columns)
        lines.append(f"| {row} | " + " | ".join(signs) + " |")
    asked = ["", "## What is asked of every pair", ""]
    asked += [f"- **{name}**: {text}" for name, text in checks.items()]
    return _HEAD + "\n".join([*lines, *asked, "", *_exceptions(cells)]) + "\n"


def _exceptions(cells: list[Cell]) -> list[str]:
    """What does not apply, by reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        pair = f"{cell['listener']} → {cell['cluster']}"
        if cell["verdict"] == "not applicable":
            reasons.setdefault(("everything", cell["why"]), []).append(pair)
        for name, outcome in cell["checks"].items():
            if outcome != "pass" and cell["verdict"] != "not applicable":
                reasons.setdefault((name, outcome), []).append(pair)
    lines = ["## What does not apply, and why", ""]
    lines += ["| Check | Why | Pairs |", "| --- | --- | --- |"]
    for (name, why), pairs in reasons.items():
        shown = ", ".join(pairs) if len(pairs) <= 4 else f"{len(pairs)} pairs"
        lines.append(f"| {name} | {why} | {shown} |")
    return lines
