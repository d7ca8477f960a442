"""What tests of the core share: a proxy over streams of nothing."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from l7mp.core.events import Event
from l7mp.core.proxy import Proxy
from l7mp.core.registry import Context, Protocol, Registry
from l7mp.errors import LocalError, Loss, Reason, RemoteError
from l7mp.interfaces import IListening, IStream, Kind
from l7mp.model import declared, edit
from l7mp.model.spec import Spec
from l7mp.protocols import discard, echo, logger
from l7mp.streams.transform import TransformStream
from l7mp.testing import Memory
from l7mp.wire.transform import Identity


class NearSpec(Spec):
    """A listener or cluster of memory."""

    port: int = 1
    broken: bool = False


@implementer(IListening)
class Near:
    """The listener of ``Fake`` protocols."""

    def __init__(self, fake: Fake, spec: NearSpec, accept: Any) -> None:
        self.fake, self.spec, self.accept = fake, spec, accept
        self.stopped = False

    def address(self) -> dict[str, Any]:
        return {"port": self.spec.port}

    def stop(self) -> Deferred[None]:
        self.stopped = True
        self.fake.near.remove(self)
        return succeed(None)


class Fake:
    """A protocol whose peers are this test; ``outcomes`` says how attempts go."""

    def __init__(self, name: str, kind: Kind = Kind.DATAGRAMS) -> None:
        self.near: list[Near] = []
        self.made: list[Memory] = []
        self.endpoints: list[str] = []
        self.outcomes: list[Reason | Deferred[IStream] | Exception] = []
        self.kind = kind
        self.protocol = Protocol(
            name=name, kind=kind, summary="for tests", listener=NearSpec,
            listen=self._listen, cluster=NearSpec, connect=self._connect,
        )  # fmt: skip

    def _listen(self, context: Any, spec: NearSpec, accept: Any) -> Deferred[Any]:
        if spec.broken:
            return fail(LocalError("port in use"))
        self.near.append(Near(self, spec, accept))
        return succeed(self.near[-1])

    def _connect(self, context: Any, spec: Any, endpoint: Any, about: Any) -> Any:
        self.endpoints.append(endpoint.name)
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, Reason):
            return fail(RemoteError(Loss(outcome, "as told")))
        if isinstance(outcome, Exception):
            return fail(outcome)
        if outcome is not None:
            return outcome
        self.made.append(Memory(self.kind))
        return succeed(self.made[-1])


class World:
    """A proxy, its clock, its fakes and what it said."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.bytes, self.messages = Fake("Bytes", Kind.BYTES), Fake("Messages")
        self.registry = Registry.of(
            [self.bytes.protocol, self.messages.protocol, echo.protocol,
             discard.protocol, logger.protocol]
        )  # fmt: skip
        self.events: list[Event] = []
        self.proxy = Proxy(Context(reactor=self.clock, registry=self.registry))
        self.proxy.subscribe(self.events.append)
        self.words = self.registry.vocabulary()

    def say(self, model: Any, value: Any) -> Any:
        """A declaration."""
        return model.model_validate(value, context=self.words)

    def configure(self, **sections: Any) -> Deferred[Any]:
        """Replace the configuration."""
        it = self.say(declared.Config, sections)
        return self.proxy.edit(lambda c: edit.replace_all(c, self.words, it))

    def route(
        self, protocol: str = "Messages", to: str = "Messages", **route: Any
    ) -> None:
        """One listener ``in`` with one route to the cluster ``out``."""
        done = self.configure(
            clusters=[{"name": "out", "spec": {"protocol": to},
                       "endpoints": [{"name": "e1", "spec": {"address": "a"}},
                                     {"name": "e2", "spec": {"address": "b"}}]}],
            listeners=[{"name": "in", "spec": {"protocol": protocol},
                        "rules": [{"action": {"route": {"destination": "out", **route}}}]}],
        )  # fmt: skip
        assert done.called, "the configuration is carried out at once"
        done.addErrback(lambda failure: failure.raiseException())

    def arrive(self, kind: Kind = Kind.DATAGRAMS, **metadata: Any) -> Memory:
        """A peer comes to the first listener."""
        source = Memory(kind)
        near = (self.messages.near + self.bytes.near)[0]
        near.accept(source, metadata, "")
        return source

    @property
    def session(self) -> Any:
        """The only session."""
        (session,) = self.proxy.sessions.values()
        return session

    def said(self, *kinds: type[Event]) -> list[str]:
        """The names of what happened, or only of some kinds."""
        return [
            type(e).__name__ for e in self.events if not kinds or isinstance(e, kinds)
        ]


def same() -> TransformStream:
    """A transform that changes nothing."""
    return TransformStream(Identity())
