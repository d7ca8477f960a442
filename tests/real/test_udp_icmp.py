"""What the network says of datagrams concerns the session they belong to, and no other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_twisted

from l7mp.core.events import StageRestored
from l7mp.errors import Reason
from tests.protocols.real import Real, real
from tests.real.icmp import report
from tests.real.namespace import Network
from tests.streams.loopback import Peer, peers, turn, until

UNREACHABLE, REFUSED = Reason.UNREACHABLE, Reason.REFUSED
FOUR = [
    (3, 0, UNREACHABLE),  # network
    (3, 1, UNREACHABLE),  # host
    (3, 2, UNREACHABLE),  # protocol
    (3, 3, REFUSED),  # port
    (3, 9, UNREACHABLE),  # network, prohibited
    (3, 13, UNREACHABLE),  # prohibited by a filter
]
SIX = [
    (1, 0, UNREACHABLE),  # no route
    (1, 1, UNREACHABLE),  # prohibited
    (1, 3, UNREACHABLE),  # address
    (1, 4, REFUSED),  # port
]
EVERY = [
    *(("127.0.0.1", *one) for one in FOUR),
    *(("::1", *one) for one in SIX),
]
TOO_BIG = [("127.0.0.1", 3, 4), ("::1", 2, 0)]


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    """A loopback that may hear of any error."""
    if Network.why_not():
        pytest.skip(Network.why_not())
    net = Network()
    yield net
    net.close()


@pytest.fixture(autouse=True)
def inside(net: Network) -> Iterator[None]:
    with net.entered():
        yield


class Two:
    """A proxy, and two sessions through it; the first is talked about."""

    def __init__(self, it: Real, at: tuple[str, int], clients: list[Peer]) -> None:
        self.it, self.at, self.clients = it, at, clients
        self.one: Any
        self.two: Any
        self.one, self.two = it.proxy.sessions.values()

    async def talks(self, n: int, server: Peer) -> bool:
        """Whether a session carries data both ways."""
        self.clients[n].send(b"still there?", self.at)
        data, source = await server.receive()
        server.send(data, source)
        return (await self.clients[n].receive())[0] == b"still there?"


@asynccontextmanager
async def two(host: str, server: Peer, **route: Any) -> AsyncIterator[Two]:
    """Two sessions that have carried something."""
    udp = {"protocol": "UDP", "port": 1, "address": host}
    to = {"protocol": "UDP", "port": server.port}
    async with real() as it:
        bound = await it.route(udp, to, {"address": host}, **route)
        at = (host, bound["port"])
        with peers(2, host) as clients:
            for client in clients:
                client.send(b"hello", at)
                data, source = await server.receive()
                server.send(data, source)
                await client.receive()
            yield Two(it, at, clients)


def ends(session: Any, stage: int) -> tuple[tuple[str, int], tuple[str, int]]:
    """Our end and the other of a stage's stream."""
    host, port, own, own_port, _ = session.stages[stage].stream.five_tuple()
    return (own, own_port), (host, port)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("stage", [0, 1], ids=["client", "upstream"])
@pytest.mark.parametrize(("host", "kind", "code", "reason"), EVERY)
async def test_it_ends_the_session_it_belongs_to(
    host: str, kind: int, code: int, reason: Reason, stage: int
) -> None:
    """An error about a client or an upstream ends its session, and no other."""
    with peers(host=host) as (server,):
        async with two(host, server) as it:
            report(*ends(it.one, stage), kind, code)
            await until(lambda: it.one.loss)
            assert it.one.loss.reason is reason
            assert await it.talks(1, server)
            assert it.two.loss is None


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(("host", "kind", "code", "reason"), EVERY)
async def test_it_is_retried(host: str, kind: int, code: int, reason: Reason) -> None:
    """A session that retries lives on when its upstream could not be reached."""
    retry = {"retry_on": "always", "num_retries": 9, "timeout": 300}
    with peers(host=host) as (server,):
        async with two(host, server, retry=retry) as it:
            report(*ends(it.one, 1), kind, code)
            await until(
                lambda: [e for e in it.it.events if isinstance(e, StageRestored)]
            )
            assert await it.talks(0, server)
            assert await it.talks(1, server)
            assert (it.one.loss, it.two.loss) == (None, None)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("stage", [0, 1], ids=["client", "upstream"])
@pytest.mark.parametrize(("host", "kind", "code"), TOO_BIG)
async def test_too_big_is_counted(host: str, kind: int, code: int, stage: int) -> None:
    """That a datagram was too big for the way costs it alone, and is counted once."""
    with peers(host=host) as (server,):
        async with two(host, server) as it:
            report(*ends(it.one, stage), kind, code, mtu=1300)
            drops = it.one.stages[stage].stream.drops
            await until(lambda: drops)
            await turn(5)
            assert drops == {"too-big": 1}
            assert await it.talks(0, server)
            assert await it.talks(1, server)


@pytest_twisted.ensureDeferred
async def test_a_passing_trouble_means_nothing() -> None:
    """That a router lost a datagram on its way (time exceeded) is no end."""
    with peers() as (server,):
        async with two("127.0.0.1", server) as it:
            for stage in (0, 1):
                report(*ends(it.one, stage), 11, 0)
            await turn(5)
            assert await it.talks(0, server)


@pytest_twisted.ensureDeferred
async def test_a_lie_about_another_flow_means_nothing() -> None:
    """An error about a flow that does not exist concerns nobody."""
    with peers() as (server,):
        async with two("127.0.0.1", server) as it:
            (own, peer) = ends(it.one, 1)
            report(own, ("127.0.0.9", peer[1]), 3, 3)
            (own, peer) = ends(it.one, 0)
            report(own, ("127.0.0.9", peer[1]), 3, 3)
            await turn(5)
            assert await it.talks(0, server)
            assert await it.talks(1, server)
