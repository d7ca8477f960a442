"""Flows with a socket of their own, against real peers."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from l7mp.errors import Loss, Reason
from l7mp.interfaces import IKernelFlow, IStream, Kind
from l7mp.streams.address import V4, V6
from l7mp.streams.connected import ConnectedFlow
from l7mp.streams.udpsocket import BUDGET, open_socket
from tests.streams.loopback import (
    LARGEST,
    Collector,
    Faulty,
    Peer,
    peers,
    turn,
    until,
    unused_port,
)

REFUSED = Loss(Reason.REFUSED, os.strerror(errno.ECONNREFUSED))
FIN = Loss(Reason.FIN)
ENOUGH = 1 << 20

Connect = Callable[..., ConnectedFlow]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def connect(clock: Clock) -> Iterator[Connect]:
    """Makes flows that live on the real reactor, in a time that the test turns."""
    made: list[ConnectedFlow] = []

    def connect(
        to: tuple[str, int], linger: float = 1.0, sock: socket.socket | None = None
    ) -> ConnectedFlow:
        if sock is None:
            sock = open_socket(V6 if ":" in to[0] else V4, buffer=ENOUGH)
            sock.connect(to)
        made.append(ConnectedFlow(reactor, clock, sock, linger))
        return made[-1]

    yield connect
    for flow in made:
        flow.abort(FIN)


@pytest.fixture
def peer() -> Iterator[Peer]:
    with peers() as (peer,):
        yield peer


def own(flow: ConnectedFlow) -> tuple[str, int]:
    return flow.five_tuple()[2:4]


# -- data ------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_data_travels_both_ways(connect: Connect, peer: Peer) -> None:
    """What is written reaches the peer, what the peer sends is delivered, counted."""
    flow = connect(peer.address)
    got = Collector(flow).got
    flow.write(b"question")
    data, source = await peer.receive()
    assert (data, source) == (b"question", own(flow))
    peer.send(b"answer", source)
    await until(lambda: got == [b"answer"])
    assert (flow.messages_out, flow.bytes_out) == (1, 8)
    assert (flow.messages_in, flow.bytes_in) == (1, 6)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("data", [b"", b"x", LARGEST], ids=len)
async def test_boundaries_survive(connect: Connect, peer: Peer, data: bytes) -> None:
    """Datagrams of every size, nothing included, arrive whole, both ways."""
    flow = connect(peer.address)
    got = Collector(flow).got
    flow.write(data)
    assert (await peer.receive())[0] == data
    peer.send(data, own(flow))
    peer.send(b"next", own(flow))
    await until(lambda: got == [data, b"next"])


@pytest_twisted.ensureDeferred
async def test_more_than_a_budget_arrives_in_order(
    connect: Connect, peer: Peer
) -> None:
    """What is more than one turn's budget is read in further turns."""
    flow = connect(peer.address)
    got = Collector(flow).got
    sent = [b"%d" % n for n in range(3 * BUDGET + 1)]
    for data in sent:
        peer.send(data, own(flow))
    await until(lambda: len(got) >= len(sent))
    assert got == sent


@pytest_twisted.ensureDeferred
async def test_what_comes_to_a_held_flow_waits(connect: Connect, peer: Peer) -> None:
    """A held flow keeps what arrives and delivers it in order when released."""
    flow = connect(peer.address)
    peer.send(b"one", own(flow))
    await until(lambda: flow.queued == 1)
    collector = Collector(flow)
    flow.hold("reason")
    peer.send(b"two", own(flow))
    await until(lambda: flow.queued == 1)
    assert collector.got == [b"one"]
    flow.release("reason")
    assert collector.got == [b"one", b"two"]


@pytest_twisted.ensureDeferred
async def test_strangers_are_not_heard(connect: Connect, peer: Peer) -> None:
    """Only the peer is heard on a connected socket."""
    flow = connect(peer.address)
    got = Collector(flow).got
    with peers() as (stranger,):
        stranger.send(b"spam", own(flow))
    peer.send(b"answer", own(flow))
    await until(lambda: got)
    assert got == [b"answer"]


