"""Endpoints of clusters, one by one."""

from __future__ import annotations

import pytest_twisted

from tests.admin.served import Served

AT = "/clusters/c/endpoints"
IT = {"name": "e", "spec": {"address": "a", "port": 7}, "weight": 2}
TCP = {"protocol": "TCP", "port": 5}


@pytest_twisted.ensureDeferred
async def test_a_life(api: Served) -> None:
    """Added to its cluster, an endpoint is known by name; deleted, it is gone."""
    await api.add("cluster", {"name": "c", "spec": TCP})
    reply = await api.call("POST", AT, {"endpoint": IT})
    assert (reply.status, reply.json) == (200, {"status": 200, "message": "OK"})
    assert reply.headers["location"] == "/api/v1/endpoints/e"
    assert await api.ok("GET", AT) == [IT]
    assert await api.ok("GET", "/endpoints/e") == IT
    assert (await api.ok("GET", "/clusters/c"))["endpoints"] == 1
    await api.ok("DELETE", "/endpoints/e?recursive=true")
    assert await api.ok("GET", AT) == []


@pytest_twisted.ensureDeferred
async def test_names_are_optional(api: Served) -> None:
    """An endpoint without a name is given one."""
    await api.add("cluster", {"name": "c", "spec": TCP})
    reply = await api.call("POST", AT, {"endpoint": {"spec": {"address": "a"}}})
    assert reply.headers["location"] == "/api/v1/endpoints/c-EndPoint-0"
    shown = {"name": "c-EndPoint-0", "spec": {"address": "a"}, "weight": 1}
    assert await api.ok("GET", AT) == [shown]


@pytest_twisted.ensureDeferred
async def test_names_are_unique_among_all_clusters(api: Served) -> None:
    """An endpoint of another cluster cannot have the same name."""
    for cluster in "cd":
        await api.add("cluster", {"name": cluster, "spec": TCP})
    await api.ok("POST", AT, {"endpoint": IT})
    reply = await api.call("POST", "/clusters/d/endpoints", {"endpoint": IT})
    assert reply.status == 400
    assert reply.json["content"][0]["path"] == "/endpoint/name"
    assert (await api.ok("GET", "/clusters/d"))["endpoints"] == 0


@pytest_twisted.ensureDeferred
async def test_virtual_clusters_have_none(api: Served) -> None:
    """A cluster that reaches nothing remote takes no endpoint."""
    await api.add("cluster", {"name": "c", "spec": {"protocol": "Echo"}})
    assert (await api.call("POST", AT, {"endpoint": IT})).status == 400
    assert await api.ok("GET", AT) == []


@pytest_twisted.ensureDeferred
async def test_unknown_names(api: Served) -> None:
    """Clusters and endpoints that do not exist are not found."""
    for path in (AT, "/endpoints/e"):
        reply = await api.call("GET", path)
        assert (reply.status, reply.json["content"]) == (400, "Not Found")
    reply = await api.call("POST", AT, {"endpoint": IT})
    assert reply.json["content"] == 'Cannot add endpoint: Unknown cluster "c"'
    reply = await api.call("DELETE", "/endpoints/e")
    assert reply.json["content"] == 'Cannot delete endpoint: Unknown endpoint "e"'
