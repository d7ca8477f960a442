"""TCP with options of sockets, between machines."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from l7mp.errors import LocalError, Reason
from tests.protocols.real import LOOPBACK, Conn, Real, real
from tests.real.test_udp_network import (
    CLIENT,
    PROXY,
    UPSTREAM,
    Net,
    inside,
    net,
    unprivileged,
)
from tests.streams.certs import Certs

__all__ = ["inside", "net"]

TCP: dict[str, Any] = {"protocol": "TCP", "port": 1}


class Pair:
    """A client's connection to the proxy, and where the proxy should connect to."""

    def __init__(self, it: Real, net: Net) -> None:
        self.it, self.net = it, net
        with net.server.entered():
            self.server = it.serve((UPSTREAM, 0))

    async def route(self, listener: dict[str, Any], cluster: dict[str, Any]) -> Conn:
        """The client, connected."""
        port = self.server.getsockname()[1]
        bound = await self.it.route(
            {**TCP, **listener}, {**TCP, **cluster}, {"address": UPSTREAM, "port": port}
        )
        with self.net.client.entered():
            return self.it.dial((PROXY, bound["port"]))


@contextmanager
def listening(port: int, options: int) -> Iterator[socket.socket]:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, options, 1)
        sock.bind((LOOPBACK, port))
        sock.listen()
        yield sock


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("preserve", ["port", "client"])
async def test_who_is_seen_to_connect(net: Net, preserve: str) -> None:
    """The upstream sees the client's port, or the client itself, and both ways work."""
    async with real() as it:
        pair = Pair(it, net)
        client = await pair.route(
            {}, {"bind": {"preserve": preserve, "required": True}}
        )
        upstream = await it.accept(pair.server)
        host, port = upstream.sock.getpeername()
        assert port == client.sock.getsockname()[1]
        assert host == (CLIENT if preserve == "client" else "10.2.0.1")
        client.send(b"question")
        assert await upstream.reads(8) == b"question"
        upstream.send(b"answer")
        assert await client.reads(6) == b"answer"


@pytest_twisted.ensureDeferred
async def test_a_taken_port_is_replaced() -> None:
    """A client's port that is not free on this machine is replaced by another."""
    async with real() as it:
        server = it.serve()
        endpoint = {"address": LOOPBACK, "port": server.getsockname()[1]}
        bound = await it.route(
            {**TCP, "address": LOOPBACK},
            {**TCP, "bind": {"address": "localhost", "preserve": "port"}},
            endpoint,
        )
        client = it.dial((LOOPBACK, bound["port"]))
        upstream = await it.accept(server)
        client.send(b"x")
        assert await upstream.reads(1) == b"x"


@pytest_twisted.ensureDeferred
async def test_options_on_both_sides(net: Net) -> None:
    """Both connections have what was asked, also what can only be taken away."""
    async with real() as it:
        pair = Pair(it, net)
        await pair.route(
            {"socket": {"dscp": 46, "keepalive": False}},
            {"socket": {"nodelay": False, "ttl": 9, "keepalive_count": 3, "mark": 5}},
        )
        session = await it.one_session()
        source, upstream = (
            stage.stream.transport.getHandle() for stage in session.stages
        )
        assert source.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 46 << 2
        assert not source.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert source.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert upstream.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 9
        assert upstream.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
        assert upstream.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) == 5
        assert not upstream.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert upstream.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@pytest_twisted.ensureDeferred
async def test_marks_are_routed_by(net: Net) -> None:
    """The mark of a connection decides about its way, from its first packet on."""
    async with real() as it:
        pair = Pair(it, net)
        await pair.route({}, {"socket": {"mark": 7}})
        loss = await it.loss()
    assert loss.reason is Reason.UNREACHABLE


@pytest_twisted.ensureDeferred
async def test_a_port_can_be_shared() -> None:
    """With reuse_port two proxies listen on one port."""
    async with real() as it:
        bound = await it.route(
            {**TCP, "address": LOOPBACK, "socket": {"reuse_port": True}},
            {"protocol": "Echo"},
        )
        with listening(bound["port"], socket.SO_REUSEPORT):
            pass


@pytest_twisted.ensureDeferred
async def test_what_is_not_permitted() -> None:
    """A listener without the capability that it needs is refused, and says which."""
    async with real() as it:
        with (
            unprivileged(),
            pytest.raises(LocalError, match=r"option mark .*it needs CAP_NET_ADMIN"),
        ):
            await it.route({**TCP, "socket": {"mark": 1}}, {"protocol": "Echo"})


@pytest_twisted.ensureDeferred
async def test_an_address_that_is_taken(net: Net) -> None:
    """A port that is taken is told as it is without options."""
    async with real() as it:
        with pytest.raises(LocalError, match="does not have that address"):
            await it.route(
                {**TCP, "address": "10.7.0.1", "socket": {"ttl": 3}},
                {"protocol": "Echo"},
            )


@pytest_twisted.ensureDeferred
async def test_tls_over_sockets_with_options(tmp_path: Path) -> None:
    """TLS is spoken on sockets with options as on others, on both sides."""
    certs = Certs(tmp_path)
    server = {"cert": certs.pem("localhost", LOOPBACK)}
    client = {"ca": certs.ca}
    options = {"socket": {"ttl": 9}, "address": LOOPBACK}
    async with real() as inner, real() as outer:
        echo = {"protocol": "Echo"}
        far = await inner.route({**TCP, **options, "tls": server}, echo)
        del options["address"]
        bound = await outer.route(
            {**TCP, "address": LOOPBACK},
            {**TCP, **options, "tls": client},
            {"address": LOOPBACK, "port": far["port"]},
        )
        conn = outer.dial((LOOPBACK, bound["port"]))
        conn.send(b"question")
        assert await conn.reads(8) == b"question"
        session = await outer.one_session()
        handle = session.stages[1].stream.transport.getHandle()
        assert handle.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 9
        assert "TLS" in inner.session.metadata
