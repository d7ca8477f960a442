"""Who comes in to a shared socket, and as whose peer."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import pytest_twisted

from l7mp.errors import Loss, Reason
from l7mp.streams.address import V4, V6
from tests.streams.house import Build, houses
from tests.streams.loopback import Collector, Peer, echo, peers, turn, until

DELETED = Loss(Reason.DELETED)


@pytest.fixture
def house() -> Iterator[Build]:
    with houses() as build:
        yield build


# -- doors -----------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_the_first_door_that_admits_takes_the_peer(house: Build) -> None:
    """A new peer is offered to the doors in the order in which they were opened."""
    here = house()
    came: list[tuple[str, int]] = []
    with peers(3) as (one, two, three):
        here.open(
            lambda flow: came.append(("first", flow.five_tuple()[1])),
            admits=lambda peer: peer[1] in (one.port, two.port),
        )
        here.open(
            lambda flow: came.append(("second", flow.five_tuple()[1])),
            admits=lambda peer: peer[1] != three.port,
        )
        for peer in (one, two, three):
            peer.send(b"x", here.at)
        with peers() as (four,):
            four.send(b"x", here.at)
            await until(lambda: len(came) == 3)
            await turn(2)
            assert came == [
                ("first", one.port),
                ("first", two.port),
                ("second", four.port),
            ]


@pytest_twisted.ensureDeferred
async def test_a_closed_door_lets_nobody_in_and_nobody_out(house: Build) -> None:
    """Closing a door stops new peers; the flows go on until the last one ends."""
    here = house()
    door = here.open(echo)
    with peers(2) as (old, new):
        old.send(b"one", here.at)
        assert (await old.receive())[0] == b"one"
        door.close()
        door.close()
        new.send(b"new", here.at)
        old.send(b"two", here.at)
        assert (await old.receive())[0] == b"two"
        assert await new.hears_nothing()
    assert (len(here.flows), here.emptied) == (1, 0)
    here.flows[0].end()
    assert here.emptied == 1
    with pytest.raises(OSError, match="Bad file descriptor"):
        here.shared._sock.getsockname()


def test_without_flows_the_last_door_empties_the_socket(house: Build) -> None:
    """The socket is given back with the last door when nobody is inside."""
    here = house()
    one, two = here.open(), here.open()
    one.close()
    assert here.emptied == 0
    two.close()
    assert here.emptied == 1


# -- singletons ------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_singleton_is_there_before_its_peer(house: Build) -> None:
    """The flow of a singleton exists without a datagram, and can speak first."""
    here = house(V6, "::")
    with peers(2) as (peer, stranger):
        mapped = ("::ffff:127.0.0.1", peer.port, 0, 0)
        door = here.open(admits=lambda who: who == mapped, peer=mapped)
        door.begin()
        door.begin()
        (flow,) = here.flows
        assert flow.five_tuple() == (*peer.address, "127.0.0.1", here.port, 17)
        assert flow.is_patient
        flow.write(b"hello")
        assert await peer.receive() == (b"hello", ("127.0.0.1", here.port))
        got = Collector(flow).got
        stranger.send(b"spam", ("127.0.0.1", here.port))
        peer.send(b"one", ("127.0.0.1", here.port))
        peer.send(b"two", ("127.0.0.7", here.port))
        await until(lambda: len(got) == 2)
        flow.write(b"three")
        assert await peer.receive() == (b"three", ("127.0.0.7", here.port))
    assert got == [b"one", b"two"]
    assert len(here.flows) == 1


@pytest_twisted.ensureDeferred
async def test_a_singleton_waits_for_an_absent_peer(house: Build) -> None:
    """Speaking to a peer that is not there costs datagrams, not the flow."""
    here = house()
    with peers() as (peer,):
        pass
    door = here.open(echo, admits=lambda who: who == peer.address, peer=peer.address)
    door.begin()
    (flow,) = here.flows
    flow.write(b"anybody?")
    await until(lambda: flow.drops == {"refused": 1})
    back = Peer(port=peer.port)
    back.send(b"back", here.at)
    assert (await back.receive())[0] == b"back"
    back.close()
    assert len(here.flows) == 1


@pytest_twisted.ensureDeferred
async def test_a_singleton_begins_again_with_its_peer(house: Build) -> None:
    """After the flow of a singleton has ended, its peer's next datagram makes one."""
    here = house()
    with peers() as (peer,):
        door = here.open(
            echo, admits=lambda who: who == peer.address, peer=peer.address
        )
        door.begin()
        here.flows[0].close(DELETED)
        peer.send(b"again", here.at)
        assert (await peer.receive())[0] == b"again"
    assert len(here.flows) == 2


def test_a_singleton_takes_no_peer_from_another_door(house: Build) -> None:
    """A peer that has a flow keeps it when a singleton for that peer begins."""
    here = house()
    here.open()
    with peers() as (peer,):
        peer.send(b"x", here.at)
        here.shared.doRead()
        here.open(admits=lambda _: True, peer=peer.address).begin()
        peer.send(b"y", here.at)
        here.shared.doRead()
    assert [flow.queued for flow in here.flows] == [2]


def test_a_singleton_without_a_route_waits(house: Build) -> None:
    """A peer to which there is no way yet may come all the same."""
    here = house(V4, "0.0.0.0")
    nowhere = ("255.255.255.255", 9)
    door = here.open(admits=lambda who: who == nowhere, peer=nowhere)
    door.begin()
    (flow,) = here.flows
    assert flow.five_tuple() == (*nowhere, "0.0.0.0", here.port, socket.IPPROTO_UDP)
    flow.write(b"x")
    assert flow.drops == {"unreachable": 1}
