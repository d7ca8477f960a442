"""HTTP listeners, as a configuration makes them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.utils import getProcessOutputAndValue

import l7mp.protocols
from l7mp.core.registry import Context, Registry
from l7mp.errors import LocalError
from l7mp.interfaces import IStream, Metadata
from l7mp.protocols.http import HTTPListenerSpec, protocol
from l7mp.streams.http import Exchange
from tests.streams.loopback import until
from tests.streams.web import Client, Sink, post

ensure = pytest_twisted.ensureDeferred

Accepted = list[tuple[IStream, Metadata, str]]


class Listener:
    """A listener of that protocol, what it accepted, and its clients."""

    def __init__(self, listening: Any, accepted: Accepted) -> None:
        self.listening, self.accepted = listening, accepted
        self.port: int = listening.address()["port"]
        self.clients: list[Client] = []

    def client(self, data: bytes, host: str = "127.0.0.1") -> Client:
        client = Client(self.port, host)
        self.clients.append(client)
        client.send(data)
        return client

    async def session(self) -> tuple[Exchange, Metadata, str]:
        await until(lambda: ([c.push() for c in self.clients], self.accepted)[1])
        stream, metadata, words = self.accepted.pop(0)
        assert isinstance(stream, Exchange)
        return stream, metadata, words


@asynccontextmanager
async def listener(**spec: Any) -> AsyncIterator[Listener]:
    """One that is gone afterwards."""
    context = Context(reactor=reactor, registry=Registry.discover(l7mp.protocols))
    accepted: Accepted = []
    # a port that the kernel chooses is not for configurations, but for tests
    chosen = HTTPListenerSpec.model_construct(protocol="HTTP", port=0, **spec)
    assert protocol.listen is not None
    listening = await protocol.listen(context, chosen, lambda *a: accepted.append(a))
    made = Listener(listening, accepted)
    try:
        yield made
    finally:
        for client in made.clients:
            client.close()
        await listening.stop()


@ensure
async def test_what_is_known_of_a_session() -> None:
    """Metadata tells both ends of the connection, and the request."""
    async with listener() as host:
        client = host.client(post(b"x", "X-Custom: Value", path="/a/b?x=1&y=2"))
        exchange, metadata, words = await host.session()
        own = client.sock.getsockname()[1]
        assert metadata["IP"] == {"src_addr": "127.0.0.1", "dst_addr": "127.0.0.1"}
        assert metadata["TCP"] == {"src_port": own, "dst_port": host.port}
        about = metadata["HTTP"]
        assert (about["version"], about["method"]) == ("1.1", "POST")
        assert about["url"]["path"] == about["url"]["url"] == "/a/b?x=1&y=2"
        assert about["url"]["query"] == "x=1&y=2"
        assert about["headers"]["x-custom"] == "Value"
        assert words == f"127.0.0.1:{own}-127.0.0.1:{host.port}"
        exchange.end()
        await client.hears(b"\r\n\r\n")


@ensure
async def test_ipv6() -> None:
    """Without an address a listener serves IPv6 as well as IPv4."""
    async with listener() as host:
        client = host.client(post(b""), "::1")
        exchange, metadata, words = await host.session()
        assert metadata["IP"]["src_addr"] == "::1"
        assert words.startswith("[::1]:")
        exchange.end()
        await client.hears(b"\r\n\r\n")


@ensure
@pytest.mark.parametrize(
    ("path", "served"),
    [("/only", True), ("/only?x=1", True), ("/only/", False), ("/", False)],
)
async def test_only_one_path(path: str, served: bool) -> None:
    """A listener with a path serves that one, whatever the query, and no other."""
    async with listener(path="/only") as host:
        client = host.client(post(b"", path=path))
        if served:
            (await host.session())[0].end()
        assert (await client.response()).status == (200 if served else 404)
        assert not host.accepted


@ensure
async def test_a_port_in_use_is_explained() -> None:
    """Listening where somebody listens fails, and names address and port."""
    async with listener(address="127.0.0.1") as host:
        spec = HTTPListenerSpec(protocol="HTTP", port=host.port, address="127.0.0.1")
        context = Context(reactor=reactor, registry=Registry({}))
        assert protocol.listen is not None
        with pytest.raises(LocalError, match=f"127.0.0.1:{host.port}"):
            await protocol.listen(context, spec, lambda *_: None)


@ensure
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_curl() -> None:
    """curl understands us: a large upload with 100-continue, two requests at once."""
    async with listener(address="127.0.0.1") as host:
        url = f"http://127.0.0.1:{host.port}"
        running = getProcessOutputAndValue(
            shutil.which("curl"),
            [
                *("-s", "-w", "%{http_code}%{num_connects}"),
                *("-H", "Expect: 100-continue", "-d", "x" * 100_000),
                *(f"{url}/1", f"{url}/2"),
            ],
        )
        for _ in range(2):
            exchange, _, _ = await host.session()
            sink = Sink(exchange)
            await until(lambda sink=sink: sink.ended)  # type: ignore[misc]
            exchange.write(b"%d;" % len(sink.got))
            exchange.end()
        out, err, code = await running
        assert (out, err, code) == (b"100000;2001100000;2000", b"", 0)
