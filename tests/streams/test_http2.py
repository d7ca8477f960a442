"""Connections of HTTP/2 on real sockets."""

from __future__ import annotations

import json

import pytest_twisted
from h2.errors import ErrorCodes

from l7mp.errors import Loss, Reason
from l7mp.streams.http2 import PREFACE, RESETS
from l7mp.streams.httpengine import HEAD_TIME, KEEP_ALIVE
from l7mp.streams.transport import FLUSH
from tests.streams.loopback import turn, until
from tests.streams.web import Sink, SlowReactor, loss_of, web
from tests.streams.web2 import Client2

ensure = pytest_twisted.ensureDeferred


@ensure
async def test_a_request_is_a_stream() -> None:
    """HTTP/2 with prior knowledge is spoken on the port of HTTP/1.1."""
    async with web() as host:
        client = Client2(host)
        number = client.request("POST", ("x-one", "1"), path="/a?b", end=False)
        client.data(number, b"ques")
        client.data(number, b"tion", end=True)
        exchange = await host.exchange()
        about = exchange.request
        assert (about["version"], about["method"]) == ("2.0", "POST")
        assert about["url"]["path"] == "/a?b"
        assert about["headers"] == {"host": "x", "x-one": "1"}
        sink = Sink(exchange)
        await until(lambda: sink.ended)
        assert sink.got == b"question"
        exchange.describe({"HTTP": {"status": 201, "headers": {"X-Two": "2"}}})
        exchange.write(b"ans")
        exchange.write(b"wer")
        exchange.end()
        reply = await client.reply(number)
        assert (reply.status, reply.body) == (201, b"answer")
        assert reply.headers["x-two"] == "2"
        assert reply.headers["server"] == "l7mp"
        await until(lambda: exchange.loss)
        assert loss_of(exchange) == "fin"


@ensure
async def test_streams_do_not_wait_for_each_other() -> None:
    """Requests of one connection are served at once, answered in any order."""
    async with web() as host:
        client = Client2(host)
        numbers = [client.request(path=f"/{n}") for n in range(3)]
        await host.exchange(2)
        for n in (2, 0, 1):
            host.exchanges[n].write(b"r%d" % n)
            host.exchanges[n].end()
            assert (await client.reply(numbers[n])).body == b"r%d" % n


@ensure
async def test_a_held_stream_stops_only_itself() -> None:
    """A request that nobody reads is sent up to its window; others flow on."""
    async with web() as host:
        client = Client2(host)
        stuck, free = (client.request("POST", end=False) for _ in range(2))
        await host.exchange(1)
        sink = Sink(host.exchanges[1])
        sent = 0
        while size := client.wire.local_flow_control_window(stuck):
            size = min(size, 16384)
            client.data(stuck, bytes(size))
            sent += size
        for _ in range(40):
            data = bytes(16384)
            await client.sees(
                lambda: client.wire.local_flow_control_window(free) >= 16384
            )
            client.data(free, data)
        await client.sees(lambda: len(sink.got) == 40 * 16384)
        assert client.wire.local_flow_control_window(stuck) == 0
        other = Sink(host.exchanges[0])
        await client.sees(lambda: len(other.got) == sent)
        await client.sees(lambda: client.wire.local_flow_control_window(stuck) > 0)


@ensure
async def test_a_slow_reader_pauses_its_own_producer() -> None:
    """A window that is shut pauses one response's producer, and no other response."""

    class Producer:
        said = ""

        def pauseProducing(self) -> None:
            self.said = "pause"

        def resumeProducing(self) -> None:
            self.said = "resume"

    async with web() as host:
        client = Client2(host, reads=False)
        slow = client.request()
        exchange, producer = await host.exchange(), Producer()
        Sink(exchange)
        exchange.registerProducer(producer, True)  # type: ignore[arg-type]
        exchange.write(bytes(40000))
        assert producer.said == ""
        exchange.write(bytes(100000))
        assert producer.said == "pause"
        await client.sees(lambda: len(client.replies[slow].body) == 65535)
        client.wire.increment_flow_control_window(1 << 20)
        quick = client.request()
        (await host.exchange(1)).write(b"quick")
        host.exchanges[1].end()
        assert (await client.reply(quick)).body == b"quick"
        exchange.unregisterProducer()
        exchange.registerProducer(producer, True)  # type: ignore[arg-type]
        assert producer.said == "pause"
        client.wire.increment_flow_control_window(1 << 20, slow)
        await client.sees(lambda: producer.said == "resume")
        exchange.end()
        assert len((await client.reply(slow)).body) == 140000


