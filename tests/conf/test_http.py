"""The examples of HTTP under conf/ do what their comments say."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from websockets.sync.client import connect
from websockets.sync.server import serve

from tests.conf.running import HOST, LIMIT, Run, eventually
from tests.real.http_peers import NGINX, PATH, answers, needs

pytestmark = [needs("curl", "nginx")]


class Told(BaseHTTPRequestHandler):
    """Tells what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        said = {
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": self.rfile.read(size).decode(),
        }
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def telling(port: int) -> Iterator[None]:
    """A server that tells what it was asked."""
    server = ThreadingHTTPServer((HOST, port), Told)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join(LIMIT)
        server.server_close()


@contextmanager
def nginx2(port: int, folder: Path) -> Iterator[None]:
    """An nginx that speaks HTTP/2 and nothing else."""
    conf = folder / "nginx.conf"
    servers = f"server {{ listen {HOST}:{port} http2; }}"
    conf.write_text(NGINX.format(folder=folder, servers=servers, user="user root;"))
    command = ["nginx", "-c", str(conf), "-e", str(folder / "error.log")]
    running = subprocess.Popen(command, env={"PATH": PATH})
    try:
        eventually(lambda: answers(port))
        yield
    finally:
        running.terminate()
        running.wait(LIMIT)


def test_reverse_proxy(run: Run) -> None:
    """Paths decide which server answers, one of them under another name."""
    it = run("http-reverse-proxy.yaml")
    with telling(it.ports[18051]), telling(it.ports[18052]):
        files = json.loads(it.curl(18050, "/index.html?a=b"))
        assert files["path"] == "/index.html?a=b"
        assert files["headers"]["host"] == f"{HOST}:{it.ports[18050]}"
        assert files["headers"]["x-forwarded-for"] == HOST
        api = json.loads(it.curl(18050, "/api/users", "-d", "body"))
        assert (api["path"], api["body"]) == ("/api/users", "body")
        assert api["headers"]["host"] == "api.example"
        two = it.curl(18050, "/", "--http2-prior-knowledge")
        assert json.loads(two)["headers"]["via"] == "2.0 l7mp"
        status = ("-o", "/dev/null", "-w", "%{http_code}")
        large = it.curl(18050, "/", *status, "-H", "Expect:", "-d", "x" * 65537)
        assert large == "413"


def test_connect_proxy(run: Run) -> None:
    """A tunnel leads where the rules allow, and nowhere else, for our own cluster too."""
    it = run("http-connect-proxy.yaml")
    proxy = ("-p", "-x", f"http://{HOST}:{it.ports[18060]}")
    command = ["curl", "-sS", "--max-time", str(LIMIT), *proxy]
    with telling(it.ports[18062]):
        allowed = [*command, "http://files.example/through"]
        done = subprocess.run(allowed, capture_output=True, check=True)
        assert json.loads(done.stdout)["path"] == "/through"
        elsewhere = [*command, "http://elsewhere.example/"]
        done = subprocess.run(elsewhere, capture_output=True, check=False)
        assert done.returncode == 56
        assert b"404" in done.stderr
        assert json.loads(it.curl(18061, "/twice"))["path"] == "/twice"


def test_http_to_http2(run: Run) -> None:
    """A client of HTTP/1.1 is served by one of HTTP/2, and WebSocket goes elsewhere."""
    it = run("http-to-http2.yaml")
    (it.folder / "page").write_text("served")
    with nginx2(it.ports[18071], it.folder):
        assert it.curl(18070, "/page", "--http1.1") == "served"
        assert it.curl(18070, "/page", "--http2-prior-knowledge") == "served"

    def echo(connection: Any) -> None:
        for message in connection:
            connection.send(message)

    with serve(echo, HOST, it.ports[18072]) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with connect(f"ws://{HOST}:{it.ports[18070]}/") as client:
            client.send("hello")
            assert client.recv(LIMIT) == "hello"
        server.shutdown()
        thread.join(LIMIT)
