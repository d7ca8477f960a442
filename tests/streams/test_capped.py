"""Doors with limits, against real peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import pytest_twisted

from l7mp.errors import Loss, Reason
from l7mp.streams.capped import CappedDoor, WatchedFlow, source_of
from l7mp.streams.census import Census
from l7mp.streams.datagram import PeerFlow
from tests.streams.house import Build, House, houses
from tests.streams.loopback import Peer, echo, peers

DELETED = Loss(Reason.DELETED)


@pytest.fixture
def house() -> Iterator[Build]:
    with houses() as build:
        yield build


def capped(
    here: House,
    most: int | None = None,
    per_source: int | None = None,
    replaces: bool = False,
    treat: Callable[[PeerFlow], object] = echo,
) -> Census[PeerFlow]:
    """A door with limits, which treats flows so."""

    def came(flow: PeerFlow) -> None:
        here.flows.append(flow)
        treat(flow)

    census: Census[PeerFlow] = Census(most, per_source)
    CappedDoor(
        here.shared, came, lambda _: True, 60.0, census, replaces, WatchedFlow
    )  # fmt: skip
    return census


async def served(peer: Peer, here: House) -> bool:
    """Whether ``peer`` gets an answer."""
    peer.send(b"x", here.at)
    return not await peer.hears_nothing()


@pytest_twisted.ensureDeferred
async def test_who_finds_no_room_is_refused(house: Build) -> None:
    """Above the limit new peers are refused and counted; those inside go on."""
    here = house()
    census = capped(here, most=2)
    with peers(3) as several:
        assert [await served(peer, here) for peer in several] == [True, True, False]
        assert await served(several[0], here)
        assert here.shared.drops == {"max-sessions": 1}
        here.flows[0].abort(DELETED)
        assert census.count("127.0.0.1") == 1
        assert await served(several[2], here)


@pytest_twisted.ensureDeferred
async def test_each_source_has_a_share(house: Build) -> None:
    """Above the limit of its source a peer is refused, and those of others are not."""
    here = house()
    capped(here, per_source=1)
    with peers(2) as several, peers(host="127.0.0.2") as (other,):
        assert [await served(peer, here) for peer in several] == [True, False]
        assert await served(other, here)
    assert here.shared.drops == {"max-sessions-per-source": 1}


@pytest_twisted.ensureDeferred
async def test_a_refusal_is_final(house: Build) -> None:
    """Who is refused at one door is not let in at the next."""
    here = house()
    capped(here, most=1)
    here.open(echo)
    with peers(2) as several:
        assert [await served(peer, here) for peer in several] == [True, False]


@pytest_twisted.ensureDeferred
async def test_a_greedy_source_makes_room(house: Build) -> None:
    """One source with many sessions cannot keep out, or push out, the others."""
    here = house()
    capped(here, most=4, replaces=True)
    with peers(5) as greedy, peers(host="127.0.0.2") as (modest,):
        for peer in greedy[:3]:
            assert await served(peer, here)
        assert await served(modest, here)
        assert await served(greedy[0], here), "no longer the most silent"
        assert await served(greedy[3], here)
        assert here.flows[1].loss is not None
        assert here.flows[1].loss.reason is Reason.IDLE
        assert "max-sessions" in here.flows[1].loss.detail
        assert await served(greedy[4], here)
        assert here.flows[2].loss
        assert await served(modest, here)
        assert [bool(flow.loss) for flow in here.flows] == [
            False, True, True, False, False, False,
        ]  # fmt: skip


@pytest_twisted.ensureDeferred
async def test_nobody_is_pushed_out_by_the_many(house: Build) -> None:
    """Where each source has one session, a new source finds no room."""
    here = house()
    capped(here, most=2, replaces=True)
    with (
        peers() as (one,),
        peers(host="127.0.0.2") as (two,),
        peers(host="127.0.0.3") as (three,),
    ):
        assert await served(one, here)
        assert await served(two, here)
        assert not await served(three, here)
    assert here.shared.drops == {"max-sessions": 1}


@pytest_twisted.ensureDeferred
async def test_who_does_not_stay_takes_no_room(house: Build) -> None:
    """A flow that is ended while it is accepted is not counted."""
    here = house()
    census = capped(here, most=1, treat=lambda flow: flow.abort(DELETED))
    with peers(2) as several:
        for peer in several:
            assert not await served(peer, here)
    assert len(here.flows) == 2
    assert census.count("127.0.0.1") == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%1", "fe80::1", True),
    ],
)
def test_sources(one: str, other: str, same: bool) -> None:
    """An IPv4 host is a source, mapped or not; of IPv6 a network of 64 bits is."""
    assert (source_of((one, 1)) == source_of((other, 2))) is same
