"""The client's side of HTTP/1.1, on real sockets with a server that says anything."""

from __future__ import annotations

import dataclasses

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import SINK
from l7mp.wire.httprequest import Request
from tests.streams.loopback import turn, until
from tests.streams.origin import (
    CONNECT,
    GET,
    OK,
    POST,
    UPGRADE,
    Answer,
    hears,
    origin,
    status_of,
)

ensure = pytest_twisted.ensureDeferred
DELETED = Loss(Reason.DELETED)


@ensure
async def test_a_call_is_a_stream() -> None:
    """What is written is the request's body, the response's body is read."""
    async with origin() as host:
        request = dataclasses.replace(POST, headers=(("X-One", "1"),))
        call, answer = await host.call(request)
        conn = await host.accept()
        call.write(b"ques")
        call.write(b"tion")
        call.end()
        head, _, body = (await hears(conn, b"0\r\n\r\n")).partition(b"\r\n\r\n")
        assert head.split(b"\r\n") == [
            b"POST / HTTP/1.1",
            b"host: x",
            b"transfer-encoding: chunked",
            b"X-One: 1",
        ]
        assert body == b"4\r\nques\r\n4\r\ntion\r\n0\r\n\r\n"
        conn.send(b"HTTP/1.1 201 Made\r\nX-Two: 2\r\nContent-Length: 6\r\n\r\nanswer")
        await until(lambda: answer.ended)
        assert answer.got == b"answer"
        headers = {"x-two": "2", "content-length": "6"}
        assert answer.facts == [{"status": 201, "headers": headers, "begin": True}]
        assert status_of(call) == "fin"
        assert (call.bytes_in, call.bytes_out) == (6, 8)


@ensure
async def test_a_known_length_is_announced() -> None:
    """A body whose length is known goes without chunks, and never beyond it."""
    async with origin() as host:
        call, _ = await host.call(dataclasses.replace(POST, length=4))
        conn = await host.accept()
        call.write(b"fourteen")
        call.end()
        got = await hears(conn, b"four")
        assert b"content-length: 4\r\n" in got
        assert got.endswith(b"\r\n\r\nfour")
        assert call.drops == {"content-length": 4}


@ensure
async def test_a_body_too_short_is_not_completed() -> None:
    """A body that ends before its length drops the connection."""
    async with origin() as host:
        call, _ = await host.call(dataclasses.replace(POST, length=4))
        conn = await host.accept()
        call.write(b"one")
        call.end()
        await until(lambda: conn.pull() and (conn.ended or conn.reset))
        assert status_of(call) == "protocol-error"


