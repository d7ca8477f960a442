"""Flows that answer little until they know whom, against real peers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st

from l7mp.streams.datagram import PeerFlow, SharedSocket
from l7mp.streams.door import Door
from l7mp.streams.guarded import GuardedFlow
from tests.streams.house import Build, House, houses
from tests.streams.loopback import Collector, Peer, peers, until


@pytest.fixture
def house() -> Iterator[Build]:
    with houses() as build:
        yield build


@pytest.fixture
def peer() -> Iterator[Peer]:
    with peers() as (peer,):
        yield peer


async def guarded(
    here: House, peer: Peer, said: bytes, never: bool = False, factor: float = 3.0
) -> PeerFlow:
    """The flow of ``peer``, which has ``said`` one thing."""
    make = partial(GuardedFlow, factor=factor, never=never)
    Door(here.shared, here.flows.append, lambda _: True, 60.0, make=make)
    peer.send(said, here.at)
    await until(lambda: here.flows)
    return here.flows[0]


@pytest_twisted.ensureDeferred
async def test_little_is_sent_to_a_stranger(house: Build, peer: Peer) -> None:
    """Not a byte more is sent than the factor allows; the rest is counted."""
    flow = await guarded(house(), peer, b"12345")
    for size in (10, 6, 5, 1):
        flow.write(b"x" * size)
    assert [len((await peer.receive())[0]) for _ in range(2)] == [10, 5]
    assert await peer.hears_nothing()
    assert flow.drops == {"amplification": 2}
    assert flow.bytes_out == 15


@pytest_twisted.ensureDeferred
async def test_what_is_asked_more_is_answered_more(house: Build, peer: Peer) -> None:
    """Everything that a stranger sends counts, also before it is answered."""
    here = house()
    flow = await guarded(here, peer, b"12345", factor=1.5)
    peer.send(b"12345", here.at)
    await until(lambda: flow.queued == 2)
    flow.write(b"x" * 15)
    flow.write(b"x")
    assert (await peer.receive())[0] == b"x" * 15
    assert flow.drops == {"amplification": 1}


@pytest_twisted.ensureDeferred
async def test_who_speaks_again_is_believed(house: Build, peer: Peer) -> None:
    """A second datagram after something was sent lifts the limit."""
    here = house()
    flow = await guarded(here, peer, b"hello")
    got = Collector(flow).got
    flow.write(b"who are you?")
    peer.send(b"me", here.at)
    await until(lambda: len(got) == 2)
    flow.write(b"x" * 10_000)
    assert [len((await peer.receive())[0]) for _ in range(2)] == [12, 10_000]
    assert flow.drops == {}


@pytest.mark.parametrize(("never", "dropped"), [(False, 0), (True, 1)])
@pytest_twisted.ensureDeferred
async def test_other_proofs_are_taken(
    house: Build, peer: Peer, never: bool, dropped: int
) -> None:
    """Who has proved by other means where it is has no limit, unless all always have."""
    flow = await guarded(house(), peer, b"1", never=never)
    flow.believe()
    flow.write(b"x" * 1000)
    assert flow.drops.get("amplification", 0) == dropped


@pytest_twisted.ensureDeferred
async def test_nobody_is_believed_without_an_answer(house: Build, peer: Peer) -> None:
    """Who speaks twice before anything was sent to it has proved nothing."""
    here = house()
    flow = await guarded(here, peer, b"1")
    got = Collector(flow).got
    peer.send(b"2", here.at)
    await until(lambda: len(got) == 2)
    flow.write(b"x" * 7)
    assert flow.drops == {"amplification": 1}


@pytest_twisted.ensureDeferred
async def test_some_are_never_believed(house: Build, peer: Peer) -> None:
    """Where nobody is ever believed, every answer has its limit."""
    here = house()
    flow = await guarded(here, peer, b"1", never=True)
    got = Collector(flow).got
    for n in range(2, 5):
        flow.write(b"xxx")
        flow.write(b"x")
        peer.send(b"1", here.at)
        await until(lambda n=n: len(got) == n)  # type: ignore[misc]
    assert flow.drops == {"amplification": 3}


@pytest_twisted.ensureDeferred
async def test_another_address_is_a_stranger(house: Build, peer: Peer) -> None:
    """A flow whose peer has moved believes nobody until the new address answers."""
    here = house()
    flow = await guarded(here, peer, b"hello")
    got = Collector(flow).got
    flow.write(b"hello")
    peer.send(b"again", here.at)
    await until(lambda: len(got) == 2)
    flow.asked_at((flow.key[0], b""))
    flow.write(b"x" * 1000)
    assert flow.drops == {}
    with peers() as (victim,):
        flow.asked_at((victim.address, b""))
        flow.write(b"flood")
        assert await victim.hears_nothing()
    assert flow.drops == {"amplification": 1}


class Scales:
    """Stands for a shared socket, and weighs what is sent."""

    family = 2
    own = ("127.0.0.1", 9)

    def __init__(self) -> None:
        self.sent = 0

    def source(self, asked: bytes) -> list[Any]:
        return []

    def sendto(self, data: bytes, peer: object) -> None:
        self.sent += len(data)


@given(
    st.sampled_from([0.5, 1.0, 3.0]),
    st.booleans(),
    st.lists(st.tuples(st.booleans(), st.binary(max_size=50)), max_size=40),
)
def test_it_never_sends_more_than_it_may(
    factor: float, never: bool, history: list[tuple[bool, bytes]]
) -> None:
    """Whatever is received and written, a stranger gets at most so many times as much."""
    scales = Scales()
    shared = cast(SharedSocket, scales)
    key = (("127.0.0.1", 7), b"")
    flow = GuardedFlow(shared, key, 0, False, factor, never)
    received = 0
    answered = believed = False
    for is_received, data in history:
        if is_received:
            received += len(data)
            believed = believed or (answered and not never)
            flow.received(data)
        else:
            before = flow.messages_out
            flow.write(data)
            answered = answered or flow.messages_out > before
            assert not believed or flow.messages_out > before
        assert believed or scales.sent <= factor * received
    written = sum(not is_received for is_received, _ in history)
    assert flow.messages_out + flow.drops.get("amplification", 0) == written
