"""Tunnels and upgrades with programs that others have made."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection

from l7mp.core.events import Listening
from l7mp.errors import Reason
from l7mp.model import declared, edit
from l7mp.model.config import Config
from tests.protocols.real import anywhere
from tests.real.browser import CHROMIUM, FLAGS, PAGE, WHY_NOT, _Server
from tests.real.http_peers import curl, free_port, needs, nginx, run, served
from tests.real.test_browser import TALK, told
from tests.real.test_http import LISTENER, PRIOR, cluster
from tests.real.whole import HOST, Whole, Words, program, until, upstream, whole
from tests.streams.certs import Certs

ensure = pytest_twisted.ensureDeferred
pytestmark = [needs("curl", "node", "nginx")]

OPEN: Words = {**LISTENER, "tunnel": True, "upgrade": True}


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    return Certs(tmp_path_factory.mktemp("certs"))


def echo(connection: ServerConnection) -> None:
    """Send every message back."""
    for message in connection:
        connection.send(message)


def talk(url: str, **how: Any) -> tuple[Any, Any]:
    """What a client hears of itself, and which extensions it has."""
    with connect(url, **how) as socket_:
        socket_.send("text \u0151")
        text = socket_.recv(10)
        socket_.send(bytes(1 << 18))
        assert socket_.recv(10) == bytes(1 << 18)
        return text, socket_.subprotocol


# -- CONNECT ------------------------------------------------------------------------


@ensure
async def test_curl_through_a_tunnel(certs: Certs, tmp_path: Path) -> None:
    """curl asks us for a tunnel, and speaks HTTP and HTTPS with nginx at its end."""
    (tmp_path / "file").write_bytes(b"served")
    plain, secure = free_port(), free_port()
    pem = certs.pem("localhost")
    servers = f"""
        server {{ listen {HOST}:{plain}; }}
        server {{ listen {HOST}:{secure} ssl http2;
                  ssl_certificate {pem}; ssl_certificate_key {pem}; }}"""
    async with nginx(tmp_path, servers, secure):
        for at, url in (
            (plain, f"http://localhost:{plain}/file"),
            (secure, f"https://localhost:{secure}/file"),
        ):
            async with whole() as it:
                there = {"protocol": "TCP", "port": at, "address": HOST}
                port = await it.serve(OPEN, there)
                proxy = ["-p", "-x", f"http://{HOST}:{port}", "--cacert", certs.ca]
                assert (await curl(*proxy, url)).endswith(b"served")
                [loss] = await it.losses()
                assert loss.reason is Reason.FIN


@ensure
async def test_tunnels_are_refused_unless_allowed() -> None:
    """A listener is no open proxy by accident, and says why a tunnel is not there."""
    async with whole() as it:
        port = await it.serve(LISTENER, {"protocol": "Echo"})
        proxy = ["curl", "-s", "-p", "-x", f"http://{HOST}:{port}"]
        status, out = await run(
            [*proxy, "-w", "%{http_connect}", "http://example.org/"]
        )
        assert (status, out[-3:]) == (56, b"501")
    async with whole() as it:
        port = await it.serve(OPEN, cluster(free_port()))
        proxy = ["curl", "-s", "-p", "-x", f"http://{HOST}:{port}"]
        _, out = await run([*proxy, "-w", "%{http_connect}", "http://example.org/"])
        assert out[-3:] == b"502"


@ensure
@pytest.mark.parametrize("version", [1, 2])
async def test_a_tunnel_through_a_proxy(version: int) -> None:
    """A cluster asks a proxy for a tunnel; what the session says passes through it."""
    async with whole() as it, served() as (_, at):
        there = at["one" if version == 1 else "two"]
        to = {"host": "example.org", "port": 443}
        listener = {"protocol": "TCP", "port": 1, "address": HOST}
        port = await it.serve(listener, cluster(there, version, connect=to))
        with socket.create_connection((HOST, port)) as sock:
            sock.settimeout(10)
            sock.sendall(b"hello")
            sock.shutdown(socket.SHUT_WR)

            def hear() -> bytes:
                return b"".join(iter(lambda: sock.recv(4096), b""))

            assert await deferToThread(hear) == b"example.org:443 hello"
        assert (await it.losses())[0].reason is Reason.FIN


@ensure
async def test_a_proxy_that_refuses() -> None:
    """The refusal is why there is no session."""
    async with whole() as it, served() as (_, at):
        spec = cluster(
            at["one"],
            connect={"host": "example.org", "port": 443},
            headers={"Proxy-Authorization": "wrong"},
        )
        port = await it.serve({"protocol": "TCP", "port": 1, "address": HOST}, spec)
        with socket.create_connection((HOST, port)):
            [loss] = await it.losses()
        assert (loss.reason, "407" in loss.detail) == (Reason.REFUSED, True)


@ensure
async def test_proxies_in_a_row() -> None:
    """A tunnel that is asked of us is asked of the next proxy, answers and all."""
    async with whole() as it, served() as (_, at):
        port = await it.serve(OPEN, cluster(at["one"]))
        with socket.create_connection((HOST, port)) as sock:
            sock.settimeout(10)
            sock.sendall(b"CONNECT a.example:7 HTTP/1.1\r\nHost: a.example:7\r\n\r\nx")

            def hear(words: bytes) -> bytes:
                got = b""
                while not got.endswith(words):
                    got += sock.recv(4096)
                return got

            got = await deferToThread(hear, b"a.example:7 x")
            assert got.startswith(b"HTTP/1.1 200 OK\r\n")


# -- upgrades ---------------------------------------------------------------------------


@ensure
@pytest.mark.parametrize("inner", ["HTTP", "WebSocket"])
async def test_websocket_passes(inner: str) -> None:
    """A WebSocket client reaches a WebSocket server through HTTP alone."""
    async with upstream(echo, subprotocols=["chat"]) as there, whole() as it:
        port = await it.serve(OPEN, cluster(there))
        if inner == "HTTP":
            url = f"ws://{HOST}:{port}/"
            heard = await deferToThread(talk, url, subprotocols=["chat"])
        else:  # and so does a WebSocket cluster of ours
            async with whole() as other:
                listener = {"protocol": "WebSocket", "port": 1, "address": HOST}
                spec = {"protocol": "WebSocket", "port": port, "address": HOST}
                for one in (listener, spec):
                    one["message_type"] = "auto"
                outer = await other.serve(listener, spec)
                url = f"ws://{HOST}:{outer}/"
                heard = await deferToThread(talk, url, subprotocols=["chat"])
        assert heard[1] == "chat"
        assert heard[0] in ("text \u0151", "text \u0151".encode())
        assert (await it.losses())[0].reason is Reason.FIN


@ensure
async def test_websocket_passes_over_tls_on_both_sides(certs: Certs) -> None:
    """An upgrade is the same inside of TLS, whatever else ALPN might agree upon."""
    pem = certs.pem("localhost")
    secure: Words = {**OPEN, "tls": {"cert": pem}}
    async with (
        upstream(echo, ssl=certs.server(pem)) as there,
        whole() as it,
    ):
        spec = cluster(there, tls={"ca": certs.ca, "server_name": "localhost"})
        del spec["version"]
        port = await it.serve(secure, spec)
        url = f"wss://localhost:{port}/"
        heard = await deferToThread(talk, url, ssl=certs.client())
        assert heard == ("text \u0151", None)


@ensure
async def test_a_websocket_server_that_refuses() -> None:
    """The answer of a server that upgrades nothing is the client's."""
    async with whole() as it, served() as (_, at):
        port = await it.serve(OPEN, cluster(at["one"]))
        # an HTTP server of Node's that does not know the protocol drops the connection
        out = await curl(
            "-i",
            *("-H", "Connection: Upgrade", "-H", "Upgrade: foo"),
            f"http://{HOST}:{port}/",
        )
        assert re_status(out) in (200, 502)


