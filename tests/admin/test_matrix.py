"""The matrix of pairs, as the API serves it."""

from __future__ import annotations

import pytest_twisted

from tests.admin.served import Served
from tests.conformance import table


@pytest_twisted.ensureDeferred
async def test_serves_what_was_found(api: Served) -> None:
    """GET /matrix has every pair, with what each check found."""
    shown = await api.ok("GET", "/matrix")
    assert shown == table.load()
    assert {pair["verdict"] for pair in shown["pairs"]} >= {"pass", "lossy"}
