"""JSONSocket over TCP, UDP and Unix sockets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from pydantic import ValidationError
from twisted.internet.task import Clock

from l7mp.core.registry import Context, Registry
from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK, Kind
from l7mp.model.config import EndPoint
from l7mp.observers.metrics import Metrics
from l7mp.protocols import jsonsocket, tcp
from l7mp.protocols.jsonsocket import NO_HEADER
from l7mp.streams.jsonsocket import HANDSHAKE
from l7mp.testing import Memory
from tests.core.support import Fake
from tests.protocols.real import LOOPBACK, Conn, Real, real
from tests.streams.loopback import peers, turn, until

TCP: dict[str, Any] = {"protocol": "TCP", "port": 1, "address": LOOPBACK}
OVER_TCP: dict[str, Any] = {"protocol": "JSONSocket", "transport": TCP}
TO_TCP: dict[str, Any] = {"protocol": "TCP", "port": 1}
HELLO = b'{"JSONSocketVersion": 1, "who": "me"}'
NEVER = {"retry_on": "never"}


def status(answer: bytes) -> int:
    found: int = json.loads(answer)["JSONSocketStatus"]
    return found


async def echoed(world: Real, **route: Any) -> Conn:
    """A client of a JSONSocket listener over TCP, in front of an echo."""
    bound = await world.route(OVER_TCP, {"protocol": "Echo"}, **route)
    return world.dial((LOOPBACK, bound["port"]))


async def answer(conn: Conn) -> bytes:
    """The header of the server."""
    await until(lambda: conn.pull() and b"}" in conn.got)
    head, brace, conn.got = conn.got.partition(b"}")
    return head + brace


@pytest_twisted.ensureDeferred
async def test_a_header_may_come_in_segments() -> None:
    """A header that is cut anywhere is read, and its words are metadata."""
    async with real() as world:
        client = await echoed(world)
        for cut in (HELLO[:1], HELLO[1:9], HELLO[9:]):
            client.send(cut)
            await turn(5)
        assert status(await answer(client)) == 200
        header = world.session.metadata["JSONSocket"]
        assert header == {"JSONSocketVersion": 1, "who": "me"}


@pytest_twisted.ensureDeferred
async def test_data_right_behind_the_header_is_kept() -> None:
    """What comes in one segment with the header is the first of the data."""
    async with real() as world:
        client = await echoed(world)
        client.send(HELLO + b"first")
        client.finish()
        await answer(client)
        assert await client.reads_all() == b"first"


@pytest.mark.parametrize(
    ("header", "code"),
    [(b"nonsense", 400), (b"{}", 400), (b'{"JSONSocketVersion": 7}', 505)],
)
@pytest_twisted.ensureDeferred
async def test_a_bad_header_is_refused(header: bytes, code: int) -> None:
    """Who sends no header, or one of another version, is told so, and there is no session."""
    async with real() as world:
        client = await echoed(world)
        client.send(header)
        assert status(await client.reads_all()) == code
        assert not world.proxy.sessions


@pytest_twisted.ensureDeferred
async def test_half_a_header_is_refused() -> None:
    """Who ends in the middle of the header is told so."""
    async with real() as world:
        client = await echoed(world)
        client.send(HELLO[:9])
        client.finish()
        assert status(await client.reads_all()) == 400


@pytest_twisted.ensureDeferred
async def test_no_route_is_404() -> None:
    """A session without a route is refused with 404."""
    async with real() as world:
        bound = await world.route(OVER_TCP, {"protocol": "Echo"})
        listener = world.proxy._running["in"].listener
        object.__setattr__(listener, "rules", "missing")
        client = world.dial((LOOPBACK, bound["port"]))
        client.send(HELLO)
        assert status(await client.reads_all()) == 404


@pytest_twisted.ensureDeferred
async def test_yes_is_said_when_the_route_is_connected() -> None:
    """A client is answered when its upstream is there; one that is not is 502."""
    async with real() as world:
        server = world.serve()
        where = {"address": LOOPBACK, "port": server.getsockname()[1]}
        server.close()
        bound = await world.route(OVER_TCP, TO_TCP, where, retry=NEVER)
        client = world.dial((LOOPBACK, bound["port"]))
        client.send(HELLO)
        assert status(await client.reads_all()) == 502


@pytest_twisted.ensureDeferred
async def test_unix_sockets_carry_it(tmp_path: Path) -> None:
    """Over a Unix socket it is as over TCP."""
    path = str(tmp_path / "s")
    carrier = {"protocol": "UnixDomainSocket", "filename": path}
    async with real() as world:
        await world.route(
            {"protocol": "JSONSocket", "transport": carrier}, {"protocol": "Echo"}
        )
        client = world.dial(path)
        client.send(HELLO + b"x")
        assert status(await answer(client)) == 200
        client.finish()
        assert await client.reads_all() == b"x"


@pytest_twisted.ensureDeferred
async def test_udp_carries_it() -> None:
    """Over UDP the header is the first message, and so is the answer."""
    carrier = {"protocol": "UDP", "port": 1, "address": LOOPBACK}
    async with real() as world:
        bound = await world.route(
            {"protocol": "JSONSocket", "transport": carrier}, {"protocol": "Echo"}
        )
        to = (LOOPBACK, bound["port"])
        with peers(2) as (client, stranger):
            client.send(HELLO, to)
            assert status((await client.receive())[0]) == 200
            client.send(b"data", to)
            assert (await client.receive())[0] == b"data"
            stranger.send(b"nonsense", to)
            assert status((await stranger.receive())[0]) == 400


# -- as a client ------------------------------------------------------------------


async def upstream_of(world: Real, **spec: Any) -> tuple[Conn, Conn]:
    """A client, and the upstream to which a JSONSocket cluster connects for it."""
    server = world.serve()
    where = {"address": LOOPBACK, "port": server.getsockname()[1]}
    cluster = {"protocol": "JSONSocket", "transport": TO_TCP, **spec}
    bound = await world.route(TCP, cluster, where, retry=NEVER)
    client = world.dial((LOOPBACK, bound["port"]))
    return client, await world.accept(server)


@pytest_twisted.ensureDeferred
async def test_a_cluster_says_the_header_first() -> None:
    """The declared header goes first; data waits for the answer, and may follow it."""
    header = [
        {"path": {"from": "/IP/src_addr", "to": "/from"}},
        {"set": {"key": "/k", "value": [1]}},
    ]
    async with real() as world:
        client, upstream = await upstream_of(world, header=header)
        client.send(b"data")
        head = json.loads(await answer(upstream))
        assert head == {"from": LOOPBACK, "k": [1], "JSONSocketVersion": 1}
        await turn(5)
        assert not upstream.pull()
        upstream.send(b'{"JSONSocketVersion": 1, "JSONSocketStatus": 200}first')
        assert await client.reads(5) == b"first"
        assert await upstream.reads(4) == b"data"


@pytest_twisted.ensureDeferred
async def test_a_refusal_ends_the_session() -> None:
    """What the server says no with is in the session's loss."""
    async with real() as world:
        _, upstream = await upstream_of(world)
        await answer(upstream)
        upstream.send(
            b'{"JSONSocketVersion": 1, "JSONSocketStatus": 403,'
            b' "JSONSocketMessage": "go away"}'
        )
        loss = await world.loss()
        assert loss.reason is Reason.REFUSED
        assert "403" in loss.detail
        assert "go away" in loss.detail


