"""HTTP servers that say what a test tells them, and calls to them."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK, IStream
from l7mp.streams.endpoint import tcp_endpoint
from l7mp.streams.httpcall import Call, Calling
from l7mp.streams.httppool import Keeping, Pool
from l7mp.streams.stream import Stream
from l7mp.wire.httprequest import Request
from tests.protocols.real import Conn
from tests.streams.loopback import until

HOST = "127.0.0.1"
GET = Request(method="GET", target="/", authority="x")
POST = Request(method="POST", target="/", authority="x", has_body=True)
CONNECT = Request(method="CONNECT", target="a:1", authority="a:1", tunnel="connect")
UPGRADE = Request(method="GET", target="/", authority="x", tunnel="foo")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Answer(Stream):
    """Where a response goes."""

    def __init__(self, call: IStream, *, flowing: bool = True) -> None:
        super().__init__()
        self.got = b""
        self.ended = False
        self.facts: list[Any] = []
        call.deliver_to(self)
        if flowing:
            call.release(SINK)

    def write(self, data: bytes) -> None:
        self.got += data

    def describe(self, facts: Any) -> None:
        self.facts.append(facts["HTTP"])

    def end(self) -> None:
        self.ended = True


class Origin:
    """A server's socket, the pool of connections to it, and calls."""

    def __init__(
        self, version: int, keeping: Keeping | None, clock: Any, timeout: float
    ) -> None:
        self.sock = socket.socket()
        self.sock.bind((HOST, 0))
        self.port: int = self.sock.getsockname()[1]
        self.sock.listen()
        self.sock.setblocking(False)
        to = tcp_endpoint(reactor, HOST, self.port)
        self.pool = Pool(clock, to, version, keeping)
        self.calling = Calling(clock, self.pool.again, timeout)
        self.calls: list[Call] = []
        self.conns: list[Conn] = []

    def calls_soon(
        self, request: Request, opened: Deferred[None] | None = None
    ) -> tuple[Call, Deferred[IStream]]:
        """A call, and when it will be carried."""
        call = Call(request, self.calling, opened)
        self.calls.append(call)
        return call, self.pool.carry(call)

    async def call(self, request: Request = GET) -> tuple[Call, Answer]:
        """A call, and where its response goes."""
        call, carried = self.calls_soon(request)
        await carried
        return call, Answer(call)

    async def accept(self) -> Conn:
        """The next connection."""

        def attempt() -> socket.socket | None:
            try:
                return self.sock.accept()[0]
            except BlockingIOError:
                return None

        conn = Conn(await until(attempt))
        self.conns.append(conn)
        return conn

    async def accept2(self) -> Server2:
        """The same for HTTP/2."""
        return Server2(await self.accept())

    @property
    def connections(self) -> int:
        """How many connections wait to be accepted."""
        try:
            self.conns.append(Conn(self.sock.accept()[0]))
        except BlockingIOError:
            return 0
        return 1

    def stop(self) -> None:
        """Listen no more."""
        self.sock.close()


async def hears(conn: Conn, words: bytes) -> bytes:
    """Everything up to now, as soon as ``words`` are in it; forgets it."""
    await until(lambda: (conn.pull(), words in conn.got)[1])
    got, conn.got = conn.got, b""
    return got


def status_of(call: Call) -> str:
    """Why a call is over, in a word."""
    return call.loss.reason.value if call.loss else ""


class Server2:
    """The server's side of a connection of HTTP/2, by h2."""

    def __init__(self, conn: Conn, **settings: int) -> None:
        self.conn = conn
        self.wire = H2Connection(
            H2Configuration(client_side=False, header_encoding="utf-8")
        )
        self.wire.initiate_connection()
        self.events: list[Any] = []
        self.reads = True
        """Whether it lets the client send more for what it got."""
        self.push()

    def push(self) -> None:
        """Send what there is to send."""
        data = self.wire.data_to_send()
        if data:
            self.conn.send(data)

    def pull(self) -> bool:
        """Take in what has come."""
        self.conn.pull()
        got, self.conn.got = self.conn.got, b""
        if not got:
            return False
        for event in self.wire.receive_data(got):
            self.events.append(event)
            if isinstance(event, DataReceived) and self.reads:
                self.wire.acknowledge_received_data(
                    event.flow_controlled_length, event.stream_id
                )
        self.push()
        return True

    async def sees(self, kind: Any, times: int = 1) -> Any:
        """The last of so many events of a kind."""

        def found() -> Any:
            self.pull()
            these = [event for event in self.events if isinstance(event, kind)]
            return these[times - 1] if len(these) >= times else None

        return await until(found)

    async def request(self, times: int = 1) -> dict[str, str]:
        """The fields of a request."""
        event = await self.sees(RequestReceived, times)
        return {str(name): str(value) for name, value in event.headers}

    async def whole(self, number: int = 1) -> bytes:
        """The body of a request, when that is complete."""

        def complete() -> bool:
            self.pull()
            return any(
                isinstance(event, StreamEnded) and event.stream_id == number
                for event in self.events
            )

        await until(complete)
        return self.body(number)

    def body(self, number: int = 1) -> bytes:
        """What came of the body of a request."""
        return b"".join(
            event.data
            for event in self.events
            if isinstance(event, DataReceived) and event.stream_id == number
        )

    def head(self, number: int, *fields: tuple[str, str], end: bool = False) -> None:
        """Send headers: the head of a response, or what follows it."""
        self.wire.send_headers(number, fields, end_stream=end)
        self.push()

    def data(self, number: int, data: bytes, *, end: bool = True) -> None:
        """Send some of the body of a response."""
        self.wire.send_data(number, data, end_stream=end)
        self.push()

    def answer(self, number: int = 1, data: bytes = b"ok") -> None:
        """Send a whole response."""
        self.head(number, (":status", "200"))
        self.data(number, data)


@asynccontextmanager
async def origin(
    version: int = 1,
    keeping: Keeping | None = None,
    clock: Any = reactor,
    timeout: float = 60,
) -> AsyncIterator[Origin]:
    """One that is gone afterwards, with everybody there."""
    made = Origin(version, keeping, clock, timeout)
    try:
        yield made
    finally:
        for call in made.calls:
            call.abort(Loss(Reason.SHUTDOWN))
        made.pool.close()
        made.stop()
        for conn in made.conns:
            conn.sock.close()
        await until(lambda: not made.pool.connections)