@ensure
@pytest.mark.parametrize(
    ("said", "got"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b""),
        (b"HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    ],
)  # fmt: skip
async def test_ways_to_end_a_response(said: bytes, got: bytes) -> None:
    """A response ends where its framing says, and the connection is kept."""
    async with origin() as host:
        call, answer = await host.call()
        conn = await host.accept()
        conn.send(said)
        await until(lambda: status_of(call) == "fin")
        assert (answer.ended, answer.got) == (True, got)
        assert host.pool.idle == 1


@ensure
async def test_a_response_to_head_has_no_body() -> None:
    """Whatever length it announces."""
    async with origin() as host:
        call, answer = await host.call(dataclasses.replace(GET, method="HEAD"))
        conn = await host.accept()
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        await until(lambda: status_of(call) == "fin")
        assert answer.facts[0]["headers"] == {"content-length": "1000"}


@ensure
async def test_a_response_may_end_with_the_connection() -> None:
    """A body of no known length is complete when the server leaves."""
    async with origin() as host:
        call, answer = await host.call()
        conn = await host.accept()
        conn.send(b"HTTP/1.0 200 OK\r\n\r\nall there")
        await until(lambda: answer.got == b"all there")
        assert call.loss is None
        conn.finish()
        await until(lambda: status_of(call) == "fin")
        assert (answer.ended, host.pool.idle) == (True, 0)


@ensure
async def test_interim_responses_and_trailers() -> None:
    """What comes before the head and behind the body is told."""
    async with origin() as host:
        call, answer = await host.call()
        conn = await host.accept()
        conn.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        await until(lambda: answer.got)
        conn.send(b"0\r\nX-Sum: 1\r\n\r\n")
        await until(lambda: status_of(call) == "fin")
        assert [facts.get("status") for facts in answer.facts] == [103, 200, None]
        assert answer.facts[0]["headers"] == {"link": "</a>"}
        assert answer.facts[2] == {"trailers": {"x-sum": "1"}}


@ensure
async def test_trailers_of_a_request() -> None:
    """Trailers that were described go behind the last chunk."""
    async with origin() as host:
        call, _ = await host.call(POST)
        conn = await host.accept()
        call.write(b"x")
        call.describe({"HTTP": {"trailers": {"X-Sum": "1", "Host": "evil"}}})
        call.end()
        assert (await hears(conn, b"\r\n0\r\n")).endswith(b"\r\n0\r\nx-sum: 1\r\n\r\n")


@ensure
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "reset"),
        (b"HTTP/1.1 20", "reset"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "protocol-error"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "protocol-error"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok", "protocol-error"),
    ],
)  # fmt: skip
async def test_responses_that_break_off(said: bytes, reason: str) -> None:
    """What is no complete response never looks like one; what came of it is delivered."""
    async with origin() as host:
        call, answer = await host.call()
        conn = await host.accept()
        if said:
            conn.send(said)
        conn.finish()
        await until(lambda: call.loss)
        assert (status_of(call), answer.ended) == (reason, False)
        assert answer.got in said
        assert host.pool.idle == 0


@ensure
async def test_a_reset_amid_a_response() -> None:
    """A connection that is dropped is a reset."""
    async with origin() as host:
        call, answer = await host.call()
        conn = await host.accept()
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await until(lambda: answer.got == b"half")
        conn.drop()
        await until(lambda: status_of(call) == "reset")
        assert not answer.ended


@ensure
async def test_a_held_call_reads_nothing() -> None:
    """Nothing is told while a call is held; what came before the end is not lost."""
    async with origin() as host:
        call, carried = host.calls_soon(GET)
        await carried
        answer = Answer(call, flowing=False)
        conn = await host.accept()
        conn.send(b"HTTP/1.0 200 OK\r\n\r\n" + b"body")
        conn.drop()
        await turn(20)
        assert (answer.facts, answer.got, call.loss) == ([], b"", None)
        call.release(SINK)
        await until(lambda: call.loss)


@ensure
async def test_pressure_of_both_kinds() -> None:
    """A server that does not read pauses the producer, a held call stops the server."""

    class Producer:
        paused = False

        def pauseProducing(self) -> None:
            self.paused = True

        def resumeProducing(self) -> None:
            self.paused = False

        def stopProducing(self) -> None:
            """Never."""

    async with origin() as host:
        call, answer = await host.call(POST)
        producer = Producer()
        call.registerProducer(producer, True)  # type: ignore[arg-type]
        conn = await host.accept()
        while not producer.paused:
            call.write(bytes(1 << 20))
            await turn()
        await until(lambda: (conn.pull(), not producer.paused)[1])
        call.hold("a while")
        conn.send(b"HTTP/1.1 200 OK\r\n\r\n")
        pushed = 0
        while more := conn.push(bytes(1 << 16)):
            pushed += more
            await turn()
        assert answer.facts == []
        call.release("a while")
        await until(lambda: len(answer.got) == pushed)


@ensure
async def test_an_early_response() -> None:
    """A server that answers before the request has ended is heard; both go on."""
    async with origin() as host:
        call, answer = await host.call(POST)
        conn = await host.accept()
        call.write(b"half")
        conn.send(OK)
        await until(lambda: answer.ended)
        assert (answer.got, call.loss) == (b"ok", None)
        call.write(b"more")
        call.end()
        await hears(conn, b"more\r\n0\r\n\r\n")
        assert status_of(call) == "fin"
        assert host.pool.idle == 1