@ensure
async def test_large_responses_share_the_connection() -> None:
    """Responses of many rounds arrive whole, beside each other."""
    body = bytes(range(256)) * 8192
    async with web() as host:
        client = Client2(host)
        numbers = [client.request() for _ in range(2)]
        await host.exchange(1)
        for exchange in host.exchanges:
            exchange.write(body)
            exchange.end()
        for number in numbers:
            assert (await client.reply(number)).body == body
        await until(lambda: all(one.loss for one in host.exchanges))


@ensure
async def test_errors() -> None:
    """A stream closed before its response is answered with the error in JSON."""
    async with web() as host:
        client = Client2(host)
        number = client.request("POST", end=False)
        (await host.exchange()).close(Loss(Reason.TIMEOUT, "slow"))
        reply = await client.reply(number)
        assert (reply.status, json.loads(reply.body)["status"]) == (504, 504)
        await client.sees(lambda: number in client.reset)
        assert client.reset == {number: ErrorCodes.NO_ERROR}
        await until(lambda: host.exchanges[0].loss)
        reply = await client.reply(client.request("CONNECT", end=False))
        assert reply.status == 501


@ensure
async def test_a_failure_after_the_head_shows() -> None:
    """A response that is cut off arrives as far as it got, and is reset."""
    async with web() as host:
        client = Client2(host)
        number = client.request()
        exchange = await host.exchange()
        exchange.write(b"half")
        exchange.close(Loss(Reason.IDLE))
        await client.sees(lambda: client.reset)
        assert client.replies[number].body == b"half"
        assert client.reset == {number: ErrorCodes.INTERNAL_ERROR}
        await until(lambda: loss_of(exchange) == "idle")


@ensure
async def test_abort_resets_only_the_stream() -> None:
    """Aborting a response that has begun resets its stream; the others live."""
    async with web() as host:
        client = Client2(host)
        number = client.request()
        exchange = await host.exchange()
        exchange.write(b"half")
        exchange.abort(Loss(Reason.RESET))
        assert loss_of(exchange) == "reset"
        await client.sees(lambda: number in client.reset)
        number = client.request()
        (await host.exchange(1)).end()
        assert (await client.reply(number)).status == 200


@ensure
async def test_continue_is_said_when_the_body_is_wanted() -> None:
    """A client that expects 100-continue hears it when its session flows."""
    async with web() as host:
        client = Client2(host)
        number = client.request("PUT", ("expect", "100-continue"), end=False)
        exchange = await host.exchange()
        await turn(5)
        assert number not in client.replies
        sink = Sink(exchange)
        await client.sees(lambda: client.replies[number].informed)
        client.data(number, b"body", end=True)
        await until(lambda: sink.ended)
        exchange.end()
        assert (await client.reply(number)).informed == [100]


@ensure
async def test_a_client_may_reset_a_stream() -> None:
    """A stream that its client resets is lost, and what comes late does no harm."""
    async with web() as host:
        client = Client2(host)
        number = client.request("POST", end=False)
        exchange = await host.exchange()
        Sink(exchange)
        client.data(number, b"some")
        client.wire.reset_stream(number)
        client.push()
        await until(lambda: exchange.loss)
        assert loss_of(exchange) == "reset"
        exchange.write(b"late")
        exchange.end()
        assert exchange.drops["closing"] == 4


@ensure
async def test_a_reset_in_the_same_breath() -> None:
    """A request that comes together with its reset may be answered without harm."""
    async with web() as host:
        client = Client2(host)
        await client.sees(lambda: client.replies)  # its settings
        number = client.wire.get_next_available_stream_id()
        fields = [(":method", "CONNECT"), (":authority", "x")]
        client.wire.send_headers(number, fields)
        client.wire.reset_stream(number)
        client.push()
        number = client.request()
        (await host.exchange()).end()
        assert (await client.reply(number)).status == 200


