"""TCP sockets with options, against real peers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.error import (
    ConnectBindError,
    ConnectError,
    ConnectionRefusedError,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from l7mp.errors import LocalError, RemoteError
from l7mp.model.sockets import SocketOptions, TCPSocketOptions
from l7mp.streams.address import V4, V6, Numeric
from l7mp.streams.outgoing import Place
from l7mp.streams.prepared import PreparedEndpoint, listening_socket
from tests.protocols.real import Conn
from tests.streams.loopback import turn, until

HOST = "127.0.0.1"
ANYWHERE = [Place()]


class Client(Protocol):
    """Notes what it is sent."""

    def __init__(self) -> None:
        self.got = b""
        self.lost = False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True

    def dataReceived(self, data: bytes) -> None:
        self.got += data


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server((HOST, 0)) as server:
        yield server


def port_of(server: socket.socket) -> int:
    port: int = server.getsockname()[1]
    return port


def unused() -> int:
    """A port of TCP where nobody is."""
    with socket.create_server((HOST, 0)) as sock:
        return port_of(sock)


def dial(
    port: int,
    places: list[Place] = ANYWHERE,
    options: SocketOptions | None = None,
    host: str = HOST,
) -> Any:
    endpoint = PreparedEndpoint(reactor, host, port, options, places)
    return endpoint.connect(Factory.forProtocol(Client))


# -- listening -------------------------------------------------------------------


@pytest.mark.parametrize("host", [HOST, "::1"])
def test_connections_inherit(host: str) -> None:
    """What is asked of a listening socket its connections have, too."""
    options = TCPSocketOptions(ttl=9, keepalive_idle=77, user_timeout=5000)
    with (
        listening_socket(host, 0, 5, options) as server,
        socket.create_connection(server.getsockname()[:2]),
        server.accept()[0] as conn,
    ):
        assert conn.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 9
        assert conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 77
        assert conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000


def test_who_cannot_listen_leaves_nothing(server: socket.socket) -> None:
    """A port that is taken and an option that is not there are told."""
    with pytest.raises(OSError, match="in use"):
        listening_socket(HOST, port_of(server), 5, SocketOptions(ttl=9))
    with pytest.raises(LocalError, match="device to nowhere"):
        listening_socket(HOST, 0, 5, SocketOptions(device="nowhere"))


# -- connecting ------------------------------------------------------------------


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("host", [HOST, "localhost"])
async def test_it_connects(server: socket.socket, host: str) -> None:
    """A connection has the options, and carries data both ways; names are resolved."""
    client = await dial(port_of(server), options=SocketOptions(ttl=9), host=host)
    conn, _ = server.accept()
    with conn:
        client.transport.write(b"question")
        assert await Conn(conn).reads(8) == b"question"
        conn.send(b"answer")
        await until(lambda: client.got == b"answer")
        handle = client.transport.getHandle()
        assert handle.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 9
    await until(lambda: client.lost)


@pytest_twisted.ensureDeferred
async def test_the_first_place_that_can_be_had(server: socket.socket) -> None:
    """A place that is taken is passed over for the next."""
    here, free = Numeric(V4, (HOST, 0)), unused()
    places = [Place(here, port_of(server)), Place(here, free), Place()]
    client = await dial(port_of(server), places)
    conn, source = server.accept()
    conn.close()
    assert source == (HOST, free)
    await until(lambda: client.lost)
    with pytest.raises(ConnectBindError, match="cannot connect from"):
        await dial(port_of(server), places[:1])


@pytest_twisted.ensureDeferred
async def test_families_do_not_mix(server: socket.socket) -> None:
    """From an address of IPv6 nobody is reached by IPv4; another place may do."""
    six = Place(Numeric(V6, ("::1", 0, 0, 0)), 7)
    with pytest.raises(ConnectBindError, match="one is IPv4, the other IPv6"):
        await dial(port_of(server), [six])
    client = await dial(port_of(server), [six, Place()])
    server.accept()[0].close()
    await until(lambda: client.lost)


@pytest_twisted.ensureDeferred
async def test_a_refusal() -> None:
    """Where nobody listens the connection is refused."""
    with pytest.raises(ConnectionRefusedError):
        await dial(unused())


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("host", "error"),
    [("255.255.255.255", ConnectError), ("a..b", RemoteError)],
)
async def test_no_way(host: str, error: type[Exception]) -> None:
    """What cannot be reached is told at once."""
    with pytest.raises(error):
        await dial(9, host=host)


@pytest_twisted.ensureDeferred
async def test_options_that_cannot_be_had(server: socket.socket) -> None:
    """An option that the kernel refuses ends the attempt, whatever other places are."""
    places = [Place(), Place()]
    with pytest.raises(LocalError, match="device to nowhere"):
        await dial(port_of(server), places, SocketOptions(device="nowhere"))


@pytest_twisted.ensureDeferred
async def test_an_attempt_can_be_cancelled() -> None:
    """A cancelled attempt leaves no socket behind."""
    # The queue takes one connection and lets the next ones wait.
    with (
        socket.create_server((HOST, 0), backlog=0) as full,
        socket.create_connection(full.getsockname()),
    ):
        connecting = dial(port_of(full))
        await turn(2)
        assert not connecting.called
        assert any("Connecting" in repr(one) for one in reactor.getWriters())
        connecting.cancel()
        with pytest.raises(CancelledError):
            await connecting
    assert not any("Connecting" in repr(one) for one in reactor.getWriters())


@pytest_twisted.ensureDeferred
async def test_nobody_wants_it(server: socket.socket) -> None:
    """A connection that the factory makes nothing of is dropped."""

    class Nobody(Factory):
        def buildProtocol(self, addr: Any) -> None:
            return None

    endpoint = PreparedEndpoint(reactor, HOST, port_of(server), None, ANYWHERE)
    with pytest.raises(ConnectError, match="nobody wanted"):
        await endpoint.connect(Nobody())
