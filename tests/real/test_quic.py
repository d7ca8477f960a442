"""An HTTP/3 request through a tunnel of WebSocket."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted

from tests.real.whole import HOST, Whole, Words, python, whole
from tests.streams.certs import Certs

SIZE = 300_000


def drops(proxy: Whole) -> dict[str, int]:
    """What reached nobody, in all sessions."""
    found: dict[str, int] = {}
    for session in proxy.proxy.sessions.values():
        for stage in session.stages:
            assert stage.stream is not None
            found |= stage.stream.drops
    return found


@pytest.mark.parametrize("deflate", [False, True])
@pytest_twisted.ensureDeferred
async def test_http3_through_websocket(tmp_path: Path, deflate: bool) -> None:
    """QUIC's datagrams cross UDP, WebSocket and UDP whole; request and answer are right."""
    certs = Certs(tmp_path)
    own, authority = certs.pem("localhost"), certs.ca
    compression: Words = {"deflate": deflate}
    with python("tests.real.h3_peer", "server", own) as server:
        [listening] = await server.tells("listening")
        async with whole() as far, whole() as near:
            far_port = await far.serve(
                {"protocol": "WebSocket", "port": 1, "address": HOST, **compression},
                {"protocol": "UDP", "port": listening["port"], "address": HOST},
            )
            near_port = await near.serve(
                {"protocol": "UDP", "port": 1, "address": HOST},
                {
                    "protocol": "WebSocket",
                    "port": far_port,
                    "address": HOST,
                    **compression,
                },
            )
            arguments = ("client", str(near_port), authority, str(SIZE))
            with python("tests.real.h3_peer", *arguments) as client:
                assert await client.exits(30) == 0, client.errors
            [request] = server.happened("request")
            [response] = client.happened("response")
            assert request["path"] == response["path"] == "/through?a=tunnel"
            assert request["size"] == SIZE
            assert request["sha256"] == response["sha256"]
            assert (response["status"], response["size"]) == (200, 2 * SIZE)
            assert response["same"]
            [session] = near.proxy.sessions.values()
            source = session.stages[0].stream
            assert source is not None
            assert source.bytes_in > SIZE
            assert source.bytes_out > 2 * SIZE
            assert source.bytes_in / source.messages_in > 200  # boundaries, not crumbs
            assert drops(near) == drops(far) == {}
