"""Connections of HTTP/1.1 on real sockets."""

from __future__ import annotations

import json

import pytest
import pytest_twisted

from l7mp.errors import Loss, Reason
from l7mp.streams.http1 import MAX_DISCARD
from tests.streams.loopback import turn, until
from tests.streams.web import Sink, get, loss_of, post, web

ensure = pytest_twisted.ensureDeferred

CHUNKED = get("/", "Transfer-Encoding: chunked", method="POST")


@ensure
async def test_a_request_is_a_stream() -> None:
    """The body of a request is read, what is written is the body of the response."""
    async with web() as host:
        client = host.client(post(b"question"))
        exchange = await host.exchange()
        sink = Sink(exchange)
        await until(lambda: sink.ended)
        assert sink.got == b"question"
        exchange.write(b"ans")
        exchange.write(b"wer")
        exchange.end()
        reply = await client.response()
        assert (reply.status, reply.body) == (200, b"answer")
        assert reply.headers["transfer-encoding"] == "chunked"
        assert reply.headers["server"] == "l7mp"
        assert reply.headers["date"].endswith("GMT")
        assert loss_of(exchange) == "fin"
        assert (exchange.bytes_in, exchange.bytes_out) == (8, 6)


@ensure
async def test_both_directions_at_once() -> None:
    """A response begins, and goes on, while the request is still being sent."""
    async with web() as host:
        client = host.client(CHUNKED + b"3\r\none\r\n")
        exchange = await host.exchange()
        sink = Sink(exchange)
        exchange.write(b"first")
        await client.hears(b"first")
        client.send(b"3\r\ntwo\r\n")
        await until(lambda: sink.got == b"onetwo")
        exchange.write(b"second")
        await client.hears(b"second")
        client.send(b"0\r\n\r\n")
        await until(lambda: sink.ended)
        exchange.end()
        await client.hears(b"0\r\n\r\n")
        await until(lambda: loss_of(exchange) == "fin")


@ensure
async def test_every_request_of_a_connection_has_its_own_stream() -> None:
    """Requests sent at once are served in order, each when the one before is over."""
    async with web() as host:
        client = host.client(post(b"1") + post(b"22") + get("/3"))
        for number, body in enumerate((b"1", b"22", b"")):
            exchange = await host.exchange(number)
            sink = Sink(exchange)
            await until(lambda sink=sink: sink.ended)  # type: ignore[misc]
            assert sink.got == body
            await turn(3)
            assert len(host.exchanges) == number + 1
            exchange.write(b"r%d" % number)
            exchange.end()
            assert (await client.response()).body == b"r%d" % number
        assert [loss_of(exchange) for exchange in host.exchanges] == ["fin"] * 3
        assert not client.eof


@ensure
async def test_a_stream_is_lost_when_its_response_has_left() -> None:
    """A response that nobody reads keeps its stream, and the next request, waiting."""
    async with web() as host:
        client = host.client(get() + get(), window=4096)
        exchange = await host.exchange()
        Sink(exchange)
        exchange.write(bytes(8 << 20))
        exchange.end()
        await turn(20)
        assert exchange.loss is None
        assert len(host.exchanges) == 1
        assert len((await client.response()).body) == 8 << 20
        await host.exchange(1)
        assert loss_of(exchange) == "fin"


@ensure
async def test_a_held_stream_stops_the_client() -> None:
    """A newborn or held stream reads no more than one piece; all arrives in the end."""
    body = bytes(range(256)) * (40 << 10)
    async with web() as host:
        client = host.client(post(body))
        exchange = await host.exchange()
        await turn(20)
        assert not client.push()
        assert exchange.bytes_in == 0
        sink = Sink(exchange)
        await until(lambda: (client.push(), sink.got)[1])
        exchange.hold("a while")
        read = len(sink.got)
        await turn(20)
        assert not client.push()
        assert len(sink.got) == read
        exchange.release("a while")
        await until(lambda: (client.push(), sink.ended)[1])
        assert sink.got == body


@ensure
async def test_a_slow_reader_pauses_the_producer() -> None:
    """The producer of an exchange is paused while the client does not read."""

    class Producer:
        said = ""

        def pauseProducing(self) -> None:
            self.said = "pause"

        def resumeProducing(self) -> None:
            self.said = "resume"

        def stopProducing(self) -> None:
            self.said = "stop"

    async with web() as host:
        client = host.client(get(), window=4096)
        exchange, producer = await host.exchange(), Producer()
        exchange.registerProducer(producer, True)  # type: ignore[arg-type]
        Sink(exchange)
        exchange.write(bytes(8 << 20))
        assert producer.said == "pause"
        await until(lambda: (client.pull(), producer.said == "resume")[1])
        exchange.end()
        exchange.unregisterProducer()
        exchange.registerProducer(producer, True)  # type: ignore[arg-type]
        assert len((await client.response()).body) == 8 << 20
        client.send(get())
        (await host.exchange(1)).registerProducer(producer, True)  # type: ignore[arg-type]


