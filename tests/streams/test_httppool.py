"""Connections are kept as long as they are good for anything, on real sockets."""

from __future__ import annotations

import dataclasses

import pytest
import pytest_twisted
from h11 import LocalProtocolError
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionRefusedError

from l7mp.errors import Loss, Reason
from l7mp.streams.httpclient2 import MAX_STREAMS
from l7mp.streams.httppool import Keeping
from tests.protocols.real import Conn
from tests.streams.loopback import turn, until
from tests.streams.origin import (
    GET,
    OK,
    POST,
    Origin,
    hears,
    origin,
    status_of,
)

ensure = pytest_twisted.ensureDeferred


async def answered(host: Origin) -> Conn:
    """A connection whose first call is over."""
    call, _ = await host.call()
    conn = await host.accept()
    await hears(conn, b"\r\n\r\n")
    conn.send(OK)
    await until(lambda: status_of(call) == "fin")
    return conn


@ensure
async def test_a_connection_is_used_again() -> None:
    """Calls one after the other go over the same connection."""
    async with origin() as host:
        conn = await answered(host)
        for _ in range(3):
            call, _ = await host.call()
            await hears(conn, b"\r\n\r\n")
            conn.send(OK)
            await until(lambda call=call: status_of(call) == "fin")  # type: ignore[misc]
        assert host.connections == 0


@ensure
async def test_calls_at_the_same_time_have_their_own() -> None:
    """HTTP/1.1 carries one call at a time."""
    async with origin() as host:
        await host.call()
        await host.call()
        first, second = await host.accept(), await host.accept()
        await hears(first, b"\r\n\r\n")
        await hears(second, b"\r\n\r\n")


@ensure
@pytest.mark.parametrize(
    "said",
    [
        OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        OK.replace(b"/1.1", b"/1.0"),
        OK + b"more than was said",
        OK.replace(b"ok", b"2\r\nok\r\n0\r\n\r\n").replace(
            b"\r\nC", b"\r\nTransfer-Encoding: chunked\r\nC"
        ),
    ],
)
async def test_nothing_dubious_is_kept(said: bytes) -> None:
    """A connection whose state is in doubt ends with its call."""
    async with origin() as host:
        call, _ = await host.call()
        conn = await host.accept()
        conn.send(said)
        await until(lambda: status_of(call) == "fin")
        await until(lambda: conn.pull() and (conn.ended or conn.reset))
        assert host.pool.idle == 0


@ensure
async def test_a_server_that_speaks_unasked() -> None:
    """Nobody can tell to which call that would be the answer."""
    async with origin() as host:
        conn = await answered(host)
        conn.send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        await until(lambda: conn.pull() and (conn.ended or conn.reset))
        assert host.pool.idle == 0


@ensure
async def test_a_server_that_leaves_between_calls() -> None:
    """A connection that is closed while it is idle is forgotten at once."""
    async with origin() as host:
        conn = await answered(host)
        conn.finish()
        await until(lambda: not host.pool.idle)
        await host.call()
        await host.accept()


@ensure
async def test_a_call_that_met_a_server_about_to_leave() -> None:
    """A safe request whose kept connection ends before any answer is sent again."""
    async with origin() as host:
        conn = await answered(host)
        call, answer = await host.call()
        await hears(conn, b"\r\n\r\n")
        conn.finish()
        fresh = await host.accept()
        await hears(fresh, b"GET / HTTP/1.1")
        fresh.send(OK)
        await until(lambda: status_of(call) == "fin")
        assert answer.got == b"ok"


@ensure
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 2"])
async def test_what_is_not_sent_twice(said: bytes) -> None:
    """A request that could do harm, or was perhaps heard, is not sent again."""
    async with origin() as host:
        conn = await answered(host)
        method = "GET" if said else "POST"
        call, _ = await host.call(dataclasses.replace(GET, method=method))
        await hears(conn, b"\r\n\r\n")
        if said:
            conn.send(said)
        conn.finish()
        await until(lambda: status_of(call) == "reset")
        await turn(5)
        assert host.connections == 0


@ensure
async def test_a_new_connection_is_not_doubted() -> None:
    """A server that drops a fresh connection is not bothered again."""
    async with origin() as host:
        call, _ = await host.call()
        (await host.accept()).drop()
        await until(lambda: status_of(call) == "reset")
        assert host.connections == 0


