"""Many peers on one socket, against real peers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import pytest_twisted
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from l7mp.errors import Loss, Reason
from l7mp.interfaces import IKernelFlow, IStream, Kind
from l7mp.streams.address import V4, V6
from l7mp.streams.datagram import PeerFlow
from l7mp.streams.queueing import MAX_MESSAGES
from l7mp.streams.udpsocket import BUDGET
from tests.streams.house import Build, houses
from tests.streams.loopback import (
    LARGEST,
    Collector,
    Faulty,
    Peer,
    echo,
    peers,
    until,
)

FIN = Loss(Reason.FIN)
DELETED = Loss(Reason.DELETED)


@pytest.fixture
def house() -> Iterator[Build]:
    with houses() as build:
        yield build


# -- flows -----------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_every_peer_has_a_flow(house: Build) -> None:
    """Peers are told apart, and each gets its own answers."""
    here = house()
    here.open(echo)
    with peers(5) as several:
        for round_ in (b"one", b"two"):
            for n, peer in enumerate(several):
                peer.send(round_ + b"%d" % n, here.at)
            for n, peer in enumerate(several):
                assert await peer.receive() == (round_ + b"%d" % n, here.at)
        assert len(here.flows) == 5
        assert [flow.five_tuple() for flow in here.flows] == [
            (*peer.address, *here.at, 17) for peer in several
        ]
        assert {flow.messages_in for flow in here.flows} == {2}
        assert {flow.bytes_out for flow in here.flows} == {8}


@pytest_twisted.ensureDeferred
async def test_a_burst_is_one_flow_complete_and_in_order(house: Build) -> None:
    """A newborn flow is held, and loses nothing of what follows its first datagram."""
    here = house()
    held: list[bool] = []
    here.open(lambda flow: held.append(flow.is_held and not flow.queued))
    sent = [b"%d" % n for n in range(200)]
    with peers() as (peer,):
        for data in sent:
            peer.send(data, here.at)
        await until(lambda: here.flows and here.flows[0].queued == 200)
    assert held == [True]
    assert Collector(here.flows[0]).got == sent


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("data", [b"", b"x", LARGEST], ids=len)
async def test_boundaries_survive(house: Build, data: bytes) -> None:
    """Datagrams of every size, nothing included, arrive whole, both ways."""
    here = house()
    here.open(echo)
    with peers() as (peer,):
        peer.send(data, here.at)
        peer.send(b"next", here.at)
        assert (await peer.receive())[0] == data
        assert (await peer.receive())[0] == b"next"


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("family", "everywhere", "asked"),
    [
        (V4, "0.0.0.0", ["127.0.0.1", "127.0.0.7"]),
        (V6, "::", ["127.0.0.1", "127.0.0.7", "::1"]),
    ],
)
async def test_answers_come_from_the_address_asked(
    house: Build, family: int, everywhere: str, asked: list[str]
) -> None:
    """On a wildcard, each address that is asked answers for itself, in its own flow."""
    here = house(family, everywhere)
    here.open(echo)
    for host in asked:
        with peers(host=host.replace("127.0.0.7", "127.0.0.1")) as (peer,):
            peer.send(b"question", (host, here.port))
            assert await peer.receive() == (b"question", (host, here.port))
            flow = here.flows[-1]
            assert flow.five_tuple() == (*peer.address, host, here.port, 17)


@pytest_twisted.ensureDeferred
async def test_flows_are_told_apart_by_the_address_asked(house: Build) -> None:
    """One peer that asks two of our addresses has two flows: five-tuples differ."""
    here = house(V6, "::")
    here.open(echo)
    with peers() as (peer,):
        for host in ("127.0.0.1", "127.0.0.7", "127.0.0.1"):
            peer.send(b"question", (host, here.port))
            assert (await peer.receive())[1] == (host, here.port)
    assert [flow.messages_in for flow in here.flows] == [2, 1]


@pytest_twisted.ensureDeferred
async def test_a_broadcast_is_answered_from_an_own_address(house: Build) -> None:
    """Nobody can speak from a broadcast address: the kernel chooses another."""
    here = house(V4, "0.0.0.0")
    here.open(echo)
    with peers() as (peer,):
        peer.send(b"anybody?", ("127.255.255.255", here.port))
        data, (source, _) = await peer.receive()
    assert (data, source) == (b"anybody?", "127.0.0.1")
    assert here.flows[0].five_tuple()[2] == "127.255.255.255"
    assert here.flows[0].drops == {}


@pytest_twisted.ensureDeferred
async def test_a_thousand_flows(house: Build) -> None:
    """A thousand peers at once are a thousand flows on one socket."""
    here = house()
    here.open(echo)
    with peers(1000) as many:
        for round_ in range(2):
            for start in range(0, 1000, 100):
                for n, peer in enumerate(many[start : start + 100]):
                    peer.send(b"%d" % (start + n), here.at)
                await until(
                    lambda least=start + 100: len(here.flows) >= least  # type: ignore[misc]
                )
            for n, peer in enumerate(many):
                assert (await peer.receive())[0] == b"%d" % n, round_
    assert len(here.flows) == 1000


@pytest_twisted.ensureDeferred
async def test_a_stalled_flow_delays_nobody(house: Build) -> None:
    """What one flow does not take is bounded and counted, and the others flow."""
    here = house()
    here.open(lambda flow: echo(flow) if len(here.flows) > 1 else None)
    with peers(2) as (slow, quick):
        slow.send(b"0", here.at)
        await until(lambda: here.flows)
        stalled = here.flows[0]
        more = MAX_MESSAGES + 100
        for start in range(0, more, 512):
            for n in range(start, min(start + 512, more)):
                slow.send(b"%d" % n, here.at)
            quick.send(b"question", here.at)
            assert (await quick.receive())[0] == b"question"
        await until(lambda: stalled.queued + stalled.drops.get("overflow", 0) > more)
    assert stalled.queued == MAX_MESSAGES
    assert stalled.drops == {"overflow": 101}


def test_a_turn_has_a_budget(house: Build) -> None:
    """However much there is to read, other sockets get their turn in between."""
    here = house()
    here.open()
    with peers() as (peer,):
        for n in range(2 * BUDGET):
            peer.send(b"%d" % n, here.at)
        here.shared.doRead()
        assert here.flows[0].queued == BUDGET


def test_it_says_what_it_is(house: Build) -> None:
    """A peer's flow is a stream of datagrams that the kernel could forward."""
    here = house()
    here.open()
    with peers() as (peer,):
        peer.send(b"x", here.at)
        here.shared.doRead()
    (flow,) = here.flows
    assert IStream.providedBy(flow)
    assert IKernelFlow.providedBy(flow)
    assert (flow.kind, flow.half_close) == (Kind.DATAGRAMS, False)
    assert flow.idle_timeout == 60.0
    assert not flow.is_patient


