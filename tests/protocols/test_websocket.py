"""WebSocket listeners and clusters: their words, and clusters among real upstreams."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import pytest_twisted
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from twisted.internet.defer import CancelledError
from websockets.sync.server import ServerConnection

from l7mp.errors import Loss, Reason
from l7mp.interfaces import Kind
from l7mp.model.config import EndPoint
from l7mp.protocols.websocket import (
    WebSocketClusterSpec,
    WebSocketListenerSpec,
    protocol,
)
from tests.protocols.websocket_peers import (
    BINARY,
    CONTEXT,
    HOST,
    Listener,
    connecting,
    echo_back,
    ended,
    is_dropped,
    refused,
    silent_server,
    upstream,
    within,
)
from tests.streams.loopback import Collector, turn, until, unused_port

# -- the words ------------------------------------------------------------------------


def test_what_it_is() -> None:
    """WebSocket carries datagrams, is also called WS, and tags its sessions so."""
    assert (protocol.name, protocol.tag) == ("WebSocket", "WS")
    assert protocol.aliases == ("WS",)
    assert protocol.kind is Kind.DATAGRAMS
    assert not protocol.virtual


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 0},
        {"port": "80"},
        {},
        {"port": 80, "message_type": "json"},
        {"port": 80, "max_message": 0},
        {"port": 80, "ping_interval": -1},
        {"port": 80, "close_timeout": 0},
        {"port": 80, "handshake_timeout": 0},
        {"port": 80, "invalid_text": "replace"},
        {"port": 80, "deflate": 1},
        {"port": 80, "unknown": 1},
    ],
)
@pytest.mark.parametrize("model", [WebSocketListenerSpec, WebSocketClusterSpec])
def test_wrong_words(model: Any, wrong: dict[str, Any]) -> None:
    """A specification that makes no sense is refused."""
    with pytest.raises(ValidationError):
        model(protocol="WebSocket", **wrong)


def test_words_of_the_original() -> None:
    """What the original's users write is understood, and dumped as it was written."""
    given: dict[str, Any] = {"protocol": "WebSocket", "port": 16000}
    assert WebSocketClusterSpec(**given).dump() == given
    assert WebSocketListenerSpec(**given, path="/x").dump() == {**given, "path": "/x"}


# -- connecting -----------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_connection() -> None:
    """A cluster connects without any request in the metadata, to the path "/"."""
    seen: list[Any] = []

    def handler(connection: ServerConnection) -> None:
        seen.append(connection.request)
        echo_back(connection)

    with upstream(handler) as (_, port):
        stream = await connecting(port)
        sink = Collector(stream)
        stream.write(BINARY)
        await until(lambda: sink.got)
        assert sink.got == [BINARY]
        assert seen[0].path == "/"
        assert seen[0].headers["host"] == f"{HOST}:{port}"
        assert await ended(stream) == Loss(Reason.FIN)


@pytest_twisted.ensureDeferred
async def test_what_metadata_says() -> None:
    """Path, headers and subprotocols come from metadata, those of the hop do not."""
    seen: list[Any] = []

    def handler(connection: ServerConnection) -> None:
        seen.append((connection.request, connection.subprotocol))

    with upstream(handler, subprotocols=["chat"]) as (_, port):
        headers = {
            "host": "l7mp.example",
            "connection": "Upgrade, X-Hop",
            "x-hop": "1",
            "session_id": 1,
            "cookie": "a=b",
            "content-length": "0",
            "sec-websocket-key": "secret",
            "sec-websocket-protocol": "chat, other",
        }
        url = {"host": "", "port": "", "path": "/room?x=1"}
        metadata = {"HTTP": {"url": url, "headers": headers}}
        stream = await connecting(
            port, metadata, path="/other", headers={"Cookie": "c=d", "X-Y": 2}
        )
        Collector(stream)
        await stream.when_lost()
        [(request, subprotocol)] = seen
        assert request.path == "/room?x=1"
        assert subprotocol == "chat"
        assert request.headers["host"] == f"{HOST}:{port}"
        assert request.headers["session_id"] == "1"
        assert request.headers["x-y"] == "2"
        assert request.headers.get_all("cookie") == ["c=d"]
        assert request.headers.get_all("sec-websocket-key") != ["secret"]
        assert "x-hop" not in request.headers
        assert "content-length" not in request.headers
        await until(lambda: stream.transport.disconnected)


