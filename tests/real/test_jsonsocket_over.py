"""JSONSocket over each of its transports, with plain peers at the other end."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from websockets.sync.client import connect as dial
from websockets.sync.server import ServerConnection

from l7mp.core.registry import Context, Registry
from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK, Metadata
from l7mp.model.config import EndPoint
from l7mp.protocols import jsonsocket, sctp
from l7mp.testing import Memory
from tests.protocols.real import real
from tests.protocols.websocket_peers import upstream
from tests.real.whole import HOST, until, whole
from tests.streams.userland import started

HELLO = b'{"JSONSocketVersion": 1, "who": "me"}'
HEADER = b'{"k": "v", "JSONSocketVersion": 1}'
OK = b'{"JSONSocketVersion": 1, "JSONSocketStatus": 200, "JSONSocketMessage": "OK"}'
SET = [{"set": {"key": "/k", "value": "v"}}]
MESSAGES = [b"one", b"two" * 300, b'{"three": 3}']


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place for sockets: their paths are short, those of pytest are not."""
    made = Path(tempfile.mkdtemp(prefix="l7mp"))
    yield made
    shutil.rmtree(made)


def status(answer: bytes | str) -> int:
    found: int = json.loads(answer)["JSONSocketStatus"]
    return found


# -- WebSocket -----------------------------------------------------------------------

OVER_WEBSOCKET = {
    "protocol": "JSONSocket",
    "transport": {"protocol": "WebSocket", "port": 1, "address": HOST},
}


@pytest_twisted.ensureDeferred
async def test_websocket_as_a_server() -> None:
    """The first message is the header, which is repeated by nobody; the rest is data."""

    def client(port: int) -> list[bytes | str]:
        with dial(f"ws://{HOST}:{port}/") as connection:
            for said in (HELLO, *MESSAGES, HELLO):
                connection.send(said)
            return [connection.recv() for _ in range(len(MESSAGES) + 2)]

    def stranger(port: int) -> list[bytes | str]:
        with dial(f"ws://{HOST}:{port}/") as connection:
            connection.send(b'{"JSONSocketVersion": 2}')
            return [connection.recv()]

    async with whole() as world:
        port = await world.serve(OVER_WEBSOCKET, {"protocol": "Echo"})
        got = await deferToThread(client, port)
        assert got == [OK, *MESSAGES, HELLO]
        (answer,) = await deferToThread(stranger, port)
        assert status(answer) == 505


@pytest_twisted.ensureDeferred
async def test_websocket_as_a_client() -> None:
    """A cluster says its header first, in a message of its own, and waits."""
    heard: list[bytes | str] = []

    def talk(connection: ServerConnection) -> None:
        heard.append(connection.recv())
        connection.send(OK)
        for message in connection:
            heard.append(message)
            connection.send(message)
        heard.append("the end")

    with upstream(talk) as (_, port):
        cluster = {
            "protocol": "JSONSocket",
            "transport": {"protocol": "WebSocket", "port": port},
            "header": SET,
            "address": HOST,
        }
        async with whole() as world:
            entry = {"protocol": "UDP", "port": 1, "address": HOST}
            with plain((HOST, await world.serve(entry, cluster))) as client:
                assert await echoed(client, MESSAGES) == MESSAGES
        await until(lambda: heard[-1] == "the end")
    assert heard == [HEADER, *MESSAGES, "the end"]


# -- Unix sockets --------------------------------------------------------------------


