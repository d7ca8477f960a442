"""Streams over transports of all kinds."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

import pytest
import pytest_twisted
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import ProcessEndpoint, clientFromString
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionDone,
    DNSLookupError,
)
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK
from l7mp.model.tls import HANDSHAKE
from l7mp.streams.foreign import (
    ForeignPlumbing,
    ForeignStream,
    Lenient,
    connect_foreign,
    foreign_loss,
    is_plain,
)
from l7mp.streams.queueing import MAX_BYTES
from l7mp.testing import Memory, check_stream
from tests.streams.loopback import Collector, turn, until

HOST = "127.0.0.1"
GIVEN_UP = (CancelledError, ConnectError, ConnectingCancelledError, DNSLookupError)


class Bare:
    """As little as a transport can be."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.lost = 0

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def loseConnection(self) -> None:
        self.lost += 1


def test_missing_words_mean_nothing() -> None:
    """A transport that cannot pause is not paused; one that cannot abort is closed."""
    bare = Bare()
    stream = ForeignStream(bare, Clock())
    stream.registerProducer(object(), True)  # type: ignore[arg-type]  # of which nothing is asked
    stream.write(b"data")
    assert bare.written == [b"data"]
    assert stream.unsent() == []
    stream.abort(Loss(Reason.DELETED))
    assert bare.lost == 1


def test_an_end_closes_what_cannot_half_close() -> None:
    """Where half-close is not sure to work the end of the data is the end."""
    bare = Bare()
    stream = ForeignStream(bare, Clock())
    assert not stream.half_close
    stream.end()
    stream.end()
    assert bare.lost == 1


def test_only_sockets_are_plain() -> None:
    """What merely claims to half-close is not believed."""
    assert not is_plain(StringTransport())
    assert not is_plain(Lenient(StringTransport()))


def test_losses() -> None:
    """Reasons of Twisted's, and those of its TLS, are the session's."""
    reasons = {
        Reason.FIN: ConnectionDone(),
        Reason.TLS: SSL.Error([("SSL", "", "no shared cipher")]),
        Reason.RESET: OSError("gone"),
    }
    for reason, error in reasons.items():
        assert foreign_loss(Failure(error)).reason is reason
    nobody = foreign_loss(Failure(VerificationError(errors=[])))
    assert nobody.reason is Reason.TLS
    assert "wrong name" in nobody.detail


def test_a_handshake_is_limited_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who never finishes Twisted's handshake is dropped, and it is told."""
    monkeypatch.setattr("l7mp.streams.foreign._shakes_hands", lambda _: True)
    clock, wire, losses = Clock(), StringTransport(), list[Loss]()
    plumbing = ForeignPlumbing(clock, lambda _: None, losses.append)
    plumbing.makeConnection(wire)
    clock.advance(HANDSHAKE)
    assert wire.disconnected
    plumbing.connectionLost(Failure(ConnectionDone()))
    assert losses == [Loss(Reason.FIN)]


@pytest_twisted.ensureDeferred
async def test_a_process_is_a_transport() -> None:
    """Even what a process says, and is told, can be a stream."""
    to: Any = ProcessEndpoint(reactor, "/bin/cat", ["cat"])
    stream: Any = await connect_foreign(reactor, to)
    sink = Collector(stream)
    stream.write(b"hello")
    await until(lambda: sink.got == [b"hello"])
    stream.close(Loss(Reason.DELETED))
    assert await stream.when_lost() == Loss(Reason.DELETED)


class Deaf(Bare):
    """A transport that cannot be made to wait, and a stream over it."""

    def __init__(self) -> None:
        super().__init__()
        self.stream = ForeignStream(self, Clock())
        self.sink = Memory()
        self.stream.deliver_to(self.sink)


def test_what_comes_unasked_waits() -> None:
    """Data, the end and the loss are told in order, when they are wanted."""
    deaf = Deaf()
    for data in (b"one", b"two"):
        deaf.stream.received(data)
    deaf.stream.peer_ended()
    deaf.stream.gone(Loss(Reason.FIN))
    assert deaf.sink.written == []
    assert deaf.stream.loss is None
    deaf.stream.release(SINK)
    assert deaf.sink.written == [b"one", b"two"]
    assert deaf.sink.ended
    assert deaf.stream.loss == Loss(Reason.FIN)


def test_who_never_stops_is_given_up() -> None:
    """Nobody fills our memory with what was not asked for."""
    deaf = Deaf()
    deaf.stream.received(bytes(MAX_BYTES))
    assert deaf.lost == 0
    deaf.stream.received(b"x")
    assert deaf.lost == 1
    deaf.stream.gone(Loss(Reason.FIN))
    assert deaf.stream.loss is not None
    assert "cannot be made to wait" in deaf.stream.loss.detail


def test_what_waits_when_a_stream_is_closed_is_counted() -> None:
    """It reaches nobody, and the close goes on."""
    deaf = Deaf()
    deaf.stream.received(b"one")
    deaf.stream.close(Loss(Reason.DELETED))
    deaf.stream.received(b"two")
    assert deaf.stream.drops == {"closing": 6}
    deaf.stream.gone(Loss(Reason.FIN))
    assert deaf.stream.loss == Loss(Reason.DELETED)
    other = Deaf()
    other.stream.received(b"one")
    other.stream.abort(Loss(Reason.DELETED))
    assert other.stream.drops == {"aborted": 3}


@pytest.mark.parametrize("way", ["close", "abort"])
def test_a_loss_that_waits_is_told_when_nobody_listens(way: str) -> None:
    """Who gives up a stream hears at once that it has been gone for a while."""
    deaf = Deaf()
    deaf.stream.received(b"one")
    deaf.stream.gone(Loss(Reason.FIN))
    getattr(deaf.stream, way)(Loss(Reason.DELETED))
    assert deaf.stream.loss == Loss(Reason.FIN)


def test_it_keeps_the_contract() -> None:
    """Even over such a transport a stream is one."""

    def make() -> tuple[ForeignStream, Any]:
        deaf = Deaf()
        deaf.loseConnection = lambda: deaf.stream.gone(Loss(Reason.RESET))  # type: ignore[method-assign]  # of one only
        return deaf.stream, deaf.stream.received

    check_stream(make)


@pytest.mark.parametrize("turns", [0, 3, 10, 50])
@pytest.mark.parametrize("scheme", ["tcp", "tls"])
@pytest_twisted.ensureDeferred
async def test_an_attempt_can_be_given_up(scheme: str, turns: int) -> None:
    """At any time: before the connection, in the handshake, or when it is there."""
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        to = clientFromString(reactor, f"{scheme}:localhost:{port}")
        connecting = connect_foreign(reactor, to)
        await turn(turns)
        connecting.cancel()
        with suppress(*GIVEN_UP):
            stream = await connecting
            stream.abort(Loss(Reason.DELETED))
            await stream.when_lost()
        await turn(5)
