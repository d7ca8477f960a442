"""One stage by itself, between a writer and a memory."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure

from l7mp.core.registry import Context, Registry
from l7mp.interfaces import SINK, Metadata
from l7mp.model.config import EndPoint
from l7mp.testing import Memory

OUT = EndPoint("out", "<VIRTUAL>")


class One:
    """The cluster ``out`` of a virtual protocol."""

    def __init__(
        self, module: ModuleType, /, reactor: Any = None, **services: Any
    ) -> None:
        self.registry = Registry.of([module.protocol])
        self.name = module.protocol.name
        self.context = Context(
            reactor=reactor or Clock(), registry=self.registry, services=services
        ).on_behalf_of("cluster", "out")

    def connect(
        self, metadata: Metadata | None = None, **spec: Any
    ) -> tuple[Any, Memory]:
        """A stage of a session and what it delivers to, flowing."""
        words = self.registry.vocabulary()
        declared = words.cluster({"protocol": self.name, **spec})
        made: list[Any] = []
        connecting = self.context.connect(declared, OUT, metadata or {})
        connecting.addCallback(made.append)
        connecting.addErrback(made.append)
        (stream,) = made
        if isinstance(stream, Failure):
            stream.raiseException()
        sink = Memory()
        stream.deliver_to(sink)
        stream.release(SINK)
        return stream, sink
