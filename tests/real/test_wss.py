"""WebSocket over TLS with the websockets package, Node's ws, openssl and a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import socket
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import websockets.exceptions
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as dial
from websockets.sync.server import ServerConnection

from l7mp.core.events import HandshakeFailed
from l7mp.errors import Loss, Reason
from tests.protocols.websocket_peers import echo_back
from tests.real import test_browser, test_node
from tests.real.browser import WHY_NOT, browsing
from tests.real.whole import HOST, Whole, Words, node, until, upstream, whole
from tests.streams.certs import Certs, certificate

ECHO: Words = {"protocol": "Echo"}
LARGE = bytes(range(256)) * (8 << 10)  # 2 MiB


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    return Certs(tmp_path_factory.mktemp("certs"))


def listener(certs: Certs, **tls: Any) -> Words:
    """A listener for TLS clients, whose certificate is for localhost."""
    own = {"cert": certs.pem("localhost"), **tls}
    return {"protocol": "WebSocket", "port": 1, "address": HOST, "tls": own}


def cluster(port: int, **words: Any) -> Words:
    return {"protocol": "WebSocket", "port": port, "address": "localhost", **words}


async def talk(certs: Certs, port: int, say: Any, cert: str = "") -> Any:
    """What a client of the websockets package says over TLS, in a thread of its own."""

    def run() -> Any:
        context = certs.client(cert)
        url = f"wss://localhost:{port}/?q=1"
        with dial(url, ssl=context, max_size=None, open_timeout=10) as connection:
            return say(connection)

    return await deferToThread(run)


def exchange(connection: ClientConnection) -> list[Any]:
    for message in (b"\xff\x00", "text", LARGE):
        connection.send(message)
    return [connection.recv(timeout=10) for _ in range(3)]


# -- listeners ----------------------------------------------------------------------------


@pytest.mark.parametrize("deflate", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_listener(certs: Certs, deflate: bool) -> None:
    """Messages pass over TLS, and the session knows of it."""
    async with whole() as proxy:
        port = await proxy.serve({**listener(certs), "deflate": deflate}, ECHO)
        seen: list[Any] = []

        def say(connection: ClientConnection) -> Any:
            seen.extend(proxy.proxy.sessions.values())
            return exchange(connection)

        assert await talk(certs, port, say) == [b"\xff\x00", b"text", LARGE]
        [session] = seen
        assert session.metadata["TLS"]["version"] == "TLSv1.3"
        assert session.metadata["TLS"]["sni"] == "localhost"
        assert session.metadata["HTTP"]["url"]["query"] == "q=1"
        assert await proxy.losses() == [Loss(Reason.FIN, "", 1000)]


@pytest_twisted.ensureDeferred
async def test_clients_with_certificates(certs: Certs) -> None:
    """Where certificates are asked for, who shows one is known, and others stay out."""
    async with whole() as proxy:
        port = await proxy.serve(
            listener(certs, client_cert="required", ca=certs.ca), ECHO
        )
        mine = certs.pem("me.example", cn="me")
        seen: list[Any] = []

        def say(connection: ClientConnection) -> None:
            seen.extend(proxy.proxy.sessions.values())

        await talk(certs, port, say, mine)
        assert seen[0].metadata["TLS"]["peer"]["cn"] == "me"
        with pytest.raises((OSError, websockets.exceptions.WebSocketException)):
            await talk(certs, port, exchange)
        assert any(isinstance(event, HandshakeFailed) for event in proxy.events)
        assert len(await proxy.losses()) == 1


@pytest_twisted.ensureDeferred
async def test_a_client_without_tls(certs: Certs) -> None:
    """Who speaks plain HTTP to a listener for TLS is no session."""
    async with whole() as proxy:
        port = await proxy.serve(listener(certs), ECHO)

        def run() -> None:
            with dial(f"ws://localhost:{port}", open_timeout=5):
                pass

        with pytest.raises((OSError, websockets.exceptions.WebSocketException)):
            await deferToThread(run)
        await until(lambda: any(isinstance(e, HandshakeFailed) for e in proxy.events))
        assert proxy.proxy.sessions == {}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
@pytest_twisted.ensureDeferred
async def test_a_handshake_by_openssl(certs: Certs) -> None:
    """openssl's client, to which the rest is octets, is answered by a 101 inside TLS."""
    request = (
        b"GET /x HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    close = b"\x88\x82" + bytes(4) + struct.pack("!H", 1000)

    def run(port: int) -> bytes:
        where = ["-connect", f"localhost:{port}", "-servername", "localhost"]
        trust = ["-CAfile", certs.ca, "-verify_return_error", "-quiet", "-ign_eof"]
        done = subprocess.run(
            ["openssl", "s_client", *where, *trust],
            input=request + close,
            capture_output=True,
            timeout=20,
            check=False,
        )
        return done.stdout

    async with whole() as proxy:
        port = await proxy.serve(listener(certs), ECHO)
        heard = await deferToThread(run, port)
        head, _, frames = heard.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert frames == b"\x88\x02" + struct.pack("!H", 1000)
        assert await proxy.losses() == [Loss(Reason.FIN, "", 1000)]


@pytest_twisted.ensureDeferred
async def test_a_stalled_upstream_stops_the_client(certs: Certs) -> None:
    """Over TLS, too, a client can send only so much while nobody takes it."""
    count, message = 96, b"x" * (256 << 10)
    sent: list[int] = []

    def say(connection: ClientConnection) -> None:
        for number in range(count):
            connection.send(message)
            sent.append(number)

    def take(taker: socket.socket) -> int:
        total = 0
        while data := taker.recv(1 << 20):
            total += len(data)
        return total

    async with whole() as proxy:
        with socket.create_server((HOST, 0)) as service:
            service.settimeout(10)
            port = await proxy.serve(
                listener(certs),
                {"protocol": "TCP", "port": service.getsockname()[1], "address": HOST},
            )
            talking = Deferred.fromCoroutine(talk(certs, port, say))
            taker, _ = await deferToThread(service.accept)
            taker.settimeout(10)
            before = 0
            while not sent or before < len(sent):  # until nothing moves any more
                before = len(sent)
                await deferLater(reactor, 0.3)
            assert len(sent) < count
            with taker:
                taking = deferToThread(take, taker)
                await talking
                assert await taking == count * len(message)


# -- clusters -----------------------------------------------------------------------------


async def through(proxy: Whole, port: int) -> list[Any]:
    """What a plain client hears through a proxy whose cluster speaks TLS."""

    def run() -> list[Any]:
        with dial(f"ws://{HOST}:{port}", max_size=None) as connection:
            return exchange(connection)

    heard: list[Any] = await deferToThread(run)
    return heard


PLAIN: Words = {"protocol": "WebSocket", "port": 1, "address": HOST}


@pytest_twisted.ensureDeferred
async def test_a_cluster(certs: Certs) -> None:
    """A cluster speaks TLS to servers that it can verify."""
    secure = certs.server(certs.pem("localhost"))
    async with upstream(echo_back, ssl=secure) as there, whole() as proxy:
        port = await proxy.serve(PLAIN, cluster(there, tls={"ca": certs.ca}))
        assert await through(proxy, port) == [b"\xff\x00", b"text", LARGE]


@pytest.mark.parametrize(
    ("names", "trusted", "words"),
    [
        (("localhost",), False, "unknown CA"),
        (("other.example",), True, "other.example"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_server_that_cannot_be_verified(
    certs: Certs, names: tuple[str, ...], trusted: bool, words: str
) -> None:
    """A cluster does not talk to a server of an unknown authority or another name."""
    secure = certs.server(certs.pem(*names))
    ca = certs.ca if trusted else certs.other_ca
    async with upstream(echo_back, ssl=secure) as there, whole() as proxy:
        port = await proxy.serve(PLAIN, cluster(there, tls={"ca": ca}))
        with pytest.raises(websockets.exceptions.ConnectionClosed) as caught:
            await through(proxy, port)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1011
        [loss] = await proxy.losses()
        assert loss.reason is Reason.TLS
        assert words in loss.detail


def rewritten(protocol: str, **more: Any) -> Words:
    changes = {"protocol": protocol, **more}
    return {
        "rewrite": [
            {"path": f"/HTTP/url/{name}", "value": value}
            for name, value in changes.items()
        ]
    }


@pytest_twisted.ensureDeferred
async def test_rules_can_ask_for_tls(
    certs: Certs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/HTTP/url/protocol: wss is TLS, as the machine trusts, by the host rewritten to."""
    secure = certs.server(certs.pem("localhost"))
    monkeypatch.setenv("SSL_CERT_FILE", certs.ca)
    async with upstream(echo_back, ssl=secure) as there, whole() as proxy:
        port = await proxy.serve(
            PLAIN,
            {"protocol": "WebSocket", "port": 9, "address": "192.0.2.1"},
            **rewritten("wss", host="localhost", port=there),
        )
        assert await through(proxy, port) == [b"\xff\x00", b"text", LARGE]


@pytest_twisted.ensureDeferred
async def test_rules_cannot_do_without_tls(certs: Certs) -> None:
    """A cluster that is to speak TLS speaks nothing else, whatever a rule asks for."""
    async with upstream(echo_back) as there, whole() as proxy:
        port = await proxy.serve(
            PLAIN, cluster(there, tls={"ca": certs.ca}), **rewritten("ws")
        )
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            await through(proxy, port)
        [loss] = await proxy.losses()
        assert loss.reason is Reason.LOCAL
        assert "without the TLS" in loss.detail


@pytest_twisted.ensureDeferred
async def test_a_server_without_tls(certs: Certs) -> None:
    """A server that speaks plain HTTP where TLS is expected is a failure of TLS."""
    async with upstream(echo_back) as there, whole() as proxy:
        port = await proxy.serve(PLAIN, cluster(there, tls={"ca": certs.ca}))
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            await through(proxy, port)
        [loss] = await proxy.losses()
        assert loss.reason is Reason.TLS


# -- both ---------------------------------------------------------------------------------


@pytest.mark.skipif(bool(test_node.WHY_NOT), reason=test_node.WHY_NOT)
@pytest_twisted.ensureDeferred
async def test_tls_at_both_ends_with_node(certs: Certs) -> None:
    """A TLS client of ws hears from a TLS server how it closed, and with which words."""

    def kick(connection: ServerConnection) -> None:
        assert connection.recv(timeout=10) == LARGE
        connection.close(4000, "kicked")

    secure = certs.server(certs.pem("localhost"))
    async with upstream(kick, ssl=secure) as there, whole() as proxy:
        port = await proxy.serve(listener(certs), cluster(there, tls={"ca": certs.ca}))
        plan = {
            "say": [{"hex": LARGE.hex()}],
            "options": {"ca": Path(certs.ca).read_text()},
        }
        url = f"wss://localhost:{port}"
        folder = certs.folder / "plan.json"
        folder.write_text(json.dumps(plan))
        with node("ws_peer.cjs", "client", url, f"@{folder}") as peer:
            assert await peer.exits() == 0
        assert test_node.closes(peer) == [(4000, "kicked")]
        assert await proxy.losses() == [Loss(Reason.FIN, "kicked", 4000)]


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
@pytest_twisted.ensureDeferred
async def test_a_page_over_tls(certs: Certs) -> None:
    """A page in a browser talks wss to the listener, and it is echoed."""
    public = certificate(certs.pem("localhost")).public_key()
    info = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pin = base64.b64encode(hashlib.sha256(info).digest()).decode()
    async with whole() as proxy:
        own = {"cert": str(certs.folder / "localhost.pem")}
        port = await proxy.serve({**test_browser.LISTENER, "tls": own}, ECHO)
        script = test_browser.TALK % json.dumps(f"wss://localhost:{port}/")
        trust = f"--ignore-certificate-errors-spki-list={pin}"
        with browsing(script, trust) as chromium:
            losses = await proxy.losses()
            assert await chromium.exits() == 0
        told = test_browser.told(chromium)
        assert told[0] == {"open": "chat.v2", "extensions": "permessage-deflate"}
        assert told[-1] == {"code": 4001, "reason": "enough heard", "clean": True}
        assert losses == [Loss(Reason.FIN, "enough heard", 4001)]
