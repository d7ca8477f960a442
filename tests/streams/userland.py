"""Associations of the user-space stack, over real UDP on the loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from twisted.internet import reactor

from l7mp.errors import LocalError
from l7mp.streams.address import Numeric, literal
from l7mp.streams.association import Association
from l7mp.streams.association_stream import AssociationStream, Attempt, Manner
from l7mp.streams.carrier import Carrier
from l7mp.streams.stack import Door, Stack
from l7mp.streams.usrsctp import Engine, Tuning, engine
from tests.streams.links import Remembering
from tests.streams.loopback import Collector, until

HOST = "127.0.0.1"
TUNING = Tuning(streams=10, heartbeat=30, retransmissions=10)


def started() -> Engine:
    """The library, or a skip that says how to get it."""
    try:
        return engine()
    except LocalError as error:
        pytest.skip(str(error))


def place(port: int = 0, host: str = HOST) -> Numeric:
    """An address as the streams want it."""
    found = literal(host, port)
    assert found is not None
    return found


class Userland:
    """A stack with a listener, and what came there."""

    def __init__(self) -> None:
        self.stack = Stack(reactor, started())
        self.carrier = self.stack.udp(place())
        self.came: list[Association] = []
        self.door = self.open(self.came)

    def open(self, came: list[Association], **changes: Any) -> Door:
        """Another door; on the same carrier unless told otherwise."""

        def accept(association: Association) -> None:
            association.owner = Remembering()
            came.append(association)

        about = {"carriers": [self.carrier], "port": 0, "hosts": None, **changes}
        door = Door(accept=accept, **about)
        self.stack.listen(door, TUNING)
        return door

    def attempt(
        self,
        port: int | None = None,
        own: int = 0,
        udp_port: int | None = None,
        carrier: Carrier | None = None,
    ) -> Attempt:
        """A try to reach the listener, or another port."""
        it = Attempt()
        it.association = self.stack.connect(
            carrier or self.stack.udp(place(host="0.0.0.0")),
            (HOST, udp_port or self.carrier.own[1]),
            (own, port or self.door.port),
            TUNING,
            it,
        )
        return it

    async def pair(self) -> tuple[AssociationStream, AssociationStream]:
        """Both ends of a new association, newborn."""
        count = len(self.came)
        near = await self.attempt().made
        await until(lambda: len(self.came) > count)
        return (
            AssociationStream(near, Manner()),
            AssociationStream(self.came[-1], Manner()),
        )


@asynccontextmanager
async def userland() -> AsyncIterator[Userland]:
    """One whose stack is closed in the end, with nothing left of it."""
    made = Userland()
    library = made.stack.engine
    faults, sockets, paths = library.faults, len(library._sockets), len(library._paths)
    try:
        yield made
    finally:
        made.stack.close()
        assert library.faults == faults
        assert len(library._sockets) <= sockets
        assert len(library._paths) <= paths
        assert made.stack not in library.clocks


__all__ = ["Collector", "Userland", "place", "started", "until", "userland"]
