"""WebSocket with Node's ws package at either end of a session."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from typing import Any

import pytest
import pytest_twisted

from l7mp.errors import Loss, Reason
from tests.real.whole import HOST, NODE, Program, Words, node, until, whole

WHY_NOT = (
    "there is no node"
    if shutil.which("node") is None
    else f"there is no ws package in {NODE} (see scripts/node-packages)"
    if not (NODE / "node_modules" / "ws").exists()
    else ""
)
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)

LISTENER: Words = {"protocol": "WebSocket", "port": 1, "address": HOST}
ECHO: Words = {"protocol": "Echo"}

LARGE = [{"random": 65536}, {"random": 2 << 20}, {"zeros": 4 << 20}, {"text": "\u0151"}]


def client(port: int, path: str = "/", **plan: Any) -> Any:
    """Somebody who dials."""
    return node("ws_peer.cjs", "client", f"ws://{HOST}:{port}{path}", json.dumps(plan))


def server(**plan: Any) -> Any:
    """Somebody who is dialed; everybody who comes is treated the same."""
    return node("ws_peer.cjs", "server", json.dumps(plan))


async def port_of(upstream: Program) -> int:
    [listening] = await upstream.tells("listening")
    port: int = listening["port"]
    return port


def cluster(port: int, **words: Any) -> Words:
    return {"protocol": "WebSocket", "port": port, "address": HOST, **words}


def closes(peer: Program) -> list[tuple[int, str]]:
    """The codes and reasons that it has heard."""
    return [(one["code"], one["reason"]) for one in peer.happened("close")]


# -- messages -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deflate", "context"), [(False, False), (True, False), (True, True)]
)
@pytest_twisted.ensureDeferred
async def test_messages_through_two_hops(deflate: bool, context: bool) -> None:
    """Messages up to 4 MiB go to a server and back, plain or compressed on both sides."""
    compression: Words = {"deflate": deflate, "deflate_context": context}
    options = {"perMessageDeflate": deflate, "maxPayload": 0}
    async with whole() as proxy:
        with server(options=options, echo=True) as upstream:
            port = await proxy.serve(
                {**LISTENER, **compression, "message_type": "auto"},
                cluster(await port_of(upstream), message_type="auto", **compression),
            )
            plan: Words = {"options": options, "say": LARGE, "hear": len(LARGE)}
            with client(port, **plan, close=[1000, "done"]) as peer:
                assert await peer.exits() == 0
            [opened] = upstream.happened("open")
            said = [one["sha256"] for one in peer.happened("said")]
            for heard in (upstream.happened("message"), peer.happened("message")):
                assert [one["sha256"] for one in heard] == said
            agreed = "permessage-deflate" if deflate else ""
            assert peer.happened("open")[0]["extensions"] == agreed
            assert opened["extensions"] == agreed
            assert peer.happened("message")[-1]["text"] == "\u0151"
            assert closes(peer) == [(1000, "done")]
            assert await proxy.losses() == [Loss(Reason.FIN, "done", 1000)]


@pytest_twisted.ensureDeferred
async def test_types_that_are_fixed() -> None:
    """Where text is to be sent, what is no text goes as binary to ws, which lives on."""
    async with whole() as proxy:
        port = await proxy.serve({**LISTENER, "message_type": "text"}, ECHO)
        say = [{"hex": "616263"}, {"hex": "ff00"}, {"text": "t"}]
        with client(port, say=say, hear=3, close=[1000]) as peer:
            assert await peer.exits() == 0
        kinds = [one["binary"] for one in peer.happened("message")]
        assert kinds == [False, True, False]


@pytest_twisted.ensureDeferred
async def test_a_bomb() -> None:
    """A message that is longer than the limit only when inflated is refused by 1009."""
    async with whole() as proxy:
        port = await proxy.serve(
            {**LISTENER, "deflate": True, "max_message": 1 << 20}, ECHO
        )
        with client(
            port, options={"perMessageDeflate": True}, say=[{"zeros": 64 << 20}]
        ) as peer:
            [close] = await peer.tells("close")
        assert close["code"] == 1009
        assert peer.happened("message") == []
        [loss] = await proxy.losses()
        assert loss.reason is Reason.PROTOCOL


# -- requests -----------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_requests_and_responses() -> None:
    """Path, query, headers and subprotocol reach the server; the listener adds its own."""
    async with whole() as proxy:
        with server(say=[{"text": "hi"}], close=[1000, ""]) as upstream:
            port = await proxy.serve(
                {**LISTENER, "path": "/chat", "headers": {"X-From": "l7mp"}},
                cluster(await port_of(upstream), headers={"X-Added": 1}),
            )
            options = {"headers": {"X-Mine": "yes", "Cookie": "a=b"}}
            protocols = ["v2.chat", "v1.chat"]
            with client(
                port, "/chat?room=1", options=options, protocols=protocols
            ) as peer:
                assert await peer.exits() == 0
            [here], [there] = peer.happened("open"), upstream.happened("open")
            assert there["url"] == "/chat?room=1"
            assert there["headers"]["x-mine"] == "yes"
            assert there["headers"]["x-added"] == "1"
            assert there["headers"]["cookie"] == "a=b"
            assert here["protocol"] == there["protocol"] == "v2.chat"
            assert here["headers"]["x-from"] == "l7mp"
            with client(port, "/chat/more?room=1") as stranger:
                assert await stranger.exits() == 0
            assert stranger.happened("refused") == [{"event": "refused", "status": 404}]


# -- closes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("close", "heard"),
    [
        ([1001, "bye"], (1001, "bye")),
        ([4999, "\u0151" * 61], (4999, "\u0151" * 61)),
        ([], (1000, "")),  # ws has no code then, which is 1005 to us and 1000 next
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_client_closes(close: list[Any], heard: tuple[int, str]) -> None:
    """What a client closes with is the session's end, and what the server hears."""
    async with whole() as proxy:
        with server() as upstream:
            port = await proxy.serve(LISTENER, cluster(await port_of(upstream)))
            with client(port, close=close) as peer:
                assert await peer.exits() == 0
            await upstream.tells("close")
            assert closes(upstream) == [heard]
            [loss] = await proxy.losses()
            code = close[0] if close else 1005
            assert loss == Loss(Reason.FIN, heard[1], code)


