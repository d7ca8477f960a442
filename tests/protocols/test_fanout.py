"""FanOut: a cluster of clusters."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from pydantic import ValidationError
from twisted.internet.defer import CancelledError, Deferred

from l7mp.core.events import Ended, Noted
from l7mp.core.registry import Context, Registry
from l7mp.errors import LocalError, Loss, Reason, RemoteError
from l7mp.interfaces import IStream
from l7mp.model import edit
from l7mp.model.config import EndPoint
from l7mp.protocols import fanout
from l7mp.testing import Memory
from tests.protocols.real import LOOPBACK, real
from tests.streams.loopback import peers, until, unused_port

TWO = ("a", "b")


class Dialled:
    """A fan-out whose branches are connected by hand."""

    def __init__(self, clusters: tuple[str, ...] = TWO, **spec: Any) -> None:
        self.calls: dict[str, Deferred[IStream]] = {}
        self.streams = {name: Memory() for name in clusters}
        registry = Registry.of([fanout.protocol])
        context = Context(reactor=None, registry=registry, dial=self._dial)
        words = registry.vocabulary()
        said = {"protocol": "FanOut", "clusters": [*clusters], **spec}
        self.outcome: list[Any] = []
        self.connecting = context.connect(words.cluster(said), EndPoint("f", "x"), {})
        self.connecting.addBoth(self.outcome.append)

    def _dial(self, name: str, metadata: object) -> Deferred[IStream]:
        return self.calls.setdefault(name, Deferred())

    def connect(self, name: str) -> None:
        self.calls[name].callback(self.streams[name])

    def fail(self, name: str) -> None:
        self.calls[name].errback(RemoteError(Loss(Reason.REFUSED, name)))

    @property
    def loss(self) -> Loss:
        """Why it could not be connected."""
        (failure,) = self.outcome
        assert isinstance(failure.value, RemoteError)
        return failure.value.loss


def test_all_have_to_be_there() -> None:
    """In mode all it is connected with the last, and one failure is everybody's."""
    world = Dialled()
    world.connect("a")
    assert not world.outcome
    world.connect("b")
    (fan,) = world.outcome
    assert [branch.stream for branch in fan.branches] == list(world.streams.values())
    world = Dialled()
    world.connect("a")
    world.fail("b")
    assert world.loss == Loss(Reason.REFUSED, "b")
    assert world.streams["a"].loss is not None


def test_all_that_can_be_reached() -> None:
    """With on_loss drop it is connected with those that are, if there are any."""
    world = Dialled(on_loss="drop")
    world.fail("a")
    world.connect("b")
    (fan,) = world.outcome
    assert [branch.is_out for branch in fan.branches] == [True, False]
    world = Dialled(on_loss="drop")
    world.fail("a")
    world.fail("b")
    assert world.loss == Loss(Reason.REFUSED, "b")


def test_a_mirror_is_not_waited_for() -> None:
    """In mode mirror the first counts, and only that."""
    world = Dialled(mode="mirror")
    world.fail("b")
    assert not world.outcome
    world.connect("a")
    assert len(world.outcome) == 1
    world = Dialled(mode="mirror")
    world.connect("b")
    world.fail("a")
    assert world.loss == Loss(Reason.REFUSED, "a")


def test_the_first_to_be_connected() -> None:
    """Where that is to win the others are let go at once."""
    world = Dialled(mode="first", wins="connect")
    cancelled: list[Any] = []
    world.calls["a"].addErrback(cancelled.append)
    world.connect("b")
    (fan,) = world.outcome
    assert [branch.is_out for branch in fan.branches] == [True, False]
    assert world.calls["a"].called


def test_the_first_to_answer() -> None:
    """One connection is enough to begin; the others may still come and win."""
    world = Dialled(mode="first")
    world.connect("b")
    (fan,) = world.outcome
    sink = Memory()
    fan.deliver_to(sink)
    fan.release("sink")
    fan.write(b"question")
    world.connect("a")
    assert world.streams["a"].written == [b"question"]
    world.streams["a"].inject(b"answer")
    assert sink.written == [b"answer"]
    assert world.streams["b"].loss is not None
    world = Dialled(mode="first")
    world.fail("b")
    world.fail("a")
    assert world.loss == Loss(Reason.REFUSED, "a")


def test_a_race_that_is_over_at_once() -> None:
    """Who is not even dialled when another has won need not be."""

    class Quick(Dialled):
        def _dial(self, name: str, metadata: object) -> Deferred[IStream]:
            super()._dial(name, metadata)
            self.connect(name)
            return self.calls[name]

    world = Quick(mode="first", wins="connect")
    assert list(world.calls) == ["a"]
    assert len(world.outcome) == 1


def test_given_up() -> None:
    """Cancelled, it cancels what it waits for and drops what it has."""
    world = Dialled()
    world.connect("a")
    world.connecting.cancel()
    (failure,) = world.outcome
    assert failure.check(CancelledError)
    assert world.calls["b"].called
    assert world.streams["a"].loss is not None


