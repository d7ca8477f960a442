"""The REST API on a real port, over a real proxy."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import threads
from twisted.internet.interfaces import IReactorTCP
from twisted.web.server import Site

import l7mp.protocols
from l7mp.admin.api import resource
from l7mp.core.proxy import Proxy
from l7mp.core.registry import Context, Registry
from l7mp.observers.journal import Journal
from l7mp.observers.metrics import Metrics

REGISTRY = Registry.discover(l7mp.protocols)


class Reply:
    """What came back."""

    def __init__(self, status: int, headers: Any, text: str) -> None:
        self.status, self.headers, self.text = status, headers, text

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Served:
    """A proxy and its API, as a client sees them."""

    def __init__(self, reactor: IReactorTCP) -> None:
        services: dict[str, Any] = {"metrics": Metrics()}
        journal = Journal()
        context = Context(reactor=reactor, registry=REGISTRY, services=services)
        self.proxy = Proxy(context, [journal])
        site = Site(resource(self.proxy, journal))
        site.noisy = False
        self._port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.base = f"http://127.0.0.1:{self._port.getHost().port}"

    async def call(
        self, method: str, path: str, body: Any = None, kind: str | None = None,
        accept: str | None = None,
    ) -> Reply:  # fmt: skip
        """One request; a body that is no text is sent as JSON."""
        headers = {"Connection": "close"}
        if body is not None:
            headers["Content-Type"] = kind or "application/json"
        if accept is not None:
            headers["Accept"] = accept
        data = body if body is None or isinstance(body, str) else json.dumps(body)
        url = (
            path
            if path.startswith("/docs") or path == "/openapi.json"
            else f"/api/v1{path}"
        )
        return await threads.deferToThread(self._call, method, url, data, headers)

    def _call(
        self, method: str, path: str, body: str | None, headers: dict[str, str]
    ) -> Reply:
        import http.client

        connection = http.client.HTTPConnection(self.base[7:], timeout=20)
        data = None if body is None else body.encode()
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
        connection.close()
        return Reply(response.status, response.headers, text)

    async def ok(self, method: str, path: str, body: Any = None) -> Any:
        """The reply, which must be 200."""
        reply = await self.call(method, path, body)
        assert reply.status == 200, (method, path, reply.text)
        return reply.json

    async def close(self) -> None:
        """Stop the API and the proxy."""
        await self._port.stopListening()
        await self.proxy.stopService()
