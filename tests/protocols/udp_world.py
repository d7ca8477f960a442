"""What UDP listeners and clusters live in, for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor

from l7mp.core.events import Event
from l7mp.core.registry import Context, Registry
from l7mp.errors import Loss, Reason
from l7mp.interfaces import IListening, IStream, Metadata
from l7mp.model.config import EndPoint
from l7mp.model.udp import UDPClusterSpec, UDPListenerSpec
from l7mp.observers.metrics import Metrics
from l7mp.protocols.udp import protocol
from l7mp.streams.connected import ConnectedFlow
from l7mp.streams.datagram import PeerFlow
from tests.streams.loopback import echo

WORDS = Registry.of([protocol]).vocabulary()


def listener(**spec: Any) -> UDPListenerSpec:
    """What a user declares, on any free port unless it is said which."""
    found = WORDS.listener({"protocol": "UDP", "port": 0, **spec})
    assert isinstance(found, UDPListenerSpec)
    return found


def cluster(**spec: Any) -> UDPClusterSpec:
    """What a user declares."""
    found = WORDS.cluster({"protocol": "UDP", **spec})
    assert isinstance(found, UDPClusterSpec)
    return found


class World:
    """A context, what was accepted in it, and what has to be undone."""

    def __init__(self) -> None:
        registry = Registry.of([protocol])
        self.metrics = Metrics()
        self.events: list[Event] = []
        self.context = Context(
            reactor=reactor,
            registry=registry,
            services={"metrics": self.metrics},
            owner=("listener", "in"),
            observe=self.events.append,
        )
        self.accepted: list[tuple[PeerFlow, Metadata, str]] = []
        self.flows: list[ConnectedFlow] = []
        self._listening: list[IListening] = []

    @property
    def drops(self) -> dict[str, int]:
        """What came to the listener and reached no session."""
        return dict(self.metrics.drops("in"))

    async def listen(
        self, accept: Callable[[Any], None] = echo, **spec: Any
    ) -> tuple[IListening, int]:
        """A listener, and its port."""

        def note(stream: IStream, metadata: Metadata, words: str) -> None:
            assert isinstance(stream, PeerFlow)
            self.accepted.append((stream, metadata, words))
            accept(stream)

        listening = await self.context.listen(listener(**spec), note)
        self._listening.append(listening)
        return listening, listening.address()["port"]

    async def connect(
        self,
        address: str,
        endpoint_port: int | None = None,
        metadata: Metadata | None = None,
        **spec: Any,
    ) -> ConnectedFlow:
        endpoint = EndPoint("endpoint", address, endpoint_port)
        flow = await self.context.connect(cluster(**spec), endpoint, metadata or {})
        assert isinstance(flow, ConnectedFlow)
        self.flows.append(flow)
        return flow

    def close(self) -> None:
        for flow in self.flows:
            flow.abort(Loss(Reason.FIN))
        for listening in self._listening:
            listening.stop()
        self.context.resources.close()
