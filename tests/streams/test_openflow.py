"""Flows that anybody may answer, against real peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import Clock

from l7mp.errors import Loss, Reason
from l7mp.interfaces import IKernelFlow, IStream
from l7mp.streams.address import V4, Sockaddr
from l7mp.streams.openflow import OpenFlow
from l7mp.streams.udpsocket import open_socket
from tests.streams.loopback import Collector, peers, until, unused_port


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def flow_to(clock: Clock) -> Iterator[Callable[[Sockaddr], OpenFlow]]:
    """Makes flows to somebody."""
    made: list[OpenFlow] = []

    def flow_to(peer: Sockaddr) -> OpenFlow:
        sock = open_socket(V4, ("127.0.0.1", 0), buffer=1 << 16)
        made.append(OpenFlow(reactor, clock, sock, peer))
        return made[-1]

    yield flow_to
    for flow in made:
        flow.abort(Loss(Reason.FIN))


@pytest_twisted.ensureDeferred
async def test_anybody_may_answer(flow_to: Callable[[Sockaddr], OpenFlow]) -> None:
    """What is written goes to the peer; whoever answers is heard."""
    with peers(3) as (peer, *others):
        flow = flow_to(peer.address)
        got = Collector(flow).got
        flow.write(b"who is there?")
        data, source = await peer.receive()
        assert data == b"who is there?"
        for other in others:
            other.send(b"me", source)
        await until(lambda: got == [b"me", b"me"])
    assert (flow.messages_out, flow.messages_in) == (1, 2)


def test_the_kernel_cannot_forward_it(
    flow_to: Callable[[Sockaddr], OpenFlow],
) -> None:
    """It is a stream, and has no five-tuple that is always true."""
    flow = flow_to(("127.0.0.1", unused_port()))
    assert IStream.providedBy(flow)
    assert not IKernelFlow.providedBy(flow)


@pytest_twisted.ensureDeferred
async def test_a_refusal_ends_it(
    flow_to: Callable[[Sockaddr], OpenFlow], clock: Clock
) -> None:
    """Where the peer is one host after all, its refusal is heard."""
    flow = flow_to(("127.0.0.1", unused_port()))
    flow.write(b"anybody?")
    await until(clock.getDelayedCalls)
    clock.advance(0)
    assert flow.loss is not None
    assert flow.loss.reason is Reason.REFUSED
