"""A port where HTTP is spoken."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet import reactor

from l7mp.errors import LocalError
from l7mp.streams import httpserver
from l7mp.streams.http2 import PREFACE
from l7mp.streams.httpserver import listen_http
from tests.streams.loopback import turn, until
from tests.streams.web import Sink, get, web

ensure = pytest_twisted.ensureDeferred


@ensure
async def test_idle_connections_end_with_the_listener() -> None:
    """A listener that stops accepts no more and closes connections without request."""
    async with web() as host:
        client = host.client()
        await until(lambda: host.server.connections)
        await host.listening.stop()
        assert await client.rest() == b""
        assert await host.client(get()).rest() == b""
        assert not host.exchanges


@ensure
async def test_exchanges_outlive_the_listener() -> None:
    """A request under way is served to its end, and the connection then closed."""
    async with web() as host:
        client = host.client(get() + get())
        exchange = await host.exchange()
        Sink(exchange)
        await host.listening.stop()
        exchange.write(b"answer")
        exchange.end()
        got = await client.rest()
        assert b"answer" in got
        assert b"connection: close" in got.lower()
        await turn(3)
        assert len(host.exchanges) == 1


@ensure
async def test_the_preface_may_come_in_pieces() -> None:
    """HTTP/2 is told by its first 24 octets, in however many pieces they come."""
    async with web() as host:
        client = host.client()
        for octet in PREFACE + b"\0\0\0\4\0\0\0\0\0":
            client.send(bytes([octet]))
            await turn(2)
        assert (await client.hears(b"\4"))[3:4] == b"\4"  # a SETTINGS frame


@ensure
@pytest.mark.parametrize("start", [b"P", b"PRI", PREFACE[:-1]])
async def test_half_a_preface_is_no_request(start: bytes) -> None:
    """What begins like the preface and ends there is malformed."""
    async with web() as host:
        client = host.client(start)
        client.finish()
        assert (await client.rest()).startswith(b"HTTP/1.1 ")
        assert not host.exchanges or host.exchanges[0].loss


@ensure
async def test_methods_may_begin_like_the_preface() -> None:
    """A request whose method begins with P is one of HTTP/1.1."""
    async with web() as host:
        client = host.client(b"P")
        await until(lambda: host.server.connections)
        await turn(5)
        client.send(get(method="OST"))
        (await host.exchange()).end()
        assert (await client.response()).status == 200


@ensure
async def test_without_h2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra http2 its clients are told what is spoken."""
    monkeypatch.setattr(httpserver, "IS_AVAILABLE", False)
    async with web() as host:
        client = host.client(PREFACE)
        assert (await client.rest()).startswith(b"HTTP/1.1 505 ")


@ensure
async def test_a_port_in_use_is_explained() -> None:
    """The error of a port in use names the address, the port and a remedy."""
    async with web() as host:
        with pytest.raises(LocalError, match=f"127.0.0.1:{host.port}.*another port"):
            listen_http(reactor, host.port, "127.0.0.1", lambda *_: None)


@ensure
async def test_the_address_is_the_real_one() -> None:
    """The address shown is where the port is really bound."""
    async with web() as host:
        assert host.listening.address() == {"address": "127.0.0.1", "port": host.port}
        assert host.port > 0
