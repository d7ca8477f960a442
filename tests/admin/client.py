"""A proxy with its REST API at a port of its own, and a client of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Cooperator
from twisted.python.failure import Failure
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.server import Site

import l7mp.protocols
from l7mp.admin.api import resource
from l7mp.core.proxy import Proxy
from l7mp.core.registry import Context, Registry
from l7mp.model import declared, edit
from l7mp.model.base import validate
from l7mp.model.load import parse_json
from l7mp.observers.journal import Journal

JSON = "application/json"
YAML = "text/x-yaml"

ECHO = {"protocol": "Echo"}


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Headers
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def kind(self) -> str | None:
        return self.header("content-type")

    def header(self, name: str) -> str | None:
        found = self.headers.getRawHeaders(name)
        return found[0] if found else None


class _Body(Protocol):
    """Collects the body of a response."""

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred()
        self._data = b""

    def dataReceived(self, data: bytes) -> None:
        self._data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.whole.callback(self._data)


class Client:
    """Talks to the API at ``base``."""

    def __init__(self, base: str) -> None:
        self.base = base
        self._pool = HTTPConnectionPool(reactor, persistent=False)
        self._agent = Agent(reactor, pool=self._pool, connectTimeout=5)

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        kind: str | None = None,
        **headers: str,
    ) -> Answer:
        """
        One request.

        ``path`` is below /api/v1 unless it begins with two slashes; ``body`` is sent
        as JSON unless it is bytes.
        """
        full = path[1:] if path.startswith("//") else f"/api/v1{path}"
        sent = Headers(
            {name.replace("_", "-"): [value] for name, value in headers.items()}
        )
        producer = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            producer = FileBodyProducer(BytesIO(data), cooperator=_cooperator())
            kind = JSON if kind is None and not isinstance(body, bytes) else kind
        if kind:
            sent.setRawHeaders("content-type", [kind])
        url = f"{self.base}{full}".encode()
        response = await self._agent.request(method.encode(), url, sent, producer)
        body_of = _Body()
        response.deliverBody(body_of)
        return Answer(response.code, response.headers, await body_of.whole)

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.call("GET", path, **headers)

    async def show(self, path: str) -> Any:
        """What GET shows, which has to work."""
        answer = await self.get(path)
        assert answer.status == 200, answer
        return answer.json

    async def post(self, path: str, body: Any, **headers: str) -> Answer:
        return await self.call("POST", path, body, **headers)

    async def add(self, word: str, body: Mapping[str, Any]) -> Answer:
        """Add an object, which has to work."""
        answer = await self.post(f"/{word}s", {word: body})
        assert answer.status == 200, answer
        return answer

    async def delete(self, path: str) -> Answer:
        return await self.call("DELETE", path)

    async def names(self, path: str) -> list[str]:
        return [one["name"] for one in await self.show(path)]


def _cooperator() -> Cooperator:
    """One of our own: the global one may leave a delayed call behind."""
    return Cooperator(scheduler=lambda step: IReactorTime(reactor).callLater(0, step))


def registry() -> Registry:
    """Every protocol there is."""
    return Registry.discover(l7mp.protocols)


class World:
    """A proxy, its journal, and its API."""

    def __init__(self, known: Registry | None = None) -> None:
        self.services: dict[str, Any] = {}
        context = Context(
            reactor=reactor, registry=known or registry(), services=self.services
        )
        self.journal = Journal()
        self.proxy = Proxy(context, [self.journal])
        self.resource = resource(self.proxy, self.journal)
        self.services["controller"] = self.resource

    async def apply(self, document: Mapping[str, Any]) -> None:
        """Run this configuration."""
        said = validate(
            declared.Config, parse_json(json.dumps(document)), self.proxy.vocabulary
        )
        fresh = edit.build(self.proxy.vocabulary, said)
        await self.proxy.edit(lambda _: edit.Change(fresh))


@asynccontextmanager
async def world(known: Registry | None = None) -> AsyncIterator[tuple[World, Client]]:
    """A proxy and a client of it; the API is served directly, not by a listener."""
    made = World(known)
    site = Site(made.resource)
    site.noisy = False
    port = IReactorTCP(reactor).listenTCP(0, site, interface="127.0.0.1")
    made.proxy.startService()
    try:
        yield made, Client(f"http://127.0.0.1:{port.getHost().port}")
    finally:
        await port.stopListening()
        await made.proxy.stopService()