@ensure
async def test_a_body_that_has_begun_is_not_sent_twice() -> None:
    """What was written is gone with the connection that took it."""
    async with origin() as host:
        conn = await answered(host)
        call, _ = await host.call(dataclasses.replace(POST, method="PUT"))
        call.write(b"some")
        await hears(conn, b"some")
        conn.drop()
        await until(lambda: status_of(call) == "reset")


@ensure
async def test_a_body_that_has_not_begun_waits() -> None:
    """What is written while a new connection is made goes over that one."""
    async with origin() as host:
        conn = await answered(host)
        call, _ = await host.call(dataclasses.replace(POST, method="PUT"))
        await hears(conn, b"\r\n\r\n")
        conn.drop()
        await until(lambda: call._line is None)
        call.write(b"body")
        call.end()
        fresh = await host.accept()
        await hears(fresh, b"4\r\nbody\r\n0\r\n\r\n")


@ensure
async def test_only_so_many_are_kept() -> None:
    """The connection that was idle longest makes room."""
    async with origin(keeping=Keeping(max_idle=1)) as host:
        calls = [await host.call() for _ in range(2)]
        conns = [await host.accept() for _ in range(2)]
        for conn, (call, _) in zip(conns, calls, strict=True):
            conn.send(OK)
            await until(lambda call=call: status_of(call) == "fin")  # type: ignore[misc]
        assert host.pool.idle == 1
        await until(lambda: any(c.pull() and (c.ended or c.reset) for c in conns))


@ensure
@pytest.mark.parametrize("seconds", [0, 0.01])
async def test_they_are_kept_only_so_long(seconds: float) -> None:
    """An idle connection is closed after its time, or at once if there is none."""
    async with origin(keeping=Keeping(keep_alive=seconds)) as host:
        conn = await answered(host)
        await until(lambda: conn.pull() and (conn.ended or conn.reset))
        assert host.pool.idle == 0


@ensure
@pytest.mark.parametrize("version", [1, 2])
async def test_nobody_there(version: int) -> None:
    """A connection that cannot be made fails every call that waits for it."""
    async with origin(version) as host:
        host.stop()
        for carried in [host.calls_soon(GET)[1] for _ in range(2)]:
            with pytest.raises(ConnectionRefusedError):
                await carried


@ensure
@pytest.mark.parametrize("version", [1, 2])
async def test_cancelling(version: int) -> None:
    """Who waits no more disturbs nobody else; the last one gives up the attempt."""
    async with origin(version) as host:
        first, second = (host.calls_soon(GET)[1] for _ in range(2))
        first.cancel()
        with pytest.raises(CancelledError):
            await first
        assert await second
        third = host.calls_soon(GET)[1]
        third.cancel()
        third.addErrback(lambda failure: failure.trap(CancelledError))
        await turn(5)


@ensure
async def test_more_calls_than_fit_on_one_connection() -> None:
    """Those for which there is no room get another, and can still be cancelled."""
    async with origin(2) as host:
        calls = [host.calls_soon(GET) for _ in range(MAX_STREAMS + 2)]
        await calls[0][1]
        cancelled = calls[-1][1]
        cancelled.cancel()
        with pytest.raises(CancelledError):
            await cancelled
        for _, carried in calls[:-1]:
            await carried
        assert len(host.pool.connections) == 2


@ensure
async def test_what_cannot_be_asked() -> None:
    """A request that no connection would send costs that request only."""
    async with origin() as host:
        bad = dataclasses.replace(GET, method="NO WAY", headers=(("a:", "b"),))
        call, carried = host.calls_soon(bad)
        with pytest.raises(LocalProtocolError):
            await carried
        call.abort(Loss(Reason.LOCAL))
        await host.call()


@ensure
async def test_closing() -> None:
    """A pool that is closed lets go of what is idle, and of the rest when it is over."""
    async with origin() as host:
        conn = await answered(host)
        call, _ = await host.call()
        host.pool.close()
        assert call.loss is None
        await hears(conn, b"\r\n\r\n")
        conn.send(OK)
        await until(lambda: status_of(call) == "fin")
        await until(lambda: conn.pull() and (conn.ended or conn.reset))
