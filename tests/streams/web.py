"""A server of ours on the loopback, and clients that speak HTTP byte by byte."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import h11
from twisted.internet import reactor
from twisted.internet.task import Clock

from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK
from l7mp.streams.http import Exchange
from l7mp.streams.httpengine import USUAL, Settings
from l7mp.streams.httpserver import HTTPListening, HTTPServer, listen_http
from l7mp.streams.stream import Stream
from tests.streams.loopback import until


class Client:
    """Somebody who speaks HTTP over a plain socket."""

    def __init__(self, port: int, host: str = "127.0.0.1", window: int = 0) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        if window:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.sock.setblocking(False)
        self.sock.connect_ex((host, port))
        self.got = b""
        self.eof = self.reset = False
        self.unsent = b""

    def send(self, data: bytes) -> None:
        """Send soon."""
        self.unsent += data
        self.push()

    def push(self) -> bool:
        """Send what the kernel takes; whether that was all."""
        try:
            while self.unsent:
                self.unsent = self.unsent[self.sock.send(self.unsent) :]
        except (BlockingIOError, OSError):
            pass
        return not self.unsent

    def pull(self) -> bytes:
        """Everything that has come so far."""
        self.push()
        try:
            while data := self.sock.recv(1 << 20):
                self.got += data
            self.eof = True
        except BlockingIOError:
            pass
        except OSError:
            self.eof = self.reset = True
        return self.got

    async def hears(self, what: bytes, times: int = 1) -> bytes:
        """Everything up to now, as soon as ``what`` is in it."""
        await until(lambda: self.pull().count(what) >= times)
        return self.got

    async def rest(self) -> bytes:
        """Everything until the server's end."""
        await until(lambda: (self.pull(), self.eof)[1])
        return self.got

    async def response(self, method: bytes = b"GET") -> Reply:
        """The next response, complete; what follows it is left."""
        wire = h11.Connection(h11.CLIENT)
        wire.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        wire.send(h11.EndOfMessage())
        reply = Reply()
        while not reply.complete:
            if (event := wire.next_event()) is h11.NEED_DATA:
                await until(lambda: self.pull() or self.eof)
                wire.receive_data(self.got)
                self.got = b""
            else:
                reply.hear(event)
        self.got = wire.trailing_data[0]
        return reply

    def finish(self) -> None:
        """Send an end; the other direction stays open."""
        self.sock.shutdown(socket.SHUT_WR)

    def vanish(self) -> None:
        """Reset the connection."""
        self.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


@dataclass
class Reply:
    """A response."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False
    informed: list[int] = field(default_factory=list)
    trailers: dict[str, str] = field(default_factory=dict)

    def hear(self, event: Any) -> None:
        """Take in one of h11's events."""
        if isinstance(event, h11.InformationalResponse):
            self.informed.append(event.status_code)
        elif isinstance(event, h11.Response):
            self.status = event.status_code
            self.headers = {k.decode(): v.decode() for k, v in event.headers}
        elif isinstance(event, h11.Data):
            self.body += bytes(event.data)
        else:
            self.complete = True


class Sink(Stream):
    """Keeps what it is written, and whether it was told the end."""

    def __init__(self, exchange: Exchange, *, flowing: bool = True) -> None:
        super().__init__()
        self.got = b""
        self.ended = False
        self.facts: list[Any] = []
        exchange.deliver_to(self)
        if flowing:
            exchange.release(SINK)

    def write(self, data: bytes) -> None:
        self.got += data

    def describe(self, facts: Any) -> None:
        self.facts.append(facts)

    def end(self) -> None:
        self.ended = True


class Web:
    """A server, the requests that it heard of, and its clients."""

    def __init__(self, clock: Any, settings: Settings) -> None:
        self.exchanges: list[Exchange] = []
        self.clients: list[Client] = []
        self.listening: HTTPListening = listen_http(
            clock,
            0,
            "127.0.0.1",
            lambda exchange, _: self.exchanges.append(exchange),
            settings=settings,
        )
        self.port: int = self.listening.address()["port"]

    @property
    def server(self) -> HTTPServer:
        return self.listening._server

    def client(self, data: bytes = b"", window: int = 0) -> Client:
        """A new one, which sends ``data``."""
        client = Client(self.port, window=window)
        self.clients.append(client)
        client.send(data)
        return client

    async def exchange(self, number: int = 0) -> Exchange:
        """Number so-and-so of the requests, as soon as it is there."""
        await until(
            lambda: ([c.push() for c in self.clients], len(self.exchanges) > number)[1]
        )
        return self.exchanges[number]


class SlowReactor:
    """The reactor's sockets with a clock that a test turns."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.listenTCP = reactor.listenTCP
        self.callLater = self.clock.callLater
        self.seconds = self.clock.seconds


@asynccontextmanager
async def web(clock: Any = reactor, settings: Settings = USUAL) -> AsyncIterator[Web]:
    """A server that is gone afterwards, and its clients, too."""
    made = Web(clock, settings)
    try:
        yield made
    finally:
        await made.listening.stop()
        for exchange in made.exchanges:
            exchange.abort(Loss(Reason.SHUTDOWN))
        for client in made.clients:
            client.close()
        await until(lambda: not made.server.connections)


def loss_of(exchange: Exchange) -> str:
    """Why it is gone, in a word."""
    return exchange.loss.reason.value if exchange.loss else ""


def get(path: str = "/", *headers: str, method: str = "GET") -> bytes:
    """A request without a body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(body: bytes, *headers: str, path: str = "/") -> bytes:
    """A request with a body of known length."""
    return get(path, f"Content-Length: {len(body)}", *headers, method="POST") + body
