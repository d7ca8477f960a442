"""TLS with OpenSSL's own programs, socat, curl and websockets as peers."""

from __future__ import annotations

import json
import shutil
import socket
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.utils import getProcessOutputAndValue
from websockets.sync.client import ClientConnection
from websockets.sync.server import ServerConnection

from l7mp.core.events import Noted
from l7mp.errors import Loss, Reason
from tests.protocols.websocket_peers import talk, upstream
from tests.real.tls_peers import listens, s_client, s_server, talking, unused_port
from tests.real.whole import Whole, whole
from tests.streams.certs import Certs
from tests.streams.loopback import until
from tests.streams.secure import HOST, wrapped

ensure = pytest_twisted.ensureDeferred
TCP = {"protocol": "TCP", "port": 1, "address": HOST}
ECHO = {"protocol": "Echo"}


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    return Certs(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def cert(certs: Certs) -> str:
    return certs.pem("localhost", HOST, file="server.pem")


def session_of(world: Whole) -> Any:
    (session,) = world.proxy.sessions.values()
    return session


# -- clients ----------------------------------------------------------------------------


@ensure
async def test_openssl_is_a_client(certs: Certs, cert: str) -> None:
    """s_client talks with an echo; the session knows what was agreed upon."""
    tls = {"cert": cert, "alpn": ["echo/2", "echo/1"]}
    async with whole() as world:
        port = await world.serve({**TCP, "tls": tls}, ECHO)
        command = s_client(certs, port, "-servername", "localhost", "-alpn", "echo/1")
        with talking(*command) as client:
            await client.says(b"Verification: OK")
            client.say(b"hello\n")
            await client.says(b"hello\n")
            facts = session_of(world).metadata["TLS"]
            assert facts["sni"] == "localhost"
            assert facts["alpn"] == "echo/1"
            assert facts["version"] == "TLSv1.3"
            client.finish()
            assert await client.exits() == 0
        assert await world.losses() == [Loss(Reason.FIN)]


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
@ensure
async def test_client_certificates(certs: Certs, cert: str, version: str) -> None:
    """Who shows a certificate of our authority is let in, and is known by its names."""
    tls = {"cert": cert, "client_cert": "required", "ca": certs.ca}
    mine = certs.pem("me@a.org", "me.a.org", cn="Me")
    async with whole() as world:
        port = await world.serve({**TCP, "tls": tls}, ECHO)
        with talking(*s_client(certs, port, f"-{version}")) as stranger:
            assert await stranger.exits() != 0
            assert b"alert" in stranger.output
        assert not world.proxy.sessions
        more = (f"-{version}", "-cert", mine)
        with talking(*s_client(certs, port, *more)) as client:
            client.say(b"hello\n")
            await client.says(b"hello\n")
            peer = session_of(world).metadata["TLS"]["peer"]
            assert peer["cn"] == "Me"
            assert peer["san"] == {"dns": ["me.a.org"], "email": ["me@a.org"]}


@ensure
async def test_old_versions_are_refused(certs: Certs, cert: str) -> None:
    """The minimum version is kept: the client is told that its own is too old."""
    tls = {"cert": cert, "min_version": "TLSv1.3"}
    async with whole() as world:
        port = await world.serve({**TCP, "tls": tls}, ECHO)
        with talking(*s_client(certs, port, "-tls1_2")) as client:
            assert await client.exits() != 0
            assert b"protocol version" in client.output


@pytest.mark.parametrize("version", ["1.1", "2"])
@ensure
async def test_curl_speaks_https(certs: Certs, cert: str, version: str) -> None:
    """curl posts over HTTP/1.1 and HTTP/2, as agreed by ALPN."""
    http = {"protocol": "HTTP", "port": 1, "address": HOST, "tls": {"cert": cert}}
    async with whole() as world:
        port = await world.serve(http, ECHO)
        how = ["--http1.1"] if version == "1.1" else ["--http2"]
        out, err, code = await getProcessOutputAndValue(
            shutil.which("curl"),
            ["-sS", *how, "--cacert", certs.ca, "--data", "hello", "--max-time", "8",
             "-w", "\n%{json}", f"https://localhost:{port}/x"],
        )  # fmt: skip
        assert code == 0, err
        body, told = out.split(b"\n", 1)
        assert body == b"hello"
        assert json.loads(told)["http_version"] == version


@ensure
async def test_curl_refuses_strangers(certs: Certs, cert: str) -> None:
    """Who does not trust our authority gets no answer, and no session begins."""
    http = {"protocol": "HTTP", "port": 1, "address": HOST, "tls": {"cert": cert}}
    async with whole() as world:
        port = await world.serve(http, ECHO)
        *_, code = await getProcessOutputAndValue(
            shutil.which("curl"),
            ["-sS", "--max-time", "8", f"https://localhost:{port}"],
        )
        assert code == 60  # curl's word for it
        assert not world.proxy.sessions


@ensure
async def test_websockets_over_tls(certs: Certs, cert: str) -> None:
    """A client of the websockets package speaks wss, and so does a cluster of ours."""

    def serve(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message[::-1])

    def converse(connection: ClientConnection) -> Any:
        connection.send(b"hello")
        return connection.recv(timeout=5)

    ws = {"protocol": "WebSocket", "port": 1, "address": HOST, "tls": {"cert": cert}}
    with upstream(serve, ssl=certs.server(cert)) as (_, there):
        out = {"protocol": "WebSocket", "port": there, "address": "localhost"}
        async with whole() as world:
            port = await world.serve(ws, {**out, "tls": {"ca": certs.ca}})
            dialogue = talk(f"wss://localhost:{port}", converse, ssl=certs.client())
            await until(lambda: world.proxy.sessions)
            assert session_of(world).metadata["TLS"]["sni"] == "localhost"
            stages = session_of(world).stages
            assert await dialogue == b"olleh"
            streams = [stage.stream for stage in stages]
            await until(lambda: all(one.transport.disconnected for one in streams))


@ensure
async def test_socat_half_closes(certs: Certs, cert: str) -> None:
    """A client that has said everything gets the answer, however late."""
    where = f"OPENSSL:{HOST}:%d,cafile={certs.ca},commonname=localhost"
    async with whole() as world:
        port = await world.serve({**TCP, "tls": {"cert": cert}}, ECHO)
        with talking("socat", "-t5", "-", where % port) as client:
            client.say(b"all there is")
            client.finish()
            assert await client.exits() == 0
            assert client.output == b"all there is"


# -- servers ------------------------------------------------------------------------------


@ensure
async def test_openssl_is_a_server(certs: Certs, cert: str) -> None:
    """s_server hears what a plain client says, and the client its answer."""
    there = unused_port()
    out = {"protocol": "TCP", "port": there, "address": HOST}
    tls = {"ca": certs.ca, "alpn": ["echo/1"]}
    async with whole() as world:
        port = await world.serve(TCP, {**out, "tls": tls})
        with talking(*s_server(cert, there, "-alpn", "echo/1")) as server:
            await listens(there)
            with talking("socat", "-", f"TCP:{HOST}:{port}") as client:
                client.say(b"question\n")
                await server.says(b"question\n")
                server.say(b"answer\n")
                await client.says(b"answer\n")
                (note,) = [e.note for e in world.events if isinstance(e, Noted)]
                assert note.word == "TLS"
                assert note.facts["alpn"] == "echo/1"
                assert note.facts["peer"]["san"]["dns"] == ["localhost"]


@ensure
async def test_our_certificate_is_shown(certs: Certs, cert: str) -> None:
    """A server that wants to know who we are sees our certificate."""
    there = unused_port()
    out = {"protocol": "TCP", "port": there, "address": HOST}
    tls = {"ca": certs.ca, "cert": certs.pem("proxy.a.org", cn="The proxy")}
    async with whole() as world:
        port = await world.serve(TCP, {**out, "tls": tls})
        command = s_server(cert, there, "-Verify", "1", "-CAfile", certs.ca)
        with talking(*command, "-verify_return_error") as server:
            await listens(there)
            with talking("socat", "-", f"TCP:{HOST}:{port}") as client:
                client.say(b"hello\n")
                await server.says(b"hello\n")
                assert b"The proxy" in server.output


@pytest.mark.parametrize(
    ("name", "tls", "why"),
    [
        (HOST, {}, "unknown CA"),
        (HOST, {"ca": "other"}, "unknown CA"),
        ("elsewhere.org", {"ca": "ours"}, "wrong name: the certificate is for else"),
        (HOST, {"ca": "ours", "server_name": "a.org"}, "not for a.org"),
        ("expired", {"ca": "ours"}, "certificate expired"),
    ],
)
@ensure
async def test_strangers_are_not_trusted(
    certs: Certs, name: str, tls: dict[str, Any], why: str
) -> None:
    """A session to a server that is not whom we want ends with the reason."""
    cert = certs.expired(HOST) if name == "expired" else certs.pem(name)
    if "ca" in tls:
        tls = {**tls, "ca": certs.ca if tls["ca"] == "ours" else certs.other_ca}
    there = unused_port()
    out = {"protocol": "TCP", "port": there, "address": HOST, "tls": tls}
    async with whole() as world:
        port = await world.serve(TCP, out)
        with talking(*s_server(cert, there)) as server:
            await listens(there)
            with talking("socat", "-", f"TCP:{HOST}:{port}") as client:
                client.say(b"secret\n")
                (loss,) = await world.losses()
                assert loss.reason is Reason.TLS
                assert why in loss.detail
            await server.says(b"alert")
            assert b"secret" not in server.output


@ensure
async def test_the_system_trusts_whom_it_trusts(
    certs: Certs, cert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without ``ca`` it is the machine's own store that counts."""
    monkeypatch.setenv("SSL_CERT_FILE", certs.ca)
    there = unused_port()
    out = {"protocol": "TCP", "port": there, "address": "localhost", "tls": {}}
    async with whole() as world:
        port = await world.serve(TCP, out)
        with talking(*s_server(cert, there)) as server:
            await listens(there)
            with talking("socat", "-", f"TCP:{HOST}:{port}") as client:
                client.say(b"hello\n")
                await server.says(b"hello\n")


@ensure
async def test_socat_answers_the_end(certs: Certs, cert: str) -> None:
    """A server that answers when everything was said still can: we half-close."""
    there = unused_port()
    out = {"protocol": "TCP", "port": there, "address": HOST, "tls": {"ca": certs.ca}}
    how = f"OPENSSL-LISTEN:{there},bind={HOST},reuseaddr,cert={cert},verify=0"
    async with whole() as world:
        port = await world.serve(TCP, out)
        with talking("socat", how, "SYSTEM:wc -c") as server:
            await listens(there)
            with talking("socat", "-t5", "-", f"TCP:{HOST}:{port}") as client:
                client.say(b"x" * 100_000)
                client.finish()
                await client.says(b"100000")
            assert await server.exits() == 0


@pytest.mark.parametrize(
    ("agreed", "said", "answer"),
    [
        ("http/1.1", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HTTP/1.1 "),
        ("h2", b"GET / HTTP/1.1\r\n\r\n", b"\0\0"),
        (None, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200"),
    ],
)
@ensure
async def test_what_was_agreed_is_spoken(
    certs: Certs, cert: str, agreed: str | None, said: bytes, answer: bytes
) -> None:
    """A client that agrees to one version of HTTP and speaks another is no client."""
    http = {"protocol": "HTTP", "port": 1, "address": HOST, "tls": {"cert": cert}}
    async with whole() as world:
        port = await world.serve(http, ECHO)
        context = certs.client(alpn=[agreed] if agreed else None)
        with socket.create_connection((HOST, port)) as sock:
            peer = wrapped(sock, context, server_hostname="localhost")
            await peer.shakes()
            assert peer.sock.selected_alpn_protocol() == agreed
            peer.send(said)
            await until(lambda: peer.pull() and len(peer.got) >= len(answer))
            assert peer.got.startswith(answer)
            if agreed is not None:
                await until(lambda: peer.ended or peer.pull())
            peer.sock.close()


@ensure
async def test_requests_know_who_asks(certs: Certs, cert: str) -> None:
    """Rules about HTTP requests can ask for the client's certificate."""
    tls = {"cert": cert, "client_cert": "optional", "ca": certs.ca}
    http = {"protocol": "HTTP", "port": 1, "address": HOST, "tls": tls}
    mine = certs.pem("me.a.org", cn="Me")
    async with whole() as world:
        port = await world.serve(http, ECHO)
        with socket.create_connection((HOST, port)) as sock:
            peer = wrapped(sock, certs.client(mine), server_hostname="localhost")
            await peer.shakes()
            peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx")
            await until(lambda: world.proxy.sessions)
            metadata = session_of(world).metadata
            assert metadata["TLS"]["peer"]["cn"] == "Me"
            assert metadata["TLS"]["sni"] == "localhost"
            peer.send(b"y")
            await until(lambda: peer.pull() and peer.got.endswith(b"\r\n0\r\n\r\n"))
            peer.sock.close()
