"""The document and the pages that show it need no network."""

from __future__ import annotations

import pytest_twisted

from tests.admin.served import Served


@pytest_twisted.ensureDeferred
async def test_the_documentation_is_served() -> None:
    """A page whose every asset comes from the proxy itself."""
    from twisted.internet import reactor

    api = Served(reactor)
    document = await api.ok("GET", "/openapi.json")
    assert document["openapi"] == "3.1.0"
    page = await api.call("GET", "/docs")
    assert page.status == 200
    assert "http:" not in page.text
    assert "https:" not in page.text
    for asset in ("swagger-ui.css", "swagger-ui-bundle.js"):
        assert f"/docs/{asset}" in page.text
        assert (await api.call("GET", f"/docs/{asset}")).status == 200
    assert (await api.call("GET", "/docs/nothing.js")).status == 404
    await api.close()
