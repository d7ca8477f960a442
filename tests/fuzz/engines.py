"""What holds for any bytes that a connection reads; engines on transports in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import SINK, Kind
from l7mp.streams.framed import framed
from l7mp.streams.http2 import PREFACE
from l7mp.streams.httpcall import Call, Calling
from l7mp.streams.httppool import Pool
from l7mp.streams.httpserver import HTTPConnection, HTTPServer
from l7mp.streams.jsonsocket import ask, hear
from l7mp.streams.websocket import Settings
from l7mp.testing import Memory
from l7mp.wire.httprequest import Request
from tests.fuzz.codecs import pieces
from tests.streams.websockets import PEER, Side, Wire, dialed, frame, served

HOUR = 3600.0


@contextmanager
def nothing_logged() -> Iterator[None]:
    """Fail for a failure that somebody has caught and only logged."""
    failures: list[Failure] = []

    def note(event: LogEvent) -> None:
        if "log_failure" in event:
            failures.append(event["log_failure"])

    globalLogPublisher.addObserver(note)  # type: ignore[arg-type]  # mypy-zope
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(note)  # type: ignore[arg-type]
    for failure in failures:
        failure.raiseException()


def reflect(stream: Any, *_: Any) -> None:
    """Give back what is said."""
    stream.deliver_to(stream)
    stream.release(SINK)


class HTTPWire(Wire):
    """A transport of HTTP."""

    negotiatedProtocol = None

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def startWriting(self) -> None:
        """Everything has left soon."""
        self._clock.callLater(0, self._ask)

    def _ask(self) -> None:
        if self.producer is not None and not self.streaming:
            self.producer.resumeProducing()

    def setTcpKeepAlive(self, enabled: bool) -> None:
        assert enabled

    def loseWriteConnection(self) -> None:
        """Our end."""


def http(data: bytes) -> None:
    """Any client is served or sent away, and its connection is over when it is lost."""
    _, cut = pieces(data)
    clock, exchanges = Clock(), list[Any]()
    wire = HTTPWire(clock)

    def ready(exchange: Any, _: Any) -> None:
        exchanges.append(exchange)
        exchange.established()
        reflect(exchange)

    connection = HTTPConnection(HTTPServer(clock, ready))
    with nothing_logged():
        connection.makeConnection(wire)
        for piece in cut:
            if not wire.disconnecting and not wire.aborted:
                connection.dataReceived(piece)
                clock.advance(0)
        connection.readConnectionLost()
        clock.advance(1)
        connection.connectionLost(Failure(ConnectionDone()))
        clock.advance(HOUR)
    assert all(exchange.loss is not None for exchange in exchanges)
    assert not clock.getDelayedCalls()


def http2(data: bytes) -> None:
    """The same behind the preface of HTTP/2 and empty settings."""
    http(data[:1] + PREFACE + b"\0\0\0\x04\0\0\0\0\0" + data[1:])


class _Dialing:
    """An endpoint where a server is that says the same to everybody."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.made: list[tuple[Any, HTTPWire]] = []

    def connect(self, factory: Any) -> Deferred[Any]:
        connection, wire = factory.buildProtocol(PEER), HTTPWire(self.clock)
        self.made.append((connection, wire))
        connection.makeConnection(wire)
        return succeed(connection)


ASKED = (
    Request(method="GET", target="/", authority="x"),
    Request(method="POST", target="/", authority="x", has_body=True),
    Request(method="CONNECT", target="a:1", authority="a:1", tunnel="connect"),
    Request(method="GET", target="/", authority="x", tunnel="foo"),
)


def http_client(data: bytes, version: int = 1) -> None:
    """Any server's answer ends its call, if only by being given up."""
    _, cut = pieces(data)
    clock = Clock()
    there: Any = _Dialing(clock)
    pool = Pool(clock, there, version)
    call = Call(ASKED[data[0] % 4 if data else 0], Calling(clock, pool.again))
    sink = Memory()
    with nothing_logged():
        pool.carry(call).addErrback(lambda _: None)
        call.deliver_to(sink)
        call.release(SINK)
        call.write(b"body")
        for piece in cut:
            _say(there.made[-1], piece)
            clock.advance(0)
        call.end()
        for connection, _ in there.made:
            connection.readConnectionLost()
            connection.connectionLost(Failure(ConnectionDone()))
        for _ in range(4):  # what is tried again is given up, too
            clock.advance(HOUR)
            for connection, wire in there.made:
                if wire.disconnecting or wire.aborted:
                    connection.connectionLost(Failure(ConnectionDone()))
        call.abort(Loss(Reason.DELETED))
        pool.close()
    assert call.loss is not None
    assert not clock.getDelayedCalls()


