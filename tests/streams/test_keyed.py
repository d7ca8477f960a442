"""Sessions that are told apart by content or by address alone, against real peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import pytest_twisted
from twisted.internet import reactor

from l7mp.errors import Loss, Reason
from l7mp.streams.address import V4, V6, Sockaddr
from l7mp.streams.datagram import PeerFlow, SharedSocket
from l7mp.streams.door import Door
from l7mp.streams.keyed import KeyedSocket, KeyOf, by_host, key_of_flow
from l7mp.streams.udpsocket import BUDGET, open_socket
from tests.streams.loopback import (
    Faulty,
    echo,
    peers,
    until,
    unused_port,
)

Build = Callable[..., "Place"]


def by_first_byte(peer: Sockaddr, datagram: bytes) -> str | None:
    """The first byte, if there is one."""
    return datagram[:1].hex() or None


class Place:
    """A keyed socket with a door for everybody."""

    def __init__(self, key_of: KeyOf, host: str) -> None:
        sock = open_socket(V6 if ":" in host else V4, (host, 0), buffer=1 << 20)
        self.shared = KeyedSocket(reactor, sock, lambda: None, key_of)
        self.port = self.shared.own[1]
        self.at = ("127.0.0.1", self.port)
        self.flows: list[PeerFlow] = []
        self.treat: Callable[[PeerFlow], object] = echo
        Door(self.shared, self._came, lambda _: True, 60.0)

    def _came(self, flow: PeerFlow) -> None:
        self.flows.append(flow)
        self.treat(flow)


@pytest.fixture
def build() -> Iterator[Build]:
    made: list[Place] = []

    def build(key_of: KeyOf = by_first_byte, host: str = "127.0.0.1") -> Place:
        made.append(Place(key_of, host))
        return made[-1]

    yield build
    for place in made:
        place.shared.close()


@pytest_twisted.ensureDeferred
async def test_the_key_is_the_session(build: Build) -> None:
    """One key from two peers is one flow, two keys from one peer are two."""
    here = build()
    with peers(2) as (one, two):
        for peer, data in [(one, b"a1"), (two, b"a2"), (one, b"b1"), (two, b"a3")]:
            peer.send(data, here.at)
            assert await peer.receive() == (data, here.at)
    assert [key_of_flow(flow) for flow in here.flows] == ["61", "62"]
    assert [flow.messages_in for flow in here.flows] == [3, 1]


@pytest_twisted.ensureDeferred
async def test_answers_go_to_the_latest_address(build: Build) -> None:
    """A flow speaks to wherever its key was heard last, from the address asked there."""
    here = build(host="::")
    here.treat = lambda flow: None
    with peers(2) as (old, new):
        old.send(b"a", ("127.0.0.1", here.port))
        await until(lambda: here.flows)
        (flow,) = here.flows
        flow.write(b"to the old")
        assert await old.receive() == (b"to the old", ("127.0.0.1", here.port))
        new.send(b"a", ("127.0.0.7", here.port))
        await until(lambda: flow.queued == 2)
        flow.write(b"to the new")
        assert await new.receive() == (b"to the new", ("127.0.0.7", here.port))
        assert await old.hears_nothing()


@pytest_twisted.ensureDeferred
async def test_what_has_no_key_is_counted(build: Build) -> None:
    """A datagram without a key reaches nobody, makes no flow, and is counted."""
    here = build()
    with peers() as (peer,):
        peer.send(b"", here.at)
        peer.send(b"a", here.at)
        assert (await peer.receive())[0] == b"a"
    assert here.shared.drops == {"no-key": 1}
    assert len(here.flows) == 1


@pytest_twisted.ensureDeferred
async def test_an_address_alone(build: Build) -> None:
    """By address, all ports of a host are one session, mapped or not."""
    here = build(by_host, "::")
    with peers(2) as (one, two), peers(host="::1") as (six,):
        for peer, host in [(one, "127.0.0.1"), (two, "127.0.0.1"), (six, "::1")]:
            peer.send(b"x", (host, here.port))
            assert (await peer.receive())[0] == b"x"
    assert [key_of_flow(flow) for flow in here.flows] == ["127.0.0.1", "::1"]


@pytest_twisted.ensureDeferred
async def test_a_key_outlives_its_address(build: Build) -> None:
    """That an old address is closed ends nothing: it is counted at the socket."""
    here = build()
    with peers() as (gone,):
        gone.send(b"a", here.at)
        await gone.receive()
    here.flows[0].write(b"anybody?")
    await until(lambda: here.shared.drops == {"refused": 1})
    assert here.flows[0].loss is None


@pytest_twisted.ensureDeferred
async def test_a_key_whose_flow_ended_begins_anew(build: Build) -> None:
    """After the end of its flow a key makes another one."""
    here = build()
    with peers() as (peer,):
        for _ in range(2):
            peer.send(b"a", here.at)
            await peer.receive()
            here.flows[-1].abort(Loss(Reason.DELETED))
    assert len(here.flows) == 2


@pytest_twisted.ensureDeferred
async def test_more_than_a_budget_arrives_in_order(build: Build) -> None:
    """What is more than one turn's budget is read in further turns, in order."""
    here = build()
    here.treat = lambda flow: None
    with peers() as (peer,):
        sent = [b"a%d" % n for n in range(3 * BUDGET)]
        for data in sent:
            peer.send(data, here.at)
        await until(lambda: here.flows and here.flows[0].queued == len(sent))
    assert list(here.flows[0]._queue or ()) == sent


@pytest_twisted.ensureDeferred
async def test_a_bug_costs_one_flow(
    build: Build, logged_failures: list[object]
) -> None:
    """An exception in one flow's sink ends that flow, and no other."""
    here = build()
    with peers() as (peer,):
        peer.send(b"b", here.at)
        await peer.receive()
        here.treat = Faulty
        peer.send(b"a", here.at)
        await until(lambda: len(here.flows) == 2 and here.flows[1].loss)
        peer.send(b"b", here.at)
        assert (await peer.receive())[0] == b"b"
    assert here.flows[0].loss is None
    logged_failures.clear()  # the reactor has logged it


@pytest_twisted.ensureDeferred
async def test_errors_of_reading_are_read_off(build: Build) -> None:
    """A socket on which an error waits goes on; a closed one says no more."""
    here = build()
    here.shared.sendto(b"anybody?", ("127.0.0.1", unused_port()))
    with peers() as (peer,):
        peer.send(b"a", here.at)
        assert (await peer.receive())[0] == b"a"
    await until(lambda: here.shared.drops == {"refused": 1})
    here.shared.close()
    here.shared.doRead()


def test_flows_of_addresses_have_no_key() -> None:
    """A flow that is told apart by addresses has no key to show."""
    sock = open_socket(V4, ("127.0.0.1", 0), buffer=1 << 16)
    shared = SharedSocket(reactor, sock, lambda: None)
    flow = PeerFlow(shared, (("127.0.0.1", 9), b""), 0, False)
    assert key_of_flow(flow) is None
    shared.close()
