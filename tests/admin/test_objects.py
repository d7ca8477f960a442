"""Listeners, clusters, rulelists, rules and routes: list, add, get, delete."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import pytest_twisted

from tests.admin.served import Served

ECHO = {"protocol": "Echo"}

OBJECTS = [
    ("listener", {"spec": {"protocol": "UDP", "port": 0}, "rules": []}),
    ("cluster", {"spec": ECHO}),
    ("rulelist", {"rules": []}),
    ("rule", {"action": {"route": "later"}}),
    ("route", {"destination": "later"}),
]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(("word", "it"), OBJECTS)
async def test_a_life(api: Served, word: str, it: dict[str, Any]) -> None:
    """Added, it is listed and shown, by name and recursively; deleted, it is gone."""
    path = f"/{word}s"
    reply = await api.call("POST", path, {word: {**it, "name": "x"}})
    assert (reply.status, reply.json) == (200, {"status": 200, "message": "OK"})
    assert reply.headers["location"] == f"/api/v1{path}/x"
    one = await api.ok("GET", f"{path}/x")
    assert one["name"] == "x"
    assert await api.ok("GET", path) == [one]
    assert await api.ok("GET", f"{path}?recursive=true") == [
        await api.ok("GET", f"{path}/x?recursive=true")
    ]
    assert await api.ok("DELETE", f"{path}/x") == {"status": 200, "message": "OK"}
    assert await api.ok("GET", path) == []


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(("word", "it"), OBJECTS)
async def test_names_are_unique(api: Served, word: str, it: dict[str, Any]) -> None:
    """A second one of the same name is refused, and the first stays as it was."""
    await api.add(word, {**it, "name": "x"})
    before = await api.ok("GET", "/config")
    reply = await api.call("POST", f"/{word}s", {word: {**it, "name": "x"}})
    assert reply.status == 400
    (problem,) = reply.json["content"]
    assert problem["path"] == f"/{word}/name"
    assert '"x" already defined' in problem["message"]
    assert problem["line"] == 1
    assert await api.ok("GET", "/config") == before


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(("word", "it"), OBJECTS)
async def test_unknown_names(api: Served, word: str, it: dict[str, Any]) -> None:
    """What does not exist is not found, and cannot be deleted."""
    reply = await api.call("GET", f"/{word}s/x")
    assert (reply.status, reply.json["content"]) == (400, "Not Found")
    for query in ("", "?recursive=true"):
        reply = await api.call("DELETE", f"/{word}s/x{query}")
        content = f'Cannot delete {word}: Unknown {word} "x"'
        assert (reply.status, reply.json["content"]) == (400, content)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(("word", "it"), OBJECTS[1:])
async def test_names_are_optional(api: Served, word: str, it: dict[str, Any]) -> None:
    """What has no name is given one, which the reply tells."""
    reply = await api.call("POST", f"/{word}s", {word: it})
    (name,) = await api.names(f"{word}s")
    assert reply.headers["location"] == f"/api/v1/{word}s/{name}"


@pytest_twisted.ensureDeferred
async def test_a_delete_takes_the_object_alone(api: Served) -> None:
    """Not recursive, everything that was defined in it stays; recursive, it goes."""
    rule = {"action": {"route": {"destination": {"spec": ECHO}, "egress": ["named"]}}}
    spec = {"protocol": "UDP", "port": 0}
    await api.add("cluster", {"name": "named", "spec": ECHO})
    for query, left in (("", 1), ("?recursive=true", 0)):
        listener = {"name": "x", "spec": spec, "rules": [rule]}
        await api.add("listener", listener)
        await api.ok("DELETE", f"/listeners/x{query}")
        for collection in ("rulelists", "rules", "routes"):
            assert len(await api.names(collection)) == left, collection
        assert len(await api.names("clusters")) == 1 + left
        await api.ok("POST", "/config", {"clusters": [{"name": "named", "spec": ECHO}]})


@pytest_twisted.ensureDeferred
async def test_order_is_that_of_creation(api: Served) -> None:
    """A list shows what was added first first."""
    for name in "bca":
        await api.add("cluster", {"name": name, "spec": ECHO})
    assert await api.names("clusters") == ["b", "c", "a"]


@pytest_twisted.ensureDeferred
async def test_a_port_in_use_refuses_the_whole(api: Served) -> None:
    """A listener that cannot listen is told why, and leaves nothing behind."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        spec = {"protocol": "TCP", "address": "127.0.0.1", "port": port}
        rules = [{"action": {"route": {"destination": {"spec": ECHO}}}}]
        before = await api.ok("GET", "/config")
        it = {"name": "x", "spec": spec, "rules": rules}
        reply = await api.call("POST", "/listeners", {"listener": it})
    assert reply.status == 400
    assert str(port) in reply.json["content"]
    assert await api.ok("GET", "/config") == before


@pytest_twisted.ensureDeferred
async def test_loops_are_refused(api: Served) -> None:
    """Rulelists that apply each other are refused when the loop is closed."""
    await api.add("rulelist", {"name": "a", "rules": [{"action": {"apply": "b"}}]})
    body = {"rulelist": {"name": "b", "rules": [{"action": {"apply": "a"}}]}}
    reply = await api.call("POST", "/rulelists", body)
    assert reply.status == 400
    assert "loop" in reply.text
    assert await api.names("rulelists") == ["a"]