@pytest.mark.parametrize(
    "stages", [[], [{"protocol": "JSONEncap"}, {"protocol": "JSONDecap"}]]
)
@pytest_twisted.ensureDeferred
async def test_a_server_closes(stages: list[Words]) -> None:
    """What a server closes with is what the client hears, through transforms too."""
    async with whole() as proxy:
        with server(hear=1, close=[4000, "kicked"]) as upstream:
            port = await proxy.serve(
                LISTENER, *stages, cluster(await port_of(upstream))
            )
            with client(port, say=[{"text": "x"}]) as peer:
                assert await peer.exits() == 0
            assert closes(peer) == [(4000, "kicked")]
            assert await proxy.losses() == [Loss(Reason.FIN, "kicked", 4000)]


@pytest_twisted.ensureDeferred
async def test_a_server_that_is_not_there() -> None:
    """A client whose session finds no upstream is told to try later, and why."""
    async with whole() as proxy:
        with server() as upstream:
            gone = await port_of(upstream)
        port = await proxy.serve(LISTENER, cluster(gone))
        with client(port) as peer:
            assert await peer.exits() == 0
        [(code, reason)] = closes(peer)
        assert code == 1013
        assert reason.startswith("refused")


@pytest_twisted.ensureDeferred
async def test_a_server_that_is_killed() -> None:
    """A client whose upstream dies without a close hears of an error there (1011)."""
    async with whole() as proxy:
        with server() as upstream:
            port = await proxy.serve(LISTENER, cluster(await port_of(upstream)))
            with client(port) as peer:
                await upstream.tells("open")
                await until(
                    lambda: (
                        [s.status for s in proxy.proxy.sessions.values()]
                        == ["CONNECTED"]
                    )
                )
                upstream.process.kill()
                assert await peer.exits() == 0
        assert closes(peer)[0][0] == 1011
        [loss] = await proxy.losses()
        assert loss.reason is Reason.RESET


# -- fragments ----------------------------------------------------------------------------


@pytest.mark.parametrize("deflate", [False, True])
@pytest_twisted.ensureDeferred
async def test_fragments(deflate: bool) -> None:
    """A message that ws sends in fragments is one message, compressed or not."""
    options = {"perMessageDeflate": {"threshold": 0} if deflate else False}
    crumbs = {"count": 50, "size": 2000, "pause": 0}
    async with whole() as proxy:
        port = await proxy.serve({**LISTENER, "deflate": deflate}, ECHO)
        plan: Words = {"options": options, "crumbs": crumbs}
        with client(port, **plan, hear=1, close=[1000]) as peer:
            assert await peer.exits() == 0
        [heard] = peer.happened("message")
        sent = b"".join(bytes([number + 1]) * 2000 for number in range(50))
        assert heard["sha256"] == sha256(sent).hexdigest()


@pytest_twisted.ensureDeferred
async def test_slow_fragments_are_signs_of_life() -> None:
    """Who answers no ping lives while its message arrives, and is lost when it did."""
    watchful = {**LISTENER, "ping_interval": 0.2, "ping_timeout": 1}
    crumbs = {"count": 7, "size": 10, "pause": 250}
    async with whole() as proxy:
        port = await proxy.serve(watchful, ECHO)
        with client(port, options={"autoPong": False}, crumbs=crumbs) as peer:
            assert await peer.exits() == 0
        [heard] = peer.happened("message")
        assert heard["size"] == 70
        [loss] = await proxy.losses()
        assert loss.reason is Reason.TIMEOUT


# -- signs of life ------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_pings_both_ways() -> None:
    """ws answers our pings and stays, and hears the answers to its own."""
    async with whole() as proxy:
        port = await proxy.serve(
            {**LISTENER, "ping_interval": 0.05, "ping_timeout": 1}, ECHO
        )
        with client(port, ping=True) as peer:
            await peer.tells("pong")
            [session] = proxy.proxy.sessions.values()
            stream: Any = session.stages[0].stream
            before = stream._link.octets_out
            await until(lambda: stream._link.octets_out > before + 4)
            assert closes(peer) == []
