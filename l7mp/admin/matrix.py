"""Which listeners have been proven to work with which clusters."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Literal

from l7mp.admin.operation import Call, Operation
from l7mp.model.view import View


class PairView(View):
    """What was found of one listener with one cluster."""

    listener: str
    """The protocol, and in brackets the way it was used."""
    cluster: str
    """The same."""
    verdict: Literal["pass", "lossy", "not applicable"]
    """Lossy: bytes are intact, boundaries of messages are not kept without a framing."""
    why: str
    """Why it is not applicable."""
    checks: dict[str, str]
    """For each check ``pass``, or why it cannot be asked of this pair."""


class MatrixView(View):
    """What was found of every pair, when this version was tested."""

    checks: dict[str, str]
    """What is asked of a pair, by the name of the check."""
    pairs: tuple[PairView, ...]


@cache
def _found() -> MatrixView:
    """What ``make matrix`` has written down."""
    text = files("l7mp.admin").joinpath("matrix.json").read_text()
    return MatrixView(**json.loads(text))


async def _get(call: Call) -> MatrixView:
    return _found()


OPERATIONS = (
    Operation(
        name="getMatrix",
        method="GET",
        path="/matrix",
        summary="Get what was found of every listener with every cluster",
        handler=_get,
        reply=MatrixView,
    ),
)