def re_status(out: bytes) -> int:
    """The status of a response."""
    return int(out.split(b" ", 2)[1])


@ensure
@pytest.mark.parametrize("nested", [False, True])
async def test_websocket_between_versions(nested: bool) -> None:
    """An upgrade becomes the extended CONNECT of RFC 8441 on the way, and is one again."""
    async with upstream(echo) as there, whole() as inner, whole() as outer:
        port = await inner.serve(OPEN, cluster(there))
        front = await outer.serve(OPEN, cluster(port, 2))
        if nested:
            async with whole() as third:
                front = await third.serve(OPEN, cluster(front, 2))
                heard = await deferToThread(talk, f"ws://{HOST}:{front}/")
        else:
            heard = await deferToThread(talk, f"ws://{HOST}:{front}/")
        assert heard == ("text \u0151", None)
        assert (await inner.losses())[0].reason is Reason.FIN


# -- TLS and ALPN -----------------------------------------------------------------------


@ensure
@pytest.mark.parametrize("client", ["--http1.1", "--http2"])
@pytest.mark.parametrize("server", ["", "http2"])
async def test_versions_are_agreed_upon(
    client: str, server: str, certs: Certs, tmp_path: Path
) -> None:
    """On each side the version of HTTP is what TLS agrees upon."""
    (tmp_path / "file").write_bytes(b"served")
    there, pem = free_port(), certs.pem("localhost")
    servers = f"""
        server {{ listen {HOST}:{there} ssl {server};
                  ssl_certificate {pem}; ssl_certificate_key {pem};
                  add_header X-Version $server_protocol; }}"""
    async with nginx(tmp_path, servers, there), whole() as it:
        spec = cluster(there, tls={"ca": certs.ca, "server_name": "localhost"})
        del spec["version"]
        port = await it.serve({**LISTENER, "tls": {"cert": pem}}, spec)
        how = ["-i", client, "--cacert", certs.ca]
        for _ in range(2):
            out = await curl(*how, f"https://localhost:{port}/file")
            version = b"HTTP/2 200" if client == "--http2" else b"HTTP/1.1 200"
            assert out.startswith(version)
            wanted = b"HTTP/2.0" if server else b"HTTP/1.1"
            assert b"x-version: " + wanted in out
            assert out.endswith(b"served")


