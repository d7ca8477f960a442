"""What the versions of HTTP have in common."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from l7mp.errors import Loss, Reason
from l7mp.streams.httpengine import HEAD_TIME, KEEP_ALIVE, Engine, Settings
from l7mp.streams.transport import FLUSH, LINGER
from tests.streams.loopback import turn, until
from tests.streams.web import Sink, SlowReactor, get, loss_of, post, web
from tests.streams.web2 import Client2

ensure = pytest_twisted.ensureDeferred

CHUNKED = get("/", "Transfer-Encoding: chunked", method="POST")
SMALL = Settings(max_body=4)


class Transport:
    """Notes what it is told, and asks its producer when the test says so."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.producer: Any = None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer
        producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        self.said.append(data.decode())

    def __getattr__(self, name: str) -> Any:
        return lambda: self.said.append(name)


class Mute(Engine):
    """Notes what it is told."""

    def __init__(self, transport: Any, clock: Any) -> None:
        super().__init__(transport, clock, lambda exchange: None)
        self.told: list[Any] = []

    def heard(self, data: bytes) -> None:
        self.told.append(data)

    def client_ended(self) -> None:
        self.told.append("ended")

    def broken(self, loss: Loss) -> None:
        self.told.append(loss)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def transport() -> Transport:
    return Transport()


@pytest.fixture
def engine(transport: Transport, clock: Clock) -> Mute:
    return Mute(transport, clock)


def test_leaving(engine: Mute, transport: Transport, clock: Clock) -> None:
    """Our end is sent first, then the client's awaited for a moment."""
    engine.received(b"x")
    engine._leave()
    engine._leave()
    engine.received(b"y")
    assert transport.said == ["resumeProducing", "loseWriteConnection"]
    engine.flushed()
    clock.advance(LINGER)
    assert transport.said[2:] == ["loseConnection"]
    engine.lost(Loss(Reason.FIN))
    assert engine.told == [b"x", Loss(Reason.FIN)]
    assert not clock.getDelayedCalls()


def test_leaving_after_the_client(engine: Mute, transport: Transport) -> None:
    """A client that has ended is not waited for; one that ends then ends it all."""
    engine.peer_ended()
    assert engine.told == ["ended"]
    engine._leave()
    assert transport.said == ["loseConnection"]
    engine.peer_ended()
    assert transport.said == ["loseConnection", "loseConnection"]


def test_a_client_that_reads_nothing(
    engine: Mute, transport: Transport, clock: Clock
) -> None:
    """A connection whose end does not leave in time is dropped."""
    engine._leave()
    clock.advance(FLUSH)
    assert transport.said[-1] == "abortConnection"


def test_draining(engine: Mute, transport: Transport) -> None:
    """Being registered is not being drained; leaving waits for no draining."""
    engine._when_drained(lambda: engine.told.append("drained"))
    assert engine.told == []
    transport.producer.resumeProducing()
    assert (engine.told, transport.producer) == (["drained"], None)
    engine._when_drained(lambda: engine.told.append("again"))
    engine._leave()
    assert (engine.told, transport.producer) == (["drained"], None)


def test_a_lost_connection_is_not_touched(
    engine: Mute, transport: Transport, clock: Clock
) -> None:
    """After the loss nothing is written, awaited or timed."""
    engine.forget()
    engine._write(b"x")
    engine._when_drained(lambda: None)
    engine._set_timer(1, lambda: None)
    assert (transport.said, transport.producer) == ([], None)
    assert not clock.getDelayedCalls()


def test_versions_fill_the_gaps(transport: Transport, clock: Clock) -> None:
    """A version of HTTP says itself what it makes of data, of ends and of losses."""
    bare = Engine(transport, clock, lambda exchange: None)
    for call in (
        lambda: bare.received(b"x"),
        bare.peer_ended,
        bare.retire,
        lambda: bare.lost(Loss(Reason.FIN)),
    ):
        with pytest.raises(NotImplementedError):
            call()


@ensure
async def test_timeouts() -> None:
    """Idle connections are closed, slow heads answered 408, closed ones cut at last."""
    clock = SlowReactor()
    async with web(clock) as host:
        idle, slow, stuck = host.client(), host.client(b"GET / HT"), host.client(get())
        exchange = await host.exchange()
        await until(lambda: len(host.server.connections) == 3)
        await turn(5)
        clock.clock.advance(HEAD_TIME + 1)
        assert await idle.rest() == b""
        assert b" 408 " in await slow.rest()
        Sink(exchange)
        exchange.end()
        assert (await stuck.response()).status == 200
        clock.clock.advance(KEEP_ALIVE - 1)
        await turn(3)
        assert not stuck.pull()
        assert not stuck.eof
        clock.clock.advance(2)
        assert await stuck.rest() == b""
        for client in host.clients:
            client.close()


