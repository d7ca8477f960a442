"""One place in the ring of a session: how it is connected, and what it is now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import random
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError
from twisted.internet.task import deferLater

from l7mp.core.registry import VIRTUAL, Context
from l7mp.errors import Hopeless, LocalError, Loss, Reason, RemoteError
from l7mp.interfaces import IStream, Metadata
from l7mp.model import balance, pointer
from l7mp.model.config import Cluster, Config, EndPoint
from l7mp.model.declared import Retry
from l7mp.model.framing import Framing
from l7mp.model.hops import Stop, is_framed
from l7mp.model.retry import Event, attempt_limit, delays
from l7mp.model.spec import Vocabulary
from l7mp.streams.framed import framed


class World(Protocol):
    """What a session may ask of the proxy at any time."""

    @property
    def config(self) -> Config:
        """The configuration as it is now; names are looked up late."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The words of the configuration."""

    @property
    def context(self) -> Context:
        """What protocols may use."""


class Stage:
    """A stage of a session, connected or not; stage 0 is the source."""

    __slots__ = (
        "endpoint", "framing", "origin", "protocol", "role", "spec", "status", "stream",
    )  # fmt: skip

    def __init__(self, role: str, origin: str) -> None:
        self.role = role
        """source, ingress, destination or egress."""
        self.origin = origin
        """The listener or cluster that it comes from."""
        self.protocol = ""
        self.spec: Any = None
        self.framing: Framing | None = None
        """Its own; the one in use may be the route's."""
        self.endpoint: EndPoint | None = None
        self.stream: IStream | None = None
        self.status = "INIT"

    def fill(self, stream: IStream) -> None:
        """The stage is there."""
        self.stream = stream
        self.status = "CONNECTED"

    @property
    def stop(self) -> Stop:
        """The stage as far as boundaries are concerned."""
        return Stop(self.origin, self.spec, self.framing)


async def connect(
    world: World,
    stage: Stage,
    metadata: Metadata,
    retry: Retry,
    event: Event,
    cause: Loss,
    failed: Callable[[Loss], None],
) -> IStream:
    """
    Connect a stage, as often as ``retry`` allows after ``event``.

    ``failed`` hears of each attempt that did not work; when the last one did not
    either, ``RemoteError`` says why; if none is allowed, that is ``cause``.
    A ``Hopeless`` attempt is the last one, whatever ``retry`` allows.
    """
    loss = cause
    for pause in delays(retry, event):
        if pause:
            stage.status = "RETRYING"
            await deferLater(world.context.reactor, pause)
        try:
            return await _attempt(world, stage, metadata, attempt_limit(retry))
        except CancelledError:
            raise
        except Hopeless as error:
            failed(error.loss)
            raise
        except Exception as error:  # noqa: BLE001  # a protocol's bug is a failure
            loss = loss_of(error)
            failed(loss)
    raise RemoteError(loss)


async def _attempt(
    world: World, stage: Stage, metadata: Metadata, limit: float
) -> IStream:
    cluster = _cluster(world, stage.origin)
    endpoint = choose(cluster, metadata)
    stage.endpoint, stage.spec = endpoint, cluster.spec
    stage.protocol, stage.framing = cluster.spec.protocol, cluster.framing
    context = world.context.on_behalf_of("cluster", cluster.name)
    connecting = context.connect(cluster.spec, endpoint, metadata)
    if not connecting.called:
        connecting = within(connecting, limit, context.reactor, endpoint.address)
    stream: IStream = await connecting
    return stream


def _cluster(world: World, name: str) -> Cluster:
    cluster = world.config.clusters.get(name)
    if cluster is None:
        raise RemoteError(Loss(Reason.NO_CLUSTER, f'there is no cluster "{name}"'))
    return cluster


async def dial(
    world: World, name: str, metadata: Metadata, made: Callable[[str, IStream], None]
) -> IStream:
    """
    Connect to a cluster that is no stage of its own, with the cluster's framing.

    ``made`` is told the name of the endpoint, and the stream to it.
    """
    cluster = _cluster(world, name)
    context = world.context.on_behalf_of("cluster", name)
    endpoint = choose(cluster, metadata)
    stream: IStream = await context.connect(cluster.spec, endpoint, metadata)
    made(endpoint.name, stream)
    framing = cluster.framing
    if framing is not None and is_framed(framing):
        return framed(stream, framing.format, framing.max_message)
    return stream


def within(
    waiting: Deferred[IStream], limit: float, clock: Any, who: str
) -> Deferred[IStream]:
    """``waiting``, given up after ``limit`` seconds."""

    def late(_: object, seconds: float) -> IStream:
        raise RemoteError(Loss(Reason.TIMEOUT, f"{who} took over {seconds:g} s"))

    return waiting.addTimeout(limit, clock, onTimeoutCancel=late)


def choose(cluster: Cluster, metadata: Metadata) -> EndPoint:
    """The endpoint of ``cluster`` for a session with this metadata."""
    if cluster.virtual:
        return EndPoint(cluster.name, VIRTUAL)
    key: Any = pointer.MISSING
    if cluster.key is not None:
        key = pointer.get(metadata, cluster.key)
    chosen = balance.choose(
        cluster.loadbalancer.policy, key, cluster.endpoints, random()
    )
    if chosen is None:
        what = f'cluster "{cluster.name}" has no endpoint to choose'
        raise RemoteError(Loss(Reason.NO_ENDPOINT, what))
    return chosen


_REASONS: Mapping[type[BaseException], Reason] = {
    ConnectionRefusedError: Reason.REFUSED,
    DNSLookupError: Reason.UNREACHABLE,
    ConnectError: Reason.UNREACHABLE,
}


def loss_of(error: BaseException) -> Loss:
    """What an exception of a connection attempt means."""
    if isinstance(error, RemoteError):
        return error.loss
    for kind, reason in _REASONS.items():
        if isinstance(error, kind):
            return Loss(reason, str(error))
    if isinstance(error, LocalError):
        return Loss(Reason.LOCAL, str(error))
    return Loss(Reason.LOCAL, f"{type(error).__name__}: {error}")