OK = b'{"JSONSocketVersion": 1, "JSONSocketStatus": 200, "JSONSocketMessage": "OK"}'


# -- without a network ------------------------------------------------------------


class Bench:
    """A JSONSocket listener over memory, and clusters of it."""

    def __init__(
        self, kind: Kind = Kind.BYTES, metrics: Metrics | None = None, **listener: Any
    ) -> None:
        self.clock, self.carrier = Clock(), Fake("Carrier", kind)
        registry = Registry.of(
            [jsonsocket.protocol, self.carrier.protocol, tcp.protocol]
        )
        services = {} if metrics is None else {"metrics": metrics}
        self.context = Context(
            reactor=self.clock, registry=registry, services=services
        ).on_behalf_of("listener", "ear")
        self.words = registry.vocabulary()
        self.over = {"protocol": "JSONSocket", "transport": {"protocol": "Carrier"}}
        spec = self.words.listener({**self.over, **listener})
        self.accepted: list[Any] = []
        self.context.listen(spec, lambda stream, *_: self.accepted.append(stream))

    def arrive(self, *data: bytes) -> Memory:
        peer = Memory(self.carrier.kind)
        self.carrier.near[0].accept(peer, {}, "")
        peer.inject(*data)
        return peer

    def connect(self, **cluster: Any) -> tuple[list[Any], Memory]:
        """What becomes of a connection, and the far end of it."""
        spec = self.words.cluster({**self.over, **cluster})
        made: list[Any] = []
        going = self.context.connect(spec, EndPoint("e", "a"), {})
        going.addBoth(made.append)
        return made, self.carrier.made[-1]


@pytest.mark.parametrize("kind", list(Kind))
def test_it_carries_what_its_transport_does(kind: Kind) -> None:
    """Messages stay apart if the transport keeps them so."""
    bench = Bench(kind)
    for spec in (bench.words.listener(bench.over), bench.words.cluster(bench.over)):
        assert bench.words.kind_of(spec) == kind.value


