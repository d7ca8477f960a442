"""Every protocol of the registry keeps the contract of streams, on real sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater

import l7mp.protocols
from l7mp.core.registry import VIRTUAL, Context, Registry
from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK, IListening, IStream, Kind
from l7mp.model.config import EndPoint
from l7mp.observers.metrics import Metrics
from l7mp.testing import Memory, check_stream

REGISTRY = Registry.discover(l7mp.protocols)
WORDS = REGISTRY.vocabulary()

PAIRED = sorted(p.name for p in REGISTRY.protocols.values() if p.listen and p.connect)
SILENT = {"Discard", "Sync"}
"""Transforms that, by design, give nothing back to whoever writes to them."""
ELSEWHERE = {"Exec", "FanOut"}
"""Transforms that need a process or other clusters, and so have tests of their own."""

REFLECTING = sorted(
    p.name for p in REGISTRY.protocols.values() if p.virtual and p.kind is None
)

PATIENCE = 10.0


def free_port() -> int:
    """A port that nobody has, for TCP as for UDP."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def places(name: str, folder: Path) -> tuple[dict[str, Any], dict[str, Any], str]:
    """What a listener and a cluster of a protocol say, and the endpoint's address."""
    if name == "JSONSocket":
        listener, cluster, address = places("TCP", folder)
        return {"transport": listener}, {"transport": cluster}, address
    if name == "PIPE":
        there, back = str(folder / "there"), str(folder / "back")
        listener = {"input": there, "output": back, "create": True}
        return listener, {"input": back, "output": there}, VIRTUAL
    if name == "AF_PACKET":
        return packets("02:00:00:00:00:0a", "02:00:00:00:00:0b")
    if name == "Endpoint":
        where = f"unix:{folder / 'socket'}"
        return {"server": where}, {"client": where}, VIRTUAL
    if "filename" in WORDS.listeners[name].model_fields:
        path = str(folder / "socket")
        return {"protocol": name, "filename": path}, {"protocol": name}, path
    port = free_port()
    here = {"protocol": name, "port": port, "address": "127.0.0.1"}
    return here, {"protocol": name, "port": port}, "127.0.0.1"


