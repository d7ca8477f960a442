"""The REST API as a protocol: methods, paths, parameters, statuses, headers."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_twisted
from twisted.python.failure import Failure

from l7mp.admin.layout import FORMATS, laid_out
from tests.admin.served import Served

ECHO = {"protocol": "Echo"}
CLUSTER = {"cluster": {"name": "e", "spec": ECHO}}
UNKNOWN = "Unknown API operation"

Logged = list[Failure]


# -- methods and paths -------------------------------------------------------------------


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/clusters/",
        "/clusters/x/y",
        "/api",
        "/api/v1",
        "/api/v1/",
        "/api/v1//clusters",
        "/api/v2/clusters",
        "/api/v1/clusters%2Fx",
    ],
)
async def test_unknown_paths(api: Served, path: str) -> None:
    """A path that is no operation's is not found, whatever the method."""
    for method in ("GET", "POST", "DELETE", "OPTIONS"):
        reply = await api.call(method, path, {} if method == "POST" else None)
        assert (reply.status, reply.json["content"]) == (404, UNKNOWN)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/clusters/x", "DELETE, GET, HEAD, OPTIONS"),
        ("PATCH", "/rules/x", "DELETE, GET, HEAD, OPTIONS"),
        ("DELETE", "/clusters", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/sessions", "GET, HEAD, OPTIONS"),
        ("TRACE", "/docs", "GET, HEAD, OPTIONS"),
    ],
)
async def test_other_methods(api: Served, method: str, path: str, allowed: str) -> None:
    """A method that a path does not have is refused, with those that it has."""
    reply = await api.call(method, path)
    assert (reply.status, reply.json["content"]) == (405, UNKNOWN)
    assert reply.headers["allow"] == allowed


@pytest_twisted.ensureDeferred
async def test_options_of_a_path(api: Served) -> None:
    """OPTIONS tells the methods of a path, without a body."""
    reply = await api.call("OPTIONS", "/config")
    assert (reply.status, reply.text) == (204, "")
    assert reply.headers["allow"] == "GET, HEAD, OPTIONS, POST"


@pytest_twisted.ensureDeferred
async def test_head_of_a_path(api: Served) -> None:
    """HEAD tells what GET would show, without showing it."""
    shown = await api.call("GET", "/config")
    head = await api.call("HEAD", "/config")
    assert (head.status, head.text) == (200, "")
    assert int(head.headers["content-length"]) == len(shown.text.encode())


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a+b:c%d", "a%2Bb%3Ac%25d"),
        ("a+b:c%25d", "a+b:c%2525d"),
        ("é☃", "%C3%A9%E2%98%83"),
        ("a/b", "a%2Fb"),
        ("/", "%2F"),
        ("a?b#c", "a%3Fb%23c"),
        ("<x>", "%3Cx%3E"),
    ],
)
async def test_names_with_any_characters(api: Served, name: str, path: str) -> None:
    """A name with characters that need encoding can be read, found and deleted."""
    body = {"cluster": {"name": name, "spec": ECHO}}
    reply = await api.call("POST", "/clusters", body)
    assert (await api.ok("GET", reply.headers["location"]))["name"] == name
    assert (await api.ok("GET", f"/clusters/{path}"))["name"] == name
    await api.ok("DELETE", f"/clusters/{path}")
    assert await api.names("clusters") == []


@pytest_twisted.ensureDeferred
async def test_names_are_utf_8(api: Served) -> None:
    """A path that is no UTF-8 is refused."""
    reply = await api.call("GET", "/clusters/%ff")
    assert (reply.status, reply.json["content"]) == (400, "the path is not UTF-8")


# -- parameters ----------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("query", ["recursive=yes", "recursive=", "recursive=TRUE"])
async def test_recursive_is_true_or_false(api: Served, query: str) -> None:
    """Anything else is refused, by a GET and by a DELETE, which deletes nothing."""
    await api.add("cluster", CLUSTER["cluster"])
    for method in ("GET", "DELETE"):
        for path in ("/clusters/e", "/sessions/none"):
            reply = await api.call(method, f"{path}?{query}")
            assert reply.status == 422
            assert "true" in reply.json["content"]
    assert await api.names("clusters") == ["e"]


@pytest_twisted.ensureDeferred
async def test_every_get_is_laid_out(api: Served) -> None:
    """Each format is the one that is asked for; an unknown one is refused."""
    await api.add("cluster", CLUSTER["cluster"])
    for path in ("/clusters", "/clusters/e", "/config", "/admin", "/sessions"):
        shown = await api.ok("GET", path)
        for style in FORMATS:
            reply = await api.call("GET", f"{path}?format={style}&recursive=false")
            assert reply.text.encode() == laid_out(shown, style)
        reply = await api.call("GET", f"{path}?format=odd")
        assert reply.status == 422
        assert "diffy" in reply.json["content"]


@pytest_twisted.ensureDeferred
async def test_the_last_value_counts(api: Served) -> None:
    """Of a parameter that is given twice the last value counts."""
    reply = await api.call("GET", "/config?format=odd&format=terse")
    assert reply.text == json.dumps(reply.json, separators=(",", ":")) + "\n"


