"""HTTP with servers and clients that others have made."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from l7mp.errors import Reason
from tests.real.http_peers import curl, free_port, needs, nginx, run, served
from tests.real.whole import HOST, Words, until, whole
from tests.streams.origin import OK, hears, origin
from tests.streams.web import Client, get, post

ensure = pytest_twisted.ensureDeferred

LISTENER: Words = {"protocol": "HTTP", "port": 1, "address": HOST}
PRIOR = "--http2-prior-knowledge"
VERSIONS = [(one, two) for one in (1, 2) for two in (1, 2)]


def cluster(port: int, version: int = 1, **words: Any) -> Words:
    return {
        "protocol": "HTTP",
        "port": port,
        "address": HOST,
        "version": version,
        **words,
    }


def spoken(version: int) -> list[str]:
    """How curl is told to speak a version."""
    return [PRIOR] if version == 2 else ["--http1.1"]


pytestmark = [needs("curl", "node", "nginx")]


@ensure
@pytest.mark.parametrize(("client", "server"), VERSIONS)
async def test_a_reverse_proxy(client: int, server: int) -> None:
    """Requests and responses pass between any two versions as they are."""
    async with whole() as it, served() as (peer, at):
        there = at["one" if server == 1 else "two"]
        port = await it.serve(LISTENER, cluster(there, server, forwarded=True))
        url, how = f"http://{HOST}:{port}", spoken(client)
        out = await curl(
            *how, "-i", "-H", "X-A: 1", "-H", "X-B: 2", f"{url}/a%20b?c=d&e"
        )
        head, _, body = out.partition(b"\r\n\r\n")
        assert re.match(rb"HTTP/(1.1|2) 200", head)
        assert head.count(b"set-cookie: ") == 2
        assert b"x-up: 1" in head
        asked = json.loads(body)
        assert (asked["method"], asked["url"]) == ("GET", "/a%20b?c=d&e")
        headers = asked["headers"]
        assert (headers["x-a"], headers["x-b"]) == ("1", "2")
        assert headers["host" if server == 1 else ":authority"] == f"{HOST}:{port}"
        assert headers["x-forwarded-for"] == HOST
        assert headers["via"] == f"{'1.1' if client == 1 else '2.0'} l7mp"
        assert asked["version"] == ("1.1" if server == 1 else "2.0")
        assert "connection" not in headers or headers["connection"] == "keep-alive"
        assert b" 200" in await curl(*how, "-I", f"{url}/head")
        assert b" 204" in await curl(*how, "-i", f"{url}/nothing")
        assert (await peer.tells("request", 3))[1]["method"] == "HEAD"


@ensure
@pytest.mark.parametrize(("client", "server"), VERSIONS)
async def test_uploads(client: int, server: int, tmp_path: Path) -> None:
    """Large bodies of known and of unknown length arrive whole."""
    data = os.urandom(3 << 20)
    file = tmp_path / "data"
    file.write_bytes(data)
    async with whole() as it, served() as (_, at):
        there = at["one" if server == 1 else "two"]
        port = await it.serve(LISTENER, cluster(there, server))
        url, how = f"http://{HOST}:{port}/put", spoken(client)
        for arguments in (["-T", str(file)], ["-T", "-"], ["--data-binary", "@-"]):
            asked = json.loads(await curl(*how, *arguments, url, data=data))
            assert asked["size"] == len(data)
            assert asked["sha256"] == hashlib.sha256(data).hexdigest()


@ensure
@pytest.mark.parametrize(("client", "server"), VERSIONS)
async def test_what_is_around_a_body(client: int, server: int) -> None:
    """Trailers and interim responses pass; a response that is cut looks cut."""
    async with whole() as it, served() as (_, at):
        there = at["one" if server == 1 else "two"]
        port = await it.serve(LISTENER, cluster(there, server))
        url, how = f"http://{HOST}:{port}", spoken(client)
        out = await curl(*how, "-i", f"{url}/trailers")
        assert out.endswith(b"bodyx-sum: 42\r\nx-got: \r\n")
        out = await curl(*how, "-i", f"{url}/hints")
        assert re.match(rb"HTTP/(1.1|2) 103", out)
        assert b"link: </style.css>; rel=preload" in out
        status, out = await run(["curl", "-s", "-m", "10", *how, f"{url}/cut"])
        assert out == b"half"
        assert status in (18, 56, 92)  # of curl: the transfer is incomplete
        losses = await it.losses(3)
        assert [loss.reason for loss in losses[:2]] == [Reason.FIN] * 2
        assert losses[2].reason in (Reason.PROTOCOL, Reason.RESET)


@ensure
@pytest.mark.parametrize("client", [1, 2])
async def test_an_early_answer(client: int) -> None:
    """A server that does not want the body is heard before it is all sent."""
    async with whole() as it, served() as (_, at):
        port = await it.serve(LISTENER, cluster(at["one"]))
        url, how = f"http://{HOST}:{port}/early", spoken(client)
        out = await curl(
            *how, "-w", "%{http_code}", "-H", "Expect:", "-T", "-", url, data=bytes(300)
        )
        assert out == b"no need to go on403"


@ensure
async def test_a_client_that_leaves_amid_its_request() -> None:
    """The server hears that the rest will never come."""
    async with whole() as it, served() as (peer, at):
        port = await it.serve(LISTENER, cluster(at["one"]))
        with socket.create_connection((HOST, port)) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
            await until(lambda: it.proxy.sessions)
            session = next(iter(it.proxy.sessions.values()))
            await until(lambda: session.traffic)
        await peer.tells("aborted")
        assert (await it.losses())[0].reason is Reason.RESET


@ensure
async def test_servers_that_are_not_there_or_do_not_answer() -> None:
    """They are a 502 and a 504 to the client."""
    async with whole() as it:
        port = await it.serve(LISTENER, cluster(free_port()))
        out = await curl("-w", "%{http_code}", f"http://{HOST}:{port}/")
        assert out.endswith(b"502")
    async with whole() as it, served() as (_, at):
        port = await it.serve(LISTENER, cluster(at["one"], timeout=0.1))
        out = await curl("-w", "%{http_code}", f"http://{HOST}:{port}/never")
        assert out.endswith(b"504")


@ensure
async def test_connections_are_kept() -> None:
    """Requests one after the other use one connection to the server."""
    async with whole() as it, served() as (peer, at):
        port = await it.serve(LISTENER, cluster(at["one"]))
        for _ in range(3):
            await curl(f"http://{HOST}:{port}/")
        assert len(peer.happened("connection")) == 1


@ensure
@pytest.mark.parametrize("source", ["TCP", "UDP"])
async def test_other_sessions_as_requests(source: str) -> None:
    """What a session of another protocol says is the body of a request."""
    async with whole() as it, served() as (peer, at):
        listener = {"protocol": source, "port": 1, "address": HOST}
        if source == "UDP":
            listener["options"] = {"idle_timeout": 0.1}
        headers = {"X-Key": "k"}
        there = cluster(at["one"], method="PUT", path="/in", headers=headers)
        port = await it.serve(listener, there)
        kind = socket.SOCK_STREAM if source == "TCP" else socket.SOCK_DGRAM
        with socket.socket(type=kind) as sock:
            sock.connect((HOST, port))
            sock.settimeout(10)
            sock.send(b"hello")
            if source == "TCP":
                sock.shutdown(socket.SHUT_WR)
                answer = json.loads(await deferToThread(sock.recv, 4096))
                assert answer["size"] == 5
            [asked] = await peer.tells("request")
        assert (asked["method"], asked["url"], asked["size"]) == ("PUT", "/in", 5)
        assert asked["headers"]["x-key"] == "k"


RETRY: Words = {"retry_on": "always", "num_retries": 5, "timeout": 20}


@ensure
@pytest.mark.parametrize("drops", [1, 3])
async def test_retries_of_a_route(drops: int) -> None:
    """A request of which nothing was lost is asked again, as often as it is allowed."""
    async with whole() as it, origin() as there:
        port = await it.serve(LISTENER, cluster(there.port), retry=RETRY)
        client = Client(port)
        client.send(get("/again"))
        for _ in range(drops):
            conn = await there.accept()
            await hears(conn, b"GET /again HTTP/1.1")
            conn.drop()
        conn = await there.accept()
        await hears(conn, b"GET /again HTTP/1.1")
        conn.send(OK)
        reply = await client.response()
        assert (reply.status, reply.body) == (200, b"ok")
        client.close()


@ensure
async def test_an_early_answer_needs_no_retry() -> None:
    """A response that comes before the request has ended is the response."""
    async with whole() as it, origin() as there:
        port = await it.serve(LISTENER, cluster(there.port), retry=RETRY)
        client = Client(port)
        client.send(get("/", "Content-Length: 9", method="POST") + b"half")
        conn = await there.accept()
        await hears(conn, b"half")
        conn.send(OK)
        reply = await client.response()
        assert (reply.status, reply.body) == (200, b"ok")
        assert [loss.reason for loss in await it.losses()] == [Reason.FIN]
        assert there.connections == 0
        client.close()


@ensure
@pytest.mark.parametrize("answered", [False, True])
async def test_what_no_retry_can_mend(answered: bool) -> None:
    """A request whose body is gone, or whose response began, is not made up for."""
    async with whole() as it, origin() as there:
        retry = {**RETRY, "num_retries": 1}
        port = await it.serve(LISTENER, cluster(there.port), retry=retry)
        client = Client(port)
        client.send(get("/") if answered else post(b"body"))
        conn = await there.accept()
        await hears(conn, b"\r\n\r\n" if answered else b"body")
        if answered:
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
            await client.hears(b"half")
        conn.drop()
        if answered:
            assert (await client.rest()).endswith(b"\r\n\r\nhalf")
        else:
            assert (await client.response()).status == 502
        assert there.connections == 0
        client.close()


# -- nginx ------------------------------------------------------------------------


@ensure
@pytest.mark.parametrize(("client", "server"), VERSIONS)
async def test_nginx_behind_us(client: int, server: int, tmp_path: Path) -> None:
    """Files of nginx arrive whole, and so do parts of them."""
    data = os.urandom(2 << 20)
    (tmp_path / "file").write_bytes(data)
    there = free_port()
    listen = f"listen {HOST}:{there}{' http2' if server == 2 else ''};"
    async with (
        nginx(tmp_path, f"server {{ {listen} }}", there),
        whole() as it,
    ):
        port = await it.serve(LISTENER, cluster(there, server))
        url, how = f"http://{HOST}:{port}", spoken(client)
        for _ in range(8):
            assert await curl(*how, f"{url}/file") == data
        out = await curl(*how, "-w", "%{http_code}", f"{url}/none")
        assert out.endswith(b"404")
        part = await curl(*how, "-r", "10-19", f"{url}/file")
        assert part == data[10:20]


@ensure
@needs("h2load", "nghttp")
@pytest.mark.parametrize("version", [1, 2])
async def test_many_requests(version: int, tmp_path: Path) -> None:
    """Not one of many requests fails though nginx says goodbye again and again."""
    (tmp_path / "file").write_bytes(b"x" * 1000)
    there = free_port()
    listen = f"listen {HOST}:{there}{' http2' if version == 2 else ''};"
    async with (
        nginx(tmp_path, f"server {{ {listen} }}", there),
        whole() as it,
    ):
        port = await it.serve(LISTENER, cluster(there, version))
        url = f"http://{HOST}:{port}/file"
        _, out = await run(["h2load", "-n", "500", "-c", "4", "-m", "8", url])
        assert b"500 succeeded, 0 failed" in out, out
        assert b"500 2xx" in out
        _, out = await run(["nghttp", "-nv", url])
        assert b":status: 200" in out
        # an empty frame at the end, or the end in the head: both are right
        assert b"END_STREAM" in out


@ensure
@needs("h2load")
async def test_many_requests_leave_nothing() -> None:
    """However many requests there were, nothing of them is left on either side."""
    async with whole() as there, whole() as it:
        inner = await there.serve(LISTENER, {"protocol": "Echo"})
        port = await it.serve(LISTENER, cluster(inner, 2))
        url = f"http://{HOST}:{port}/"

        async def load(count: int) -> tuple[int, int]:
            command = ["h2load", "-n", str(count), "-c", "4", "-m", "8"]
            _, out = await run([*command, "-d", "/etc/hostname", url])
            assert b"%d succeeded" % count in out, out
            await until(lambda: not it.proxy.sessions and not there.proxy.sessions)
            it.events.clear()
            there.events.clear()
            gc.collect()
            return len(gc.get_objects()), len(os.listdir("/proc/self/fd"))

        objects, descriptors = await load(100)
        after, open_after = await load(400)
        assert after < objects + 300
        assert open_after <= descriptors + 8


@ensure
async def test_nginx_in_front_of_us(tmp_path: Path) -> None:
    """nginx passes requests to us, over connections that it keeps."""
    front = free_port()
    async with whole() as it, served() as (_, at):
        port = await it.serve(LISTENER, cluster(at["two"], 2))
        servers = f"""
            upstream us {{ server {HOST}:{port}; keepalive 4; }}
            server {{
              listen {HOST}:{front};
              location / {{
                proxy_pass http://us;
                proxy_http_version 1.1;
                proxy_set_header Connection "";
                proxy_request_buffering off;
              }}
            }}"""
        async with nginx(tmp_path, servers, front):
            data = os.urandom(1 << 19)
            for _ in range(3):
                out = await curl("-T", "-", f"http://{HOST}:{front}/put", data=data)
                assert json.loads(out)["sha256"] == hashlib.sha256(data).hexdigest()
