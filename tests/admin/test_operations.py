"""Every operation of the table does what it says, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_twisted

from tests.admin.served import Served

TO_ECHO = {"destination": {"spec": {"protocol": "Echo"}}}


@pytest_twisted.async_yield_fixture
async def api() -> AsyncIterator[Served]:
    from twisted.internet import reactor

    served = Served(reactor)  # type: ignore[arg-type]
    yield served
    await served.close()


async def names(api: Served, kind: str) -> list[str]:
    return [one["name"] for one in await api.ok("GET", f"/{kind}")]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("kind", "it"),
    [
        ("cluster", {"name": "x", "spec": {"protocol": "Echo"}}),
        ("rulelist", {"name": "x", "rules": []}),
        ("rule", {"name": "x", "action": {"route": "later"}}),
        ("route", {"name": "x", "destination": "later"}),
    ],
)
async def test_named_objects(api: Served, kind: str, it: dict[str, object]) -> None:
    """Add, list, get, refuse a duplicate, delete."""
    await api.ok("POST", f"/{kind}s", {kind: it})
    assert await names(api, f"{kind}s") == ["x"]
    one = await api.ok("GET", f"/{kind}s/x")
    assert await api.ok("GET", f"/{kind}s") == [one]
    assert (await api.ok("GET", f"/{kind}s/x?recursive=true"))["name"] == "x"
    again = await api.call("POST", f"/{kind}s", {kind: it})
    assert again.status == 400
    assert '"x" already defined' in again.text.replace("\\", "")
    await api.ok("DELETE", f"/{kind}s/x")
    assert await names(api, f"{kind}s") == []


@pytest_twisted.ensureDeferred
async def test_endpoints(api: Served) -> None:
    """They come and go one by one, and are known by name."""
    spec = {"protocol": "TCP", "port": 5}
    await api.ok("POST", "/clusters", {"cluster": {"name": "c", "spec": spec}})
    body = {"endpoint": {"name": "e", "spec": {"address": "a", "port": 7}, "weight": 2}}
    await api.ok("POST", "/clusters/c/endpoints", body)
    shown = {
        "name": "e",
        "spec": {"address": "a", "port": 7},
        "weight": 2,
    }
    assert await api.ok("GET", "/clusters/c/endpoints") == [shown]
    assert await api.ok("GET", "/endpoints/e") == shown
    assert (await api.ok("GET", "/clusters/c"))["endpoints"] == 1
    await api.ok("DELETE", "/endpoints/e?recursive=true")
    assert await api.ok("GET", "/clusters/c/endpoints") == []
    for path in ("/endpoints/e", "/clusters/none/endpoints"):
        assert (await api.call("GET", path)).status == 400
    assert (await api.call("POST", "/clusters/none/endpoints", body)).status == 400


@pytest_twisted.ensureDeferred
async def test_rules_in_lists(api: Served) -> None:
    """Inserted at positions, by definition or by name; removed by either."""
    await api.ok("POST", "/rulelists", {"rulelist": {"name": "l", "rules": []}})
    await api.ok("POST", "/rules", {"rule": {"name": "named", "action": {}}})
    at = "/rulelists/l/rules"
    await api.ok("POST", f"{at}/0", {"rule": {"name": "new", "action": {}}})
    await api.ok("POST", f"{at}/1", {"rule": "named"})
    assert (await api.ok("GET", "/rulelists/l"))["rules"] == ["new", "named"]
    assert (await api.ok("GET", f"{at}/1"))["name"] == "named"
    assert (await api.ok("GET", f"{at}/new"))["name"] == "new"
    for bad in (f"{at}/5", f"{at}/x", "/rulelists/none/rules/0"):
        assert (await api.call("POST", bad, {"rule": "named"})).status in (400, 422)
        assert (await api.call("GET", bad)).status in (400, 422)
    await api.ok("DELETE", f"{at}/named")
    await api.ok("DELETE", f"{at}/0?recursive=true")
    assert await names(api, "rules") == ["named"]
    await api.ok("POST", f"{at}/0", {"rule": "named"})
    await api.ok("DELETE", "/rules/named")
    assert (await api.call("GET", f"{at}/0")).status == 400


@pytest_twisted.ensureDeferred
async def test_the_whole_configuration(api: Served) -> None:
    """A dump can be posted back, plain or recursive, and changes nothing."""
    spec = {"protocol": "UDP", "port": 9}
    ends = [{"spec": {"address": "127.0.0.1"}}]
    await api.ok(
        "POST", "/clusters", {"cluster": {"name": "c", "spec": spec, "endpoints": ends}}
    )
    rule = {"name": "r", "action": {"route": {"destination": "c"}}}
    await api.ok("POST", "/rulelists", {"rulelist": {"name": "l", "rules": [rule]}})
    for path in ("/config", "/config?recursive=true"):
        dump = await api.ok("GET", path)
        await api.ok("POST", "/config", dump)
        assert await api.ok("GET", path) == dump
    await api.ok("POST", "/config", {"clusters": []})
    assert await names(api, "clusters") == []
    dangling = {"routes": [{"name": "r", "destination": "nowhere"}]}
    assert (await api.call("POST", "/config", dangling)).status in (400, 422)
    assert await names(api, "routes") == []


@pytest_twisted.ensureDeferred
async def test_settings(api: Served) -> None:
    """What is given changes, the rest stays."""
    await api.ok("POST", "/admin", {"admin": {"log_level": "warn"}})
    await api.ok("POST", "/admin", {"admin": {"strict": True}})
    shown = await api.ok("GET", "/admin")
    assert (shown["log_level"], shown["strict"]) == ("warn", True)
    assert shown["version"]


@pytest_twisted.ensureDeferred
async def test_sessions(api: Served) -> None:
    """Listed, shown and ended by name."""
    from twisted.internet import reactor
    from twisted.internet.endpoints import TCP4ClientEndpoint
    from twisted.internet.protocol import Factory, Protocol

    from l7mp.protocols.tcp import TCPListenerSpec

    await api.ok("POST", "/rulelists", {"rulelist": {"name": "l", "rules": [{"action": {"route": TO_ECHO}}]}})  # fmt: skip
    heard: list[object] = []
    spec = TCPListenerSpec.model_construct(protocol="TCP", port=0, address="127.0.0.1")
    from dataclasses import replace

    from l7mp.model.config import Listener
    from l7mp.model.edit import Change

    def add(config: object) -> Change:
        return Change(replace(config, listeners={"in": Listener("in", spec, "l")}))  # type: ignore[type-var]

    await api.proxy.edit(add)
    running = api.proxy._running["in"].listening
    assert running is not None
    where = TCP4ClientEndpoint(reactor, "127.0.0.1", running.address()["port"])
    client = await where.connect(Factory.forProtocol(Protocol))
    client.connectionLost = heard.append
    while not api.proxy.sessions:
        await api.ok("GET", "/sessions")
    (session,) = await api.ok("GET", "/sessions")
    assert await api.ok("GET", f"/sessions/{session['name']}") == session
    assert session["source"]["origin"] == "in"
    assert session["destination"]["endpoint"]["spec"] == {"address": "<VIRTUAL>"}
    await api.ok("DELETE", f"/sessions/{session['name']}")
    while not heard:
        await api.ok("GET", "/sessions")
    client.transport.abortConnection()
    for method in ("GET", "DELETE"):
        assert (await api.call(method, "/sessions/none")).status == 400
