"""JSONSocket on the wire: over UDP that loses, and byte by byte with plain sockets."""

from __future__ import annotations

from typing import Any

import pytest_twisted
from twisted.internet import reactor

from l7mp.errors import Reason
from l7mp.interfaces import Kind
from tests.protocols.real import LOOPBACK, real
from tests.streams.loopback import Peer, peers, turn, until

HELLO = b'{"JSONSocketVersion": 1, "who": "me"}'
NEVER = {"retry_on": "never"}
UDP: dict[str, Any] = {"protocol": "UDP", "port": 1, "address": LOOPBACK}
TCP: dict[str, Any] = {"protocol": "TCP", "port": 1, "address": LOOPBACK}
OVER_UDP: dict[str, Any] = {"protocol": "JSONSocket", "transport": UDP}
OK = b'{"JSONSocketVersion": 1, "JSONSocketStatus": 200, "JSONSocketMessage": "OK"}'


class Relay:
    """A hop between a client and a server that loses the first headers each way."""

    def __init__(self, front: Peer, back: Peer, server: tuple[str, int]) -> None:
        self.front, self.back, self.server = front, back, server
        self.lose = {b"JSONSocketVersion": 2, b"JSONSocketStatus": 1}
        self.client: tuple[str, int] | None = None
        self.heard: list[bytes] = []
        """Everything, in order, lost or not."""

    def run(self) -> bool:
        """Carry what there is; always true, to be polled."""
        while found := self.front._poll():
            data, self.client = found
            if self._passes(data, b"JSONSocketVersion"):
                self.back.send(data, self.server)
        while found := self.back._poll():
            if self._passes(found[0], b"JSONSocketStatus"):
                assert self.client is not None
                self.front.send(found[0], self.client)
        return True

    def _passes(self, data: bytes, mark: bytes) -> bool:
        self.heard.append(data)
        if mark in data and self.lose[mark]:
            self.lose[mark] -= 1
            return False
        return True


@pytest_twisted.ensureDeferred
async def test_a_network_that_loses_headers() -> None:
    """Two proxies come together over UDP although headers and answers get lost."""
    async with real() as far, real() as near:
        bound = await far.route(OVER_UDP, {"protocol": "Echo"})
        with peers(3) as (client, front, back):
            relay = Relay(front, back, (LOOPBACK, bound["port"]))
            cluster = {
                "protocol": "JSONSocket",
                "transport": {"protocol": "UDP", "port": front.port},
                "repeat_after": 0.02,
            }
            where = {"address": LOOPBACK}
            entry = await near.route(UDP, cluster, where, retry=NEVER)
            client.send(b"first", (LOOPBACK, entry["port"]))
            got = await until(lambda: relay.run() and client._poll())
            client.send(b"second", (LOOPBACK, entry["port"]))
            again = await until(lambda: relay.run() and client._poll())
        assert (got[0], again[0]) == (b"first", b"second")
        header = b'{"JSONSocketVersion": 1}'
        assert relay.heard[:3] == [header] * 3
        assert relay.heard.count(header) >= 4
        assert relay.heard.count(OK) >= 2
        assert relay.heard[-2:] == [b"second"] * 2
        assert len(far.proxy.sessions) == len(near.proxy.sessions) == 1


@pytest_twisted.ensureDeferred
async def test_what_is_said_on_the_wire_as_a_client() -> None:
    """A cluster repeats its header byte by byte; early and doubled answers do no harm."""
    async with real() as world:
        with peers(2) as (client, server):
            cluster = {
                "protocol": "JSONSocket",
                "transport": {"protocol": "UDP", "port": server.port},
                "header": [{"set": {"key": "/k", "value": "v"}}],
                "repeat_after": 0.02,
            }
            where = {"address": LOOPBACK}
            bound = await world.route(UDP, cluster, where, retry=NEVER)
            client.send(b"up", (LOOPBACK, bound["port"]))
            header = b'{"k": "v", "JSONSocketVersion": 1}'
            for _ in range(3):
                data, source = await server.receive()
                assert data == header
            for said in (b"early", OK, OK, b"late"):
                server.send(said, source)
            assert (await client.receive())[0] == b"early"
            assert (await client.receive())[0] == b"late"
            got = header
            while got == header:
                got, _ = await server.receive()
            assert got == b"up"


@pytest_twisted.ensureDeferred
async def test_what_is_said_on_the_wire_as_a_server() -> None:
    """A listener answers every copy of a header alike, and copies reach nobody."""
    async with real() as world:
        bound = await world.route(OVER_UDP, {"protocol": "Echo"})
        to = (LOOPBACK, bound["port"])
        with peers(1) as (client,):
            for said in (HELLO, HELLO, b"a", HELLO, b"b"):
                client.send(said, to)
            got = [(await client.receive())[0] for _ in range(5)]
            assert sorted(got) == sorted([OK, OK, OK, b"a", b"b"])
            assert got[0] == OK
            assert await client.hears_nothing()
        assert world.session.metadata["UDP"]["src_port"] == client.port
        assert len(world.proxy.sessions) == 1


