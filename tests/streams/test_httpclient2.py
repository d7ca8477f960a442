"""The client's side of HTTP/2, on real sockets with a server made of h2."""

from __future__ import annotations

import dataclasses
import socket
from typing import Any

import pytest
import pytest_twisted
from h2.errors import ErrorCodes
from h2.events import DataReceived, StreamReset, TrailersReceived
from h2.settings import SettingCodes

from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK
from l7mp.streams import httpclient2
from l7mp.streams.httpclient2 import MAX_STREAMS
from tests.streams.loopback import turn, until
from tests.streams.origin import (
    CONNECT,
    GET,
    POST,
    UPGRADE,
    Answer,
    origin,
    status_of,
)

ensure = pytest_twisted.ensureDeferred
OK = (":status", "200")


@ensure
async def test_a_call_is_a_stream() -> None:
    """What is written is the request's body, the response's body is read."""
    async with origin(2) as host:
        headers = (("X-One", "1"),)
        call, answer = await host.call(
            dataclasses.replace(POST, headers=headers, length=8, trailers=True)
        )
        server = await host.accept2()
        call.write(b"ques")
        call.write(b"tion")
        call.end()
        assert await server.request() == {
            ":method": "POST",
            ":authority": "x",
            ":scheme": "http",
            ":path": "/",
            "te": "trailers",
            "content-length": "8",
            "x-one": "1",
        }
        assert await server.whole() == b"question"
        server.head(1, (":status", "201"), ("x-two", "2"))
        server.data(1, b"answer")
        await until(lambda: answer.ended)
        assert answer.got == b"answer"
        assert answer.facts == [
            {"status": 201, "headers": {"x-two": "2"}, "begin": True}
        ]
        assert status_of(call) == "fin"


@ensure
async def test_calls_share_a_connection() -> None:
    """Calls at the same time go over one connection, each with its own answer."""
    async with origin(2) as host:
        calls = [host.calls_soon(GET) for _ in range(5)]
        for _, carried in calls:
            await carried
        answers = [Answer(call) for call, _ in calls]
        server = await host.accept2()
        await server.request(5)
        for number in (9, 1, 5, 3, 7):
            server.answer(number, b"%d" % number)
        await until(lambda: all(answer.ended for answer in answers))
        assert [answer.got for answer in answers] == [b"1", b"3", b"5", b"7", b"9"]
        assert host.connections == 0
        assert host.pool.idle == 1


@ensure
async def test_more_calls_than_fit() -> None:
    """What a server takes no more of goes over another connection."""
    async with origin(2) as host:
        call, carried = host.calls_soon(GET)
        server = await host.accept2()
        server.wire.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        server.push()
        await carried
        Answer(call)
        await server.request()
        await turn(5)
        await host.call()
        other = await host.accept2()
        assert (await other.request())[":method"] == "GET"
        assert MAX_STREAMS > 1


@ensure
async def test_the_servers_window_is_kept() -> None:
    """A body waits for the window of the server, and its producer with it."""

    class Producer:
        paused = False

        def pauseProducing(self) -> None:
            self.paused = True

        def resumeProducing(self) -> None:
            self.paused = False

        def stopProducing(self) -> None:
            """Never."""

    async with origin(2) as host:
        call, _ = await host.call(POST)
        producer = Producer()
        call.registerProducer(producer, True)  # type: ignore[arg-type]
        server = await host.accept2()
        server.reads = False
        body = bytes(range(256)) * 1024
        call.write(body)
        assert producer.paused
        call.write(b"!")
        call.end()
        await until(lambda: (server.pull(), len(server.body()) == 65535)[1])
        await turn(5)
        server.pull()
        assert len(server.body()) == 65535
        server.reads = True
        for event in [e for e in server.events if isinstance(e, DataReceived)]:
            server.wire.acknowledge_received_data(event.flow_controlled_length, 1)
        server.push()
        assert await server.whole() == body + b"!"