@ensure
async def test_a_closed_stream_is_cut_in_the_end() -> None:
    """A client that does not read what is left of a closed response is dropped."""
    clock = SlowReactor()
    async with web(clock) as host:
        client = host.client(get(), window=4096)
        exchange = await host.exchange()
        Sink(exchange)
        exchange.write(bytes(8 << 20))
        exchange.close(Loss(Reason.DELETED))
        await turn(5)
        assert exchange.loss is None
        clock.clock.advance(FLUSH + 1)
        await until(lambda: exchange.loss)
        assert loss_of(exchange) == "deleted"
        client.close()


@ensure
@pytest.mark.parametrize(
    "said", [post(b"12345"), CHUNKED + b"3\r\n123\r\n2\r\n45\r\n0\r\n\r\n"]
)
async def test_bodies_that_are_too_large(said: bytes) -> None:
    """A request larger than is taken gets a 413, announced or not."""
    async with web(settings=SMALL) as host:
        client = host.client(said)
        if said is not post(b"12345"):
            await turn(5)
        if host.exchanges:
            Sink(host.exchanges[0])
        assert (await client.response()).status == 413
        await client.rest()
        if host.exchanges:
            assert loss_of(host.exchanges[0]) == "refused"
            assert host.exchanges[0].drops["max-body"] == 2


@ensure
async def test_bodies_that_just_fit() -> None:
    """A body of exactly that size is taken."""
    async with web(settings=SMALL) as host:
        client = host.client(post(b"1234"))
        sink = Sink(await host.exchange())
        await until(lambda: sink.ended)
        host.exchanges[0].end()
        assert (await client.response()).status == 200


@ensure
async def test_too_large_a_body_in_http2() -> None:
    """The stream has its 413, and the connection goes on."""
    async with web(settings=SMALL) as host:
        client = Client2(host)
        number = client.request("POST", end=False)
        Sink(await host.exchange())
        client.data(number, b"12345")
        assert (await client.reply(number)).status == 413
        client.request()
        await host.exchange(1)


@ensure
@pytest.mark.parametrize("version", [1, 2])
async def test_a_body_that_stops_coming(version: int) -> None:
    """A client that sends no more of its request, though it may, gets a 408."""
    slow = SlowReactor()
    async with web(slow, Settings(body_timeout=10)) as host:
        if version == 1:
            client = host.client(CHUNKED + b"1\r\nx\r\n")
        else:
            two = Client2(host)
            number = two.request("POST", end=False)
            client = two.tcp
        exchange = await host.exchange()
        for _ in range(9):
            slow.clock.advance(2.5)  # held: it is not the client's fault
        Sink(exchange)
        for _ in range(3):
            slow.clock.advance(2.5)
        assert exchange.loss is None
        if version == 1:
            client.send(b"1\r\ny\r\n")
            await until(lambda: exchange.bytes_in == 2)
        else:
            two.data(number, b"y")
            await until(lambda: exchange.bytes_in == 1)
        for _ in range(4):
            slow.clock.advance(2.5)
            assert exchange.loss is None
        slow.clock.advance(2.5)
        assert loss_of(exchange) == "timeout"
        if version == 1:
            assert (await client.response()).status == 408
        else:
            assert (await two.reply(number)).status == 408


@ensure
async def test_a_body_that_may_take_its_time() -> None:
    """Nobody is hurried who has been answered already, or where there is no limit."""
    slow = SlowReactor()
    async with web(slow, Settings(body_timeout=0)) as host:
        host.client(CHUNKED)
        sink = Sink(await host.exchange())
        slow.clock.advance(1000)
        assert not sink.ended
        assert host.exchanges[0].loss is None
    slow = SlowReactor()
    async with web(slow, Settings(body_timeout=10)) as host:
        host.client(CHUNKED)
        exchange = await host.exchange()
        Sink(exchange)
        exchange.write(b"answer")
        for _ in range(20):
            slow.clock.advance(2.5)
        assert exchange.loss is None
        exchange.close(Loss(Reason.RESET))