@ensure
async def test_http_1_0() -> None:
    """To HTTP/1.0 a response is sent without chunks, and ends with the connection."""
    async with web() as host:
        client = host.client(b"GET /old HTTP/1.0\r\n\r\n")
        exchange = await host.exchange()
        assert exchange.request["version"] == "1.0"
        exchange.write(b"answer")
        exchange.end()
        head, _, body = (await client.rest()).partition(b"\r\n\r\n")
        assert body == b"answer"
        assert b"chunked" not in head
        assert b"connection: close" in head.lower()


@ensure
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_failure_after_the_head_shows(version: bytes) -> None:
    """A response that is cut off arrives as far as it got, and looks incomplete."""
    async with web() as host:
        client = host.client(b"GET / HTTP/%s\r\nHost: x\r\n\r\n" % version)
        exchange = await host.exchange()
        exchange.write(b"half of it")
        exchange.close(Loss(Reason.RESET, "upstream went"))
        got = await client.rest()
        if version == b"1.1":
            assert b"half of it" in got
            assert b"0\r\n\r\n" not in got
        else:
            assert client.reset
        assert loss_of(exchange) == "reset"


@ensure
async def test_abort_drops_the_connection() -> None:
    """Aborting a response that has begun resets the connection."""
    async with web() as host:
        client = host.client(get())
        exchange = await host.exchange()
        exchange.write(b"half")
        exchange.abort(Loss(Reason.RESET))
        assert loss_of(exchange) == "reset"
        await client.rest()
        assert client.reset


@ensure
async def test_abort_before_the_head_tells_why() -> None:
    """Aborting before the response is an error response, then the connection ends."""
    async with web() as host:
        client = host.client(post(b"abc"))
        exchange = await host.exchange()
        exchange.abort(Loss(Reason.RESET, "upstream went"))
        assert loss_of(exchange) == "reset"
        reply = await client.response()
        assert (reply.status, reply.headers["connection"]) == (502, "close")
        await client.rest()
        assert not client.reset


@ensure
async def test_a_refused_request_leaves_the_connection_usable() -> None:
    """After an error for a request that was not read, the next request is served."""
    async with web() as host:
        client = host.client(post(bytes(1000)))
        (await host.exchange()).close(Loss(Reason.NO_ROUTE, "no rule matched"))
        reply = await client.response()
        assert reply.status == 404
        assert json.loads(reply.body) == {
            "status": 404,
            "message": "Not Found",
            "content": "no-route: no rule matched",
        }
        client.send(get("/next"))
        exchange = await host.exchange(1)
        assert exchange.request["url"]["path"] == "/next"
        assert host.exchanges[0].drops == {"closing": 1000}


@ensure
async def test_an_endless_request_is_not_read_forever() -> None:
    """A client that goes on sending after its response gets it, and then the end."""
    async with web() as host:
        client = host.client(CHUNKED)
        (await host.exchange()).end()
        client.send(b"%x\r\n" % (1 << 30) + bytes(4 * MAX_DISCARD))
        assert b"200" in await client.rest()
        client.close()
        await until(lambda: not host.server.connections)


@ensure
async def test_continue_is_said_when_the_body_is_wanted() -> None:
    """A client that expects 100-continue hears it when its session flows."""
    async with web() as host:
        client = host.client(
            get("/", "Content-Length: 4", "Expect: 100-continue", method="PUT")
        )
        exchange = await host.exchange()
        await turn(5)
        assert client.pull() == b""
        sink = Sink(exchange)
        await client.hears(b"100 Continue")
        client.send(b"body")
        await until(lambda: sink.ended)
        exchange.end()
        reply = await client.response()
        assert (reply.informed, reply.status) == ([100], 200)


@ensure
async def test_without_continue_the_connection_ends() -> None:
    """A client that expected 100-continue and got an error must not guess what next."""
    async with web() as host:
        client = host.client(
            get("/", "Content-Length: 4", "Expect: 100-continue", method="PUT")
        )
        (await host.exchange()).close(Loss(Reason.NO_ROUTE))
        assert b"connection: close" in (await client.rest()).lower()


@ensure
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x00\x01\x02garbage\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", 505),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (get("/", "X: " + "y" * 200_000), 431),
        (get("/", "Transfer-Encoding: gzip"), 501),
        (get("/", "Content-Length: x"), 400),
        (get("/", "Content-Length: 1", "Transfer-Encoding: chunked"), 400),
        (CHUNKED[:20], 400),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else None,
)
async def test_malformed_requests(sent: bytes, status: int) -> None:
    """What is no request is answered with an error in JSON, and the connection ends."""
    async with web() as host:
        client = host.client(sent)
        if sent == CHUNKED[:20]:
            client.finish()
        head, _, body = (await client.rest()).partition(b"\r\n\r\n")
        assert int(head.split()[1]) == status
        assert json.loads(body)["status"] == status
        assert b"connection: close" in head.lower()
        assert not client.reset
        assert all(exchange.loss for exchange in host.exchanges)