class Plain:
    """A socket of messages that never blocks."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setblocking(False)

    def poll(self) -> tuple[bytes, Any] | None:
        try:
            return self.sock.recvfrom(1 << 16)
        except BlockingIOError:
            return None

    async def receive(self) -> bytes:
        """The next message."""
        data: bytes = (await until(self.poll))[0]
        return data

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


def plain(where: Any, kind: int = socket.SOCK_DGRAM, own: str | None = None) -> Plain:
    """A client of a UDP port or a Unix socket."""
    family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
    sock = socket.socket(family, kind)
    if own is not None:
        sock.bind(own)
    sock.connect(where)
    return Plain(sock)


async def echoed(client: Plain, messages: list[bytes]) -> list[bytes]:
    """What comes back for each message."""
    got = []
    for message in messages:
        client.sock.send(message)
        got.append(await client.receive())
    return got


UNIX = [("seqpacket", socket.SOCK_SEQPACKET), ("dgram", socket.SOCK_DGRAM)]


@pytest.mark.parametrize(("type_", "kind"), UNIX)
@pytest_twisted.ensureDeferred
async def test_unix_as_a_server(folder: Path, type_: str, kind: int) -> None:
    """Over Unix sockets of messages it is as over WebSocket: nothing is repeated."""
    path = str(folder / "s")
    carrier = {"protocol": "UnixDomainSocket", "type": type_, "filename": path}
    async with real() as world:
        listener = {"protocol": "JSONSocket", "transport": carrier}
        await world.route(listener, {"protocol": "Echo"})
        with plain(path, kind, str(folder / "me")) as client:
            sent = [HELLO, *MESSAGES, HELLO]
            assert await echoed(client, sent) == [OK, *MESSAGES, HELLO]
            session = world.session
            assert session.metadata["JSONSocket"]["who"] == "me"
            assert "pid" in session.metadata["UNIX"]
        with plain(path, kind, str(folder / "other")) as stranger:
            stranger.sock.send(b"data")
            assert status(await stranger.receive()) == 400


@pytest.mark.parametrize(("type_", "kind"), UNIX)
@pytest_twisted.ensureDeferred
async def test_unix_as_a_client(folder: Path, type_: str, kind: int) -> None:
    """A cluster says its header once, and its data when it was answered."""
    path = str(folder / "s")
    with Plain(socket.socket(socket.AF_UNIX, kind)) as server:
        server.sock.bind(path)
        if kind == socket.SOCK_SEQPACKET:
            server.sock.listen()
        async with unix_cluster(type_, path) as client:
            client.sock.send(MESSAGES[0])
            if kind == socket.SOCK_SEQPACKET:
                peer = Plain(await until(lambda: accepted(server.sock)))
                assert await peer.receive() == HEADER
                say: Callable[[bytes], object] = peer.sock.send
            else:
                peer = server
                header, source = await until(server.poll)
                assert header == HEADER
                say = answering(server.sock, source)
            assert peer.poll() is None
            say(OK)
            assert await peer.receive() == MESSAGES[0]
            say(b"answer")
            assert await client.receive() == b"answer"
            assert peer.poll() is None
        peer.sock.close()


def accepted(server: socket.socket) -> socket.socket | None:
    try:
        return server.accept()[0]
    except BlockingIOError:
        return None


def answering(sock: socket.socket, to: Any) -> Callable[[bytes], int]:
    return lambda data: sock.sendto(data, to)


@asynccontextmanager
async def unix_cluster(type_: str, path: str) -> AsyncIterator[Plain]:
    """A client of a proxy that goes on to a Unix socket."""
    cluster = {
        "protocol": "JSONSocket",
        "transport": {"protocol": "UnixDomainSocket", "type": type_},
        "header": SET,
    }
    entry = {"protocol": "UDP", "port": 1, "address": HOST}
    async with real() as world:
        bound = await world.route(entry, cluster, {"address": path})
        with plain((HOST, bound["port"])) as client:
            yield client


# -- SCTP ----------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_sctp() -> None:
    """Over SCTP each message is one, and header and answer go before the others."""
    started()
    registry = Registry.of([jsonsocket.protocol, sctp.protocol])
    words, context = registry.vocabulary(), Context(reactor=reactor, registry=registry)
    inside = {
        "protocol": "SCTP",
        "port": 0,
        "address": HOST,
        "encapsulation": {"port": 0},
    }
    came: list[tuple[Any, Metadata]] = []
    place = await context.listen(
        words.listener({"protocol": "JSONSocket", "transport": inside}),
        lambda stream, metadata, _: came.append((stream, metadata)),
    )
    where = place.address()
    outside = {
        "protocol": "SCTP",
        "port": where["port"],
        "encapsulation": {"remote_port": where["encapsulation"]["port"]},
    }
    spec = words.cluster(
        {"protocol": "JSONSocket", "transport": outside, "header": SET}
    )
    connecting = context.connect(spec, EndPoint("e", HOST), {})
    await until(lambda: came)
    (served, metadata), there, here = came[0], Memory(), Memory()
    served.established()
    made = await connecting
    made.deliver_to(here)
    made.release(SINK)
    served.deliver_to(there)
    served.release(SINK)
    for message in MESSAGES:
        made.write(message)
        served.write(message)
    await until(lambda: here.written == there.written == MESSAGES)
    assert metadata["JSONSocket"] == {"k": "v", "JSONSocketVersion": 1}
    assert metadata["SCTP"]["dst_port"] == where["port"]
    for stream in (made, served):
        stream.abort(Loss(Reason.DELETED))
    await place.stop()
    context.resources.close()
