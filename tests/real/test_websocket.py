"""WebSocket listeners and clients of the websockets package."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import Any

import pytest
import pytest_twisted
import websockets.exceptions
from websockets.sync.client import ClientConnection

from l7mp.errors import LocalError, Loss, Reason
from l7mp.protocols.websocket import (
    WebSocketListenerSpec,
    protocol,
)
from l7mp.streams.websocket import WebSocketStream
from tests.protocols.websocket_peers import (
    BINARY,
    CONTEXT,
    HOST,
    Listener,
    connecting,
    ended,
    is_dropped,
    refused,
    talk,
    within,
)
from tests.streams.loopback import Collector, turn, until


@pytest_twisted.ensureDeferred
async def test_a_conversation() -> None:
    """Text and binary arrive as bytes, and what is written leaves as binary."""

    def conversation(connection: ClientConnection) -> list[Any]:
        for message in (BINARY, "text \u0151", b""):
            connection.send(message)
        return [connection.recv(timeout=5) for _ in range(3)]

    async def test(listener: Listener) -> None:
        got = await talk(listener.url, conversation)
        assert got == [BINARY, "text \u0151".encode(), b""]
        await until(lambda: listener.losses)
        assert listener.losses == [Loss(Reason.FIN, "", 1000)]

    await within(test)


@pytest_twisted.ensureDeferred
async def test_metadata() -> None:
    """A session knows both addresses, the request, and is told apart by the former."""

    async def test(listener: Listener) -> None:
        own = await talk(
            f"{listener.url}/chat?a=b",
            lambda connection: connection.local_address[1],
            additional_headers={"X-A": "1"},
        )
        [metadata] = listener.metadata
        assert metadata["IP"] == {"src_addr": HOST, "dst_addr": HOST}
        assert metadata["TCP"] == {"src_port": own, "dst_port": listener.port}
        assert metadata["HTTP"]["url"]["path"] == "/chat?a=b"
        assert metadata["HTTP"]["headers"]["x-a"] == "1"
        assert listener.words == [f"{HOST}:{own}-{HOST}:{listener.port}"]

    await within(test)


@pytest_twisted.ensureDeferred
async def test_both_families() -> None:
    """Without an address clients of IPv4 and IPv6 are served; the former look like it."""
    listener = Listener()
    await listener.listen()
    try:
        for host in (HOST, "[::1]"):
            url = f"ws://{host}:{listener.port}"
            await talk(url, lambda connection: connection.ping().wait(5))
        sources = [metadata["IP"]["src_addr"] for metadata in listener.metadata]
        assert sources == [HOST, "::1"]
    finally:
        await listener.listening.stop()


@pytest_twisted.ensureDeferred
async def test_only_one_path() -> None:
    """A listener with a path refuses others with a 404 that websockets understands."""

    async def test(listener: Listener) -> None:
        with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
            await talk(f"{listener.url}/there", lambda _: None)
        assert caught.value.response.status_code == 404
        await talk(f"{listener.url}/here", lambda _: None)

    await within(test, path="here")


@pytest_twisted.ensureDeferred
async def test_subprotocols_of_a_listener() -> None:
    """A listener chooses among its subprotocols."""

    async def test(listener: Listener) -> None:
        chosen = await talk(
            listener.url,
            lambda connection: connection.subprotocol,
            subprotocols=["a", "b"],
        )
        assert chosen == "b"

    await within(test, subprotocols=("b",))


@pytest_twisted.ensureDeferred
async def test_too_long_a_message() -> None:
    """A message beyond the limit is answered by a close with 1009."""

    def conversation(connection: ClientConnection) -> int:
        connection.send(b"x" * 1001)
        with pytest.raises(websockets.exceptions.ConnectionClosed) as caught:
            connection.recv(timeout=5)
        assert caught.value.rcvd is not None
        return caught.value.rcvd.code

    async def test(listener: Listener) -> None:
        assert await talk(listener.url, conversation) == 1009
        await until(lambda: listener.losses)
        assert listener.losses[0].reason is Reason.PROTOCOL

    await within(test, max_message=1000)


@pytest.mark.parametrize(
    ("loss", "code", "text"),
    [
        (Loss(Reason.FIN), 1000, ""),
        (Loss(Reason.SHUTDOWN, "good night"), 1001, "shutdown: good night"),
        (Loss(Reason.NO_ROUTE, "no rule"), 1011, "no-route: no rule"),
        (Loss(Reason.REFUSED, "\u0151" * 99), 1013, "refused: " + "\u0151" * 57),
    ],
)
@pytest_twisted.ensureDeferred
async def test_clients_hear_why(loss: Loss, code: int, text: str) -> None:
    """A client hears the code and the reason, after all that was written for it."""

    def refuse(stream: WebSocketStream) -> None:
        stream.write(b"last words")
        stream.close(loss)

    def conversation(connection: ClientConnection) -> tuple[Any, int, str]:
        first = connection.recv(timeout=5)
        with pytest.raises(websockets.exceptions.ConnectionClosed) as caught:
            connection.recv(timeout=5)
        assert caught.value.rcvd is not None
        return first, caught.value.rcvd.code, caught.value.rcvd.reason

    async def test(listener: Listener) -> None:
        listener.treat = refuse
        heard = await talk(listener.url, conversation)
        assert heard == (b"last words", code, text)
        await until(lambda: listener.losses)
        assert listener.losses == [loss]

    await within(test)


@pytest_twisted.ensureDeferred
async def test_a_client_that_resets() -> None:
    """A client whose connection is reset is told apart from one that closes."""

    def conversation(connection: ClientConnection) -> None:
        connection.ping().wait(5)
        linger = struct.pack("ii", 1, 0)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.socket.shutdown(socket.SHUT_RD)
        connection.socket.close()

    async def test(listener: Listener) -> None:
        await talk(listener.url, conversation)
        await until(lambda: listener.losses)
        assert listener.losses[0].reason is Reason.RESET

    await within(test)


@pytest_twisted.ensureDeferred
async def test_a_stalled_sink_stops_the_client() -> None:
    """While a stream is held its client can send only so much, and then all arrives."""
    count, message = 64, b"x" * (256 << 10)
    sent: list[int] = []

    def conversation(connection: ClientConnection) -> None:
        for number in range(count):
            connection.send(message)
            sent.append(number)

    async def test(listener: Listener) -> None:
        listener.treat = lambda _: None
        talking = talk(listener.url, conversation)
        await until(lambda: listener.streams)
        [stream] = listener.streams
        await until(lambda: sent)
        await turn(200)
        assert len(sent) < count
        assert stream.queued <= 1
        sink = Collector(stream)
        await talking
        await until(lambda: len(sink.got) == count)
        assert set(sink.got) == {message}
        assert stream.drops == {}

    await within(test)


@pytest_twisted.ensureDeferred
async def test_a_stalled_client_stops_the_writer() -> None:
    """A client that does not read pauses whoever writes to its stream."""

    class Writer:
        paused = 0

        def pauseProducing(self) -> None:
            self.paused += 1

        def resumeProducing(self) -> None:
            self.paused -= 1

        def stopProducing(self) -> None:
            pass

    async def test(listener: Listener) -> None:
        raw = socket.create_connection((HOST, listener.port))
        try:
            raw.sendall(
                b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            await until(lambda: listener.streams)
            [stream], writer = listener.streams, Writer()
            stream.registerProducer(writer, True)  # type: ignore[arg-type]
            for _ in range(200):
                if not writer.paused:
                    stream.write(b"x" * (1 << 18))
                    await turn()
            assert writer.paused
            assert stream.messages_out < 200
            assert stream.unsent()
            raw.setblocking(False)

            def read() -> bool:
                with suppress(BlockingIOError):
                    raw.recv(1 << 20)
                return not writer.paused

            await until(read)
        finally:
            raw.close()

    await within(test)


@pytest_twisted.ensureDeferred
async def test_a_port_in_use() -> None:
    """A port that is taken is a local error that names it."""

    async def test(listener: Listener) -> None:
        spec = WebSocketListenerSpec(
            protocol="WebSocket", port=listener.port, address=HOST
        )
        with pytest.raises(LocalError, match=str(listener.port)):
            await protocol.listen(CONTEXT, spec, listener.accept)  # type: ignore[misc]

    await within(test)


@pytest_twisted.ensureDeferred
async def test_stopping_to_listen() -> None:
    """A listener that stops lets nobody in any more; who is in stays."""

    async def test(listener: Listener) -> None:
        late = socket.create_connection((HOST, listener.port))
        early = await connecting(listener.port)
        await until(lambda: listener.streams)
        await listener.listening.stop()
        late.setblocking(False)
        await until(lambda: is_dropped(late))
        late.close()
        sink = Collector(early)
        early.write(b"still there")
        await until(lambda: sink.got)
        assert (await refused(connecting(listener.port))).reason is Reason.REFUSED
        await ended(early)

    await within(test)
