"""HTTP listeners, as a configuration makes them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import pytest_twisted
from pydantic import ValidationError
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.utils import getProcessOutputAndValue

import l7mp.protocols
from l7mp.core.registry import Context, Registry
from l7mp.errors import LocalError, Loss, Reason, RemoteError
from l7mp.interfaces import SINK, IStream, Metadata
from l7mp.model.config import EndPoint
from l7mp.protocols import http
from l7mp.protocols.http import HTTPListenerSpec, protocol
from l7mp.streams.http import Exchange
from l7mp.testing import Memory
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
@pytest.mark.parametrize("only", ["/only", "only"])
async def test_only_one_path(path: str, served: bool, only: str) -> None:
    """A listener with a path serves that one, whatever the query, and no other."""
    async with listener(path=only) as host:
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


# -- clusters ---------------------------------------------------------------------------

REGISTRY = Registry.discover(l7mp.protocols)
WORDS = REGISTRY.vocabulary()


async def connected(
    context: Context, port: int, metadata: Metadata, **spec: Any
) -> IStream:
    """A stream of a cluster with this specification."""
    said = WORDS.cluster({"protocol": "HTTP", "port": port, **spec})
    assert protocol.connect is not None
    return await protocol.connect(context, said, EndPoint("e", "127.0.0.1"), metadata)


def world() -> Context:
    """What one cluster may use."""
    context = Context(reactor=reactor, registry=REGISTRY)
    return context.on_behalf_of("cluster", "out")


@ensure
async def test_a_request_of_a_session() -> None:
    """A cluster asks what metadata says, else what its specification does."""
    context = world()
    async with listener() as host:
        spec: dict[str, Any] = {"method": "PUT", "path": "/in", "headers": {"x": 1}}
        near = await connected(context, host.port, {}, **spec)
        far, metadata, _ = await host.session()
        about = metadata["HTTP"]
        assert (about["method"], about["url"]["path"]) == ("PUT", "/in")
        assert about["headers"]["x"] == "1"
        assert about["headers"]["host"] == f"127.0.0.1:{host.port}"
        Sink(far)
        near.abort(Loss(Reason.DELETED))
        await until(lambda: far.loss)
        near = await connected(context, host.port, {"HTTP": {"method": "DELETE"}})
        far, metadata, _ = await host.session()
        assert metadata["HTTP"]["method"] == "DELETE"
        Sink(far)
        near.abort(Loss(Reason.DELETED))
        await until(lambda: far.loss)
        context.resources.close()


@ensure
async def test_connections_go_with_the_cluster() -> None:
    """What a cluster has kept is closed when the cluster is no more."""
    context = world()
    async with listener() as host:
        near = await connected(context, host.port, {}, method="GET")
        far, _, _ = await host.session()
        sink = Memory()
        near.deliver_to(sink)
        near.release(SINK)
        far.end()
        await until(lambda: near.loss)
        pools = context.resources.get(("cluster", "out", "HTTP"), lambda: None)
        (pool,) = cast(Any, pools)._pools.values()
        assert pool.idle == 1
        context.resources.forget_all(("cluster", "out"))
        await until(lambda: not pool.connections)


@ensure
@pytest.mark.parametrize(
    ("about", "what"),
    [
        ({"method": "NO WAY"}, "NO WAY"),
        ({"method": "GET", "body": True, "spent": True, "headers": {}}, "was sent"),
    ],
)
async def test_what_is_not_asked(about: Metadata, what: str) -> None:
    """A request that cannot be sent, or not again, is refused before anybody is asked."""
    async with listener() as host:
        with pytest.raises(RemoteError, match=what):
            await connected(world(), host.port, {"HTTP": about})
        assert not host.accepted


@ensure
async def test_giving_up_a_tunnel() -> None:
    """A tunnel that is not there yet can be given up at any time."""
    context = world()
    async with listener(tunnel=True) as host:
        to = {"host": "a", "port": 1}
        said = WORDS.cluster({"protocol": "HTTP", "port": host.port, "connect": to})
        assert protocol.connect is not None
        waiting = protocol.connect(context, said, EndPoint("e", "127.0.0.1"), {})
        far, metadata, _ = await host.session()
        assert metadata["HTTP"]["url"]["host"] == "a"
        waiting.cancel()
        with pytest.raises(CancelledError):
            await waiting
        Sink(far)
        await until(lambda: far.loss)


def test_http2_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that cannot be spoken here is an error of configuration, with a remedy."""
    monkeypatch.setattr(http, "IS_AVAILABLE", False)
    with pytest.raises(ValidationError, match="needs the package h2"):
        WORDS.cluster({"protocol": "HTTP", "port": 1, "version": 2})
