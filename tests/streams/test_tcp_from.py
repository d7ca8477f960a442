"""From where TCP connections are made, and with which sockets."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.error import ConnectBindError
from twisted.internet.protocol import Factory, Protocol

from l7mp.errors import RemoteError
from l7mp.model.sockets import SourceBind, TCPSocketOptions
from l7mp.streams.tcp_from import tcp_from
from tests.streams.loopback import until, unused_port

HOST = "127.0.0.1"


async def seen(
    bind: SourceBind | None, options: TCPSocketOptions | None, metadata: Any
) -> tuple[str, int]:
    """What a server sees of a connection."""
    with socket.create_server((HOST, 0)) as server:
        server.setblocking(False)
        where = (HOST, server.getsockname()[1])
        to = tcp_from(reactor, where, bind, options, metadata)
        made: Any = await to.connect(Factory.forProtocol(Protocol))

        def accepted() -> Any:
            try:
                return server.accept()
            except BlockingIOError:
                return None

        peer, source = await until(accepted)
        with peer:
            made.transport.abortConnection()
            await until(lambda: not made.transport.connected)
        return source[0], source[1]


@pytest.mark.parametrize("options", [None, TCPSocketOptions(ttl=9)])
@pytest_twisted.ensureDeferred
async def test_an_address_and_a_port(options: TCPSocketOptions | None) -> None:
    """A connection comes from the address and the port that were asked for."""
    port = unused_port()
    bind = SourceBind(address="127.0.0.2", port=port)
    assert await seen(bind, options, {}) == ("127.0.0.2", port)


@pytest_twisted.ensureDeferred
async def test_nothing_asked() -> None:
    """Without wishes, a connection comes from where the kernel lets it come."""
    host, port = await seen(None, None, {})
    assert host == HOST
    assert port


@pytest_twisted.ensureDeferred
async def test_the_client_s_port() -> None:
    """The port of a session's client can be kept, and its address be another."""
    port = unused_port()
    metadata = {"IP": {"src_addr": "192.0.2.1"}, "TCP": {"src_port": port}}
    bind = SourceBind(address="localhost", preserve="port", required=True)
    assert await seen(bind, None, metadata) == (HOST, port)


@pytest_twisted.ensureDeferred
async def test_a_client_without_a_port() -> None:
    """A client without a port has none to be kept, which fails if it is required."""
    bind = SourceBind(preserve="port", required=True)
    with pytest.raises(RemoteError, match="no client"):
        await seen(bind, None, {})


@pytest_twisted.ensureDeferred
async def test_an_address_of_others() -> None:
    """An address that this machine does not have cannot be connected from."""
    bind = SourceBind(address="192.0.2.1")
    with pytest.raises(ConnectBindError, match=r"192\.0\.2\.1"):
        await seen(bind, TCPSocketOptions(), {})