@pytest_twisted.ensureDeferred
async def test_what_rules_say() -> None:
    """Where rules have set a host and a port, the connection goes there."""
    with upstream(echo_back) as (_, port):
        url = {"host": "localhost", "port": port, "path": "x"}
        metadata = {"HTTP": {"url": url}}
        stream = await connecting(unused_port(), metadata, address="192.0.2.1")
        await ended(stream)


@pytest_twisted.ensureDeferred
async def test_a_port_of_the_endpoint() -> None:
    """An endpoint's own port counts more than the cluster's."""
    with upstream(echo_back) as (_, port):
        spec = WebSocketClusterSpec(protocol="WebSocket", port=unused_port())
        assert protocol.connect is not None
        stream: Any = await protocol.connect(
            CONTEXT, spec, EndPoint("e", HOST, port), {}
        )
        await ended(stream)


@pytest_twisted.ensureDeferred
async def test_messages_with_the_response() -> None:
    """What an upstream sends with its handshake waits in the held stream."""

    def handler(connection: ServerConnection) -> None:
        connection.send(b"welcome")
        connection.send("twice")

    with upstream(handler) as (_, port):
        stream = await connecting(port)
        await turn(20)
        sink = Collector(stream)
        assert await stream.when_lost() == Loss(Reason.FIN, "", 1000)
        assert sink.got == [b"welcome", b"twice"]
        await until(lambda: stream.transport.disconnected)


@pytest.mark.parametrize(
    ("message_type", "kind"), [("binary", bytes), ("text", str), ("auto", str)]
)
@pytest_twisted.ensureDeferred
async def test_types_of_messages(message_type: Any, kind: type) -> None:
    """A cluster sends binary, text, or what its upstream has sent last."""
    seen: list[Any] = []

    def handler(connection: ServerConnection) -> None:
        connection.send("text")
        seen.append(connection.recv(timeout=5))

    with upstream(handler) as (_, port):
        stream = await connecting(port, message_type=message_type)
        sink = Collector(stream)
        await until(lambda: sink.got)
        stream.write(b"answer")
        await stream.when_lost()
        assert [type(message) for message in seen] == [kind]
        await until(lambda: stream.transport.disconnected)


@pytest_twisted.ensureDeferred
async def test_an_upstream_that_closes() -> None:
    """Code and reason of an upstream's close are in the loss."""

    def handler(connection: ServerConnection) -> None:
        connection.close(4001, "enough")

    with upstream(handler) as (_, port):
        stream = await connecting(port)
        Collector(stream)
        assert await stream.when_lost() == Loss(Reason.FIN, "enough", 4001)
        await until(lambda: stream.transport.disconnected)


@pytest_twisted.ensureDeferred
async def test_end_waits_for_late_answers() -> None:
    """After end() what the upstream still sends before it closes is delivered."""

    def handler(connection: ServerConnection) -> None:
        assert connection.recv(timeout=5) == b"question"
        connection.send(b"late answer")

    with upstream(handler) as (_, port):
        stream = await connecting(port)
        sink = Collector(stream)
        stream.write(b"question")
        stream.end()
        await stream.when_lost()
        assert stream.loss is not None
        assert stream.loss.reason is Reason.FIN
        await until(lambda: stream.transport.disconnected)
        assert sink.got in ([b"late answer"], [])  # its close may come first


@pytest_twisted.ensureDeferred
async def test_nobody_listens() -> None:
    """A port where nobody listens refuses."""
    loss = await refused(connecting(unused_port()))
    assert loss.reason is Reason.REFUSED


@pytest_twisted.ensureDeferred
async def test_an_http_server() -> None:
    """An upstream that answers the handshake by another status refuses with that."""

    def deny(connection: ServerConnection, _: Any) -> Any:
        return connection.respond(404, "not here\n")

    with upstream(echo_back, process_request=deny) as (_, port):
        loss = await refused(connecting(port))
        assert loss == Loss(Reason.REFUSED, "HTTP 404 Not Found")
        await turn(2)  # for the connection, which the server waits for


