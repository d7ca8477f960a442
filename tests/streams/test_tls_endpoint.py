"""Connecting with TLS, and the factory of those who come."""

from __future__ import annotations

import socket

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectingCancelledError, ConnectionRefusedError

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.model.tls import TLSClient
from l7mp.streams.endpoint import connect_stream, tcp_endpoint
from l7mp.streams.tls_context import ClientTLS
from l7mp.streams.tls_endpoint import TLSEndpoint
from tests.streams.certs import Certs
from tests.streams.loopback import Collector, turn, until
from tests.streams.secure import HOST, world


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    return Certs(tmp_path_factory.mktemp("certs"))


@pytest_twisted.ensureDeferred
async def test_two_of_ours(certs: Certs) -> None:
    """Both ends being ours, a connection is there when both have shaken hands."""
    async with world(certs) as here:
        near = await here.connect(here.listen())
        far = await here.arrival()
        sink = Collector(far)
        near.write(b"hello")
        near.close(Loss(Reason.DELETED))
        await until(lambda: sink.ended)
        assert sink.got == [b"hello"]
        far.end()
        assert await near.when_lost() == Loss(Reason.DELETED)


@pytest_twisted.ensureDeferred
async def test_a_failed_handshake_fails_the_connection(certs: Certs) -> None:
    """Whose certificate is of no use is not connected to, and both learn why."""
    async with world(certs) as here:
        port = here.listen(cert=certs.pem("elsewhere.org"))
        with pytest.raises(RemoteError) as error:
            await here.connect(port)
        assert error.value.loss.reason is Reason.TLS
        assert "elsewhere.org, not for 127.0.0.1" in error.value.loss.detail
        await until(lambda: here.failures)
        assert here.failures[0].detail.startswith("the peer says: ")


@pytest_twisted.ensureDeferred
async def test_a_server_that_speaks_no_tls(certs: Certs) -> None:
    """A plain service is told apart from one that is gone."""
    async with world(certs) as here:
        server = here.serve()
        connecting = here.connect(server.getsockname()[1])

        def accept() -> socket.socket | None:
            try:
                return server.accept()[0]
            except BlockingIOError:
                return None

        with await until(accept) as peer:
            peer.send(b"220 ready\r\n")
            with pytest.raises(RemoteError, match="tls: the peer does not speak TLS"):
                await connecting


@pytest_twisted.ensureDeferred
async def test_nobody_listens(certs: Certs) -> None:
    """What fails below TLS fails as it does without."""
    async with world(certs) as here:
        with socket.socket() as nobody:
            nobody.bind((HOST, 0))
            with pytest.raises(ConnectionRefusedError):
                await here.connect(nobody.getsockname()[1])


@pytest_twisted.ensureDeferred
async def test_a_name_that_nobody_has(certs: Certs) -> None:
    """What can be no host's name is told as that."""
    security = ClientTLS(TLSClient(), (), print, reactor)
    to = TLSEndpoint(reactor, security, tcp_endpoint(reactor, HOST, 1), "ü" * 80)
    with pytest.raises(RemoteError, match="unreachable: no host can be called"):
        await connect_stream(reactor, to)


@pytest.mark.parametrize("turns", [0, 20])
@pytest_twisted.ensureDeferred
async def test_an_attempt_can_be_given_up(certs: Certs, turns: int) -> None:
    """Before the connection is there as in the middle of the handshake."""
    async with world(certs) as here:
        server = here.serve()
        connecting = here.connect(server.getsockname()[1])
        await turn(turns)
        connecting.cancel()
        with pytest.raises((CancelledError, ConnectingCancelledError)):
            await connecting
        await turn(5)


@pytest_twisted.ensureDeferred
async def test_a_stopped_listener_shakes_no_hands(certs: Certs) -> None:
    """Whoever is in the middle of the handshake when a listener stops is dropped."""
    async with world(certs) as here:
        peer = here.dial(here.listen())
        await turn(10)
        await here.stop()
        with pytest.raises(OSError, match="reset"):
            await peer.shakes()
        assert here.accepted == []
