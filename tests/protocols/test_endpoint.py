"""Endpoints of Twisted's, by their descriptions: its own, and a plugin's."""

from __future__ import annotations

import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.plugin import getCache

import twisted.plugins
from l7mp.errors import LocalError, Loss, Reason
from l7mp.protocols import endpoint
from tests.protocols.real import LOOPBACK, Real, anywhere
from tests.streams.certs import Certs
from tests.streams.loopback import until
from tests.streams.secure import Peer, wrapped

ensure = pytest_twisted.ensureDeferred
ANY = f"tcp:0:interface={LOOPBACK}"
PLUGIN = """
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import (
    IStreamClientEndpointStringParserWithReactor,
    IStreamServerEndpointStringParser,
)
from twisted.plugin import IPlugin
from zope.interface import implementer


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class Near:
    prefix = "near"

    def parseStreamClient(self, reactor, port):
        return TCP4ClientEndpoint(reactor, "127.0.0.1", int(port))


@implementer(IPlugin, IStreamServerEndpointStringParser)
class Here:
    prefix = "here"

    def parseStreamServer(self, reactor, *rest):
        return TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")


near, here = Near(), Here()
"""


class World(Real):
    """A proxy that knows this protocol, too."""

    async def between(
        self, server: str, client: str, more: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        listener = {"protocol": "Endpoint", "server": server}
        cluster = more or {"protocol": "Endpoint", "client": client}
        return await self.route(listener, cluster)


@pytest_twisted.async_yield_fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> Any:
    if endpoint.protocol not in protocols_known():
        monkeypatch.setattr(
            "tests.protocols.real.MODULES", (*modules_known(), endpoint)
        )
    made = World()
    yield made
    await made.close()


def modules_known() -> tuple[Any, ...]:
    from tests.protocols import real

    return real.MODULES


def protocols_known() -> list[Any]:
    return [module.protocol for module in modules_known()]


def port_of(server: socket.socket) -> int:
    port: int = server.getsockname()[1]
    return port


@ensure
async def test_bytes_and_half_closes(world: World) -> None:
    """TCP by description is TCP: both ways, with late answers, and its addresses known."""
    server = world.serve()
    where = await world.between(ANY, f"tcp:{LOOPBACK}:{port_of(server)}")
    client = world.dial((where["address"], where["port"]))
    upstream = await world.accept(server)
    session = await world.one_session()
    assert session.metadata["Endpoint"] == {"server": ANY}
    assert session.metadata["TCP"]["dst_port"] == where["port"]
    client.send(b"question")
    client.finish()
    assert await upstream.reads_all() == b"question"
    upstream.send(b"late answer")
    upstream.sock.close()
    assert await client.reads_all() == b"late answer"
    assert await world.loss() == Loss(Reason.FIN)


@ensure
async def test_a_close_waits_for_nobody(world: World) -> None:
    """A session that ends is gone soon, though its server does not hang up."""
    server = world.serve()
    where = await world.between(ANY, f"tcp:{LOOPBACK}:{port_of(server)}")
    client = world.dial((where["address"], where["port"]))
    upstream = await world.accept(server)
    session = await world.one_session()
    assert all(stage.stream.half_close for stage in session.stages)
    session.end(Loss(Reason.DELETED))
    assert await upstream.reads_all() == b""
    assert await client.reads_all() == b""
    await until(lambda: session.status == "DESTROYED", 5)


@ensure
async def test_socket_files(world: World) -> None:
    """Unix domain sockets by description, on both sides."""
    with tempfile.TemporaryDirectory(prefix="l7mp") as folder:
        server = world.serve(f"{folder}/out")
        where = await world.between(f"unix:{folder}/in", f"unix:{folder}/out")
        assert where == {"filename": f"{folder}/in"}
        client = world.dial(where["filename"])
        upstream = await world.accept(server)
        client.send(b"hello")
        assert await upstream.reads(5) == b"hello"
        assert world.session.metadata["UNIX"] == {"filename": f"{folder}/in"}
        await world.close()


@ensure
async def test_the_proxy_protocol(world: World) -> None:
    """Behind a load balancer the client is whom the PROXY header names."""
    where = await world.between(f"haproxy:{ANY}", "", {"protocol": "Echo"})
    client = world.dial((where["address"], where["port"]))
    client.send(b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 80\r\nhello")
    assert await client.reads(5) == b"hello"
    assert world.session.metadata["IP"]["src_addr"] == "192.0.2.7"
    assert not world.session.stages[0].stream.half_close


@ensure
async def test_an_end_behind_the_proxy_protocol_is_a_good_end(world: World) -> None:
    """A client that says all it has to say has closed; nothing else went wrong."""
    where = await world.between(f"haproxy:{ANY}", "", {"protocol": "Echo"})
    client = world.dial((where["address"], where["port"]))
    client.send(b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 80\r\nhello")
    assert await client.reads(5) == b"hello"
    client.sock.shutdown(socket.SHUT_WR)
    assert await world.loss() == Loss(Reason.FIN)


# -- TLS of Twisted's -----------------------------------------------------------------


@pytest.fixture
def certs(tmp_path: Path) -> Certs:
    return Certs(tmp_path)


def secure(certs: Certs, name: str) -> str:
    path = certs.pem(name)
    return f"ssl:0:privateKey={path}:certKey={path}:interface={LOOPBACK}"


# Twisted itself uses what pyOpenSSL does not like any more.
@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL")
@ensure
async def test_secure_servers(world: World, certs: Certs) -> None:
    """A session begins behind the handshake; an end is the end, with all delivered."""
    where = await world.between(secure(certs, "localhost"), "", {"protocol": "Echo"})
    sock = world.dial((LOOPBACK, where["port"])).sock
    peer = wrapped(sock, certs.client(), server_hostname="localhost")
    world._socks.append(peer.sock)
    assert not world.proxy.sessions
    await peer.shakes()
    session = await world.one_session()
    assert not session.stages[0].stream.half_close
    peer.send(b"hello")
    assert await peer.reads(5) == b"hello"
    session.end(Loss(Reason.DELETED))
    await peer.reads_all()
    peer.say_end()
    await until(lambda: session.status == "DESTROYED")


@pytest.mark.parametrize("name", ["localhost", "elsewhere.org"])
@ensure
async def test_secure_clients(world: World, certs: Certs, name: str) -> None:
    """A connection is there behind the handshake, or fails for its reason."""
    roots = certs.folder / "roots"
    roots.mkdir()
    (roots / "ca.pem").write_bytes(Path(certs.ca).read_bytes())
    server = world.serve()
    to = f"tls:localhost:{port_of(server)}:trustRoots={roots}"
    where = await world.between(ANY, to)
    client = world.dial((LOOPBACK, where["port"]))
    client.send(b"hello")
    sock = (await world.accept(server)).sock
    peer = wrapped(sock, certs.server(certs.pem(name)), server_side=True)
    world._socks.append(peer.sock)
    if name == "localhost":
        await peer.shakes()
        assert await peer.reads(5) == b"hello"
        return
    with pytest.raises(OSError, match=r"(?i)(alert|eof|reset)"):
        await shakes_and_reads(peer)
    loss = await world.loss()
    assert loss.reason is Reason.TLS
    assert "wrong name" in loss.detail


async def shakes_and_reads(peer: Peer) -> None:
    await peer.shakes()
    await peer.reads(1)


# -- plugins ------------------------------------------------------------------------------


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Endpoints that somebody else has made and installed."""
    (tmp_path / "near_endpoint.py").write_text(PLUGIN)
    path = [*twisted.plugins.__path__, str(tmp_path)]
    monkeypatch.setattr(twisted.plugins, "__path__", path)
    getCache(twisted.plugins)
    yield
    sys.modules.pop("twisted.plugins.near_endpoint", None)


@ensure
async def test_plugins(world: World, plugin: None) -> None:
    """What a plugin can describe can be listened at and connected to."""
    server = world.serve()
    where = await world.between("here:", f"near:{port_of(server)}")
    client = world.dial((where["address"], where["port"]))
    upstream = await world.accept(server)
    client.send(b"hello")
    assert await upstream.reads(5) == b"hello"


# -- errors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "client", "why"),
    [
        ("nonsense:1", "", "Unknown endpoint type"),
        ("tcp", "", "describes no endpoint"),
        ("tcp:0:interface=127.0.0.1:colour=red", "", "colour"),
        ("ssl:0:privateKey=/nowhere/key.pem", "", "describes no endpoint"),
        (ANY, "nonsense:1", "Unknown endpoint type"),
        (ANY, "tcp:a:b:c:d:e", "describes no endpoint"),
        (ANY, "tls:localhost:1:trustRoots=/nowhere", "describes no endpoint"),
    ],
)
@ensure
async def test_what_describes_nothing(
    world: World, server: str, client: str, why: str
) -> None:
    """It is refused with the parser's words, and nothing is changed."""
    before = world.proxy.config
    echo = {"protocol": "Echo"}
    with pytest.raises(LocalError, match=why):
        await world.between(server, client, None if client else echo)
    assert world.proxy.config is before
    assert not world.proxy._running


@ensure
async def test_a_port_in_use(world: World) -> None:
    """Who cannot listen is told where and why."""
    there = f"tcp:{port_of(world.serve())}:interface={LOOPBACK}"
    with pytest.raises(LocalError, match=f'cannot listen at "{there}".*in use'):
        await world.between(there, "", {"protocol": "Echo"})


@ensure
async def test_nobody_listens(world: World) -> None:
    """What cannot be connected to ends the session for the usual reason."""
    with socket.socket() as nobody:
        nobody.bind((LOOPBACK, 0))
        where = await world.between(ANY, f"tcp:{LOOPBACK}:{port_of(nobody)}")
        world.dial((where["address"], where["port"]))
        assert (await world.loss()).reason is Reason.REFUSED


def test_ports_of_descriptions_stay() -> None:
    """A description says itself whether any port will do."""
    spec = endpoint.EndpointListenerSpec(protocol="Endpoint", server=ANY)
    assert anywhere(spec) == spec
