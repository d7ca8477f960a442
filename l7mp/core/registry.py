"""Which protocols there are: a value that is passed around, never a global."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred

from l7mp.core.events import Event, Observer, Warned
from l7mp.interfaces import ICloseable, IListening, IStream, Kind, Metadata
from l7mp.model.config import EndPoint
from l7mp.model.spec import Spec, Vocabulary

T = TypeVar("T")

Accept = Callable[[IStream, Metadata, str], None]
"""
Called by a listener with a newborn stream, what is known of it, and the words that
tell it apart (``"192.0.2.1:5000-198.51.100.1:80"``; empty: the listener's name).
"""


def _unheard(event: Event) -> None:
    """Nobody observes."""


VIRTUAL = "<VIRTUAL>"
"""The address of the one endpoint of a cluster that reaches nothing remote."""


class Resources:
    """
    What protocols keep beyond one session: shared sockets, files, rooms.

    Everything has an owner, by convention a tuple that begins with the protocol's
    name or with ``("cluster", name)``; what is owned goes when the owner does.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[object, ...], Any] = {}

    def get(self, owner: tuple[object, ...], make: Callable[[], T]) -> T:
        """The owner's resource, made when it is first asked for."""
        if owner not in self._held:
            self._held[owner] = make()
        return cast(T, self._held[owner])

    def forget(self, owner: tuple[object, ...]) -> None:
        """Drop the owner's resource, closing it if it can be closed."""
        resource = ICloseable(self._held.pop(owner, None), None)
        if resource is not None:
            resource.close()

    def forget_all(self, owner: tuple[object, ...]) -> None:
        """The same for everybody whose name begins with the owner's."""
        for one in [one for one in self._held if one[: len(owner)] == owner]:
            self.forget(one)

    def close(self) -> None:
        """Drop everything."""
        for owner in list(self._held):
            self.forget(owner)


Dial = Callable[[str, Metadata], Deferred[IStream]]
"""Makes a held stream to an endpoint of a cluster; fails like a ``Connect``."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a protocol may use of the world."""

    reactor: Any
    registry: Registry
    resources: Resources = field(default_factory=Resources)
    services: Mapping[str, Any] = field(default_factory=dict)
    """What the composition root lends: ``controller`` (an ``IResource``), …"""
    dial: Dial | None = None
    """Connects to a cluster by its name, as it is configured then; the proxy's."""
    owner: tuple[str, str] = ("", "")
    """Who asks: ``("listener", name)`` or ``("cluster", name)``."""

    observe: Observer = _unheard
    """Tells the observers of the proxy what happened."""

    def warn(self, message: str) -> None:
        """Tell the operator something about who asks."""
        self.observe(Warned(" ".join(self.owner), message))

    def drops(self) -> dict[str, int]:
        """Counts what comes to the listener that asks and reaches no session."""
        metrics = self.services.get("metrics")
        found: dict[str, int] = metrics.drops(self.owner[1]) if metrics else {}
        return found

    def on_behalf_of(self, kind: str, name: str) -> Context:
        """The same world, seen by one listener or cluster."""
        return replace(self, owner=(kind, name))

    def listen(self, spec: Spec, accept: Accept) -> Deferred[IListening]:
        """Listen as ``spec`` says, whatever its protocol."""
        listen = self.registry.protocols[spec.protocol].listen
        assert listen is not None, f"{spec.protocol} cannot listen"
        return listen(self, spec, accept)

    def connect(
        self, spec: Spec, endpoint: EndPoint, metadata: Metadata
    ) -> Deferred[IStream]:
        """Connect as ``spec`` says, whatever its protocol."""
        connect = self.registry.protocols[spec.protocol].connect
        assert connect is not None, f"{spec.protocol} cannot connect"
        return connect(self, spec, endpoint, metadata)

    def prepare(self, spec: Spec) -> None:
        """Check what a cluster says against this machine; raises ``LocalError``."""
        prepare = self.registry.protocols[spec.protocol].prepare
        if prepare is not None:
            prepare(self, spec)


Listen = Callable[[Context, Any, Accept], Deferred[IListening]]
"""Begins to listen; fails with ``LocalError`` (a port in use) saying what and why."""

Connect = Callable[[Context, Any, EndPoint, Metadata], Deferred[IStream]]
"""Makes a held stream; fails with ``RemoteError``; can be cancelled at any time."""


Prepare = Callable[[Context, Any], None]
"""Checks a cluster's spec before it is in effect; raises ``LocalError`` (no such file)."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Everything the proxy knows about one protocol."""

    name: str
    kind: Kind | None
    """None for a transform that keeps the kind of what is fed to it."""
    takes: tuple[Kind, ...] = ()
    """The kinds that can be written to it, where not just its own."""
    summary: str
    listener: type[Spec] | None = None
    listen: Listen | None = None
    cluster: type[Spec] | None = None
    connect: Connect | None = None
    prepare: Prepare | None = None
    virtual: bool = False
    """Whether clusters of it reach nothing remote and so have no endpoints."""
    balanced: bool = True
    """Whether a load balancer is shown where none was given, as the original does."""
    governs: bool = False
    """Whether its sessions can change the proxy, which not everybody should."""
    tag: str = ""
    """What names of its sessions begin with; the protocol's name if empty."""
    aliases: tuple[str, ...] = ()
    """Other spellings that configurations use."""


@dataclass(frozen=True)
class Registry:
    """Protocols by name."""

    protocols: Mapping[str, Protocol]

    @classmethod
    def of(cls, protocols: Iterable[Protocol]) -> Registry:
        """Make a registry, refusing two protocols of the same name."""
        named: dict[str, Protocol] = {}
        for protocol in protocols:
            if protocol.name in named:
                raise ValueError(f"two protocols are called {protocol.name}")
            named[protocol.name] = protocol
        return cls(named)

    @classmethod
    def discover(cls, package: ModuleType) -> Registry:
        """The ``protocol`` of every module in ``package``."""
        return cls.of(
            import_module(f"{package.__name__}.{module.name}").protocol
            for module in pkgutil.iter_modules(package.__path__)
        )

    def governing(self) -> frozenset[str]:
        """The protocols whose sessions can change the proxy."""
        return frozenset(p.name for p in self.protocols.values() if p.governs)

    def vocabulary(self) -> Vocabulary:
        """The words of configuration these protocols make up."""
        every = self.protocols.values()
        return Vocabulary(
            listeners={p.name: p.listener for p in every if p.listener},
            clusters={p.name: p.cluster for p in every if p.cluster},
            virtual=frozenset(p.name for p in every if p.virtual),
            unbalanced=frozenset(p.name for p in every if not p.balanced),
            aliases={a.lower(): p.name for p in every for a in p.aliases},
            kinds={p.name: None if p.kind is None else p.kind.value for p in every},
            takes={
                p.name: p.takes[0].value if len(p.takes) == 1 else None
                for p in every
                if p.takes
            },
        )
