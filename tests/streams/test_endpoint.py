"""Where to listen and to connect."""

from __future__ import annotations

import errno
import os
import socket

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
)
from twisted.internet.error import ConnectingCancelledError, ConnectionRefusedError

from l7mp.errors import Loss, Reason
from l7mp.model.types import AddressPort
from l7mp.streams.endpoint import (
    bind_error,
    connect_stream,
    tcp_endpoint,
    tune,
)
from tests.streams.loopback import turn

HOST = "127.0.0.1"


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        (HOST, TCP4ClientEndpoint),
        ("::1", TCP6ClientEndpoint),
        ("localhost", HostnameEndpoint),
    ],
)
def test_only_names_are_looked_up(address: str, kind: type) -> None:
    """A literal address is connected to as it is."""
    assert isinstance(tcp_endpoint(reactor, address, 1), kind)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.EADDRINUSE, "choose another port"),
        (errno.EACCES, "CAP_NET_BIND_SERVICE"),
        (errno.EADDRNOTAVAIL, "does not have that address"),
        (errno.ENOBUFS, os.strerror(errno.ENOBUFS)),
    ],
)
def test_who_cannot_listen_learns_why(code: int, remedy: str) -> None:
    """The error names protocol, address, port and cause, and a remedy if there is one."""
    text = str(bind_error("TCP", "::1", 80, OSError(code, "x")))
    assert text.startswith("cannot listen on TCP [::1]:80: ")
    assert remedy in text


@pytest_twisted.ensureDeferred
async def test_it_connects_from_where_it_is_told() -> None:
    """The local address of a connection is the one that was asked for."""
    with socket.create_server((HOST, 0)) as server:
        to = tcp_endpoint(
            reactor, HOST, server.getsockname()[1], AddressPort(address="127.0.0.2")
        )
        stream = await connect_stream(reactor, to, tune)
        connection, peer = server.accept()
        assert peer[0] == "127.0.0.2"
        stream.abort(Loss(Reason.DELETED))
        await stream.when_lost()
        connection.close()


@pytest_twisted.ensureDeferred
async def test_a_refused_connection_fails() -> None:
    """Where nobody listens there is no stream."""
    with socket.socket() as nobody:
        nobody.bind((HOST, 0))
        to = tcp_endpoint(reactor, HOST, nobody.getsockname()[1])
        with pytest.raises(ConnectionRefusedError):
            await connect_stream(reactor, to)


@pytest_twisted.ensureDeferred
async def test_a_cancelled_attempt_leaves_nothing() -> None:
    """Who gives up a connection attempt gets no stream, and no socket stays open."""
    with socket.create_server((HOST, 0)) as server:
        to = tcp_endpoint(reactor, HOST, server.getsockname()[1])
        connecting = connect_stream(reactor, to)
        connecting.cancel()
        with pytest.raises((CancelledError, ConnectingCancelledError)):
            await connecting
        await turn(3)