# -- bodies ---------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_empty_body_needs_no_sense(api: Served, method: str) -> None:
    """GET and DELETE may have any content type, and no body."""
    await api.add("cluster", CLUSTER["cluster"])
    for kind in ("application/json", "text/plain"):
        reply = await api.call(method, "/clusters/e", kind=kind)
        assert reply.status in (200, 400 if method == "DELETE" else 200)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        ("x", "text/plain", 415),
        ("{}", "application/json; charset=latin-1", 415),
        ("", "application/json", 400),
        ('{"cluster":', "application/json", 400),
        ("a: [", "text/yaml", 400),
        ("", "text/yaml", 422),
        ("{}", "application/json", 422),
        ("[]", "application/json", 422),
        ('{"cluster": null}', "application/json", 422),
        ('{"cluster": {"name": "a b", "spec": {}}}', "application/json", 422),
    ],
)
async def test_bodies_that_are_refused(
    api: Served, body: str, kind: str, status: int
) -> None:
    """What cannot be read has 400, what breaks its schema 422, another type 415."""
    reply = await api.call("POST", "/clusters", body, kind)
    assert (reply.status, reply.json["status"]) == (status, status)
    assert reply.json["content"]
    assert await api.names("clusters") == []


@pytest_twisted.ensureDeferred
async def test_problems_are_placed(api: Served) -> None:
    """All problems of a body are told, each with pointer, line and remedy."""
    body = "cluster:\n  name: c\n  spec: { protocol: TCP, prt: 5 }\n  endpoints: x\n"
    reply = await api.call("POST", "/clusters", body, "text/x-yaml")
    found = {one["path"]: one for one in reply.json["content"]}
    assert found.keys() == {
        "/cluster/spec",
        "/cluster/spec/prt",
        "/cluster/endpoints",
    }
    assert found["/cluster/spec/prt"]["line"] == 3
    assert found["/cluster/endpoints"]["line"] == 4
    assert "port" in found["/cluster/spec/prt"]["hint"]


# -- replies ----------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_replies_are_json_in_utf_8(api: Served) -> None:
    """Success and error are labeled JSON, and as long as they say."""
    for path, status in (("/clusters/☃", 200), ("/rules/☃", 400)):
        await api.call("POST", "/clusters", {"cluster": {"name": "☃", "spec": ECHO}})
        encoded = path.replace("☃", "%E2%98%83")
        reply = await api.call("GET", encoded)
        assert reply.status == status
        assert reply.headers["content-type"] == "application/json"
        assert int(reply.headers["content-length"]) == len(reply.text.encode())
    reply = await api.call("DELETE", "/rules/%E2%98%83")
    assert reply.json["content"] == 'Cannot delete rule: Unknown rule "☃"'


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/clusters/x", 400), ("GET", "/x", 404), ("PUT", "/config", 405)],
)
async def test_errors_as_rfc_9457_has_them(
    api: Served, method: str, path: str, status: int
) -> None:
    """Who asks for problem details gets them; a success is JSON all the same."""
    wanted = "application/problem+json"
    reply = await api.call(method, path, accept=f"{wanted}, application/json")
    assert (reply.status, reply.json["status"]) == (status, status)
    assert reply.headers["content-type"] == wanted
    assert reply.json.keys() == {"type", "title", "status", "detail"}
    shown = await api.call("GET", "/config", accept=wanted)
    assert shown.headers["content-type"] == "application/json"


@pytest_twisted.ensureDeferred
async def test_a_fault_is_logged_and_not_told(
    api: Served, monkeypatch: pytest.MonkeyPatch, logged_failures: Logged
) -> None:
    """What nobody foresaw is a 500 without details; these are in the log."""

    def fail(*_: object) -> Any:
        raise ZeroDivisionError("a secret")

    with monkeypatch.context() as patched:
        patched.setattr("l7mp.model.viewer.Viewer.config", fail)
        reply = await api.call("GET", "/config")
    assert reply.status == 500
    assert "secret" not in reply.text
    assert "Traceback" not in reply.text
    failure = logged_failures.pop()
    assert failure.check(ZeroDivisionError)
    assert await api.ok("GET", "/config")


# -- through a listener --------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_the_api_is_reached_through_the_proxy(api: Served) -> None:
    """A listener whose route leads to the controller offers all of it."""
    await api.apply(
        {"clusters": [{"name": "c", "spec": {"protocol": "L7mpController"}}]}
    )
    base = await api.listen("controller", "HTTP", destination="c")
    reply = await api.call("POST", "/clusters", CLUSTER, base=base)
    assert (reply.status, reply.json["message"]) == (200, "OK")
    assert reply.headers["location"] == "/api/v1/clusters/e"
    for path, status in (("/clusters/e", 200), ("/x", 404), ("/clusters/a%2Fb", 400)):
        reply = await api.call("GET", path, base=base)
        assert reply.status == status
        assert reply.headers["content-type"] == "application/json"
    head = await api.call("HEAD", "/clusters", base=base)
    assert (head.status, head.text) == (200, "")


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    "path",
    ["/listeners/controller", "/clusters/c"],
)
async def test_deleting_the_way_back_is_answered(api: Served, path: str) -> None:
    """A request that deletes what it came through is answered before it ends."""
    await api.apply(
        {"clusters": [{"name": "c", "spec": {"protocol": "L7mpController"}}]}
    )
    base = await api.listen("controller", "HTTP", destination="c")
    reply = await api.call("DELETE", f"{path}?recursive=true", base=base)
    assert (reply.status, reply.json) == (200, {"status": 200, "message": "OK"})
    assert (await api.call("GET", path)).status == 400
