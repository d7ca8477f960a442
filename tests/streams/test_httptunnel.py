"""Tunnels through a listener, on real sockets."""

from __future__ import annotations

import pytest
import pytest_twisted

from l7mp.errors import Loss, Reason
from l7mp.streams.http import Exchange
from l7mp.streams.httpengine import Settings
from tests.streams.loopback import turn, until
from tests.streams.web import Client, Sink, Web, get, loss_of, web
from tests.streams.web2 import Client2

ensure = pytest_twisted.ensureDeferred

OPEN = Settings(tunnel=True, upgrade=True)
CONNECT = b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"
UPGRADE = get("/chat", "Connection: Upgrade", "Upgrade: foo")


async def asked(host: Web, data: bytes) -> tuple[Client, Exchange]:
    """A client that asks for a tunnel, and the exchange."""
    client = host.client(data)
    return client, await host.exchange()


@ensure
@pytest.mark.parametrize(
    ("said", "status", "head"),
    [
        (CONNECT, b"HTTP/1.1 200 OK", b""),
        (b"CONNECT example.org:443 HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK", b""),
        (UPGRADE, b"HTTP/1.1 101 Switching", b"connection: upgrade\r\nupgrade: foo"),
    ],
)
async def test_a_tunnel(said: bytes, status: bytes, head: bytes) -> None:
    """It is open as soon as data may flow; bytes pass both ways, each with its end."""
    async with web(settings=OPEN) as host:
        client, exchange = await asked(host, said + b"early ")
        assert exchange.request["tunnel"] in ("connect", "foo")
        assert exchange.request["body"] is False
        await turn(5)
        assert client.pull() == b""
        sink = Sink(exchange)
        got = await client.hears(b"\r\n\r\n")
        assert got.startswith(status)
        assert head in got
        client.send(b"bird")
        await until(lambda: sink.got == b"early bird")
        exchange.write(b"hello")
        await client.hears(b"\r\n\r\nhello")
        client.finish()
        await until(lambda: sink.ended)
        assert exchange.loss is None
        exchange.write(b" goodbye")
        exchange.end()
        assert (await client.rest()).endswith(b"\r\n\r\nhello goodbye")
        await until(lambda: loss_of(exchange) == "fin")


@ensure
async def test_what_a_tunnel_is_asked_for() -> None:
    """Rules see the host and the port that CONNECT names."""
    async with web(settings=OPEN) as host:
        _, exchange = await asked(host, CONNECT)
        url = exchange.request["url"]
        assert (url["host"], url["port"], url["path"]) == ("example.org", "443", "")


@ensure
async def test_the_servers_end_comes_first() -> None:
    """The end of what comes out leaves what goes in."""
    async with web(settings=OPEN) as host:
        client, exchange = await asked(host, CONNECT)
        exchange.write(b"at once")
        exchange.end()
        got = await client.rest()
        assert got.startswith(b"HTTP/1.1 200")
        assert got.endswith(b"at once")
        sink = Sink(exchange)
        client.send(b"still here")
        await until(lambda: sink.got == b"still here")
        client.finish()
        await until(lambda: loss_of(exchange) == "fin")


@ensure
async def test_a_destination_that_opens() -> None:
    """A head that opens a tunnel elsewhere opens this one, with the same headers."""
    async with web(settings=OPEN) as host:
        client, exchange = await asked(host, UPGRADE)
        headers = {"X-One": "1", "Upgrade": "foo"}
        exchange.describe({"HTTP": {"status": 101, "headers": headers}})
        got = await client.hears(b"\r\n\r\n")
        assert b"x-one: 1\r\n" in got
        assert got.count(b"pgrade: foo") == 1
        exchange.describe({"HTTP": {"status": 500, "headers": {}, "begin": True}})
        exchange.abort(Loss(Reason.DELETED))
        await client.rest()
        assert client.got.endswith(b"\r\n\r\n")


@ensure
async def test_a_destination_that_refuses() -> None:
    """Any other head is an ordinary response, and the connection goes on."""
    async with web(settings=OPEN) as host:
        client, exchange = await asked(host, UPGRADE)
        exchange.describe({"HTTP": {"status": 403, "headers": {}, "begin": True}})
        exchange.write(b"no")
        exchange.end()
        reply = await client.response()
        assert (reply.status, reply.body) == (403, b"no")
        client.send(get("/next"))
        assert (await host.exchange(1)).request["url"]["path"] == "/next"


@ensure
async def test_a_session_that_fails() -> None:
    """Before a tunnel is open the client is told why there will be none."""
    async with web(settings=OPEN) as host:
        client, exchange = await asked(host, CONNECT)
        exchange.close(Loss(Reason.REFUSED, "nobody there"))
        reply = await client.response(b"CONNECT")
        assert reply.status == 502


