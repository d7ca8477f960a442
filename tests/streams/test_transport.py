"""Byte-stream transports as streams, on the real reactor and on a turned clock."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.error import ConnectionDone, ConnectionLost, TimeoutError
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK
from l7mp.streams.endpoint import factory_of, listen_tcp
from l7mp.streams.transport import FLUSH, LINGER, Plumbing, TransportStream, loss_of
from l7mp.testing import Memory, check_stream
from tests.streams.loopback import Collector, turn, until

DELETED = Loss(Reason.DELETED)
HOST = "127.0.0.1"


class Wire(StringTransport):
    """A transport without a network, which tells its stream what becomes of it."""

    stream: TransportStream

    def abortConnection(self) -> None:
        super().abortConnection()
        self.stream.gone(Loss(Reason.RESET))

    def loseWriteConnection(self) -> None:
        self.halfclosed = True

    def unregisterProducer(self) -> None:
        if self.producer is not None:
            super().unregisterProducer()


def make_wired(clock: Any) -> tuple[TransportStream, Wire]:
    wire = Wire()
    wire.stream = TransportStream(wire, clock)  # type: ignore[arg-type]  # enough of one
    return wire.stream, wire


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_it_keeps_the_contract(clock: Clock) -> None:
    """A transport is a stream; data comes only while it is not paused."""

    def make() -> tuple[TransportStream, Callable[[bytes], None]]:
        stream, wire = make_wired(clock)
        kernel: list[bytes] = []

        def flow() -> None:
            while kernel and wire.producerState == "producing":
                stream.received(kernel.pop(0))

        resume = wire.resumeProducing

        def resumed() -> None:
            resume()
            flow()

        wire.resumeProducing = resumed  # type: ignore[method-assign]  # of one only

        def send(data: bytes) -> None:
            kernel.append(data)
            flow()

        return stream, send

    check_stream(make)


def test_reasons_become_losses() -> None:
    """A clean end, silence and everything else are told apart."""
    errors = [ConnectionDone(), TimeoutError(), ConnectionLost()]
    reasons = [loss_of(Failure(error)).reason for error in errors]
    assert reasons == [Reason.FIN, Reason.TIMEOUT, Reason.RESET]


def test_a_closed_stream_lingers(clock: Clock) -> None:
    """After its own end a closed stream waits for the peer's, but not for long."""
    stream, wire = make_wired(clock)
    stream.close(DELETED)
    assert wire.halfclosed
    stream.flushed()
    clock.advance(LINGER - 0.1)
    assert not wire.disconnecting
    clock.advance(0.2)
    assert wire.disconnecting


def test_closing_after_the_end_lingers_no_longer(clock: Clock) -> None:
    """A stream that had ended its side before it is closed waits no longer."""
    stream, wire = make_wired(clock)
    stream.end()
    stream.flushed()
    stream.close(DELETED)
    clock.advance(LINGER)
    assert wire.disconnecting


def test_a_peer_that_never_reads_is_dropped(clock: Clock) -> None:
    """What cannot be flushed in time is given up, and the loss is that of the close."""
    stream, wire = make_wired(clock)
    stream.write(b"data")
    stream.close(DELETED)
    clock.advance(FLUSH)
    assert wire.disconnected
    assert stream.loss == DELETED
    assert not clock.getDelayedCalls()


def test_what_is_gone_needs_no_end(clock: Clock) -> None:
    """A transport that is no more is not told that its stream has ended."""
    stream, wire = make_wired(clock)
    stream.gone(Loss(Reason.FIN))
    stream.end()
    assert not getattr(wire, "halfclosed", False)
    assert not wire.disconnecting


def test_what_comes_after_a_close_is_counted(clock: Clock) -> None:
    """Data that a closing stream still reads reaches nobody, and that shows."""
    stream, _ = make_wired(clock)
    sink = Memory()
    stream.deliver_to(sink)
    stream.release(SINK)
    stream.close(DELETED)
    stream.received(b"late")
    assert sink.written == []
    assert stream.drops == {"closing": 4}


def test_both_ends_make_an_end(clock: Clock) -> None:
    """When both sides have said everything the connection is closed."""
    stream, wire = make_wired(clock)
    stream.deliver_to(Memory())
    stream.end()
    assert not wire.disconnecting
    stream.peer_ended()
    assert wire.disconnecting


# -- on the real reactor --------------------------------------------------------


class Pairs:
    """Streams and the plain sockets at their other end."""

    def __init__(self) -> None:
        self.made: list[TransportStream] = []
        self._socks: list[socket.socket] = []
        factory = factory_of(lambda: Plumbing(reactor, self.made.append))
        self.listening = listen_tcp(reactor, 0, HOST, factory)

    async def pair(self) -> tuple[TransportStream, socket.socket]:
        sock = socket.create_connection((HOST, self.listening.address()["port"]))
        sock.setblocking(False)
        self._socks.append(sock)
        await until(lambda: len(self.made) == len(self._socks))
        return self.made[-1], sock

    def close(self) -> None:
        self.listening.stop()
        for stream in self.made:
            stream.abort(DELETED)
        for sock in self._socks:
            sock.close()


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    made = Pairs()
    yield made
    made.close()


@pytest_twisted.ensureDeferred
async def test_a_held_stream_reads_nothing(pairs: Pairs) -> None:
    """While a stream is held its data stays in the kernel."""
    stream, sock = await pairs.pair()
    sock.send(b"early")
    await turn(5)
    assert stream.bytes_in == 0
    sink = Collector(stream)
    await until(lambda: sink.got == [b"early"])


@pytest_twisted.ensureDeferred
async def test_the_end_overtakes_nothing(pairs: Pairs) -> None:
    """Our end comes behind everything written, though a producer was paused."""
    stream, sock = await pairs.pair()

    class Producer:
        paused = False

        def pauseProducing(self) -> None:
            self.paused = True

        def resumeProducing(self) -> None:
            self.paused = False

        def stopProducing(self) -> None:
            pass

    producer = Producer()
    stream.registerProducer(producer, True)  # type: ignore[arg-type]  # enough of one
    data = bytes(8 << 20)
    stream.write(data)
    assert producer.paused
    await turn(5)
    stream.end()
    got: list[int] = []

    def ended() -> bool:
        try:
            got.append(len(sock.recv(1 << 20)))
        except BlockingIOError:
            return False
        return got[-1] == 0

    await until(ended)
    assert sum(got) == len(data)
    assert stream.loss is None


@pytest_twisted.ensureDeferred
async def test_what_never_left_is_known(pairs: Pairs) -> None:
    """A lost stream says what the kernel did not take, in order."""
    stream, sock = await pairs.pair()
    await turn()
    data = bytes(range(256)) * (32 << 10)
    stream.write(data[:-5])
    await turn(5)
    stream.write(data[-5:])
    stream.abort(DELETED)
    assert await stream.when_lost() == DELETED
    left = b"".join(stream.unsent())
    assert 5 < len(left) < len(data)
    assert data.endswith(left)
    sock.close()
