"""Pages in headless Chromium, and what has become of them."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.real.whole import HOST, program

CHROMIUM = shutil.which("chromium") or ""
WHY_NOT = "" if CHROMIUM else "there is no chromium (Debian's package chromium)"

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--user-data-dir=profile",  # in the folder of the process: a new one
    "--dump-dom",
)

PAGE = """<!doctype html>
<title>waiting</title>
<pre id="log"></pre>
<script>
  // The page counts as loaded, and is dumped, when the picture is there.
  function tell(what) { document.getElementById("log").append(JSON.stringify(what), "\\n"); }
  function done(title) { document.title = title; fetch("/done"); }
</script>
<img src="/when-done">
<script>%s</script>
"""


class _Server(ThreadingHTTPServer):
    page = b""
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Handler)
        self.done = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        if self.path == "/done":
            self.server.done.set()
        elif self.path == "/when-done":
            self.server.done.wait(20)
        is_page = self.path == "/"
        body = self.server.page if is_page else b""
        self.send_response(200 if is_page else 204)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def browsing(script: str, *flags: str) -> Iterator[Any]:
    """Chromium on a page that runs ``script``; it exits after ``done(title)``."""
    server = _Server()
    server.page = (PAGE % script).encode()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://{HOST}:{server.server_port}/"
    try:
        with program([CHROMIUM, *FLAGS, *flags, url]) as chromium:
            yield chromium
    finally:
        server.done.set()
        server.shutdown()
        thread.join()
        server.server_close()