def test_without_a_proxy() -> None:
    """Somebody has to know the clusters."""
    registry = Registry.of([fanout.protocol])
    spec = registry.vocabulary().cluster({"protocol": "Tee", "clusters": ["a"]})
    with pytest.raises(LocalError):
        Context(reactor=None, registry=registry).connect(spec, EndPoint("f", "x"), {})


@pytest.mark.parametrize(
    ("clusters", "words"),
    [
        ([], "must be 1 to 64 clusters"),
        (["a"] * 2, "the same cluster is there twice"),
        ([f"c{n}" for n in range(65)], "must be 1 to 64 clusters, not 65"),
    ],
)
def test_mistakes(clusters: list[str], words: str) -> None:
    """What makes no sense is no configuration."""
    vocabulary = Registry.of([fanout.protocol]).vocabulary()
    with pytest.raises(ValidationError, match=words):
        vocabulary.cluster({"protocol": "FanOut", "clusters": clusters})


def udp(name: str, port: int) -> dict[str, Any]:
    return {
        "name": name,
        "spec": {"protocol": "UDP", "port": port},
        "endpoints": [{"spec": {"address": LOOPBACK}}],
    }


LISTENER = {"protocol": "UDP", "port": 1, "address": LOOPBACK}


@pytest_twisted.ensureDeferred
async def test_everybody_hears_and_answers() -> None:
    """Over real sockets: a datagram reaches all, and all their answers come back."""
    async with real() as world:
        with peers(4) as (client, *services):
            more = tuple(udp(f"u{n}", one.port) for n, one in enumerate(services))
            spec = {"protocol": "FanOut", "clusters": [one["name"] for one in more]}
            bound = await world.route(LISTENER, spec, more=more)
            client.send(b"question", (LOOPBACK, bound["port"]))
            for n, service in enumerate(services):
                data, back = await service.receive()
                assert data == b"question"
                service.send(b"%d" % n, back)
            answers = {(await client.receive())[0] for _ in services}
            assert answers == {b"0", b"1", b"2"}
            assert ("cluster", "u2") in world.session.refs


@pytest_twisted.ensureDeferred
async def test_a_mirror_that_nobody_hears() -> None:
    """Over real sockets: a mirror where nobody listens costs nothing but itself."""
    async with real() as world:
        with peers(2) as (client, service):
            mirror = {
                "spec": {"protocol": "TCP", "port": unused_port()},
                "framing": "lines",
                "endpoints": [{"spec": {"address": LOOPBACK}}],
            }
            spec = {"protocol": "FanOut", "clusters": ["u", mirror], "mode": "mirror"}
            bound = await world.route(LISTENER, spec, more=(udp("u", service.port),))
            assert set(world.proxy.config.clusters) == {"u", "out", "out-Cluster-0"}
            for data in (b"1", b"2"):
                client.send(data, (LOOPBACK, bound["port"]))
                heard, back = await service.receive()
                service.send(heard * 2, back)
                assert (await client.receive())[0] == data * 2
            notes = [event for event in world.events if isinstance(event, Noted)]
            assert notes[0].note.facts["branch"] == "out-Cluster-0"
            assert (await world.one_session()).warnings == []


@pytest_twisted.ensureDeferred
async def test_deleting_an_endpoint_takes_its_branch_away() -> None:
    """What else there is goes on, and the event says which branch is missing."""
    async with real() as world:
        with peers(3) as (client, *services):
            more = tuple(udp(f"u{n}", one.port) for n, one in enumerate(services))
            spec = {"protocol": "FanOut", "clusters": ["u0", "u1"], "on_loss": "drop"}
            bound = await world.route(LISTENER, spec, more=more)
            client.send(b"1", (LOOPBACK, bound["port"]))
            for service in services:
                await service.receive()
            (endpoint,) = world.proxy.config.clusters["u0"].endpoints
            await world.proxy.edit(
                lambda config: edit.delete_endpoint(
                    config, endpoint.name, recursive=True
                )
            )
            client.send(b"2", (LOOPBACK, bound["port"]))
            assert (await services[1].receive())[0] == b"2"
            assert await services[0].hears_nothing()
            (note,) = [event.note for event in world.events if isinstance(event, Noted)]
            assert note.facts == {"branch": "u0", "reason": "deleted"}
            assert world.proxy._branches.keys() == {
                world.proxy.config.clusters["u1"].endpoints[0].name
            }


@pytest_twisted.ensureDeferred
async def test_deleting_a_branch_ends_its_sessions() -> None:
    """A session runs through every cluster that its fan-out stands on."""
    async with real() as world:
        with peers(2) as (client, service):
            spec = {"protocol": "FanOut", "clusters": ["u"]}
            bound = await world.route(LISTENER, spec, more=(udp("u", service.port),))
            client.send(b"x", (LOOPBACK, bound["port"]))
            await service.receive()
            await world.proxy.edit(
                lambda c: edit.delete_cluster(c, "u", recursive=True)
            )
            assert (await world.loss()).reason is Reason.DELETED
            client.send(b"x", (LOOPBACK, bound["port"]))
            ends = await until(
                lambda: [e for e in world.events if isinstance(e, Ended)][1:]
            )
            assert ends[0].loss.reason is Reason.NO_CLUSTER