def test_it_says_what_it_is(connect: Connect) -> None:
    """A connected flow is a stream of datagrams that the kernel could forward."""
    with peers(host="::1") as (peer,):
        flow = connect(peer.address)
        assert IStream.providedBy(flow)
        assert IKernelFlow.providedBy(flow)
        assert (flow.kind, flow.half_close) == (Kind.DATAGRAMS, True)
        host, port, _, _, protocol = flow.five_tuple()
        assert (host, port, protocol) == ("::1", peer.port, 17)


def test_ipv4_is_dotted_also_on_ipv6_sockets(connect: Connect, peer: Peer) -> None:
    """Mapped addresses are not shown to people."""
    flow = connect((f"::ffff:{peer.address[0]}", peer.port))
    assert flow.five_tuple()[0] == flow.five_tuple()[2] == "127.0.0.1"


# -- errors ----------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_closed_port_is_a_refusal(connect: Connect, clock: Clock) -> None:
    """ICMP "port unreachable" ends the flow as refused, and no other flow."""
    with peers() as (alive,):
        good, bad = connect(alive.address), connect(("127.0.0.1", unused_port()))
        lost = Collector(bad).lost
        bad.write(b"anybody?")
        await turn(3)
        clock.advance(0)
        assert lost.result == REFUSED
        good.write(b"still here")
        assert (await alive.receive())[0] == b"still here"


@pytest_twisted.ensureDeferred
async def test_a_refusal_does_not_overtake_data(connect: Connect, clock: Clock) -> None:
    """What the peer sent before it closed is delivered before the refusal is told."""
    peer = Peer()
    flow = connect(peer.address)
    collector = Collector(flow)
    last = [b"%d" % n for n in range(BUDGET)]
    for data in last:
        peer.send(data, own(flow))
    peer.close()
    flow.write(b"too late")
    flow.write(b"much too late")
    assert (flow.loss, flow.messages_out) == (None, 2)
    await turn(3)
    clock.advance(0)
    assert collector.got == last
    assert collector.lost.result == REFUSED


def test_too_big_is_counted_not_cut(connect: Connect, peer: Peer) -> None:
    """What no datagram can hold is dropped and counted, and the flow lives on."""
    flow = connect(peer.address)
    flow.write(LARGEST + b"x")
    flow.write(b"fits")
    assert flow.drops == {"too-big": 1}
    assert flow.messages_out == 1


def test_a_full_buffer_is_counted(connect: Connect) -> None:
    """What the kernel has no room for is dropped and counted; nothing is raised."""
    # On the loopback UDP finds room for ever; a Unix datagram socket does not.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    with theirs:
        flow = connect(("", 0), sock=ours)
        for _ in range(1000):
            flow.write(b"x" * 1000)
    assert flow.drops["send-buffer"] == 1000 - flow.messages_out > 0
    assert flow.loss is None


def test_a_small_path_is_counted(connect: Connect, peer: Peer) -> None:
    """A router that wants smaller packets costs one datagram, not the flow."""
    flow = connect(peer.address)
    flow._met(OSError(errno.EMSGSIZE, "Message too long"), None)
    assert (flow.drops, flow.loss) == ({"too-big": 1}, None)


