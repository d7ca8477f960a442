"""Operations on everything, and on the settings."""

from __future__ import annotations

from typing import Any

import pytest_twisted

import l7mp
from tests.admin.served import Served

EVERYTHING: dict[str, Any] = {
    "clusters": [
        {
            "name": "remote",
            "spec": {"protocol": "UDP", "port": 9},
            "endpoints": [
                {"name": "e", "spec": {"address": "127.0.0.1"}, "weight": 2},
                {"spec": {"address": "127.0.0.2", "port": 7}},
            ],
            "loadbalancer": {"policy": "HashRing"},
        },
        {"name": "virtual", "spec": {"protocol": "Logger"}},
    ],
    "rulelists": [
        {
            "name": "l",
            "rules": [
                {"name": "r", "action": {"route": {"destination": "remote"}}},
                {
                    "match": {"op": "defined", "path": "/a"},
                    "action": {
                        "route": {"destination": {"spec": {"protocol": "Echo"}}}
                    },
                },
            ],
        }
    ],
}


@pytest_twisted.ensureDeferred
async def test_a_dump_changes_nothing(api: Served) -> None:
    """What GET shows of everything, recursively or not, can be posted back."""
    await api.apply(EVERYTHING)
    shown = await api.ok("GET", "/config")
    for path in ("/config", "/config?recursive=true"):
        dump = await api.ok("GET", path)
        await api.ok("POST", "/config", dump)
        assert await api.ok("GET", path) == dump
    assert await api.ok("GET", "/config") == shown


@pytest_twisted.ensureDeferred
async def test_everything_is_shown(api: Served) -> None:
    """All sections are there, endpoints by themselves with the name of their cluster."""
    await api.apply(EVERYTHING)
    shown = await api.ok("GET", "/config")
    assert list(shown) == [
        "admin",
        "listeners",
        "clusters",
        "rulelists",
        "rules",
        "routes",
        "endpoints",
        "sessions",
    ]
    assert [one["endpoints"] for one in shown["clusters"]] == [2, 0, 0]
    assert [(e["name"], e["cluster"], e["weight"]) for e in shown["endpoints"]] == [
        ("e", "remote", 2),
        ("remote-EndPoint-0", "remote", 1),
    ]
    shown = await api.ok("GET", "/config?recursive=true")
    assert [len(one["endpoints"]) for one in shown["clusters"]] == [2, 1, 1]


@pytest_twisted.ensureDeferred
async def test_everything_is_replaced(api: Served) -> None:
    """What the new configuration does not have is gone; settings not given stay."""
    await api.apply({**EVERYTHING, "admin": {"log_level": "warn"}})
    await api.ok("POST", "/config", {"routes": [], "clusters": []})
    shown = await api.ok("GET", "/config")
    assert shown["clusters"] == shown["rulelists"] == shown["routes"] == []
    assert shown["admin"]["log_level"] == "warn"


@pytest_twisted.ensureDeferred
async def test_a_wrong_configuration_changes_nothing(api: Served) -> None:
    """One dangling name refuses the whole, and says where it is written."""
    await api.apply(EVERYTHING)
    before = await api.ok("GET", "/config")
    body = "clusters: []\nroutes:\n- name: r\n  destination: nowhere\n"
    reply = await api.call("POST", "/config", body, "text/yaml")
    assert reply.status == 400
    (problem,) = reply.json["content"]
    assert problem["path"] == "/routes/0/destination"
    assert (problem["line"], problem["column"]) == (4, 3)
    assert '"nowhere"' in problem["message"]
    assert await api.ok("GET", "/config") == before


@pytest_twisted.ensureDeferred
async def test_sessions_of_what_stays_live_on(api: Served) -> None:
    """The session that carries the request is answered though its listener goes."""
    await api.apply(
        {"clusters": [{"name": "c", "spec": {"protocol": "L7mpController"}}]}
    )
    base = await api.listen("controller", "HTTP", destination="c")
    reply = await api.call("POST", "/config", {"clusters": []}, base=base)
    assert (reply.status, reply.json) == (200, {"status": 200, "message": "OK"})
    assert await api.names("listeners") == []


@pytest_twisted.ensureDeferred
async def test_settings(api: Served) -> None:
    """What is given changes, the rest stays; the version is the proxy's."""
    for given in ({"log_level": "warn"}, {"strict": True}, {"version": "0.5.7"}):
        await api.ok("POST", "/admin", {"admin": given})
    assert await api.ok("GET", "/admin") == {
        "log_level": "warn",
        "strict": True,
        "offload": False,
        "version": l7mp.__version__,
    }
    reply = await api.call("POST", "/admin", {"admin": {"log_level": "loud"}})
    assert reply.status == 422


@pytest_twisted.ensureDeferred
async def test_boundaries_are_not_left_to_chance(api: Served) -> None:
    """Where that is refused, a lossy route is too, with its place; a framing helps."""
    clusters = [{"name": "t", "spec": {"protocol": "TCP", "port": 1}}]
    await api.apply({"clusters": clusters})
    await api.ok("POST", "/admin", {"admin": {"boundaries": "refuse"}})
    before = await api.ok("GET", "/config")
    route: dict[str, Any] = {"destination": "t"}
    listener = {
        "name": "u",
        "spec": {"protocol": "UDP", "port": 1},
        "rules": [{"action": {"route": route}}],
    }
    reply = await api.call("POST", "/listeners", {"listener": listener})
    assert reply.status == 400
    lost, arbitrary = reply.json["content"]
    assert lost["path"] == "/listener/rules/0/action/route"
    assert "boundaries are lost: u (UDP)" in lost["message"]
    assert "name a framing" in lost["hint"]
    assert "boundaries are arbitrary" in arbitrary["message"]
    assert await api.ok("GET", "/config") == before
    framed = {"name": "f", "spec": {"protocol": "TCP", "port": 1}, "framing": "u16be"}
    await api.add("cluster", framed)
    assert (await api.ok("GET", "/clusters/f"))["framing"] == "u16be"
    await api.add("route", {"name": "r", "destination": "t", "framing": "lines"})
    assert (await api.ok("GET", "/routes/r"))["framing"] == "lines"
