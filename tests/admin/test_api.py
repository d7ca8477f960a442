"""The REST API as a protocol: content types, formats, statuses, bodies of errors."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_twisted

from tests.admin.served import Served

ECHO = {"cluster": {"name": "e", "spec": {"protocol": "Echo"}}}
YAML = "cluster: { name: e, spec: { protocol: Echo } }\n"


@pytest_twisted.async_yield_fixture
async def api() -> AsyncIterator[Served]:
    from twisted.internet import reactor

    served = Served(reactor)
    yield served
    await served.close()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("kind", "body"),
    [("application/json", None), ("Text/X-JSON; charset=utf-8", None),
     ("text/x-yaml", YAML), ("application/yaml", YAML)],
)  # fmt: skip
async def test_content_types(api: Served, kind: str, body: str | None) -> None:
    """JSON and YAML, in any spelling of their types."""
    reply = await api.call("POST", "/clusters", body or ECHO, kind)
    assert reply.json == {"status": 200, "message": "OK"}
    assert reply.headers["location"] == "/api/v1/clusters/e"
    assert (await api.ok("GET", "/clusters/e"))["name"] == "e"


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("method", "path", "body", "kind", "status"),
    [
        ("POST", "/clusters", "x", "text/plain", 415),
        ("POST", "/clusters", '{"cluster":', None, 400),
        ("POST", "/clusters", "a: [", "text/yaml", 400),
        ("POST", "/clusters", {"cluster": {"spec": {"protocol": "Eco"}}}, None, 422),
        ("POST", "/clusters", {}, None, 422),
        ("GET", "/clusters/none", None, None, 400),
        ("DELETE", "/clusters/none", None, None, 400),
        ("GET", "/nothing", None, None, 404),
        ("PUT", "/clusters/e", {}, None, 404),
        ("GET", "/clusters?recursive=yes", None, None, 422),
        ("GET", "/clusters?format=odd", None, None, 422),
    ],
)
async def test_errors(
    api: Served, method: str, path: str, body: object, kind: str | None, status: int
) -> None:
    """Every error has its status in the body, in two forms."""
    reply = await api.call(method, path, body, kind)
    assert reply.status in ({404, 405} if status == 404 else {status})
    assert reply.json["status"] == reply.status
    assert reply.json["content"]
    assert reply.headers["content-type"] == "application/json"
    problem = await api.call(method, path, body, kind, "application/problem+json")
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json["status"] == problem.status
    assert problem.json["title"]


@pytest_twisted.ensureDeferred
async def test_problems_are_placed(api: Served) -> None:
    """A document's problems have pointers, lines and remedies."""
    body = "cluster:\n  name: c\n  spec: { protocol: TCP, prt: 5 }\n"
    reply = await api.call("POST", "/clusters", body, "text/x-yaml")
    assert reply.status == 422
    unknown = next(one for one in reply.json["content"] if "prt" in one["path"])
    assert unknown["path"] == "/cluster/spec/prt"
    assert unknown["line"] == 3
    assert "port" in unknown["hint"]


@pytest_twisted.ensureDeferred
async def test_formats(api: Served) -> None:
    """All are the same JSON; terse has no spaces, plain is indented by two."""
    await api.ok("POST", "/clusters", ECHO)
    texts = {
        name: (await api.call("GET", f"/clusters?format={name}")).text
        for name in ("plain", "terse", "space", "lines", "diffy")
    }
    import json

    assert (
        len({json.dumps(json.loads(text), sort_keys=True) for text in texts.values()})
        == 1
    )
    assert " " not in texts["terse"]
    assert '\n  {\n    "name"' in texts["plain"]


@pytest_twisted.ensureDeferred
async def test_names_are_decoded(api: Served) -> None:
    """Names with characters that need encoding can be read and deleted."""
    for name, path in (("a+b:c%d", "a%2Bb%3Ac%25d"), ("é☃", "%C3%A9%E2%98%83")):
        await api.ok(
            "POST", "/clusters", {"cluster": {**ECHO["cluster"], "name": name}}
        )
        assert (await api.ok("GET", f"/clusters/{path}"))["name"] == name
        await api.ok("DELETE", f"/clusters/{path}")