@ensure
async def test_resetting_again_and_again() -> None:
    """A client that only resets what it asks for is told to calm down."""
    async with web() as host:
        client = Client2(host)
        for _ in range(RESETS + 2):
            client.wire.reset_stream(client.request())
            client.push()
            await turn()
        await client.sees(lambda: client.goodbye is not None)
        assert client.goodbye == ErrorCodes.ENHANCE_YOUR_CALM
        assert all(exchange.loss for exchange in host.exchanges)


@ensure
async def test_a_client_that_provokes_and_never_reads() -> None:
    """A client that makes us answer and takes no answers is dropped."""
    async with web() as host:
        client = host.client(PREFACE + b"\0\0\0\4\0\0\0\0\0", window=4096)
        ping = b"\0\0\x08\6\0\0\0\0\0" + bytes(8)
        await until(lambda: host.server.connections)

        def provoke() -> bool:
            if not client.unsent:
                client.send(ping * 10000)
            client.push()
            return not host.server.connections

        await until(provoke, 40)  # it takes long to say so much


@ensure
async def test_nonsense() -> None:
    """A client that breaks the protocol gets GOAWAY, and its sessions end."""
    async with web() as host:
        client = Client2(host)
        client.request("POST", end=False)
        exchange = await host.exchange()
        client.tcp.send(b"\0\0\1\0\0\0\0\0\0x")  # DATA without a stream
        await client.sees(lambda: client.goodbye)
        assert client.goodbye == ErrorCodes.PROTOCOL_ERROR
        assert loss_of(exchange) == "protocol-error"
        await client.tcp.rest()


@ensure
async def test_a_client_that_leaves() -> None:
    """With the connection, and with GOAWAY, all its streams are lost."""
    async with web() as host:
        for number, leave in enumerate(("vanish", "finish", "goaway")):
            client = Client2(host)
            client.request()
            exchange = await host.exchange(number)
            Sink(exchange)
            if leave == "goaway":
                client.wire.close_connection()
                client.push()
            else:
                getattr(client.tcp, leave)()
            await until(lambda exchange=exchange: exchange.loss)  # type: ignore[misc]
            assert loss_of(exchange) == "reset"


@ensure
async def test_exchanges_outlive_the_listener() -> None:
    """When the listener stops, streams under way are served and new ones refused."""
    async with web() as host:
        client, idle = Client2(host), Client2(host)
        number = client.request()
        exchange = await host.exchange()
        await until(lambda: len(host.server.connections) == 2)
        await turn(5)
        client.pull()
        await host.listening.stop()
        await idle.sees(lambda: idle.goodbye == 0)
        await idle.tcp.rest()
        late = client.request()
        exchange.write(b"answer")
        exchange.end()
        await until(lambda: client.tcp.pull().count(b"answer"))
        assert len(host.exchanges) == 1
        assert {number, late} == {1, 3}
        await client.tcp.rest()


@ensure
async def test_timeouts() -> None:
    """A connection without streams is closed; a closed stream that is stuck is cut."""
    clock = SlowReactor()
    async with web(clock) as host:
        silent, client = Client2(host), Client2(host, reads=False)
        number = client.request()
        exchange = await host.exchange()
        exchange.write(bytes(200000))
        exchange.close(Loss(Reason.DELETED))
        await client.sees(lambda: len(client.replies[number].body) == 65535)
        assert exchange.loss is None
        clock.clock.advance(FLUSH)
        assert loss_of(exchange) == "deleted"
        await client.sees(lambda: number in client.reset)
        clock.clock.advance(HEAD_TIME - FLUSH)
        await silent.sees(lambda: silent.goodbye == 0)
        assert client.goodbye is None
        clock.clock.advance(KEEP_ALIVE)
        await client.sees(lambda: client.goodbye == 0)
        for one in host.clients:
            one.close()


@ensure
async def test_head_has_no_body() -> None:
    """The response to HEAD is its head alone."""
    async with web() as host:
        client = Client2(host)
        number = client.request("HEAD")
        exchange = await host.exchange()
        exchange.write(b"answer")
        exchange.end()
        assert (await client.reply(number)).body == b""
