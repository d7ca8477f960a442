"""
Every listener with every cluster.

``make matrix`` writes down what is found (docs/matrix.md, and what the API serves);
here every pair is held to that.  ``L7MP_MATRIX`` is the number of sessions for those
who write, which takes a while.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import pytest_twisted

from tests.conformance import checks, table
from tests.conformance.checks import MANY, STRANGERS, NotApplicable
from tests.conformance.ends import Back, Front, Inner
from tests.conformance.pair import REGISTRY
from tests.conformance.subjects import BACKS, FRONTS, protocol_of

WRITES = "L7MP_MATRIX" in os.environ
COUNT = int(os.environ.get("L7MP_MATRIX", STRANGERS))

Ask = Callable[[Any, Any], Coroutine[Any, Any, None]]


async def many(front: Front, back: Back) -> None:
    """A thousand sessions, one crowd after another, leave no descriptor or memory."""
    itself = front.name == back.name  # is asked every time, others when we write
    await checks.many_leave_nothing(front, back, MANY if itself else COUNT)


async def many_inside(front: Front, inner: Inner) -> None:
    """A thousand sessions, one crowd after another, leave no descriptor or memory."""
    await checks.many_inside_leave_nothing(front, inner, COUNT)


OF_REMOTE: dict[str, Ask] = {
    "intact": checks.conversations_are_intact,
    "large": checks.large_messages_pass,
    "half-close": checks.half_close_travels,
    "end": checks.ends_are_heard,
    "break": checks.breaks_are_heard,
    "idle": checks.silence_ends_sessions,
    "retry": checks.clients_outlive_servers,
    "many": many,
}
OF_MIXED: dict[str, Ask] = {
    **OF_REMOTE,
    "framed": checks.framing_keeps_boundaries,
}
OF_INNER: dict[str, Ask] = {
    "answer": checks.inner_answers,
    "many": many_inside,
}

PAIRS = [
    pytest.param(front, back, id=f"{front.name}-{back.name}".replace(" ", "."))
    for front in FRONTS
    for back in BACKS
]
FOUND: list[table.Cell] = []


async def examine(front: Front, back: Back | Inner) -> dict[str, Any]:
    """What is found of a pair."""
    cell = {"listener": front.name, "cluster": back.name, "verdict": "pass", "why": ""}
    outcomes: dict[str, str] = {}
    if isinstance(back, Inner):
        if back.fronts is not None and front.name not in back.fronts:
            verdict = {"verdict": "not applicable", "why": back.why_not}
            return {**cell, **verdict, "checks": {}}
        asked = OF_INNER
    else:
        asked = OF_REMOTE
        if front.traits.kind is not back.traits.kind:
            cell["verdict"], asked = "lossy", OF_MIXED
    for name, ask in asked.items():
        try:
            await ask(front, back)
            outcomes[name] = "pass"
        except NotApplicable as reason:
            outcomes[name] = str(reason)
        except AssertionError as error:
            raise AssertionError(
                f"{front.name} → {back.name}: {name}: {error}"
            ) from error
    return {**cell, "checks": outcomes}


@pytest.mark.parametrize(("front", "back"), PAIRS)
@pytest_twisted.ensureDeferred
async def test_pair(front: Front, back: Back | Inner) -> None:
    """A pair is what docs/matrix.md says of it."""
    found = await examine(front, back)
    if WRITES:
        FOUND.append(found)
    else:
        assert found == table.kept(front.name, back.name), "make matrix"


def test_written_down() -> None:
    """The page and what the API serves say the same, of every pair that there is."""
    asked = {**OF_MIXED, **OF_INNER}
    texts = {name: inspect.getdoc(ask) or "" for name, ask in asked.items()}
    if WRITES:
        table.save(FOUND, texts)
    cells = table.load()["pairs"]
    assert table.PAGE.read_text() == table.page(cells, texts)
    pairs = [(cell["listener"], cell["cluster"]) for cell in cells]
    assert pairs == [(front.name, back.name) for front in FRONTS for back in BACKS]


def test_nobody_is_left_out() -> None:
    """Every protocol of the registry has its rows and its columns."""
    protocols = REGISTRY.protocols.values()
    assert {protocol_of(front.name) for front in FRONTS} == {
        protocol.name for protocol in protocols if protocol.listen
    }
    assert {protocol_of(back.name) for back in BACKS} == {
        protocol.name for protocol in protocols if protocol.connect
    }