@pytest_twisted.ensureDeferred
async def test_nobody_answers() -> None:
    """A server that never answers is given up after the time for it."""
    async with real() as world:
        with peers(2) as (client, server):
            cluster = {
                "protocol": "JSONSocket",
                "transport": {"protocol": "UDP", "port": server.port},
                "response_timeout": 0.1,
            }
            where = {"address": LOOPBACK}
            bound = await world.route(UDP, cluster, where, retry=NEVER)
            client.send(b"up", (LOOPBACK, bound["port"]))
            loss = await world.loss()
        assert loss.reason is Reason.TIMEOUT
        assert loss.detail == "no answer to the header came in 0.1 s"


# -- over streams of bytes, in frames ------------------------------------------------


def packed(data: bytes) -> bytes:
    """A message behind its length in two bytes."""
    return len(data).to_bytes(2, "big") + data


@pytest_twisted.ensureDeferred
async def test_frames_over_tcp_as_a_server() -> None:
    """With a framing the header is the first frame, and each message has its own."""
    over_tcp = {**OVER_UDP, "transport": TCP, "framing": "u16be"}
    async with real() as world:
        bound = await world.route(over_tcp, {"protocol": "Echo"})
        client = world.dial((LOOPBACK, bound["port"]))
        sent = packed(HELLO) + packed(b"one") + packed(b"") + packed(b"two")
        for cut in (sent[:1], sent[1:30], sent[30:]):
            client.send(cut)
            await turn(5)
        expected = packed(OK) + packed(b"one") + packed(b"") + packed(b"two")
        assert await client.reads(len(expected)) == expected
        session = world.session
        assert session.metadata["JSONSocket"]["who"] == "me"
        assert session.stages[0].stream.kind is Kind.DATAGRAMS
        client.finish()
        await client.reads_all()


@pytest_twisted.ensureDeferred
async def test_frames_over_tcp_as_a_client() -> None:
    """A cluster frames its header and what it sends, and reads frames."""
    async with real() as world:
        server = world.serve()
        cluster = {
            "protocol": "JSONSocket",
            "transport": {"protocol": "TCP", "port": 1},
            "framing": {"format": "u16be", "max_message": 1000},
        }
        where = {"address": LOOPBACK, "port": server.getsockname()[1]}
        with peers(1) as (client,):
            bound = await world.route(UDP, cluster, where, retry=NEVER)
            client.send(b"up", (LOOPBACK, bound["port"]))
            upstream = await world.accept(server)
            header = packed(b'{"JSONSocketVersion": 1}')
            assert await upstream.reads(len(header)) == header
            upstream.send(packed(OK) + packed(b"down") + packed(b"again"))
            assert [(await client.receive())[0] for _ in range(2)] == [
                b"down",
                b"again",
            ]
            assert await upstream.reads(len(header) + 4) == header + packed(b"up")
        assert not world.session.warnings


@pytest_twisted.ensureDeferred
async def test_a_bad_header_in_a_frame() -> None:
    """What is no header is refused in a frame, too, and what is no frame as well."""
    over_tcp = {**OVER_UDP, "transport": TCP, "framing": "netstring"}
    async with real() as world:
        bound = await world.route(over_tcp, {"protocol": "Echo"})
        client = world.dial((LOOPBACK, bound["port"]))
        client.send(b"2:{},")
        said = await client.reads_all()
        assert b'"JSONSocketStatus": 400' in said
        assert said.endswith(b",")
        stranger = world.dial((LOOPBACK, bound["port"]))
        stranger.send(b"GET / HTTP/1.1\r\n\r\n")
        await stranger.reads_all()
        assert not world.proxy.sessions


@pytest_twisted.ensureDeferred
async def test_a_peer_that_is_known_beforehand() -> None:
    """A single peer that is late with its header hears nothing before, and is answered."""
    async with real() as world:
        with peers(1) as (client,):
            known = {"connect": {"address": LOOPBACK, "port": client.port}}
            late = {**OVER_UDP, "transport": {**UDP, **known}, "header_timeout": 0.02}
            bound = await world.route(late, {"protocol": "Echo"})
            deadline = reactor.seconds() + 0.1
            await until(lambda: reactor.seconds() > deadline)
            assert await client.hears_nothing()
            for said, answer in ((HELLO, OK), (b"data", b"data")):
                client.send(said, (LOOPBACK, bound["port"]))
                assert (await client.receive())[0] == answer
