"""UDP with the programs that people use: socat and ncat on either side of a proxy."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from tests.protocols.real import real
from tests.real.namespace import Running
from tests.real.test_udp_network import PROXY, Net, inside, net
from tests.streams.loopback import LARGEST, until, unused_port

__all__ = ["inside", "net"]

MISSING = [tool for tool in ("socat", "ncat") if not shutil.which(tool)]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"{MISSING} not installed")


@pytest.fixture
def programs() -> Iterator[ExitStack]:
    """What is started is ended."""
    with ExitStack() as stack:
        yield stack


@contextmanager
def started(*command: str) -> Iterator[Running]:
    """A program in this network, ended in the end with all that it has started."""
    running = Running(command, start_new_session=True)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.end()
        with suppress(ProcessLookupError):
            os.killpg(running.process.pid, signal.SIGKILL)
        assert running.process.stdin is not None
        running.process.stdin.close()


def taken(host: str, port: int) -> bool:
    """Whether somebody has the port; to try would be to stand in the way."""
    table = "/proc/net/udp6" if ":" in host else "/proc/net/udp"
    return f":{port:04X} " in Path(table).read_text()


def insisting(client: Running, line: bytes) -> bytes:
    """What a client has heard; it says the same until it has heard something."""
    client.type(line)
    return client.output


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


async def between(it: Any, host: str, port: int, **cluster: Any) -> int:
    """The port of a proxy to a service."""
    bound = await it.route(
        {"protocol": "UDP", "port": 1, "address": host},
        {"protocol": "UDP", "port": port, **cluster},
        {"address": host},
    )
    number: int = bound["port"]
    return number


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("version", ["4", "6"])
@pytest.mark.parametrize("service", ["LISTEN", "RECVFROM"])
async def test_socat_on_both_sides(
    programs: ExitStack, version: str, service: str
) -> None:
    """Lines typed into socat come back from a service of socat's, changed."""
    host = "::1" if version == "6" else "127.0.0.1"
    port = unused_port(host)
    name = f"UDP{version}-{service}:{port},bind={bracketed(host)},fork"
    programs.enter_context(started("socat", name, "EXEC:sed -u s/line/LINE/"))
    await until(lambda: taken(host, port))
    async with real() as it:
        at = f"UDP{version}:{bracketed(host)}:{await between(it, host, port)}"
        client = programs.enter_context(started("socat", "-", at))
        client.type(b"line 1\n")
        await until(lambda: client.output)
        client.type(b"line 2\n")
        await until(lambda: client.output.count(b"\n") == 2)
        assert client.output == b"LINE 1\nLINE 2\n"


@pytest_twisted.ensureDeferred
async def test_ncat_on_both_sides(programs: ExitStack) -> None:
    """ncat speaks to ncat, and hears it, also what it says later."""
    port = unused_port()
    server = programs.enter_context(started("ncat", "-u", "-l", "127.0.0.1", str(port)))
    await until(lambda: taken("127.0.0.1", port))
    async with real() as it:
        at = str(await between(it, "127.0.0.1", port))
        client = programs.enter_context(started("ncat", "-u", "127.0.0.1", at))
        client.type(b"hello\n")
        await until(lambda: server.output == b"hello\n")
        for n in (1, 2):
            server.type(b"answer %d\n" % n)
        await until(lambda: client.output == b"answer 1\nanswer 2\n")


@pytest_twisted.ensureDeferred
async def test_socat_and_the_largest_datagram(programs: ExitStack) -> None:
    """One datagram as large as there can be goes to socat and back in one piece."""
    port = unused_port()
    name = f"UDP4-RECVFROM:{port},bind=127.0.0.1,fork"
    programs.enter_context(started("socat", "-b", "65536", name, "PIPE"))
    await until(lambda: taken("127.0.0.1", port))
    async with real() as it:
        at = f"UDP4:127.0.0.1:{await between(it, '127.0.0.1', port)}"
        client = programs.enter_context(started("socat", "-b", "65536", "-", at))
        client.type(LARGEST)
        await until(lambda: len(client.output) == len(LARGEST))
        assert client.output == LARGEST


@pytest_twisted.ensureDeferred
async def test_socat_keeps_its_port(net: Net, programs: ExitStack) -> None:
    """A service that looks at source ports sees that of the client, with preserve."""
    port = unused_port()
    echo_port = "SYSTEM:'echo $SOCAT_PEERADDR $SOCAT_PEERPORT'"
    name = f"UDP4-RECVFROM:{port},fork"
    net.server.start(["socat", name, echo_port])
    async with real() as it:
        bound = await it.route(
            {"protocol": "UDP", "port": 1},
            {"protocol": "UDP", "port": port, "bind": {"preserve": "client"}},
            {"address": "10.2.0.2"},
        )
        at = f"UDP4:{PROXY}:{bound['port']},sourceport=4711"
        client = net.client.start(["socat", "-", at])
        # The service may still be starting, and then nobody hears the first lines.
        await until(lambda: insisting(client, b"who?\n"))
        assert client.output.startswith(b"10.1.0.2 4711\n")


@pytest_twisted.ensureDeferred
async def test_socat_members_of_groups(net: Net) -> None:
    """socat sends to a group that a listener has joined, and is the member of another."""
    port = unused_port()
    member = f"UDP4-RECVFROM:{port},ip-add-membership=239.7.7.7:10.2.0.2,fork"
    service = net.server.start(["socat", member, "EXEC:'tr a-z A-Z'"])
    async with real() as it:
        bound = await it.route(
            {
                "protocol": "UDP",
                "port": 1,
                "multicast": {"groups": ["239.7.7.6"], "interface": "p0"},
            },
            {
                "protocol": "UDP",
                "port": port,
                "multicast": {"interface": "p1"},
                "options": {"answers": "any"},
            },
            {"address": "239.7.7.7"},
        )
        group = f"UDP4-DATAGRAM:239.7.7.6:{bound['port']}"
        client = net.client.start(["socat", "-", group])
        await until(lambda: insisting(client, b"hello\n"))
        assert client.output.startswith(b"HELLO\n")
        assert service.process.poll() is None