def test_what_could_not_leave_is_kept(
    connect: Connect, peer: Peer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no way to the peer the flow is lost, and says what never left."""
    flow = connect(peer.address)

    def unplugged(data: bytes) -> int:
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    monkeypatch.setattr(flow, "_send", unplugged)
    lost = flow.when_lost()
    flow.write(b"one")
    flow.write(b"two")
    assert not lost.called, "not in the middle of a write"
    clock.advance(0)
    assert lost.result == Loss(Reason.UNREACHABLE, os.strerror(errno.ENETUNREACH))
    assert flow.unsent() == [b"one", b"two"]
    assert flow.messages_out == 0


@pytest_twisted.ensureDeferred
async def test_an_exception_costs_only_its_flow(
    connect: Connect, peer: Peer, logged_failures: list[Failure]
) -> None:
    """A sink that fails ends the flow that delivers to it, with what it raised."""
    bad, good = connect(peer.address), connect(peer.address)
    lost, got = Faulty(bad).lost, Collector(good).got
    peer.send(b"to bad", own(bad))
    peer.send(b"to good", own(good))
    await until(lambda: got == [b"to good"] and lost.called)
    assert lost.result == Loss(Reason.LOCAL, "ZeroDivisionError: on purpose")
    logged_failures.clear()  # the reactor has logged it


# -- the end ---------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_late_answers_are_waited_for(
    connect: Connect, peer: Peer, clock: Clock
) -> None:
    """After its end a flow is read until the peer is silent for the linger time."""
    flow = connect(peer.address, linger=1.0)
    collector = Collector(flow)
    flow.write(b"question")
    flow.end()
    flow.end()
    for n in range(3):
        clock.advance(0.9)
        peer.send(b"%d" % n, own(flow))
        await until(lambda n=n: len(collector.got) == n + 1)  # type: ignore[misc]
    clock.advance(0.9)
    assert (collector.ended, flow.loss) == (False, None)
    clock.advance(0.1)
    assert (collector.ended, collector.lost.result) == (True, FIN)
    assert clock.getDelayedCalls() == []


def test_without_linger_the_end_is_the_end(
    connect: Connect, peer: Peer, clock: Clock
) -> None:
    """A linger time of 0 ends the flow in the next turn."""
    flow = connect(peer.address, linger=0)
    flow.end()
    clock.advance(0)
    assert flow.loss == FIN


def test_a_refusal_does_not_wait_for_late_answers(
    connect: Connect, clock: Clock
) -> None:
    """Nobody answers late who is not there at all."""
    flow = connect(("127.0.0.1", unused_port()))
    flow.write(b"anybody?")
    flow.end()
    flow.doRead()
    clock.advance(0)
    assert flow.loss == REFUSED


@pytest_twisted.ensureDeferred
async def test_a_held_flow_ends_after_its_data(
    connect: Connect, peer: Peer, clock: Clock
) -> None:
    """The end of a flow that is held is told after what waits has been delivered."""
    flow = connect(peer.address)
    collector = Collector(flow)
    flow.hold("reason")
    peer.send(b"last", own(flow))
    await until(lambda: flow.queued)
    flow.end()
    clock.advance(1)
    assert (flow.loss, collector.ended) == (None, False)
    flow.release("reason")
    assert (collector.got, collector.ended) == ([b"last"], True)
    assert collector.lost.result == FIN


@pytest.mark.parametrize("how", ["close", "abort"])
def test_closing_is_at_once(
    connect: Connect, peer: Peer, clock: Clock, how: str
) -> None:
    """Closing and aborting lose the flow at once, for the reason given, lingering or not."""
    flow = connect(peer.address)
    flow.end()
    loss = Loss(Reason.DELETED, "by a test")
    getattr(flow, how)(loss)
    assert flow.loss == loss
    assert flow.fileno() == -1
    assert clock.getDelayedCalls() == []
    flow.abort(FIN)
    flow.end()
    assert flow.loss == loss
    flow.write(b"late")
    assert (flow.drops, flow.messages_out) == ({"closed": 1}, 0)
    assert flow.unsent() == []


@pytest_twisted.ensureDeferred
async def test_what_waits_when_a_flow_is_aborted_is_counted(
    connect: Connect, peer: Peer
) -> None:
    """Aborting drops what was not delivered yet, and says how much that was."""
    flow = connect(peer.address)
    peer.send(b"one", own(flow))
    peer.send(b"two", own(flow))
    await until(lambda: flow.queued == 2)
    flow.abort(FIN)
    assert (flow.loss, flow.drops) == (FIN, {"aborted": 2})


def test_it_ends_with_the_reactor(connect: Connect, peer: Peer) -> None:
    """A reactor that stops takes the flow along."""
    flow = connect(peer.address)
    flow.connectionLost(Failure(ConnectionLost()))
    assert flow.loss is not None
    assert flow.loss.reason is Reason.SHUTDOWN


@pytest_twisted.ensureDeferred
async def test_a_flow_closed_by_what_it_delivers_stops_reading(
    connect: Connect, peer: Peer
) -> None:
    """A sink may close the flow in the middle of a burst."""
    flow = connect(peer.address)

    class Closer(Collector):
        def write(self, data: bytes) -> None:
            super().write(data)
            flow.close(FIN)

    closer = Closer(flow)
    peer.send(b"one", own(flow))
    peer.send(b"two", own(flow))
    await until(lambda: flow.loss)
    await turn()
    assert closer.got == [b"one"]
