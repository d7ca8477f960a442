"""The REST API on a real port, over a real proxy."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet import threads
from twisted.web.server import Site

import l7mp.protocols
from l7mp.admin.api import resource
from l7mp.core.events import Event, Listening
from l7mp.core.proxy import Proxy
from l7mp.core.registry import Context, Registry
from l7mp.model import declared, edit
from l7mp.model.base import validate
from l7mp.model.load import parse_json
from l7mp.observers.journal import Journal
from l7mp.observers.metrics import Metrics

REGISTRY = Registry.discover(l7mp.protocols)

ROOTLESS = ("/docs", "/openapi.json", "/api")
"""What paths begin with that are not below the root of the API."""


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: Any
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def request(
    base: str, method: str, path: str, body: str | None, headers: Mapping[str, str]
) -> Reply:
    """One request; blocks."""
    connection = http.client.HTTPConnection(base.removeprefix("http://"), timeout=20)
    data = None if body is None else body.encode()
    connection.request(method, path, data, dict(headers))
    response = connection.getresponse()
    text = response.read().decode("utf-8", "replace")
    connection.close()
    return Reply(response.status, response.headers, text)


class Served:
    """A proxy and its API, as a client sees them."""

    def __init__(self, reactor: Any, registry: Registry = REGISTRY) -> None:
        services: dict[str, Any] = {"metrics": Metrics()}
        self.journal = Journal()
        context = Context(reactor=reactor, registry=registry, services=services)
        self.ports: dict[str, int] = {}
        """Where listeners really listen, by name."""
        self.proxy = Proxy(context, [self.journal, self._note])
        services["controller"] = resource(self.proxy, self.journal)
        site = Site(services["controller"])
        site.noisy = False
        self._port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.base = f"http://127.0.0.1:{self._port.getHost().port}"
        self.proxy.startService()

    def _note(self, event: Event) -> None:
        if isinstance(event, Listening):
            self.ports[event.listener] = event.address["port"]

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        kind: str | None = None,
        accept: str | None = None,
        *,
        base: str | None = None,
    ) -> Reply:
        """One request; a body that is no text is sent as JSON."""
        headers = {"Connection": "close"}
        if body is not None or kind is not None:
            headers["Content-Type"] = kind or "application/json"
        if accept is not None:
            headers["Accept"] = accept
        data = body if body is None or isinstance(body, str) else json.dumps(body)
        url = path if path.startswith(ROOTLESS) else f"/api/v1{path}"
        return await threads.deferToThread(
            request, base or self.base, method, url, data, headers
        )

    async def ok(self, method: str, path: str, body: Any = None) -> Any:
        """The reply, which must be 200."""
        reply = await self.call(method, path, body)
        assert reply.status == 200, (method, path, reply.text)
        return reply.json

    async def add(self, word: str, it: Mapping[str, Any]) -> None:
        """Add an object, which must work."""
        await self.ok("POST", f"/{word}s", {word: it})

    async def names(self, collection: str) -> list[str]:
        """The names of what is in a collection."""
        return [one["name"] for one in await self.ok("GET", f"/{collection}")]

    async def apply(self, document: Mapping[str, Any]) -> None:
        """Run this configuration."""
        words = self.proxy.vocabulary
        said = validate(declared.Config, parse_json(json.dumps(document)), words)
        fresh = edit.build(words, said)
        await self.proxy.edit(lambda _: edit.Change(fresh))

    async def listen(self, name: str, protocol: str, **route: Any) -> str:
        """A listener with one route, on a port of the kernel's choice; its base URL."""
        words = self.proxy.vocabulary
        said = declared.Listener.model_validate(
            {
                "name": name,
                "spec": {"protocol": protocol, "address": "127.0.0.1", "port": 1},
                "rules": [{"action": {"route": route}}],
            },
            context=words,
        )
        anywhere = said.spec.model_copy(update={"port": 0})
        said = said.model_copy(update={"spec": anywhere})
        await self.proxy.edit(lambda config: edit.add_listener(config, words, said))
        return f"http://127.0.0.1:{self.ports[name]}"

    async def close(self) -> None:
        """Stop the API and the proxy."""
        await self._port.stopListening()
        await self.proxy.stopService()
