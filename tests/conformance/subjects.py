"""The rows and the columns of the matrix."""

from __future__ import annotations

from tests.conformance import (
    associations,
    described,
    headed,
    packets,
    pipes,
    programs,
    secure,
    sockets,
    web,
)
from tests.conformance.ends import Back, Front, Inner
from tests.conformance.inners import INNERS

FRONTS: tuple[Front, ...] = (
    *sockets.FRONTS,
    *secure.FRONTS,
    *web.FRONTS,
    *headed.FRONTS,
    *packets.FRONTS,
    *pipes.FRONTS,
    *described.FRONTS,
    *associations.FRONTS,
)
BACKS: tuple[Back | Inner, ...] = (
    *sockets.BACKS,
    *secure.BACKS,
    *web.BACKS,
    *headed.BACKS,
    *packets.BACKS,
    *pipes.BACKS,
    *described.BACKS,
    *programs.BACKS,
    *associations.BACKS,
    *INNERS,
)


def protocol_of(name: str) -> str:
    """The protocol of a row or a column; what stands in brackets is a way to use it."""
    return name.partition(" ")[0]