@ensure
async def test_our_window_is_kept() -> None:
    """A held call lets the server send a window, and no more until it is released."""
    async with origin(2) as host:
        call, carried = host.calls_soon(GET)
        server = await host.accept2()
        await carried
        answer = Answer(call, flowing=False)
        await server.request()
        server.head(1, OK)
        body, sent = bytes(1 << 18), 0
        while size := min(server.wire.local_flow_control_window(1), 16384):
            server.data(1, body[:size], end=False)
            sent += size
            await turn()
        assert (answer.facts, answer.got) == ([], b"")
        call.release(SINK)
        await until(lambda: len(answer.got) == sent)
        await until(
            lambda: (server.pull(), server.wire.local_flow_control_window(1))[1]
        )


@ensure
async def test_interim_responses_and_trailers() -> None:
    """What comes before the head and behind the body is told, and sent."""
    async with origin(2) as host:
        call, answer = await host.call(POST)
        server = await host.accept2()
        call.describe({"HTTP": {"trailers": {"x-sum": "1"}}})
        call.write(b"x")
        call.end()
        await server.whole()
        event = await server.sees(TrailersReceived)
        assert list(event.headers) == [("x-sum", "1")]
        server.head(1, (":status", "103"), ("link", "</a>"))
        server.head(1, OK)
        server.data(1, b"x", end=False)
        server.head(1, ("x-sum", "2"), end=True)
        await until(lambda: status_of(call) == "fin")
        assert [facts.get("status") for facts in answer.facts] == [103, 200, None]
        assert answer.facts[2] == {"trailers": {"x-sum": "2"}}


@ensure
async def test_continue() -> None:
    """A body that expects 100 Continue waits for it."""
    async with origin(2) as host:
        call, _ = await host.call(dataclasses.replace(POST, expects=True))
        server = await host.accept2()
        assert (await server.request())["expect"] == "100-continue"
        server.head(1, (":status", "100"))
        await until(lambda: not call._blocked)


@ensure
async def test_a_stream_that_is_reset() -> None:
    """A response that breaks off is lost, and its neighbors are not."""
    async with origin(2) as host:
        one, answer = await host.call()
        two, _ = await host.call()
        server = await host.accept2()
        await server.request(2)
        server.head(1, OK)
        server.data(1, b"half", end=False)
        server.wire.reset_stream(1, ErrorCodes.INTERNAL_ERROR)
        server.push()
        await until(lambda: status_of(one) == "reset")
        assert (answer.got, answer.ended, two.loss) == (b"half", False, None)
        server.answer(3)
        await until(lambda: status_of(two) == "fin")


@ensure
async def test_what_a_server_refuses_is_asked_again() -> None:
    """A stream that the server has not looked at is begun once more, whatever it asks."""
    async with origin(2) as host:
        call, answer = await host.call(dataclasses.replace(GET, method="POST"))
        server = await host.accept2()
        await server.request()
        server.wire.reset_stream(1, ErrorCodes.REFUSED_STREAM)
        server.push()
        await server.request(2)
        server.answer(3)
        await until(lambda: status_of(call) == "fin")
        assert answer.got == b"ok"


@ensure
async def test_a_goodbye() -> None:
    """What a server that leaves has taken it answers, what it has not goes elsewhere."""
    async with origin(2) as host:
        one, answer = await host.call()
        two, other_answer = await host.call()
        server = await host.accept2()
        await server.request(2)
        server.conn.send(b"\0\0\x08\x07\0\0\0\0\0" + b"\0\0\0\x01" + b"\0\0\0\0")
        other = await host.accept2()
        await other.request()
        other.answer(1, b"elsewhere")
        await until(lambda: status_of(two) == "fin")
        assert other_answer.got == b"elsewhere"
        assert one.loss is None
        server.answer(1, b"here")
        await until(lambda: status_of(one) == "fin")
        assert answer.got == b"here"
        await until(lambda: server.conn.pull() and server.conn.ended)


