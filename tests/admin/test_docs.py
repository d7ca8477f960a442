"""The document and the pages that show it need no network."""

from __future__ import annotations

import re

import pytest
import pytest_twisted

from l7mp.admin.openapi import document
from tests.admin.served import REGISTRY, Served


@pytest_twisted.ensureDeferred
async def test_the_document_is_served(api: Served) -> None:
    """The OpenAPI document is that of this proxy's protocols."""
    reply = await api.call("GET", "/openapi.json")
    assert reply.headers["content-type"] == "application/json"
    assert reply.json == document(REGISTRY.vocabulary())


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("path", ["/docs", "/docs/"])
async def test_everything_on_the_page_comes_from_the_proxy(
    api: Served, path: str
) -> None:
    """All that the page names is served here, and it may load nothing else."""
    page = await api.call("GET", path)
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "://" not in page.text
    parts = re.findall('(?:src|href)="(.*?)"', page.text)
    assert len(parts) == 4
    kinds = {}
    for part in parts:
        reply = await api.call("GET", part)
        assert reply.status == 200, part
        kinds[part.rpartition(".")[2]] = reply.headers["content-type"]
    assert kinds["css"] == "text/css"
    assert kinds["js"].endswith("/javascript")
    assert kinds["png"] == "image/png"


@pytest_twisted.ensureDeferred
async def test_the_page_shows_the_document_without_a_validator(api: Served) -> None:
    """What starts the page names the document, and no validator on the Internet."""
    start = await api.call("GET", "/docs/start.js")
    assert '"/openapi.json"' in start.text
    assert "validatorUrl: null" in start.text


@pytest_twisted.ensureDeferred
async def test_the_assets_understand_our_version_of_openapi(api: Served) -> None:
    """Swagger UI has to be of version 5, the first to show OpenAPI 3.1."""
    bundle = await api.call("GET", "/docs/swagger-ui-bundle.js")
    assert re.search(r"isOAS31|isOpenAPI31", bundle.text)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    "name", ["nothing.js", "%2e%2e", "..%2f__init__.py", "%2fetc%2fpasswd", "%00"]
)
async def test_nothing_else_is_served(api: Served, name: str) -> None:
    """What is no asset is not found, wherever its name leads."""
    assert (await api.call("GET", f"/docs/{name}")).status == 404
