"""Unix domain sockets of every type, with socat and ncat at the other end."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from tests.protocols.real import Real, real
from tests.real.namespace import Running
from tests.streams.loopback import until

MISSING = [tool for tool in ("socat", "ncat") if not shutil.which(tool)]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"{MISSING} not installed")

NAME = "l7mp-real-unix"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place for sockets: their paths are short, those of pytest are not."""
    made = Path(tempfile.mkdtemp(prefix="l7mp"))
    yield made
    shutil.rmtree(made)


@asynccontextmanager
async def running(command: str) -> AsyncIterator[Running]:
    """A program that is ended in the end."""
    program = Running(["sh", "-c", f"exec {command}"])
    try:
        yield program
    finally:
        program.process.terminate()
        await until(lambda: program.process.poll() is not None)
        assert program.process.stdin is not None
        program.process.stdin.close()


async def echoing(world: Real, type_: str, filename: str) -> None:
    listener = {"protocol": "UnixDomainSocket", "type": type_, "filename": filename}
    await world.route(listener, {"protocol": "Echo"})


@pytest.mark.parametrize(
    ("type_", "client"),
    [
        ("stream", "socat - UNIX-CONNECT:{file}"),
        ("stream", "socat - UNIX-CLIENT:{file}"),
        ("stream", "ncat -U {file}"),
        ("stream", "socat - ABSTRACT-CONNECT:{name}"),
        ("stream", "socat - ABSTRACT-CLIENT:{name}"),
        ("seqpacket", "socat - UNIX-CONNECT:{file},socktype=5"),
        ("seqpacket", "socat - UNIX-CLIENT:{file},socktype=5"),
        ("seqpacket", "socat - ABSTRACT-CONNECT:{name},socktype=5"),
        ("dgram", "socat - UNIX-SENDTO:{file},bind={file}.me"),
        ("dgram", "socat - UNIX-CLIENT:{file},bind={file}.me"),
        ("dgram", "socat - ABSTRACT-SENDTO:{name},bind={name}.me"),
        ("dgram", "ncat -U -u {file}"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_clients(folder: Path, type_: str, client: str) -> None:
    """Whoever connects hears what the session has to say."""
    filename = f"@{NAME}" if "{name}" in client else str(folder / "s")
    command = client.format(file=folder / "s", name=NAME)
    async with real() as world:
        await echoing(world, type_, filename)
        async with running(command) as program:
            for line in (b"hello\n", b"again\n"):
                program.type(line)
                await until(lambda: program.output.endswith(line))  # noqa: B023
        assert program.output == b"hello\nagain\n"


@pytest_twisted.ensureDeferred
async def test_who_sends_without_an_address(folder: Path) -> None:
    """socat, unbound, is a session whose answers are counted."""
    async with real() as world:
        await echoing(world, "dgram", str(folder / "s"))
        async with running(f"socat -u - UNIX-SENDTO:{folder / 's'}") as program:
            program.type(b"hello\n")
            session = await world.one_session()
            stream = session.stages[0].stream
            await until(lambda: stream.drops)
            assert stream.drops == {"unanswerable": 1}
            assert session.metadata["UNIX"]["pid"] == program.process.pid


@pytest.mark.parametrize(
    ("type_", "server"),
    [
        ("stream", "socat UNIX-LISTEN:{file},fork PIPE"),
        ("stream", "socat ABSTRACT-LISTEN:{name},fork EXEC:cat"),
        ("stream", "ncat -lUk {file} -e /bin/cat"),
        ("seqpacket", "socat UNIX-LISTEN:{file},socktype=5,fork PIPE"),
        ("seqpacket", "socat ABSTRACT-LISTEN:{name},socktype=5,fork PIPE"),
        ("dgram", "socat UNIX-RECVFROM:{file},fork PIPE"),
        ("dgram", "socat ABSTRACT-RECVFROM:{name},fork PIPE"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_servers(folder: Path, type_: str, server: str) -> None:
    """Whoever listens is reached, and answers find their way back."""
    is_abstract = "{name}" in server
    address = f"@{NAME}" if is_abstract else str(folder / "up")
    command = server.format(file=address, name=NAME)
    front = str(folder / "s")
    async with running(command) as program, real() as world:
        await until(lambda: listens(address))
        listener = {"protocol": "UnixDomainSocket", "filename": front, "type": type_}
        cluster = {"protocol": "UnixDomainSocket", "type": type_}
        await world.route(listener, cluster, {"address": address})
        client: Any = client_of(type_, folder)
        client.connect(front)
        client.send(b"hello")
        assert await until(lambda: heard(client)) == b"hello"
        client.close()
    assert program.errors == b""


def client_of(type_: str, folder: Path) -> socket.socket:
    types = {
        "stream": socket.SOCK_STREAM,
        "seqpacket": socket.SOCK_SEQPACKET,
        "dgram": socket.SOCK_DGRAM,
    }
    sock = socket.socket(socket.AF_UNIX, types[type_])
    sock.setblocking(False)
    sock.bind(str(folder / "me"))
    return sock


def heard(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1 << 16)
    except BlockingIOError:
        return b""


def listens(address: str) -> bool:
    """Whether the system's list of sockets has it."""
    return any(
        line.split()[-1] == address
        for line in Path("/proc/net/unix").read_text().splitlines()
    )


@pytest_twisted.ensureDeferred
async def test_others_may_not_come_in(folder: Path) -> None:
    """The mode of the file is for whom it is: nobody else can connect."""
    folder.chmod(0o755)
    path = folder / "s"
    async with real() as world:
        listener = {"protocol": "Unix", "filename": str(path), "mode": "0600"}
        await world.route(listener, {"protocol": "Echo"})
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--clear-groups", "--", "socat", "-u",
             "-", f"UNIX-CONNECT:{path}"],
            stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
        assert b"Permission denied" in done.stderr
        assert not world.proxy.sessions


@pytest.mark.parametrize("type_", ["seqpacket", "dgram"])
@pytest_twisted.ensureDeferred
async def test_headers_travel_before_messages(folder: Path, type_: str) -> None:
    """A JSONSocket stands on every type that keeps messages."""
    up = str(folder / "up")
    unix = {"protocol": "UnixDomainSocket", "type": type_}
    async with real() as near, real() as far:
        over = {"protocol": "JSONSocket", "transport": {**unix, "filename": up}}
        await far.route(over, {"protocol": "Echo"})
        front = {**unix, "filename": str(folder / "s")}
        cluster = {"protocol": "JSONSocket", "transport": unix}
        await near.route(front, cluster, {"address": up})
        client = client_of(type_, folder)
        client.connect(front["filename"])
        client.send(b"hello")
        assert await until(lambda: heard(client)) == b"hello"
        assert far.session.metadata["UNIX"]["filename"] == up
        client.close()
