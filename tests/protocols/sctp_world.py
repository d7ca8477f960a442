"""Listeners and clusters of SCTP, in user space over UDP on the loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet import reactor

from l7mp.core.events import Event, Warned
from l7mp.core.registry import Context, Registry
from l7mp.interfaces import IListening, Metadata
from l7mp.model.config import EndPoint
from l7mp.protocols import sctp
from l7mp.streams.association_stream import AssociationStream
from tests.streams.loopback import until
from tests.streams.userland import started

REGISTRY = Registry.of([sctp.protocol])
WORDS = REGISTRY.vocabulary()
HOST = "127.0.0.1"


class World:
    """A listener, what came to it, and a context that is closed in the end."""

    def __init__(self) -> None:
        started()
        self.warned: list[str] = []
        self.counted: dict[str, int] = {}
        self.context = Context(
            reactor=reactor,
            registry=REGISTRY,
            services={"metrics": self},
            observe=self._observe,
        )
        self.came: list[tuple[AssociationStream, Metadata, str]] = []
        self.places: list[IListening] = []

    def _observe(self, event: Event) -> None:
        assert isinstance(event, Warned)
        self.warned.append(event.message)

    def drops(self, listener: str) -> dict[str, int]:
        """In place of the metrics."""
        return self.counted

    async def listen(self, **said: Any) -> dict[str, Any]:
        """Where it listens."""
        spec = {"port": 0, "address": HOST, "encapsulation": {"port": 0}, **said}
        declared = WORDS.listener({"protocol": "SCTP", **spec})

        def accept(stream: Any, metadata: Metadata, words: str) -> None:
            self.came.append((stream, metadata, words))

        place = await self.context.listen(declared, accept)
        self.places.append(place)
        return place.address()

    async def connect(
        self,
        where: dict[str, Any],
        metadata: Metadata | None = None,
        address: str = HOST,
        **said: Any,
    ) -> AssociationStream:
        """To what listens there."""
        spec: dict[str, Any] = {"port": where["port"]}
        if "encapsulation" in where:
            spec["encapsulation"] = {"remote_port": where["encapsulation"]["port"]}
        declared = WORDS.cluster({"protocol": "SCTP", **spec, **said})
        found: Any = await self.context.connect(
            declared, EndPoint("e", address), metadata or {}
        )
        return found  # type: ignore[no-any-return]

    async def arrival(self) -> tuple[AssociationStream, Metadata, str]:
        """The latest session."""
        await until(lambda: self.came)
        return self.came[-1]


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    made = World()
    try:
        yield made
    finally:
        for place in made.places:
            await place.stop()
        made.context.resources.close()
