"""Servers and clients of HTTP that others have made, as processes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from twisted.internet.threads import deferToThread

from tests.conformance.sockets import HOST
from tests.real.whole import Program, Words, node, program, until

PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
"""Where Debian has programs."""


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skips where a program is missing."""
    missing = [name for name in programs if shutil.which(name, path=PATH) is None]
    return pytest.mark.skipif(
        bool(missing), reason=f"this machine has no {', '.join(missing)}"
    )


def free_port() -> int:
    """A port of TCP where nobody listens."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection((HOST, port), 1).close()
    except OSError:
        return False
    return True


NGINX = """
daemon off;
{user}
pid {folder}/pid;
error_log {folder}/error.log;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  root {folder};
  keepalive_requests 20;
  {servers}
}}
"""


@asynccontextmanager
async def nginx(folder: Path, servers: str, port: int) -> AsyncIterator[None]:
    """An nginx with these servers, of which one is at ``port``."""
    conf = folder / "nginx.conf"
    # as root its workers would be somebody who may not read the folders of tests
    user = "user root;" if os.geteuid() == 0 else ""
    conf.write_text(NGINX.format(folder=folder, servers=servers, user=user))
    command = ["nginx", "-p", str(folder), "-c", str(conf), "-e", str(folder / "log")]
    with program(command, PATH=PATH) as running:

        def ready() -> bool:
            assert running.process.poll() is None, running.errors
            return answers(port)

        await until(ready)
        yield


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Program, Words]]:
    """A server of Node's, and its ports, ``one`` and ``two`` by the version."""
    with node("http_peer.cjs") as running:
        [listening] = await running.tells("listening")
        yield running, listening


async def run(command: Sequence[str], data: bytes = b"") -> tuple[int, bytes]:
    """The status and the output of a program, while the proxy runs."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    out, _ = await deferToThread(process.communicate, data)
    return process.returncode, out


async def curl(*arguments: str, data: bytes = b"") -> bytes:
    """What curl gets; it must be content."""
    status, out = await run(["curl", "-sS", "-m", "20", *arguments], data)
    assert status == 0, out
    return out