# -- their end -------------------------------------------------------------------


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("how", ["close", "abort", "end"])
async def test_a_peer_whose_flow_is_gone_begins_anew(house: Build, how: str) -> None:
    """The next datagram of a peer whose flow was lost or refused makes a new one."""
    here = house()

    def refuse(flow: PeerFlow) -> None:
        flow.end() if how == "end" else getattr(flow, how)(DELETED)

    here.open(lambda flow: echo(flow) if len(here.flows) > 1 else refuse(flow))
    with peers() as (peer,):
        peer.send(b"one", here.at)
        await until(lambda: here.flows)
        assert here.flows[0].loss == (FIN if how == "end" else DELETED)
        peer.send(b"two", here.at)
        assert (await peer.receive())[0] == b"two"
        here.flows[0].write(b"late")
        assert await peer.hears_nothing()
    assert here.flows[0].drops["closed"] == 1
    assert here.flows[0].unsent() == []
    assert len(here.flows) == 2


@pytest_twisted.ensureDeferred
async def test_what_came_before_the_end_is_delivered(house: Build) -> None:
    """An orderly end is told after what waits was delivered; an abort drops it."""
    here = house()
    here.open()
    with peers(2) as (one, two):
        one.send(b"last", here.at)
        two.send(b"lost", here.at)
        await until(lambda: len(here.flows) == 2)
    ended, aborted = here.flows
    ended.end()
    aborted.abort(DELETED)
    assert (ended.loss, aborted.loss) == (None, DELETED)
    assert aborted.drops == {"aborted": 1}
    assert Collector(ended).got == [b"last"]
    assert ended.loss == FIN


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("family", "host", "to"),
    [(V4, "127.0.0.1", "127.0.0.1"), (V6, "::", "127.0.0.1"), (V6, "::", "::1")],
)
async def test_a_peer_that_is_gone_is_noticed(
    house: Build, family: int, host: str, to: str
) -> None:
    """ICMP "port unreachable" ends the flow of that peer, and no other."""
    here = house(family, host)
    here.open()
    with peers(2, to) as (leaver, stayer):
        leaver.send(b"x", (to, here.port))
        stayer.send(b"x", (to, here.port))
        await until(lambda: len(here.flows) == 2)
        left, stayed = here.flows
        lost = Collector(left).lost
        leaver.close()
        left.write(b"anybody?")
        stayed.write(b"for you")
        assert not lost.called, "not in the middle of a write"
        assert (await stayer.receive())[0] == b"for you"
        await until(lambda: lost.called)
        assert str(lost.result).startswith("refused")
        assert (stayed.loss, stayed.drops) == (None, {})


