"""A page in a browser talks WebSocket, through the proxy, to others."""

from __future__ import annotations

import html
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import pytest_twisted
from websockets.sync.server import ServerConnection

from l7mp.errors import Loss, Reason
from tests.real.browser import WHY_NOT, browsing
from tests.real.whole import HOST, Program, upstream, whole

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)

LISTENER = {
    "protocol": "WebSocket",
    "port": 1,
    "address": HOST,
    "deflate": True,
    "message_type": "auto",
}

TALK = """
const socket = new WebSocket(%s, ["chat.v2", "chat.v1"]);
socket.binaryType = "arraybuffer";
const say = ["text \\u0151", new Uint8Array([0, 255, 13, 10]), new Uint8Array(60000)];
let heard = 0;
socket.onopen = () => {
  tell({open: socket.protocol, extensions: socket.extensions});
  socket.send(say[0]);
};
socket.onmessage = ({data}) => {
  const text = typeof data === "string";
  tell({text, size: text ? data.length : data.byteLength,
        first: text ? data : [...new Uint8Array(data).slice(0, 4)]});
  heard += 1;
  if (heard < say.length) socket.send(say[heard]);
  else socket.close(4001, "enough heard");
};
socket.onclose = ({code, reason, wasClean}) => {
  tell({code, reason, clean: wasClean});
  done("closed");
};
"""

LISTEN = """
const socket = new WebSocket(%s);
socket.onclose = ({code, reason, wasClean}) => {
  tell({code, reason, clean: wasClean});
  done("closed");
};
"""


def told(chromium: Program) -> list[Any]:
    """What the page has written."""
    assert "<title>closed</title>" in chromium.output, chromium.output
    log = re.search(r'<pre id="log">(.*)</pre>', chromium.output, re.DOTALL)
    assert log is not None
    return [json.loads(line) for line in html.unescape(log[1]).splitlines()]


@contextmanager
def udp_echo() -> Iterator[int]:
    """Somebody who sends every datagram back; an empty one ends it."""

    def serve() -> None:
        while True:
            data, source = echo.recvfrom(1 << 16)
            if not data:
                return
            echo.sendto(data, source)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
        echo.bind((HOST, 0))
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield echo.getsockname()[1]
        finally:
            echo.sendto(b"", echo.getsockname())
            thread.join()


@pytest_twisted.ensureDeferred
async def test_a_page_and_a_udp_service() -> None:
    """A page's messages are datagrams elsewhere; its close is the session's end."""
    async with whole() as proxy:
        with udp_echo() as echo:
            port = await proxy.serve(
                LISTENER, {"protocol": "UDP", "port": echo, "address": HOST}
            )
            url = json.dumps(f"ws://{HOST}:{port}/room?seat=1")
            with browsing(TALK % url) as chromium:
                losses = await proxy.losses()
                assert await chromium.exits() == 0
        assert told(chromium) == [
            {"open": "chat.v2", "extensions": "permessage-deflate"},
            {"text": True, "size": 6, "first": "text \u0151"},
            {"text": False, "size": 4, "first": [0, 255, 13, 10]},
            {"text": False, "size": 60000, "first": [0, 0, 0, 0]},
            {"code": 4001, "reason": "enough heard", "clean": True},
        ]
        assert losses == [Loss(Reason.FIN, "enough heard", 4001)]


@pytest_twisted.ensureDeferred
async def test_a_page_that_is_sent_away() -> None:
    """A page hears the code and the reason with which the upstream closed."""

    def kick(connection: ServerConnection) -> None:
        connection.close(4000, "kicked")

    async with whole() as proxy:
        async with upstream(kick) as there:
            port = await proxy.serve(
                LISTENER, {"protocol": "WebSocket", "port": there, "address": HOST}
            )
            with browsing(LISTEN % json.dumps(f"ws://{HOST}:{port}")) as chromium:
                assert await chromium.exits() == 0
        assert told(chromium) == [{"code": 4000, "reason": "kicked", "clean": True}]
