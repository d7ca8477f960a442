"""Peers that speak TLS on the loopback: Python's own, and streams of ours."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory

from l7mp.errors import Loss, Reason
from l7mp.interfaces import IStream
from l7mp.model.tls import TLSClient, TLSServer
from l7mp.streams.endpoint import connect_stream, factory_of, listen_tcp, tcp_endpoint
from l7mp.streams.tls_context import ClientTLS, ServerTLS
from l7mp.streams.tls_endpoint import TLSEndpoint, TLSFactory
from l7mp.streams.transport import Plumbing, TransportStream
from tests.streams.certs import Certs
from tests.streams.loopback import until

HOST = "127.0.0.1"


class Peer:
    """A non-blocking TLS socket of Python's; reads only when told to."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self.sock = sock
        self.got = b""
        self.ended = False

    async def shakes(self) -> Peer:
        """Itself, when the handshake is done; raises what Python raises."""
        await until(lambda: self._try(self.sock.do_handshake) is not False)
        return self

    def _try(self, act: Any, *arguments: Any) -> Any:
        try:
            return act(*arguments)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False

    def push(self, data: bytes) -> int:
        """As much as there is room for."""
        return int(self._try(self.sock.send, data))

    def send(self, data: bytes) -> None:
        """All of it, which has to fit into the kernel's buffers."""
        assert self.push(data) == len(data)

    def pull(self) -> bool:
        """Read once; whether there was anything, if only the end."""
        try:
            data = self._try(self.sock.recv, 1 << 16)
        except ssl.SSLZeroReturnError:
            data = b""
        if data is False:
            return False
        self.got += data
        self.ended = self.ended or not data
        return True

    def say_end(self) -> None:
        """Send close_notify, and wait for nothing."""
        self._try(self.sock.unwrap)

    async def reads(self, count: int) -> bytes:
        """The first ``count`` bytes, at least."""
        await until(lambda: self.pull() and len(self.got) >= count)
        return self.got

    async def reads_all(self) -> bytes:
        """Everything up to the end, which must be a proper one."""
        await until(lambda: self.pull() and self.ended)
        return self.got


def wrapped(sock: socket.socket, context: ssl.SSLContext, **how: Any) -> Peer:
    """A socket that is connected, with TLS to come."""
    sock.setblocking(False)
    return Peer(
        context.wrap_socket(
            sock, do_handshake_on_connect=False, suppress_ragged_eofs=False, **how
        )
    )


class World:
    """Listeners and connections with TLS, closed in the end."""

    def __init__(self, certs: Certs) -> None:
        self.certs = certs
        self.accepted: list[TransportStream] = []
        self.failures: list[Loss] = []
        self._open: list[Any] = []

    def listen(self, **said: Any) -> int:
        """A listener's port; what it accepts is in ``accepted``."""
        plain = factory_of(lambda: Plumbing(reactor, self.accepted.append))
        return self.listen_for(plain, **said)

    def listen_for(self, plain: Factory, **said: Any) -> int:
        """A port where what a factory makes is above TLS."""
        said = {"cert": self.certs.pem("localhost", HOST), **said}
        security = ServerTLS(TLSServer(**said), (), print, reactor)
        factory = TLSFactory(
            reactor, security, plain, lambda _, loss: self.failures.append(loss)
        )
        listening = listen_tcp(reactor, 0, HOST, factory)
        self._open.append(listening)
        self._listening = listening
        port: int = listening.address()["port"]
        return port

    async def stop(self) -> None:
        """Stop listening."""
        await self._listening.stop()

    def connect(self, port: int, **said: Any) -> Deferred[IStream]:
        """A stream of ours to somebody at ``port``."""
        tls = TLSClient(**{"ca": self.certs.ca, **said})
        security = ClientTLS(tls, (), print, reactor)
        to = TLSEndpoint(reactor, security, tcp_endpoint(reactor, HOST, port), HOST)
        return connect_stream(reactor, to)

    def dial(self, port: int, **how: Any) -> Peer:
        """A client of Python's, which has not shaken hands yet."""
        sock = socket.create_connection((HOST, port))
        name = how.pop("name", HOST)
        peer = wrapped(sock, self.certs.client(**how), server_hostname=name)
        self._open.append(peer.sock)
        return peer

    def serve(self) -> socket.socket:
        """A plain listening socket."""
        server = socket.create_server((HOST, 0))
        server.setblocking(False)
        self._open.append(server)
        return server

    async def accept(self, server: socket.socket, cert: str = "", ca: str = "") -> Peer:
        """Who called there, which has not shaken hands yet."""
        context = self.certs.server(cert or self.certs.pem(HOST), ca)

        def attempt() -> socket.socket | None:
            try:
                return server.accept()[0]
            except BlockingIOError:
                return None

        peer = wrapped(await until(attempt), context, server_side=True)
        self._open.append(peer.sock)
        return peer

    async def arrival(self) -> TransportStream:
        """The only stream that was accepted."""
        await until(lambda: self.accepted)
        return self.accepted[0]

    async def pair(self) -> tuple[TransportStream, Peer]:
        """One of ours that accepted, and a client of Python's."""
        peer = await self.dial(self.listen()).shakes()
        return await self.arrival(), peer

    async def close(self) -> None:
        for stream in self.accepted:
            stream.abort(Loss(Reason.DELETED))
        for one in self._open:
            if isinstance(one, socket.socket):
                one.close()
            else:
                await one.stop()
        await until(lambda: all(stream.loss for stream in self.accepted))


@asynccontextmanager
async def world(certs: Certs) -> AsyncIterator[World]:
    """One that is closed in the end."""
    made = World(certs)
    try:
        yield made
    finally:
        await made.close()