@ensure
async def test_giving_up_after_an_early_response() -> None:
    """A request that is not completed takes its connection along."""
    async with origin() as host:
        call, answer = await host.call(dataclasses.replace(POST, strict=True))
        conn = await host.accept()
        call.write(b"half")
        conn.send(OK)
        await until(lambda: answer.ended)
        call.close(DELETED)
        await until(lambda: conn.pull() and (conn.ended or conn.reset))
        assert not conn.got.endswith(b"0\r\n\r\n")
        assert (status_of(call), host.pool.idle) == ("deleted", 0)


@ensure
async def test_continue_is_waited_for() -> None:
    """A request that expects it sends no body before 100 Continue."""

    class Producer:
        said = ""

        def pauseProducing(self) -> None:
            self.said = "pause"

        def resumeProducing(self) -> None:
            self.said = "resume"

    async with origin() as host:
        call, answer = await host.call(dataclasses.replace(POST, expects=True))
        producer = Producer()
        call.registerProducer(producer, True)  # type: ignore[arg-type]
        conn = await host.accept()
        assert b"expect: 100-continue\r\n" in await hears(conn, b"\r\n\r\n")
        assert producer.said == "pause"
        conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await until(lambda: producer.said == "resume")
        call.write(b"body")
        call.end()
        await hears(conn, b"0\r\n\r\n")
        conn.send(OK)
        await until(lambda: status_of(call) == "fin")
        assert [facts["status"] for facts in answer.facts] == [200]


@ensure
@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (CONNECT, b"HTTP/1.1 200 OK\r\n\r\n"),
        (UPGRADE, b"HTTP/1.1 101 Switching\r\nUpgrade: foo\r\n\r\n"),
    ],
)
async def test_tunnels(request_: Request, said: bytes) -> None:
    """When the server opens a tunnel, bytes pass both ways and have ends."""
    async with origin() as host:
        call, answer = await host.call(request_)
        conn = await host.accept()
        call.write(b"early ")
        assert b"early" not in await hears(conn, b"\r\n\r\n")
        conn.send(said + b"hello")
        await until(lambda: answer.got == b"hello")
        assert answer.facts[0]["status"] in (101, 200)
        call.write(b"bird")
        call.end()
        await hears(conn, b"early bird")
        await until(lambda: conn.pull() and conn.ended)
        conn.send(b" goodbye")
        conn.finish()
        await until(lambda: status_of(call) == "fin")
        assert (answer.got, answer.ended) == (b"hello goodbye", True)


@ensure
async def test_a_tunnel_that_is_refused() -> None:
    """Another response than the one that opens it is passed on."""
    async with origin() as host:
        call, answer = await host.call(UPGRADE)
        conn = await host.accept()
        got = await hears(conn, b"\r\n\r\n")
        assert b"upgrade: foo\r\nconnection: upgrade\r\n" in got
        call.write(b"for nobody")
        conn.send(OK)
        await until(lambda: answer.ended)
        assert (answer.got, answer.facts[0]["status"]) == (b"ok", 200)


@ensure
async def test_websocket_without_a_key_gets_one() -> None:
    """A client of HTTP/2 sends none, and HTTP/1.1 cannot do without."""
    async with origin() as host:
        await host.call(dataclasses.replace(UPGRADE, tunnel="websocket"))
        conn = await host.accept()
        assert b"sec-websocket-key: " in await hears(conn, b"\r\n\r\n")


@ensure
async def test_a_tunnel_that_is_awaited() -> None:
    """A tunnel of the cluster's own is there when the proxy says so, or is not."""
    async with origin() as host:
        opened: Deferred[None] = Deferred()
        call, _ = host.calls_soon(CONNECT, opened)
        conn = await host.accept()
        conn.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await opened
        answer = Answer(call)
        await until(lambda: answer.got == b"hello")
        assert answer.facts == []
        opened = Deferred()
        call, carried = host.calls_soon(CONNECT, opened)
        conn = await host.accept()
        conn.send(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        with pytest.raises(RemoteError, match="403"):
            await opened
        assert (await carried, status_of(call)) == (call, "refused")