@pytest.mark.parametrize("name", ["nowhere.invalid", "a..b", "x" * 300])
@pytest_twisted.ensureDeferred
async def test_a_name_without_an_address(name: str) -> None:
    """A name that has no address is unreachable."""
    loss = await refused(connecting(80, address=name))
    assert loss.reason is Reason.UNREACHABLE


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ({"port": "http"}, "port"),
        ({"host": "a b"}, "host"),
        ({"protocol": "wsss"}, "wsss"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_rewritten_nonsense(url: dict[str, Any], words: str) -> None:
    """Where rules have set what cannot be connected to, the loss names it."""
    loss = await refused(connecting(80, {"HTTP": {"url": url}}))
    assert loss.reason is Reason.LOCAL
    assert words in loss.detail


@pytest_twisted.ensureDeferred
async def test_cancelled_during_the_handshake() -> None:
    """Giving an attempt up drops its connection at once."""
    with silent_server() as (listening, port):
        attempt = connecting(port)

        def accepted() -> socket.socket | None:
            try:
                return listening.accept()[0]
            except BlockingIOError:
                return None

        peer = await until(accepted)
        peer.setblocking(False)

        def heard() -> bytes | None:
            try:
                return bytes(peer.recv(4096))
            except BlockingIOError:
                return None

        assert b"Upgrade: websocket" in await until(heard)
        attempt.cancel()
        with pytest.raises(CancelledError):
            await attempt

        await until(lambda: is_dropped(peer))
        peer.close()


@pytest.mark.parametrize("address", [HOST, "localhost"])
@pytest_twisted.ensureDeferred
async def test_cancelled_at_once(address: str) -> None:
    """An attempt can be given up before there is a connection."""
    with silent_server() as (_, port):
        attempt = connecting(port, address=address)
        attempt.cancel()
        with pytest.raises(CancelledError):
            await attempt


@pytest.mark.parametrize("options", [None, {"ttl": 9, "keepalive": True}])
@pytest_twisted.ensureDeferred
async def test_where_it_comes_from(options: dict[str, Any] | None) -> None:
    """A cluster connects from the address and with the options that it is told."""
    seen: list[Any] = []

    def handler(connection: ServerConnection) -> None:
        seen.append(connection.remote_address[0])

    with upstream(handler) as (_, port):
        stream = await connecting(port, bind={"address": "127.0.0.2"}, socket=options)
        Collector(stream)
        await stream.when_lost()
        await until(lambda: stream.transport.disconnected)
    assert seen == ["127.0.0.2"]


@pytest_twisted.ensureDeferred
async def test_sockets_of_both_sides() -> None:
    """Both sides notice dead peers by keep-alive, and take other options as told."""

    async def test(listener: Listener) -> None:
        stream = await connecting(listener.port, socket={"ttl": 11})
        await until(lambda: listener.streams)
        for end, ttl in ((stream, 11), (listener.streams[0], 12)):
            sock = end.transport.getHandle()
            assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == ttl
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        Collector(stream)
        await ended(stream)

    await within(test, socket={"ttl": 12})


# -- one to the other -------------------------------------------------------------------


@settings(max_examples=15)
@given(
    st.lists(
        st.binary(max_size=200) | st.integers(0, 70_000).map(lambda size: b"z" * size),
        max_size=8,
    ),
    st.sampled_from(["binary", "text", "auto"]),
)
@pytest_twisted.ensureDeferred
async def test_there_and_back(messages: list[bytes], message_type: Any) -> None:
    """Every message comes back as it was, whatever the types at both ends."""

    async def test(listener: Listener) -> None:
        stream = await connecting(listener.port, message_type=message_type)
        sink = Collector(stream)
        for message in messages:
            stream.write(message)
        await until(lambda: len(sink.got) == len(messages))
        assert sink.got == messages
        await ended(stream)

    await within(test, message_type=message_type)


@pytest_twisted.ensureDeferred
async def test_pings_keep_a_quiet_connection() -> None:
    """A quiet peer that answers every ping stays connected."""

    async def test(listener: Listener) -> None:
        stream = await connecting(listener.port, ping_interval=0.1, ping_timeout=1)
        Collector(stream)
        link = stream._link
        already = link.octets_out
        await until(lambda: link.octets_out - already >= 2 * len(b"\x89\x80mask"))
        assert stream.loss is None
        await ended(stream)

    await within(test)
