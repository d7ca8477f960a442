"""TLS while things change: certificates, configurations, upstreams; and over files."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from l7mp.core.events import HandshakeFailed, StageRestored, Warned
from l7mp.errors import LocalError, Loss, Reason
from l7mp.streams import tls_files
from tests.protocols.real import Real, real
from tests.streams.certs import Certs
from tests.streams.loopback import turn, until
from tests.streams.secure import HOST, Peer, wrapped

ensure = pytest_twisted.ensureDeferred
TCP = {"protocol": "TCP", "port": 1, "address": HOST}


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    return Certs(tmp_path_factory.mktemp("certs"))


@pytest.fixture
def folder() -> Iterator[Path]:
    # paths of Unix sockets are short, those of pytest are not
    with tempfile.TemporaryDirectory(prefix="l7mp") as made:
        yield Path(made)


def client_of(world: Real, certs: Certs, where: Any, cert: str = "") -> Peer:
    context = certs.client(cert)
    peer = wrapped(world.dial(where).sock, context, server_hostname="localhost")
    world._socks.append(peer.sock)
    return peer


@ensure
async def test_a_certificate_is_replaced_while_we_run(
    certs: Certs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next client sees the new certificate; a broken one changes nothing but warns."""
    monkeypatch.setattr(tls_files, "PATIENCE", 0.0)
    path = certs.pem("localhost", HOST, file="live.pem")
    async with real() as world:
        where = await world.route({**TCP, "tls": {"cert": path}}, {"protocol": "Echo"})
        at = (HOST, where["port"])

        async def shown() -> Any:
            peer = await client_of(world, certs, at).shakes()
            cert = peer.sock.getpeercert()
            peer.sock.close()
            assert cert is not None
            return cert["serialNumber"]

        before = await shown()
        certs.pem("localhost", HOST, file="fresh.pem")
        os.replace(certs.folder / "fresh.pem", path)
        after = await shown()
        assert after != before
        Path(path).write_text("oops\n")
        assert await shown() == after
        assert await shown() == after
        (warning,) = [e for e in world.events if isinstance(e, Warned)]
        assert warning.subject == "listener in"
        assert f"{path} has no usable certificate" in warning.message


@ensure
async def test_who_is_turned_away_is_told(certs: Certs) -> None:
    """Observers hear of a failed handshake, by the address that it came from."""
    cert = certs.pem("localhost")
    async with real() as world:
        where = await world.route({**TCP, "tls": {"cert": cert}}, {"protocol": "Echo"})
        stranger = world.dial((HOST, where["port"]))
        stranger.send(b"HELO there\r\n")
        await until(lambda: stranger.pull() and stranger.ended)
        (event,) = [e for e in world.events if isinstance(e, HandshakeFailed)]
        assert event.listener == "in"
        assert event.peer == f"{HOST}:{stranger.sock.getsockname()[1]}"
        assert event.loss == Loss(Reason.TLS, "the peer does not speak TLS")


@pytest.mark.parametrize("side", ["listener", "cluster"])
@ensure
async def test_a_useless_file_stops_the_configuration(certs: Certs, side: str) -> None:
    """A file that is not there is an error that names it, and nothing is changed."""
    async with real() as world:
        before = world.proxy.config
        tls = {"cert": "/nowhere/tls.pem"}
        listener, cluster = dict(TCP), dict(TCP)
        del cluster["address"]
        (listener if side == "listener" else cluster)["tls"] = tls
        with pytest.raises(LocalError, match=r"/nowhere/tls\.pem: No such file"):
            await world.route(listener, cluster, {"address": HOST})
        assert world.proxy.config is before
        assert not world.proxy._running


@ensure
async def test_transports_inside_are_checked_too() -> None:
    """What stands on another protocol has the files of that one checked."""
    tls = {"ca": "/nowhere/ca.pem"}
    cluster = {
        "protocol": "JSONSocket",
        "transport": {"protocol": "TCP", "port": 1, "tls": tls},
        "framing": {"format": "u16be"},
    }
    async with real() as world:
        with pytest.raises(LocalError, match=r"/nowhere/ca\.pem: No such file"):
            await world.route(TCP, cluster, {"address": HOST})
        assert not world.proxy._running


@ensure
async def test_over_socket_files(certs: Certs, folder: Path) -> None:
    """Unix domain sockets speak TLS too, on both sides."""
    here, there = str(folder / "in"), str(folder / "out")
    unix = {"protocol": "UnixDomainSocket"}
    served = {**unix, "filename": here, "tls": {"cert": certs.pem("localhost")}}
    out = {**unix, "tls": {"ca": certs.ca, "server_name": "a.org"}}
    async with real() as world:
        server = world.serve(there)
        await world.route(served, out, {"address": there})
        client = await client_of(world, certs, here).shakes()
        upstream = await accepted(world, server, certs, "a.org")
        client.send(b"question")
        assert await upstream.reads(8) == b"question"
        upstream.send(b"answer")
        assert await client.reads(6) == b"answer"
        (session,) = world.proxy.sessions.values()
        assert session.metadata["UNIX"]["filename"] == here
        assert session.metadata["TLS"]["sni"] == "localhost"


@ensure
async def test_a_path_is_no_name(certs: Certs) -> None:
    """A cluster of socket files has to say whom to expect."""
    unix = {"protocol": "UnixDomainSocket", "tls": {"ca": certs.ca}}
    async with real() as world:
        with pytest.raises(LocalError, match="say server_name"):
            await world.route(TCP, unix, {"address": "/nowhere"})


async def accepted(
    world: Real, server: socket.socket, certs: Certs, name: str = HOST
) -> Peer:
    """The next connection to an upstream, which shakes hands."""
    sock = (await world.accept(server)).sock
    peer = wrapped(sock, certs.server(certs.pem(name)), server_side=True)
    world._socks.append(peer.sock)
    return await peer.shakes()


@ensure
async def test_what_never_left_goes_to_the_next_upstream(certs: Certs) -> None:
    """A replaced upstream gets, decrypted, exactly what the lost one was not sent."""
    out = {"protocol": "TCP", "port": 1, "tls": {"ca": certs.ca}}
    async with real() as world:
        server = world.serve(receive=4096)
        endpoint = {"address": HOST, "port": server.getsockname()[1]}
        retry = {"retry_on": "always", "num_retries": 5}
        where = await world.route(TCP, out, endpoint, retry=retry)
        client = world.dial((HOST, where["port"]))
        upstream = await accepted(world, server, certs)
        session = await world.one_session()
        data = b"".join(b"%07d\n" % number for number in range(1 << 20))
        sent, quiet = 0, 0
        while quiet < 200:
            taken = client.push(data[sent : sent + (1 << 16)])
            sent, quiet = sent + taken, 0 if taken else quiet + 1
            await turn(0 if taken else 1)
        stream = session.stages[1].stream
        left = sum(map(len, stream.unsent()))
        assert 0 < left < sent
        delivered = stream.bytes_out - left
        upstream.sock.close()
        again = await accepted(world, server, certs)
        await until(lambda: any(isinstance(e, StageRestored) for e in world.events))
        client.finish()
        assert await again.reads_all() == data[delivered:sent]
