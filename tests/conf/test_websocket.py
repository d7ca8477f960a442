"""The example of WebSocket over TLS does what its comments say."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
import websockets.exceptions
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.conf.running import LIMIT, Run, exchange

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="there is no openssl"
)


def certificate(folder: Path) -> None:
    """By the command of the example's comments."""
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost"
        " -addext subjectAltName=DNS:localhost -keyout l7mp-wss.key -out l7mp-wss.pem"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)


def test_wss(run: Run) -> None:
    """Datagrams pass the tunnel, and a client of another make is let in at one path."""
    it = run("wss.yaml", certificate)
    with it.udp(18101) as peer:
        for message in (b"one", bytes(60000)):
            assert exchange(peer, message) == message
    trust = ssl.create_default_context(cafile=str(it.folder / "l7mp-wss.pem"))
    url = f"wss://localhost:{it.ports[18100]}"
    known = [Subprotocol(name) for name in ("tunnel.v1", "tunnel.v2")]
    with connect(
        f"{url}/chat?a=b", ssl=trust, subprotocols=known, open_timeout=LIMIT
    ) as client:
        assert client.subprotocol == "tunnel.v1"
        assert client.response is not None
        assert client.response.headers["Server"] == "l7mp"
        assert (
            "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]
        )
        client.send("text")
        assert client.recv(LIMIT) == "text"
        client.send(bytes((1 << 20) + 1))
        with pytest.raises(websockets.exceptions.ConnectionClosed) as caught:
            client.recv(LIMIT)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009
    with (
        pytest.raises(websockets.exceptions.InvalidStatus) as refused,
        connect(f"{url}/elsewhere", ssl=trust, open_timeout=LIMIT),
    ):
        pass
    assert refused.value.response.status_code == 404
