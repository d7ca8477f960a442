"""Framings between real programs, and through connections that are lost."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator

import pytest
import pytest_twisted

from l7mp.wire.framing import codec
from tests.protocols.real import LOOPBACK, Conn, Real, real
from tests.streams.loopback import Peer, peers, turn, until

ALWAYS = {"retry_on": "always", "num_retries": 100, "timeout": 50}
THERE, HERE = codec("u16be"), codec("u16le")
"""What the client speaks, and what the service does."""


def numbered(number: int) -> bytes:
    return b"%06d" % number + bytes([number % 256]) * 994


async def fill(client: Conn) -> tuple[int, bytes]:
    """
    Send numbered messages until nobody takes any more.

    Returns the number of the last one, and what of it has still to be sent.
    """
    number, idle, rest = -1, 0, b""
    while idle < 50:
        if not rest:
            number += 1
            rest = THERE.pack(numbered(number)) or b""
        count = client.push(rest)
        rest = rest[count:]
        idle = 0 if count else idle + 1
        await turn()
    return number, rest


async def connected(world: Real, server: socket.socket) -> Conn:
    """A client of a route from frames to other frames."""
    address, port = server.getsockname()
    service = {
        "name": "service",
        "spec": {"protocol": "TCP", "port": port},
        "framing": "u16le",
        "endpoints": [{"spec": {"address": address}}],
    }
    deframe = {"name": "d", "spec": {"protocol": "Deframe", "framing": "u16be"}}
    bound = await world.route(
        {"protocol": "TCP", "port": 1, "address": LOOPBACK},
        {"protocol": "Discard"},
        more=(service, deframe),
        destination="service",
        ingress=["d"],
        retry=ALWAYS,
    )
    return world.dial((LOOPBACK, bound["port"]))


@pytest_twisted.ensureDeferred
async def test_a_retry_sends_whole_messages() -> None:
    """A connection is reset amid a message: the next one begins with a whole one."""
    async with real() as world:
        server = world.serve(receive=4096)
        client = await connected(world, server)
        first = await world.accept(server)
        last, rest = await fill(client)
        await first.reads(1500)
        first.drop()
        second = await world.accept(server)
        decoder, got = HERE.decoder(), list[bytes]()

        def caught_up() -> bool:
            nonlocal rest
            rest = rest[client.push(rest) :] if rest else b""
            while second.pull():
                got.extend(decoder.feed(second.got))
                second.got = b""
            return bool(got) and got[-1] == numbered(last)

        await until(caught_up)
        lost = last + 1 - len(got)
        assert got == [numbered(number) for number in range(lost, last + 1)]
        assert 0 < lost < last  # what the kernel of a dead peer had is gone


@pytest.fixture
def upper() -> Iterator[int]:
    """Somebody else's service of lines: socat and sed."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    command = ["socat", f"tcp-listen:{port},bind={LOOPBACK},reuseaddr,fork",
               "exec:sed -u 's/$/!/'"]  # fmt: skip
    with subprocess.Popen(command) as process:
        yield port
        process.terminate()


@pytest_twisted.ensureDeferred
async def test_lines_of_real_programs(upper: int) -> None:
    """Datagrams of many clients pass a service that knows nothing but lines."""
    async with real() as world:
        bound = await world.route(
            {"protocol": "UDP", "port": 1, "address": LOOPBACK},
            {"protocol": "TCP", "port": upper},
            {"address": LOOPBACK},
            framing="lines",
            retry=ALWAYS,
        )
        with peers(5) as clients:
            for number, client in enumerate(clients):
                for word in range(20):
                    client.send(b"%d %d" % (number, word), (LOOPBACK, bound["port"]))
            for number, client in enumerate(clients):
                got = [(await client.receive())[0] for _ in range(20)]
                assert got == [b"%d %d!" % (number, word) for word in range(20)]
            sessions = world.proxy.sessions.values()
            assert [one.warnings for one in sessions] == [[]] * 5


JQ = "import json, sys\nfor line in sys.stdin:\n  print(json.dumps([json.loads(line)]), flush=True)"


@pytest_twisted.ensureDeferred
async def test_pretty_json_becomes_lines() -> None:
    """JSON of any shape reaches a program that reads a value a line."""
    async with real() as world:
        program = {"protocol": "Exec", "command": ["python3", "-c", JQ],
                   "framing": "json-lines"}  # fmt: skip
        bound = await world.route(
            {"protocol": "UDP", "port": 1, "address": LOOPBACK},
            {"protocol": "Echo"},
            more=({"name": "program", "spec": program},),
            ingress=["program"],
        )
        peer = Peer()
        value = {"text": "two\nlines", "list": [1, 2.5, None]}
        where = (LOOPBACK, bound["port"])
        peer.send(b"no JSON", where)
        peer.send(json.dumps(value, indent=4).encode(), where)
        assert json.loads((await peer.receive())[0]) == [value]
        session = await world.one_session()
        assert session.stages[1].stream.drops == {"unframeable": 1}
        peer.close()
