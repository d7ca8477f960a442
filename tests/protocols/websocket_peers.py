"""WebSocket listeners and clusters of ours, and their peers of another make."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as dial
from websockets.sync.server import Server, ServerConnection, serve

from l7mp.core.registry import Context, Registry
from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import IListening, Metadata
from l7mp.model.config import EndPoint
from l7mp.protocols.websocket import (
    WebSocketClusterSpec,
    WebSocketListenerSpec,
    protocol,
)
from l7mp.streams.websocket import WebSocketStream
from tests.streams.loopback import echo, until

HOST = "127.0.0.1"
BINARY = bytes(range(256)) + b"\x00\xff\r\n"

CONTEXT = Context(reactor=reactor, registry=Registry.of([protocol]))
"""The world as the tests see it."""


class Listener:
    """Keeps what a listener accepts."""

    def __init__(self, treat: Callable[[WebSocketStream], object] = echo) -> None:
        self.treat = treat
        self.streams: list[WebSocketStream] = []
        self.metadata: list[Metadata] = []
        self.words: list[str] = []
        self.losses: list[Loss] = []

    def accept(self, stream: Any, metadata: Metadata, words: str) -> None:
        self.streams.append(stream)
        self.metadata.append(metadata)
        self.words.append(words)
        stream.when_lost().addCallback(self.losses.append)
        self.treat(stream)

    async def listen(self, **spec: Any) -> IListening:
        # A port to be chosen by the kernel is nothing that a user can write.
        made = WebSocketListenerSpec(protocol="WebSocket", port=1, **spec)
        self.listening: IListening = await protocol.listen(  # type: ignore[misc]
            CONTEXT, made.model_copy(update={"port": 0}), self.accept
        )
        self.port: int = self.listening.address()["port"]
        return self.listening

    @property
    def url(self) -> str:
        return f"ws://{HOST}:{self.port}"


def within(test: Callable[[Listener], Awaitable[None]], **spec: Any) -> Any:
    """Run ``test`` with a listener, and wait until all that it accepted is gone."""

    async def run() -> None:
        listener = Listener()
        await listener.listen(address=HOST, **spec)
        try:
            await test(listener)
        finally:
            await listener.listening.stop()
            for stream in listener.streams:
                stream.abort(Loss(Reason.SHUTDOWN))
                await stream.when_lost()

    return run()


def talk(url: str, conversation: Callable[[ClientConnection], Any], **how: Any) -> Any:
    """What a client of the websockets package says, in a thread of its own."""

    def run() -> Any:
        with dial(url, max_size=None, open_timeout=5, **how) as connection:
            return conversation(connection)

    return deferToThread(run)


@contextmanager
def upstream(
    handler: Callable[[ServerConnection], Any], **how: Any
) -> Iterator[tuple[Server, int]]:
    """A server of the websockets package, in threads of its own."""
    server = serve(handler, HOST, 0, max_size=None, **how)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server, server.socket.getsockname()[1]
    finally:
        server.shutdown()
        thread.join(5)


def connecting(
    port: int, metadata: Metadata | None = None, address: str = HOST, **spec: Any
) -> Deferred[Any]:
    made = WebSocketClusterSpec(protocol="WebSocket", port=port, **spec)
    assert protocol.connect is not None
    return protocol.connect(CONTEXT, made, EndPoint("e", address), metadata or {})


async def refused(attempt: Deferred[Any]) -> Loss:
    """Why ``attempt`` failed."""
    with pytest.raises(RemoteError) as caught:
        await attempt
    return caught.value.loss


async def ended(stream: WebSocketStream) -> Loss:
    """Close and wait until it is gone, with its connection."""
    stream.close(Loss(Reason.FIN))
    loss: Loss = await stream.when_lost()
    await until(lambda: stream.transport.disconnected)
    return loss


def is_dropped(peer: socket.socket) -> bool:
    """Whether the other side of a socket, which does not block, has gone."""
    try:
        return peer.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def echo_back(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


@contextmanager
def silent_server() -> Iterator[tuple[socket.socket, int]]:
    """Somebody who accepts connections and says nothing."""
    with socket.create_server((HOST, 0)) as listening:
        listening.setblocking(False)
        yield listening, listening.getsockname()[1]