@ensure
@pytest.mark.parametrize("begun", [False, True])
async def test_a_malformed_body_ends_its_session(begun: bool) -> None:
    """A body that breaks its framing is answered 400, or cuts the response off."""
    async with web() as host:
        client = host.client(CHUNKED + b"3\r\nabc\r\n")
        exchange = await host.exchange()
        sink = Sink(exchange)
        await until(lambda: sink.got)
        if begun:
            exchange.write(b"begun")
        client.send(b"nonsense\r\n")
        got = await client.rest()
        assert loss_of(exchange) == "protocol-error"
        assert not sink.ended
        assert (b" 400 " in got) is not begun
        assert not got.endswith(b"0\r\n\r\n")


@ensure
async def test_a_client_that_vanishes_ends_its_session() -> None:
    """A reset in the middle of a request or of a response is told as one."""
    async with web() as host:
        client = host.client(CHUNKED)
        exchange = await host.exchange()
        Sink(exchange)
        client.vanish()
        await until(lambda: exchange.loss)
        assert loss_of(exchange) == "reset"
        exchange.write(b"nobody hears this")
        exchange.end()
        exchange.close(Loss(Reason.FIN))
        exchange.abort(Loss(Reason.FIN))
        client = host.client(get())
        exchange = await host.exchange(1)
        sink = Sink(exchange)
        await until(lambda: sink.ended)
        exchange.write(b"some")
        client.vanish()
        await until(lambda: exchange.loss)
        assert loss_of(exchange) == "reset"


@ensure
async def test_half_a_request_is_no_request() -> None:
    """A client whose end comes amid its request is not passed on as complete."""
    async with web() as host:
        client = host.client(get("/", "Content-Length: 9", method="PUT") + b"abc")
        exchange = await host.exchange()
        sink = Sink(exchange)
        await until(lambda: sink.got)
        client.finish()
        assert b" 400 " in await client.rest()
        assert not sink.ended
        assert loss_of(exchange) == "reset"


@ensure
async def test_half_close_waits_for_the_answer() -> None:
    """A client that ends after its request still gets the whole response."""
    async with web() as host:
        client = host.client(post(b"abc"))
        client.finish()
        exchange = await host.exchange()
        sink = Sink(exchange)
        await until(lambda: sink.ended)
        await turn(5)
        exchange.write(b"late")
        exchange.end()
        assert b"late" in await client.rest()
        assert loss_of(exchange) == "fin"


@ensure
async def test_an_empty_line_after_the_last_request_is_nothing() -> None:
    """What a client sends after saying that it will send no more does no harm."""
    async with web() as host:
        client = host.client(post(b"abc", "Connection: close") + b"\r\n")
        exchange = await host.exchange()
        sink = Sink(exchange)
        await until(lambda: sink.ended)
        client.send(b"\r\nmore")
        await turn(5)
        exchange.write(b"fine")
        exchange.end()
        assert b"fine" in await client.rest()


@ensure
async def test_empty_lines_before_a_request_are_nothing() -> None:
    """A client may send empty lines between its requests (RFC 9112, section 2.2)."""
    async with web() as host:
        client = host.client(b"\r\n")
        await until(lambda: host.server.connections)
        await turn(5)
        client.send(b"\r\n" + get())
        (await host.exchange()).end()
        assert (await client.response()).status == 200


@ensure
async def test_a_response_that_is_too_short_is_cut() -> None:
    """A client can tell that a body is shorter than was announced."""
    async with web() as host:
        client = host.client(get())
        exchange = await host.exchange()
        exchange.describe({"HTTP": {"headers": {"content-length": "9"}}})
        exchange.write(b"half")
        exchange.end()
        assert (await client.rest()).endswith(b"\r\n\r\nhalf")
        assert loss_of(exchange) == "protocol-error"


@ensure
async def test_an_upgrade_is_ignored() -> None:
    """A request to switch protocols is served like any other (RFC 9110, 7.8)."""
    async with web() as host:
        client = host.client(get("/", "Upgrade: h2c", "Connection: Upgrade"))
        (await host.exchange()).end()
        assert (await client.response()).status == 200
        client.send(get())
        await host.exchange(1)


@ensure
async def test_head_has_no_body() -> None:
    """The response to HEAD says how long the body would be, and sends none."""
    async with web() as host:
        client = host.client(get(method="HEAD") + get())
        exchange = await host.exchange()
        exchange.describe({"HTTP": {"headers": {"Content-Length": "6"}}})
        exchange.write(b"answer")
        exchange.end()
        reply = await client.response(b"HEAD")
        assert (reply.headers["content-length"], reply.body) == ("6", b"")
        (await host.exchange(1)).end()
        assert (await client.response()).headers["content-length"] == "0"