def test_an_error_does_not_stop_a_burst(house: Build) -> None:
    """What waits behind the error of one peer is read in the same turn."""
    here = house()
    here.open()
    with peers(2) as (leaver, stayer):
        for peer in (leaver, stayer):
            peer.send(b"one", here.at)
        here.shared.doRead()
        leaver.close()
        here.flows[0].write(b"anybody?")
        stayer.send(b"two", here.at)
        here.shared.doRead()
        assert here.flows[1].queued == 2
        leaver, lost = Peer(port=leaver.port), Collector(here.flows[0]).lost
        assert str(lost.result).startswith("refused")
        leaver.send(b"two", here.at)
        here.shared.doRead()
        assert here.flows[2].queued == 1
        leaver.close()


@pytest.mark.parametrize("waiting", [0, BUDGET])
def test_errors_are_read_in_silence_and_in_a_flood(house: Build, waiting: int) -> None:
    """A refusal is noticed when there is nothing else to read, and when there is much."""
    here = house()
    here.open()
    with peers(2) as (leaver, stayer):
        for peer in (leaver, stayer):
            peer.send(b"one", here.at)
        here.shared.doRead()
        leaver.close()
        lost = Collector(here.flows[0]).lost
        here.flows[0].write(b"anybody?")
        here.flows[1].write(b"this call is told, and passes it over")
        for _ in range(waiting):
            stayer.send(b"two", here.at)
        here.shared.doRead()
        assert str(lost.result).startswith("refused")
        assert here.flows[1].queued == 1 + waiting


def test_the_socket_may_go_in_the_middle_of_a_burst(house: Build) -> None:
    """A flow that takes the socket along when it ends is the last to be read."""
    here = house()

    def accept(flow: PeerFlow) -> None:
        door.close()
        flow.close(DELETED)

    door = here.open(accept)
    with peers() as (peer,):
        peer.send(b"one", here.at)
        peer.send(b"two", here.at)
        here.shared.doRead()
    assert (len(here.flows), here.emptied) == (1, 1)


@pytest_twisted.ensureDeferred
async def test_a_listener_that_fails_costs_only_that_flow(
    house: Build, logged_failures: list[Failure]
) -> None:
    """An exception of who accepts a flow ends that flow; the next peer is let in."""
    here = house()

    def accept(flow: PeerFlow) -> None:
        if len(here.flows) == 1:
            raise ZeroDivisionError("on purpose")
        echo(flow)

    here.open(accept)
    with peers() as (peer,):
        peer.send(b"one", here.at)
        peer.send(b"two", here.at)
        assert (await peer.receive())[0] == b"two"
    assert here.flows[0].loss == Loss(Reason.LOCAL, "ZeroDivisionError: on purpose")
    logged_failures.clear()  # the reactor has logged it


def test_too_big_is_counted_not_cut(house: Build) -> None:
    """What no datagram can hold is dropped and counted, and the flow lives on."""
    here = house()
    here.open()
    with peers() as (peer,):
        peer.send(b"x", here.at)
        here.shared.doRead()
        (flow,) = here.flows
        flow.write(LARGEST + b"x")
        flow.write(b"fits")
    assert (flow.drops, flow.messages_out, flow.loss) == ({"too-big": 1}, 1, None)


@pytest_twisted.ensureDeferred
async def test_an_exception_costs_only_its_flow(
    house: Build, logged_failures: list[Failure]
) -> None:
    """A sink that fails ends the flow that delivers to it; the socket goes on."""
    here = house()

    def accept(flow: PeerFlow) -> None:
        (echo if len(here.flows) > 1 else Faulty)(flow)

    here.open(accept)
    with peers(2) as (bad, good):
        bad.send(b"bad", here.at)
        good.send(b"good", here.at)
        assert (await good.receive())[0] == b"good"
    first = here.flows[0]
    assert first.loss == Loss(Reason.LOCAL, "ZeroDivisionError: on purpose")
    logged_failures.clear()  # the reactor has logged it


@pytest.mark.parametrize("how", ["close", "reactor"])
def test_closing_the_socket_ends_everybody(house: Build, how: str) -> None:
    """When the socket is taken away, all flows end with the proxy."""
    here = house()
    here.open()
    with peers(2) as several:
        for peer in several:
            peer.send(b"x", here.at)
        here.shared.doRead()
    if how == "close":
        here.shared.close()
        here.shared.close()
    else:
        here.shared.connectionLost(Failure(ConnectionLost()))
    reasons = [flow.loss.reason for flow in here.flows if flow.loss]
    assert reasons == [Reason.SHUTDOWN, Reason.SHUTDOWN]
    assert here.emptied == 0
    here.flows[0].write(b"late")