@ensure
async def test_prior_knowledge_needs_no_agreement() -> None:
    """Without TLS a client of HTTP/2 just begins."""
    async with whole() as it:
        port = await it.serve(LISTENER, {"protocol": "Echo"})
        out = await curl("-i", PRIOR, "-d", "x", f"http://{HOST}:{port}/")
        assert out.startswith(b"HTTP/2 200")


# -- WebSocket over HTTP/2, in a browser ------------------------------------------------


@contextmanager
def pages(script: str) -> Iterator[_Server]:
    """A server of one page."""
    server = _Server()
    server.page = (PAGE % script).encode()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.done.set()
        server.shutdown()
        thread.join()
        server.server_close()


@ensure
@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
async def test_a_browser_opens_websocket_over_http2(certs: Certs) -> None:
    """A page that came over HTTP/2 has its WebSocket on the same connection."""
    secure: Words = {**OPEN, "tls": {"cert": certs.pem("localhost")}}

    def chat(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    here = json.dumps("wss://localhost:") + ' + location.port + "/chat"'
    with pages(TALK % here) as server:
        async with upstream(chat, subprotocols=["chat.v2"]) as there, whole() as it:
            port = await serve_by_kind(
                it, secure, cluster(there), cluster(server.server_port)
            )
            url = f"https://localhost:{port}/"
            flags = [*FLAGS, "--ignore-certificate-errors"]
            with program([CHROMIUM, *flags, url]) as chromium:
                [about] = await until(lambda: tunnels(it))
                assert (about["version"], about["tunnel"]) == ("2.0", "websocket")
                assert await chromium.exits() == 0
            assert told(chromium)[0]["open"] == "chat.v2"
            assert told(chromium)[-1]["code"] == 4001


async def serve_by_kind(
    it: Whole, listener: Words, upgraded: Words, other: Words
) -> int:
    """A listener whose upgrades go to one cluster, and all else to another."""
    words = it.registry.vocabulary()
    is_tunnel = {"op": "test", "path": "/HTTP/tunnel", "value": "websocket"}
    rules = [
        {"match": is_tunnel, "action": {"route": {"destination": "upgraded"}}},
        {"action": {"route": {"destination": "other"}}},
    ]
    clusters = [
        {
            "name": name,
            "endpoints": [{"spec": {"address": spec.pop("address")}}],
            "spec": spec,
        }
        for name, spec in (("upgraded", upgraded), ("other", other))
    ]
    listeners = [{"name": "in", "spec": listener, "rules": rules}]
    document = {"clusters": clusters, "listeners": listeners}
    said = declared.Config.model_validate(document, context=words)

    def change(config: Config) -> edit.Change:
        for one in said.listeners:
            object.__setattr__(one, "spec", anywhere(one.spec))
        return edit.replace_all(config, words, said)

    await it.proxy.edit(change)
    (address,) = [e.address for e in it.events if isinstance(e, Listening)]
    port: int = address["port"]
    return port


def tunnels(it: Whole) -> list[Any]:
    """What is known of the sessions that are tunnels."""
    every = (session.metadata["HTTP"] for session in it.proxy.sessions.values())
    return [about for about in every if "tunnel" in about]