def _say(made: tuple[Any, HTTPWire], piece: bytes) -> None:
    connection, wire = made
    if not wire.disconnecting and not wire.aborted:
        connection.dataReceived(piece)


def http2_client(data: bytes) -> None:
    """The same behind empty settings of HTTP/2."""
    http_client(data[:1] + b"\0\0\0\x04\0\0\0\0\0" + data[1:], version=2)


def websocket(data: bytes) -> None:
    """Any peer is understood or sent away, on either side, compressed or not."""
    _, cut = pieces(data)
    deflated = bool(data and data[0] & 0x80)
    for make in (served, dialed):
        with nothing_logged():
            side: Side = make(Settings(max_message=1 << 16, deflate=deflated))
            reflect(side.stream)
            for piece in cut:
                if not side.losses and not side.wire.aborted:
                    side.feed(piece)
                    side.clock.advance(0)
            side.vanish()
            side.clock.advance(HOUR)
        assert side.losses
        assert not side.clock.getDelayedCalls()


def handshake(data: bytes) -> None:
    """Any first messages make a session or a refusal, on either side, in any transport."""
    _, cut = pieces(data)
    for kind, lossy in (
        (Kind.BYTES, False),
        (Kind.DATAGRAMS, False),
        (Kind.DATAGRAMS, True),
    ):
        for way in (_hear, _ask):
            clock, stream, got = Clock(), Memory(kind), list[Any]()
            stream.lossy = lossy
            Deferred.fromCoroutine(way(stream, clock)).addBoth(got.append)
            stream.inject(*cut)
            if got and not isinstance(got[0], Failure | None):
                reflect(got[0])
            clock.advance(HOUR)
            stream.vanish()
            assert len(got) == 1
            if isinstance(got[0], Failure):
                got[0].trap(RemoteError)
            assert not clock.getDelayedCalls()


async def _hear(stream: Memory, clock: Clock) -> Any:
    served = await hear(stream, clock, 10)
    if served is not None:
        served.established()
    return served


async def _ask(stream: Memory, clock: Clock) -> Any:
    return await ask(stream, b'{"JSONSocketVersion": 1}', clock, 0.25, 10)


def frames(data: bytes) -> None:
    """A peer that breaks its framing ends the stream, and none does harm."""
    _, cut = pieces(data[1:])
    names = ("u16be", "lines", "netstring", "cobs", "slip", "json-lines")
    inner = Memory(Kind.BYTES)
    stream = framed(inner, names[data[0] % len(names)] if data else "u8", 64)
    reflect(stream)
    inner.inject(*cut)
    inner.vanish()
    assert stream.loss is not None


REQUEST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
CHUNKED = (
    b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nab\r\n0\r\nX: y\r\n\r\n"
)
GET2 = (  # HEADERS with END_STREAM and END_HEADERS: GET, http, /, www.example.com
    b"\0\0\x11\x01\x05\0\0\0\x01\x82\x86\x84A\x8c\xf1\xe3\xc2\xe5\xf2:k\xa0\xab\x90\xf4\xff"
)

TARGETS: dict[str, tuple[Callable[[bytes], None], tuple[bytes, ...]]] = {
    "http": (
        http,
        (b"\x07" + REQUEST * 2, b"\x0f" + CHUNKED, b"\x03PRI * HTTP/2.0\r\n"),
    ),
    "http2": (
        http2,
        (b"\x0f" + GET2, b"\x03" + GET2 + b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\0"),
    ),
    "http_client": (
        http_client,
        (
            b"\x0cHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            b"\x0dHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\n\r\nrest",
            b"\x0fHTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\ndata",
        ),
    ),
    "http2_client": (
        http2_client,
        (
            b"\x0c\0\0\x01\x01\x04\0\0\0\x01\x88\0\0\x02\0\x01\0\0\0\x01ok",
            b"\x0c\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0",
        ),
    ),
    "websocket": (
        websocket,
        (
            b"\x0f" + frame(b"hello") + frame(b"bye", 8),
            b"\x03" + frame(b"hel", 1, first=0) + frame(b"lo", 0, masked=False),
            b"\x8f" + frame(b"\xf2H\xcd\xc9\xc9\x07\x00", first=0xC0),
        ),
    ),
    "handshake": (
        handshake,
        (
            b'\x0f{"JSONSocketVersion": 1}data',
            b'\x0f{"JSONSocketVersion": 1, "JSONSocketStatus": 200}data',
        ),
    ),
    "framed": (
        frames,
        (b"\x00\x03\x00\x05hello", b"\x01\x03one\ntwo\n", b"\x02\x035:hello,"),
    ),
}
"""What is to hold, and examples to begin with, by name."""
