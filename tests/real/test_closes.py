"""How clients of the websockets package hear why their session ended."""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import pytest_twisted
import websockets.exceptions
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from websockets.sync.client import connect

from l7mp.errors import Loss, Reason
from l7mp.model import edit
from tests.real.whole import HOST, Whole, Words, until, whole

LISTENER: Words = {"protocol": "WebSocket", "port": 1, "address": HOST}
ECHO: Words = {"protocol": "Echo"}

Heard = tuple[int, str]


def dialed(port: int) -> Deferred[Heard]:
    """A client, in a thread, that waits for the close and tells it."""

    def listen() -> Heard:
        with (
            connect(f"ws://{HOST}:{port}", open_timeout=10) as client,
            pytest.raises(websockets.exceptions.ConnectionClosed) as caught,
        ):
            client.recv(timeout=10)
        assert caught.value.rcvd is not None
        return caught.value.rcvd.code, caught.value.rcvd.reason

    return deferToThread(listen)


async def session_of(proxy: Whole) -> Any:
    """The only session, when it is connected."""

    def connected() -> Any:
        [session] = proxy.proxy.sessions.values() or [None]
        return session if session and session.status == "CONNECTED" else None

    return await until(connected)


# -- what the proxy does ------------------------------------------------------------------


async def delete(proxy: Whole) -> None:
    [session] = proxy.proxy.sessions.values()
    session.end(Loss(Reason.DELETED, "over"))


async def reconfigure(proxy: Whole) -> None:
    await proxy.proxy.edit(
        lambda config: edit.delete_cluster(config, "stage-0", recursive=True)
    )


async def stop(proxy: Whole) -> None:
    await proxy.proxy.stopService()


async def nothing(proxy: Whole) -> None:
    """It is idle."""


@pytest.mark.parametrize(
    ("act", "heard"),
    [
        (delete, (1000, "deleted: over")),
        (
            reconfigure,
            (1000, "deleted: what it ran through was deleted or changed"),
        ),
        (stop, (1001, "shutdown: the proxy stops")),
        (nothing, (1001, "idle: nothing moved for 0.5 s")),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_proxy_ends_a_session(
    act: Callable[[Whole], Awaitable[None]], heard: Heard
) -> None:
    """A session that the proxy ends is closed by the code for that, and told why."""
    async with whole() as proxy:
        options = {"idle_timeout": 0.5 if act is nothing else 0}
        port = await proxy.serve(LISTENER, ECHO, options=options)
        hearing = dialed(port)
        if act is not nothing:
            await session_of(proxy)
        await act(proxy)
        assert await hearing == heard


@pytest.mark.parametrize(
    ("stage", "more", "code", "words"),
    [
        (ECHO, {"match": {"op": "test", "path": "/a", "value": 1}}, 1011, "no-route"),
        (
            {"protocol": "TCP", "port": 1, "address": "nowhere.invalid"},
            {},
            1013,
            "unreachable",
        ),
        ({"protocol": "TCP", "port": 1}, {}, 1013, "no-endpoint"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_no_session_comes_about(
    stage: Words, more: Words, code: int, words: str
) -> None:
    """A client without a way to go is let in only to hear why it must leave."""
    async with whole() as proxy:
        port = await proxy.serve(LISTENER, stage, **more)
        heard = await dialed(port)
        assert heard[0] == code
        assert heard[1].startswith(f"{words}: ")


@pytest.mark.parametrize(
    ("end", "code"), [("fin", 1000), ("reset", 1011)], ids=["fin", "reset"]
)
@pytest_twisted.ensureDeferred
async def test_a_service_of_another_protocol_ends(end: str, code: int) -> None:
    """The end of a TCP service is a close of 1000, its reset one of 1011."""
    async with whole() as proxy:
        with socket.create_server((HOST, 0)) as service:
            service.settimeout(10)
            there = service.getsockname()[1]
            port = await proxy.serve(
                LISTENER, {"protocol": "TCP", "port": there, "address": HOST}
            )
            hearing = dialed(port)
            peer, _ = await deferToThread(service.accept)
            await session_of(proxy)
            if end == "reset":
                linger = struct.pack("ii", 1, 0)
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            peer.close()
            heard = await hearing
            assert heard[0] == code
            assert heard[1] == "" or heard[1].startswith("reset: ")


@pytest_twisted.ensureDeferred
async def test_a_client_that_does_not_answer() -> None:
    """A client that does not answer a close is dropped after close_timeout."""
    request = (
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )

    def read_all(peer: socket.socket) -> bytes:
        heard = b""
        try:
            while data := peer.recv(4096):
                heard += data
        except ConnectionResetError:
            pass
        return heard

    async with whole() as proxy:
        port = await proxy.serve({**LISTENER, "close_timeout": 0.2}, ECHO)
        with socket.create_connection((HOST, port), 10) as peer:
            peer.sendall(request)
            await session_of(proxy)
            await delete(proxy)
            heard = await deferToThread(read_all, peer)
        assert b"\x88\x0f\x03\xe8deleted: over" in heard
        assert await proxy.losses() == [Loss(Reason.DELETED, "over")]
