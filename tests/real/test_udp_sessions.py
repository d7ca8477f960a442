"""Whose a datagram is, who may come in, and how much they get: as it is configured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from hypothesis import given, settings
from hypothesis import strategies as st

from l7mp.core.events import Warned
from l7mp.errors import LocalError, Loss, Reason
from l7mp.interfaces import IKernelFlow, IStream
from tests.protocols.real import LOOPBACK, real
from tests.protocols.udp_world import World
from tests.streams.loopback import (
    LARGEST,
    Collector,
    Peer,
    peers,
    turn,
    until,
    unused_port,
)

FIN = Loss(Reason.FIN)
UDP: dict[str, Any] = {"protocol": "UDP", "port": 1, "address": LOOPBACK}


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


# -- keys ------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("key", "said", "keys", "lost"),
    [
        ("source-ip", [b"one", b"two"], ["127.0.0.1"], 0),
        (
            {"pointer": "/call/id"},
            [b'{"call": {"id": "a"}}', b'{"call": {"id": 7}}', b"what?", b'{"id": 1}'],
            ["a", "7"],
            2,
        ),
        (
            {"payload": {"offset": 1, "length": 4}},
            [b"\x40ABCDx", b"\x41ABCDy", b"\x40abcd", b"\x40ABC"],
            ["41424344", "61626364"],
            1,
        ),
    ],
)
async def test_keys(
    world: World, key: Any, said: list[bytes], keys: list[str], lost: int
) -> None:
    """Each key is a session, known by it, whoever speaks; without one, none is."""
    _, port = await world.listen(options={"session_key": key})
    with peers(2) as two:
        for peer in two:
            for data in said:
                peer.send(data, ("127.0.0.1", port))
            for _ in said[lost:]:
                await peer.receive()
    assert [metadata["UDP"]["key"] for _, metadata, _ in world.accepted] == keys
    assert world.drops == ({"no-key": 2 * lost} if lost else {})


@pytest_twisted.ensureDeferred
async def test_listeners_of_one_port_agree(world: World) -> None:
    """Two listeners of a port cannot tell sessions apart by different things."""
    _, port = await world.listen()
    with pytest.raises(LocalError, match="must agree on session_key"):
        await world.listen(port=port, options={"session_key": "source-ip"})


@pytest_twisted.ensureDeferred
async def test_a_port_gets_other_terms(world: World) -> None:
    """Sessions that a listener left behind make room for one with another key."""
    listening, port = await world.listen()
    with peers() as (peer,):
        peer.send(b"x", ("127.0.0.1", port))
        await peer.receive()
        await listening.stop()
        await world.listen(port=port, options={"session_key": "source-ip"})
        loss = world.accepted[0][0].loss
        assert loss is not None
        assert loss.reason is Reason.RECONFIGURED
        peer.send(b"y", ("127.0.0.1", port))
        assert (await peer.receive())[0] == b"y"
    assert world.accepted[1][1]["UDP"]["key"] == "127.0.0.1"


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("options", "forwardable"),
    [
        ({}, True),
        ({"max_sessions": 9}, True),
        ({"session_key": "source-ip"}, False),
        ({"max_sessions": 9, "when_full": "replace"}, False),
        ({"amplification": {}}, False),
    ],
)
async def test_what_the_kernel_could_forward(
    world: World, options: dict[str, Any], forwardable: bool
) -> None:
    """Where each datagram has to be looked at, the kernel is not offered the flow."""
    _, port = await world.listen(options=options)
    with peers() as (peer,):
        peer.send(b"x", ("127.0.0.1", port))
        await peer.receive()
    flow = world.accepted[0][0]
    assert IStream.providedBy(flow)
    assert IKernelFlow.providedBy(flow) is forwardable


@pytest_twisted.ensureDeferred
async def test_terms_that_cannot_be_had_end_nothing(world: World) -> None:
    """Sessions that were left behind live on if the new listener cannot be."""
    listening, port = await world.listen()
    with peers() as (peer,):
        peer.send(b"x", ("127.0.0.1", port))
        await peer.receive()
        await listening.stop()
        with pytest.raises(LocalError, match="device to nowhere"):
            await world.listen(port=port, socket={"device": "nowhere"})
        peer.send(b"y", ("127.0.0.1", port))
        assert (await peer.receive())[0] == b"y"


# -- limits ----------------------------------------------------------------------


async def answered(peer: Peer, port: int) -> bool:
    """Whether ``peer`` gets an answer."""
    peer.send(b"x", ("127.0.0.1", port))
    return not await peer.hears_nothing()


@pytest_twisted.ensureDeferred
async def test_limits(world: World) -> None:
    """A listener has so many sessions, and so many of one source; more are counted."""
    limits = {"max_sessions": 3, "max_sessions_per_source": 2}
    _, port = await world.listen(options=limits)
    with peers(3) as here, peers(2, "127.0.0.2") as there:
        assert [await answered(p, port) for p in here] == [True, True, False]
        assert [await answered(p, port) for p in there] == [True, False]
        assert [await answered(p, port) for p in here] == [True, True, False]
        world.accepted[0][0].close(FIN)
        assert await answered(here[2], port)
    assert world.drops == {"max-sessions-per-source": 2, "max-sessions": 1}
    assert world.events == [
        Warned(
            "listener in", f"{what} is reached, new peers are refused (datagrams: 1)"
        )
        for what in ("max-sessions-per-source", "max-sessions")
    ]
    shown = world.metrics.exposition()
    labels = 'listenerName="in",reason="max-sessions-per-source"'
    assert f"listener_drops_total{{{labels}}} 2" in shown


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("guard", [None, {"factor": 5}])
async def test_fair_shedding(world: World, guard: Any) -> None:
    """A flood of one source costs only that source, however full it is."""
    options = {"max_sessions": 8, "when_full": "replace"}
    if guard:
        options["amplification"] = guard
    _, port = await world.listen(options=options)
    with peers(2, "127.0.0.2") as modest, peers(100) as flood:
        for peer in modest:
            assert await answered(peer, port)
        for peer in flood:
            assert await answered(peer, port)
        for peer in modest:
            assert await answered(peer, port)
    living = [metadata for flow, metadata, _ in world.accepted if flow.loss is None]
    sources = [metadata["IP"]["src_addr"] for metadata in living]
    assert sorted(sources) == ["127.0.0.1"] * 6 + ["127.0.0.2"] * 2
    assert world.accepted[0][0].loss is None
    assert world.drops == {}


@pytest_twisted.ensureDeferred
async def test_amplification() -> None:
    """Who has not shown that it hears us gets three times what it sent, no more."""

    async with real() as it:
        with peers(2) as (client, server):
            bound = await it.route(
                {**UDP, "options": {"amplification": {}}},
                {"protocol": "UDP", "port": server.port},
                {"address": LOOPBACK},
            )
            client.send(b"0123456789", (LOOPBACK, bound["port"]))
            _, source = await server.receive()
            for size in (20, 10, 1):
                server.send(b"x" * size, source)
            assert [len((await client.receive())[0]) for _ in range(2)] == [20, 10]
            session = await it.one_session()
            await until(lambda: session.stages[0].stream.drops)
            assert session.stages[0].stream.drops == {"amplification": 1}
            client.send(b"I am here", (LOOPBACK, bound["port"]))
            await server.receive()
            server.send(LARGEST, source)
            assert (await client.receive())[0] == LARGEST


@pytest_twisted.ensureDeferred
async def test_strangers_are_counted(world: World) -> None:
    """Who comes from elsewhere than it must is counted."""
    _, port = await world.listen(connect={"port": 9})
    with peers() as (peer,):
        assert not await answered(peer, port)
    assert world.drops == {"stranger": 1}


# -- the first packet ------------------------------------------------------------


@given(
    sizes=st.lists(st.integers(0, 1200), min_size=1, max_size=30),
    pauses=st.sets(st.integers(0, 29)),
    ready_after=st.integers(0, 35),
)
@settings(max_examples=60, deadline=None)
@pytest_twisted.ensureDeferred
async def test_the_first_is_neither_lost_nor_overtaken(
    sizes: list[int], pauses: set[int], ready_after: int
) -> None:
    """Whenever the upstream is there, it gets every datagram, in the order sent."""
    world = World()
    sent = [n.to_bytes(2, "big") + bytes(size) for n, size in enumerate(sizes)]
    got: list[bytes] = []
    try:
        _, port = await world.listen(lambda stream: None)
        with peers() as (peer,):
            for n, data in enumerate(sent):
                peer.send(data, ("127.0.0.1", port))
                if n in pauses:
                    await turn()
                if n >= ready_after and world.accepted and not got:
                    got = Collector(world.accepted[0][0]).got
            await until(lambda: world.accepted)
            flow = world.accepted[0][0]
            await until(lambda: flow.messages_in + flow.queued == len(sent))
            if flow._sink is None:
                got = Collector(flow).got
        assert got == sent
        assert len(world.accepted) == 1
    finally:
        world.close()


@pytest_twisted.ensureDeferred
async def test_the_first_waits_for_its_upstream() -> None:
    """A burst before the upstream listens arrives whole and in order when it does."""
    port = unused_port()
    retry = {"retry_on": "always", "num_retries": 100, "timeout": 300}
    sent = [b"%04d" % n for n in range(300)]
    async with real() as it:
        tcp = {"protocol": "TCP", "port": 1}
        endpoint = {"address": LOOPBACK, "port": port}
        bound = await it.route(UDP, tcp, endpoint, retry=retry)
        with peers() as (peer,):
            for data in sent[:200]:
                peer.send(data, (LOOPBACK, bound["port"]))
            await until(lambda: it.proxy.sessions)
            await turn(20)
            assert it.session.status == "INIT"
            server = it.serve((LOOPBACK, port))
            for data in sent[200:]:
                peer.send(data, (LOOPBACK, bound["port"]))
            conn = await it.accept(server)
            assert await conn.reads(1200) == b"".join(sent)


# -- size ------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_the_largest_datagram_makes_the_round(host: str) -> None:
    """65,507 bytes go through a proxy and come back, of IPv4 and of IPv6."""
    async with real() as it:
        with peers(2, host) as (client, server):
            bound = await it.route(
                {"protocol": "UDP", "port": 1, "address": host},
                {"protocol": "UDP", "port": server.port},
                {"address": host},
            )
            client.send(LARGEST, (host, bound["port"]))
            data, source = await server.receive()
            assert data == LARGEST
            server.send(LARGEST[::-1], source)
            assert (await client.receive())[0] == LARGEST[::-1]