@pytest.mark.parametrize("framing", ["u16be", {"format": "lines"}])
def test_a_framing_keeps_messages_apart(framing: Any) -> None:
    """Over bytes a framing makes it one of messages; none is none."""
    bench = Bench(Kind.BYTES)
    for read in (bench.words.listener, bench.words.cluster):
        assert bench.words.kind_of(read({**bench.over, "framing": framing})) == (
            Kind.DATAGRAMS.value
        )
        spec = read({**bench.over, "framing": "none"})
        assert bench.words.kind_of(spec) == Kind.BYTES.value


def test_messages_need_no_framing() -> None:
    """A framing of messages that are apart already is refused."""
    bench = Bench(Kind.DATAGRAMS)
    for read in (bench.words.listener, bench.words.cluster):
        with pytest.raises(ValidationError, match="Carrier carries messages that"):
            read({**bench.over, "framing": "lines"})


def test_clients_without_a_header_are_counted() -> None:
    """Of those who were sent away one knows how many, with the listener."""
    metrics = Metrics()
    bench = Bench(Kind.DATAGRAMS, metrics=metrics)
    bench.arrive(b"data")
    bench.arrive(HELLO)
    bench.arrive()
    bench.clock.advance(HANDSHAKE)
    assert metrics.drops("ear") == {NO_HEADER: 2}


def test_who_says_nothing_is_sent_away() -> None:
    """A client that sends no header in time is told 408."""
    bench = Bench()
    peer = bench.arrive()
    bench.clock.advance(HANDSHAKE)
    assert [status(said) for said in peer.written] == [408]
    assert peer.closed is not None
    assert not bench.accepted


def test_the_time_for_a_header_can_be_chosen() -> None:
    """It is as long as declared, and endless if that is 0."""
    quick, patient = Bench(header_timeout=1), Bench(header_timeout=0)
    for bench, ends in ((quick, True), (patient, False)):
        peer = bench.arrive()
        bench.clock.advance(1)
        assert (peer.closed is not None) is ends
    assert not patient.clock.getDelayedCalls()


def test_a_server_ends_idle_sessions() -> None:
    """The time-out declared here goes before the transport's own."""
    words: list[tuple[dict[str, Any], int]] = [
        ({"idle_timeout": 5}, 5),
        ({"idle_timeout": 0}, 0),
        ({}, 60),
    ]
    for declared, own in words:
        bench = Bench(**declared)
        peer = bench.arrive()
        peer.idle_timeout = 60
        peer.inject(HELLO)
        assert bench.accepted[0].idle_timeout == own


def test_a_client_ends_idle_streams() -> None:
    """A stream on which nothing moves ends, one on which something does goes on."""
    bench = Bench(Kind.DATAGRAMS)
    (made, peer), (_, other) = (bench.connect(idle_timeout=8) for _ in range(2))
    for far in (peer, other):
        far.inject(OK)
    for _ in range(20):
        made[0].write(b"data")
        bench.clock.advance(1)
    assert peer.loss is None
    assert other.closed is not None
    assert other.closed.reason is Reason.IDLE
    bench.clock.advance(9)
    bench.clock.advance(1)
    assert peer.closed == Loss(Reason.IDLE, "nothing moved for 8 s")
    assert not bench.clock.getDelayedCalls()


def test_what_a_server_answered_is_told_on() -> None:
    """The header of the answer describes the data that comes behind it."""
    bench, sink = Bench(Kind.DATAGRAMS), Memory()
    made, peer = bench.connect()
    peer.inject(OK, b"data")
    made[0].deliver_to(sink)
    made[0].release(SINK)
    assert sink.facts == [{"JSONSocket": json.loads(OK)}]
    assert sink.written == [b"data"]


def test_a_header_that_cannot_be_made_fails() -> None:
    """Rules that lead nowhere fail the attempt, and the transport is let go."""
    bench = Bench(Kind.DATAGRAMS)
    made, peer = bench.connect(header=[{"set": {"key": "/", "value": 1}}])
    assert "would not be an object" in made[0].getErrorMessage()
    assert peer.loss is not None


def test_a_client_is_owed_one_answer() -> None:
    """A session that is dropped before it was connected still answers, and only once."""
    bench = Bench()
    peer = bench.arrive(HELLO)
    (stream,) = bench.accepted
    stream.abort(Loss(Reason.RESET))
    stream.close(Loss(Reason.RESET))
    assert [status(said) for said in peer.written] == [502]
    assert peer.closed == Loss(Reason.RESET)


def test_the_answer_comes_before_the_data() -> None:
    """Being established is what the 200 means."""
    bench = Bench()
    peer, sink = bench.arrive(HELLO + b"data"), Memory()
    (stream,) = bench.accepted
    assert peer.written == []
    stream.deliver_to(sink)
    stream.established()
    stream.release(SINK)
    assert [status(said) for said in peer.written] == [200]
    assert sink.written == [b"data"]
    stream.abort(Loss(Reason.RESET))
    assert len(peer.written) == 1