@ensure
async def test_a_tunnel_that_is_closed() -> None:
    """What was written arrives before a tunnel is closed."""
    async with web(settings=OPEN) as host:
        client, exchange = await asked(host, CONNECT)
        Sink(exchange)
        exchange.write(bytes(1 << 20))
        exchange.close(Loss(Reason.DELETED))
        client.send(b"too late")
        got = await client.rest()
        assert len(got.partition(b"\r\n\r\n")[2]) == 1 << 20
        client.finish()
        await until(lambda: loss_of(exchange) == "deleted")
        assert exchange.drops == {"closing": 8}


@ensure
async def test_a_held_tunnel_stops_the_client() -> None:
    """A tunnel pushes back on whoever sends into it."""
    async with web(settings=OPEN) as host:
        client, exchange = await asked(host, CONNECT)
        sink = Sink(exchange)
        await client.hears(b"\r\n\r\n")
        exchange.hold("a while")
        client.send(bytes(8 << 20))
        await turn(50)
        assert not client.push()
        exchange.release("a while")
        await until(lambda: (client.push(), len(sink.got) == 8 << 20)[1])


@ensure
async def test_a_client_that_vanishes() -> None:
    """A tunnel whose client drops the connection is reset."""
    async with web(settings=OPEN) as host:
        client, exchange = await asked(host, CONNECT)
        Sink(exchange)
        await client.hears(b"\r\n\r\n")
        client.vanish()
        host.clients.clear()
        await until(lambda: loss_of(exchange) == "reset")


@ensure
@pytest.mark.parametrize(
    "said",
    [
        get("/", "Connection: Upgrade", "Upgrade: h2c"),
        get("/", "Upgrade: foo"),
        b"GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n",
        get("/", "Connection: Upgrade", "Upgrade: foo", "Content-Length: 1") + b"x",
    ],
)
async def test_upgrades_that_are_overlooked(said: bytes) -> None:
    """What cannot be upgraded is served as if it had not asked."""
    async with web(settings=OPEN) as host:
        client, exchange = await asked(host, said)
        assert "tunnel" not in exchange.request
        Sink(exchange)
        exchange.end()
        assert (await client.response()).status == 200


@ensure
async def test_tunnels_must_be_allowed() -> None:
    """Without a word to the contrary nothing is opened and nothing upgraded."""
    async with web() as host:
        client = host.client(CONNECT)
        assert (await client.response(b"CONNECT")).status == 501
        client, exchange = await asked(host, UPGRADE)
        assert "tunnel" not in exchange.request
        two = Client2(host)
        number = two.request("CONNECT", end=False)
        assert (await two.reply(number)).status == 501


@ensure
async def test_a_tunnel_in_a_stream_of_http2() -> None:
    """CONNECT over HTTP/2 is a tunnel of one stream, each direction with its end."""
    async with web(settings=OPEN) as host:
        client = Client2(host)
        number = client.request("CONNECT", end=False)
        exchange = await host.exchange()
        sink = Sink(exchange)
        await client.sees(lambda: client.replies[number].status == 200)
        client.data(number, b"question")
        await until(lambda: sink.got == b"question")
        exchange.write(b"answer")
        exchange.end()
        reply = await client.reply(number)
        assert reply.body == b"answer"
        assert exchange.loss is None
        client.data(number, b"!", end=True)
        await client.sees(lambda: loss_of(exchange) == "fin")
        assert (sink.got, sink.ended) == (b"question!", True)
        assert client.reset == {}


@ensure
async def test_a_tunnel_of_http2_that_is_closed() -> None:
    """The client of a tunnel that ends early has its stream reset."""
    async with web(settings=OPEN) as host:
        client = Client2(host)
        number = client.request("CONNECT", end=False)
        exchange = await host.exchange()
        Sink(exchange)
        exchange.write(b"last words")
        exchange.close(Loss(Reason.DELETED))
        await client.sees(lambda: number in client.reset)
        assert client.replies[number].body == b"last words"
        await until(lambda: loss_of(exchange) == "deleted")


@ensure
async def test_websocket_over_http2() -> None:
    """The extended CONNECT of RFC 8441 is an upgrade as HTTP/1.1 has it."""
    async with web(settings=OPEN) as host:
        client = Client2(host)
        await client.sees(lambda: client.wire.remote_settings.enable_connect_protocol)
        number = client.wire.get_next_available_stream_id()
        client.wire.send_headers(
            number,
            [
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":path", "/chat?x=1"),
                (":authority", "x"),
            ],
        )
        client.push()
        exchange = await host.exchange()
        about = exchange.request
        assert (about["method"], about["tunnel"]) == ("GET", "websocket")
        assert about["url"]["path"] == "/chat?x=1"
        headers = {"sec-websocket-accept": "x", "sec-websocket-protocol": "y"}
        exchange.describe({"HTTP": {"status": 101, "headers": headers}})
        await client.sees(lambda: client.replies[number].status == 200)
        told = client.replies[number].headers
        assert told["sec-websocket-protocol"] == "y"
        assert "sec-websocket-accept" not in told