@ensure
@pytest.mark.parametrize("reset", [True, False])
async def test_a_connection_that_is_lost(reset: bool) -> None:
    """What came is delivered, and then every call is lost."""
    async with origin(2) as host:
        post = dataclasses.replace(GET, method="POST")
        calls = [await host.call(post) for _ in range(2)]
        server = await host.accept2()
        await server.request(2)
        server.head(1, OK)
        server.data(1, b"half", end=False)
        await until(lambda: calls[0][1].got == b"half")
        if reset:
            server.conn.drop()
        else:
            server.conn.finish()
        await until(lambda: all(call.loss for call, _ in calls))
        assert {status_of(call) for call, _ in calls} == {"reset"}
        assert not calls[0][1].ended
        assert host.pool.idle == 0


@ensure
async def test_a_server_that_speaks_something_else() -> None:
    """What is not HTTP/2 is the server's fault."""
    async with origin(2) as host:
        call, _ = await host.call()
        conn = await host.accept()
        conn.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await until(lambda: status_of(call) == "protocol-error")


@ensure
async def test_a_server_that_asks_and_never_listens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What pings provoke is not collected for ever."""
    monkeypatch.setattr(httpclient2, "MAX_UNREAD", 1 << 16)
    async with origin(2) as host:
        host.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        call, _ = await host.call()
        server = await host.accept2()
        await server.request()
        (connection,) = host.pool.connections
        ours: Any = connection.transport
        ours.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ping = b"\0\0\x08\x06\0\0\0\0\0" + bytes(8)
        while call.loss is None:
            server.conn.push(ping * 256)
            await turn()
        assert status_of(call) == "protocol-error"


@ensure
async def test_giving_up() -> None:
    """A call that is aborted resets its stream, and leaves the connection to others."""
    async with origin(2) as host:
        call, _ = await host.call(POST)
        server = await host.accept2()
        await server.request()
        call.abort(Loss(Reason.DELETED))
        event = await server.sees(StreamReset)
        assert event.error_code == ErrorCodes.CANCEL
        two, _ = await host.call()
        await server.request(2)
        server.answer(3)
        await until(lambda: status_of(two) == "fin")


@ensure
async def test_a_tunnel() -> None:
    """CONNECT opens one, and each direction has its end."""
    async with origin(2) as host:
        call, answer = await host.call(CONNECT)
        server = await host.accept2()
        fields = await server.request()
        assert fields == {":method": "CONNECT", ":authority": "a:1"}
        call.write(b"early ")
        server.head(1, OK)
        await until(lambda: answer.facts)
        call.write(b"bird")
        call.end()
        assert await server.whole() == b"early bird"
        assert call.loss is None
        server.data(1, b"goodbye")
        await until(lambda: status_of(call) == "fin")
        assert (answer.got, answer.ended) == (b"goodbye", True)


@ensure
async def test_websocket_over_http2() -> None:
    """An upgrade is the extended CONNECT of RFC 8441, where the server knows it."""
    async with origin(2) as host:
        request = dataclasses.replace(
            UPGRADE,
            tunnel="websocket",
            headers=(("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),),
        )
        call, answer = await host.call(request)
        server = await host.accept2()
        server.wire.update_settings({SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
        server.push()
        fields = await server.request()
        assert fields[":protocol"] == "websocket"
        assert (fields[":method"], fields[":path"]) == ("CONNECT", "/")
        assert "sec-websocket-key" not in fields
        server.head(1, OK)
        server.data(1, b"hello", end=False)
        await until(lambda: answer.got == b"hello")
        headers = answer.facts[0]["headers"]
        assert answer.facts[0]["status"] == 101
        assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        call.close(Loss(Reason.FIN))
        await until(lambda: status_of(call) == "fin")


@ensure
async def test_no_websocket_where_there_is_none() -> None:
    """A server that does not allow it is not asked."""
    async with origin(2) as host:
        call, _ = await host.call(UPGRADE)
        await host.accept2()
        await until(lambda: status_of(call) == "refused")