def packets(near: str, far: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Payloads on the loopback, where each end hears only what is addressed to it."""
    listener, cluster = (
        {
            "type": "cooked",
            "ethertype": "local1",
            "destination": other,
            # load the last two bytes of the address that it was sent to
            "filter_bytes": [
                [0x28, 0, 0, 0xFFE00004],
                [0x15, 0, 1, int(own[-2:], 16)],
                [0x06, 0, 0, 0xFFFF],
                [0x06, 0, 0, 0],
            ],
        }
        for own, other in ((near, far), (far, near))
    )
    return {**listener, "interface": "lo"}, cluster, "lo"


class Pair:
    """The two ends of one connection, both newborn."""

    listening: IListening
    near: IStream
    far: IStream
    """What the listener accepted."""

    def __init__(self, name: str, folder: Path) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.context = Context(reactor=reactor, registry=REGISTRY)
        listener, cluster, self.address = places(name, folder)
        self.listener = WORDS.listener({"protocol": name, **listener})
        self.cluster = WORDS.cluster({"protocol": name, **cluster})

    async def open(self) -> None:
        accepted: list[IStream] = []

        def accept(stream: IStream, *_: object) -> None:
            accepted.append(stream)
            stream.established()  # as a session does when it is connected

        self.listening = await self.context.listen(self.listener, accept)
        endpoint = EndPoint("e", self.address)
        self.near = await self.context.connect(self.cluster, endpoint, {})
        is_shy = self.near.kind is Kind.DATAGRAMS or self.listener.protocol == "PIPE"
        if is_shy:
            self.near.write(b"first")  # there is no other way to say hello
        await self.until(lambda: accepted)
        self.far = accepted[0]
        if is_shy:
            sink = Memory()
            self.far.deliver_to(sink)
            self.far.release(SINK)
            await self.until(lambda: sink.written)
            self.far.hold(SINK)

    async def until(self, check: Callable[[], Any]) -> None:
        """Let the reactor run until ``check`` is true."""
        end = self.reactor.seconds() + PATIENCE
        while not check():
            assert self.reactor.seconds() < end, "waited in vain"
            await deferLater(self.reactor, 0.002)

    async def close(self) -> None:
        """Let go of both ends and of the port."""
        for stream in (self.near, self.far):
            stream.abort(Loss(Reason.DELETED))
        await self.until(lambda: self.near.loss and self.far.loss)
        await self.listening.stop()
        self.context.resources.close()


@pytest_twisted.async_yield_fixture(params=PAIRED)
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    made = Pair(request.param, tmp_path)
    await made.open()
    yield made
    await made.close()


@pytest_twisted.ensureDeferred
async def test_bytes_are_intact_both_ways(pair: Pair) -> None:
    """What one end writes the other reads, in order, and messages stay messages."""
    here, there = Memory(), Memory()
    pair.near.deliver_to(here)
    pair.far.deliver_to(there)
    pair.near.release(SINK)
    pair.far.release(SINK)
    sent = [os.urandom(size) for size in (1, 100, 9000, 60000)]
    for data in sent:
        pair.near.write(data)
        pair.far.write(data)
    whole = b"".join(sent)
    await pair.until(lambda: len(b"".join(there.written)) == len(whole))
    await pair.until(lambda: len(b"".join(here.written)) == len(whole))
    assert b"".join(there.written) == b"".join(here.written) == whole
    if pair.near.kind is Kind.DATAGRAMS:
        assert there.written == here.written == sent


@pytest_twisted.ensureDeferred
async def test_held_streams_deliver_nothing(pair: Pair) -> None:
    """Not before they are released, and not while there is a reason left."""
    there = Memory()
    pair.far.deliver_to(there)
    pair.near.write(b"early")
    await deferLater(pair.reactor, 0.02)
    assert there.written == []
    pair.far.hold("other")
    pair.far.release(SINK)
    assert there.written == []
    pair.far.release("other")
    await pair.until(lambda: there.written)
    assert b"".join(there.written) == b"early"


@pytest_twisted.ensureDeferred
async def test_an_end_is_heard(pair: Pair) -> None:
    """It is an end of data where the stream can be half open, else of the stream."""
    heard: list[str] = []
    there = Memory()
    pair.far.deliver_to(there, lambda: heard.append("end"))
    pair.far.release(SINK)
    pair.near.deliver_to(Memory())
    pair.near.release(SINK)
    pair.near.write(b"last")
    pair.near.end()
    await pair.until(lambda: b"".join(there.written) == b"last")
    if pair.near.kind is Kind.BYTES:
        await pair.until(lambda: heard)
        assert pair.far.loss is None
        pair.far.write(b"late answer")
        pair.far.end()
    await pair.until(lambda: pair.near.loss)
    assert pair.near.loss is not None
    assert pair.near.loss.reason is Reason.FIN


@pytest_twisted.ensureDeferred
async def test_a_loss_is_told_once(pair: Pair) -> None:
    """Every when_lost fires with the same first reason."""
    heard: list[Loss] = []
    for _ in range(2):
        pair.near.when_lost().addCallback(heard.append)
    pair.near.abort(Loss(Reason.DELETED, "first"))
    pair.near.abort(Loss(Reason.IDLE, "second"))
    await pair.until(lambda: heard)
    assert heard == [Loss(Reason.DELETED, "first")] * 2
    again: Deferred[Loss] = pair.near.when_lost()
    assert await again == heard[0]


@pytest.mark.parametrize("name", sorted({*REFLECTING} - SILENT - ELSEWHERE))
def test_transforms_keep_the_contract(name: str) -> None:
    """What stands in a ring without a peer of its own keeps the same promises."""
    services = {"metrics": Metrics()}
    context = Context(reactor=Clock(), registry=REGISTRY, services=services)
    context = context.on_behalf_of("cluster", "c")
    spec = WORDS.cluster({"protocol": name, **_needed(name)})

    def make() -> tuple[IStream, Callable[[bytes], None]]:
        made: list[IStream] = []
        connecting = context.connect(spec, EndPoint("c", VIRTUAL), {})
        connecting.addCallback(made.append)
        return made[0], made[0].write

    check_stream(make)
    context.resources.close()


def _needed(name: str) -> dict[str, Any]:
    needed = {"Logger": {"log_file": os.devnull}, "Python": {"call": "copy:copy"}}
    return needed.get(name, {})
