"""DTLS 1.2 over UDP with OpenSSL's own programs as peers."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from l7mp.core.events import HandshakeFailed
from l7mp.errors import LocalError, Reason
from tests.real.tls_peers import s_client, s_server, talking
from tests.real.whole import Whole, whole
from tests.streams.certs import Certs
from tests.streams.loopback import Peer, until, unused_port
from tests.streams.secure import HOST

ensure = pytest_twisted.ensureDeferred
UDP = {"protocol": "UDP", "port": 1, "address": HOST}
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


@ensure
async def test_openssl_is_a_client(certs: Certs, cert: str) -> None:
    """s_client talks with an echo over DTLS, and is known by its certificate."""
    tls = {"cert": cert, "client_cert": "required", "ca": certs.ca}
    mine = certs.pem("me@a.org", cn="Me")
    async with whole() as world:
        port = await world.serve({**UDP, "tls": tls}, ECHO)
        command = s_client(certs, port, "-dtls1_2", "-cert", mine)
        with talking(*command, "-servername", "localhost") as client:
            await client.says(b"Verification: OK")
            client.say(b"hello\n")
            await client.says(b"hello\n")
            metadata = session_of(world).metadata
            assert metadata["TLS"]["version"] == "DTLSv1.2"
            assert metadata["TLS"]["sni"] == "localhost"
            assert metadata["TLS"]["peer"]["cn"] == "Me"
            assert metadata["UDP"]["dst_port"] == port
            client.finish()
            assert await client.exits() == 0
        (loss,) = await world.losses()
        assert loss.reason is Reason.FIN


@ensure
async def test_a_client_without_certificate_is_refused(certs: Certs, cert: str) -> None:
    """Who has to show a certificate and has none gets in no session."""
    tls = {"cert": cert, "client_cert": "required", "ca": certs.ca}
    async with whole() as world:
        port = await world.serve({**UDP, "tls": tls}, ECHO)
        with talking(*s_client(certs, port, "-dtls1_2")) as client:
            await client.says(b"alert")
        (event,) = [e for e in world.events if isinstance(e, HandshakeFailed)]
        assert event.loss.detail == "the peer shows no certificate"
        assert not world.proxy.sessions


@ensure
async def test_openssl_is_a_server(certs: Certs, cert: str) -> None:
    """Datagrams of a plain client reach s_server encrypted, and answers come back."""
    there = unused_port()
    out = {"protocol": "UDP", "port": there, "address": HOST, "tls": {"ca": certs.ca}}
    async with whole() as world:
        port = await world.serve(UDP, out)
        with talking(*s_server(cert, there, "-dtls1_2")) as server:
            client = Peer()
            await up(there)
            client.send(b"question\n", (HOST, port))
            await server.says(b"question\n")
            server.say(b"answer\n")
            data, _ = await client.receive()
            assert data == b"answer\n"
            client.close()


@pytest.mark.parametrize(
    ("name", "trusted", "why"),
    [
        ("elsewhere.org", True, "wrong name: the certificate is for elsewhere.org"),
        (HOST, False, "unknown CA"),
    ],
)
@ensure
async def test_strangers_are_not_trusted(
    certs: Certs, name: str, trusted: bool, why: str
) -> None:
    """A server that is not whom we want gets nothing, and the session says why."""
    there = unused_port()
    tls = {"ca": certs.ca if trusted else certs.other_ca}
    out = {"protocol": "UDP", "port": there, "address": HOST, "tls": tls}
    async with whole() as world:
        port = await world.serve(UDP, out)
        with talking(*s_server(certs.pem(name), there, "-dtls1_2")) as server:
            client = Peer()
            await up(there)
            client.send(b"secret\n", (HOST, port))
            (loss,) = await world.losses()
            assert loss.reason is Reason.TLS
            assert why in loss.detail
            await server.says(b"alert")
            assert b"secret" not in server.output
            client.close()


@ensure
async def test_two_of_ours(certs: Certs, cert: str) -> None:
    """From one proxy to another datagrams go encrypted, each of them whole."""
    async with whole() as far, whole() as near:
        there = await far.serve({**UDP, "tls": {"cert": cert}}, ECHO)
        out = {"protocol": "UDP", "port": there, "address": HOST}
        port = await near.serve(UDP, {**out, "tls": {"ca": certs.ca}})
        client = Peer()
        for size in (1, 1200, 9000, 16384):
            client.send(bytes(size), (HOST, port))
            data, _ = await client.receive()
            assert data == bytes(size)
        client.close()


@ensure
async def test_strangers_leave_nothing(cert: str) -> None:
    """What is no greeting makes no session, keeps nothing, and is not answered."""
    async with whole() as world:
        port = await world.serve({**UDP, "tls": {"cert": cert}}, ECHO)
        stranger = Peer()
        for data in (b"", b"hello", b"\x16\xfe\xfd" + bytes(60)):
            stranger.send(data, (HOST, port))
        assert await stranger.hears_nothing()
        assert not world.proxy.sessions
        stranger.close()


@pytest.mark.parametrize(
    ("listener", "cluster", "why"),
    [
        ({"tls": {"cert": "/nowhere/c.pem"}}, {}, "cannot read the certificate"),
        ({}, {"tls": {"ca": "/nowhere/c.pem"}}, "cannot read the file of authorities"),
        ({}, {"tls": {"min_version": "TLSv1.3"}}, r"DTLS 1\.2 only"),
    ],
)
@ensure
async def test_what_is_of_no_use(
    listener: dict[str, Any], cluster: dict[str, Any], why: str
) -> None:
    """It is refused when it is configured, as over TCP."""
    async with whole() as world:
        with pytest.raises(LocalError, match=why):
            await world.serve({**UDP, **listener}, {**UDP, **cluster})


async def up(port: int) -> None:
    """Wait until somebody has a UDP port."""
    own = f":{port:04X} 00000000:0000 07"  # proc(5)

    def has() -> bool:
        with open("/proc/net/udp", encoding="ascii") as table:
            return own in table.read()

    await until(has)


@pytest.mark.parametrize(
    "more", [{"options": {"amplification": {"factor": 1.5}}}, {"connect": "singleton"}]
)
@ensure
async def test_with_other_terms(certs: Certs, more: dict[str, Any]) -> None:
    """Limits for strangers and singletons go together with DTLS."""
    own = unused_port()
    if "connect" in more:
        more = {"connect": {"address": HOST, "port": own}}
    long = certs.pem(HOST, *(f"name-{n}.example.org" for n in range(60)), file="l.pem")
    async with whole() as far, whole() as near:
        there = await far.serve({**UDP, "tls": {"cert": long}, **more}, ECHO)
        out = {"protocol": "UDP", "port": there, "address": HOST, "bind": {"port": own}}
        port = await near.serve(UDP, {**out, "tls": {"ca": certs.ca}})
        client = Peer()
        client.send(b"hello", (HOST, port))
        data, _ = await client.receive()
        assert data == b"hello"
        client.close()
