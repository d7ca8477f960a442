"""Rules at their places in rulelists."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from tests.admin.served import Served

AT = "/rulelists/l/rules"
LONG = "9" * 5000


async def rules(api: Served) -> Any:
    return (await api.ok("GET", "/rulelists/l"))["rules"]


@pytest_twisted.ensureDeferred
async def test_rules_are_inserted(api: Served) -> None:
    """A rule, given or named, is put at a position from 0 to the length of the list."""
    await api.add("rulelist", {"name": "l", "rules": []})
    await api.add("rule", {"name": "named", "action": {}})
    for position, rule, found in (
        (0, {"name": "new", "action": {}}, ["new"]),
        (1, "named", ["new", "named"]),
        (1, {"action": {}}, ["new", "l-Rule-0", "named"]),
    ):
        reply = await api.call("POST", f"{AT}/{position}", {"rule": rule})
        assert reply.status == 200
        assert reply.headers["location"] == f"/api/v1/rules/{found[position]}"
        assert await rules(api) == found


@pytest_twisted.ensureDeferred
async def test_rules_are_shown(api: Served) -> None:
    """A place, by position or by name, shows the rule itself."""
    route = {"name": "t", "destination": "later"}
    given: list[Any] = [
        {"name": "a", "action": {}},
        {"name": "7", "action": {"route": route}},
    ]
    await api.add("rulelist", {"name": "l", "rules": given})
    for which, name in (("0", "a"), ("a", "a"), ("1", "7"), ("7", "7")):
        assert (await api.ok("GET", f"{AT}/{which}"))["name"] == name
    shown = await api.ok("GET", f"{AT}/1?recursive=true")
    assert shown["action"]["route"]["destination"] == "later:<STALE>"


@pytest_twisted.ensureDeferred
async def test_rules_are_removed(api: Served) -> None:
    """By position or name, a rule leaves the list; recursively, it is deleted, too."""
    given: Any = [{"name": name, "action": {}} for name in ("a", "1st", "c")]
    await api.add("rulelist", {"name": "l", "rules": given})
    await api.ok("DELETE", f"{AT}/1st")
    assert await rules(api) == ["a", "c"]
    await api.ok("DELETE", f"{AT}/1")
    assert await rules(api) == ["a"]
    await api.ok("DELETE", f"{AT}/0?recursive=true")
    assert await rules(api) == []
    assert await api.names("rules") == ["1st", "c"]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("place", ["1", "x", "-1", "1.5", "٣", "²", LONG])
async def test_places_that_are_not_there(api: Served, place: str) -> None:
    """Beyond the list, and what is no place at all, is refused and changes nothing."""
    from urllib.parse import quote

    await api.add("rulelist", {"name": "l", "rules": [{"name": "a", "action": {}}]})
    at = f"{AT}/{quote(place)}"
    reply = await api.call("GET", at)
    assert (reply.status, reply.json["content"]) == (400, "Not Found")
    assert (await api.call("DELETE", at)).status == 400
    if place != "1":
        assert (await api.call("POST", at, {"rule": "a"})).status == 400
    assert await rules(api) == ["a"]


@pytest_twisted.ensureDeferred
async def test_unknown_names(api: Served) -> None:
    """A list or a rule that does not exist is not found."""
    reply = await api.call("POST", f"{AT}/0", {"rule": "a"})
    assert reply.json["content"] == 'Cannot add rule: Unknown rulelist "l"'
    assert (await api.call("GET", f"{AT}/0")).json["content"] == "Not Found"
    reply = await api.call("DELETE", f"{AT}/0")
    assert reply.json["content"] == 'Cannot delete rule: Unknown rulelist "l"'
    await api.add("rulelist", {"name": "l", "rules": ["gone"]})
    reply = await api.call("POST", f"{AT}/0", {"rule": "a"})
    assert reply.json["content"] == 'Cannot add rule: Unknown rule "a"'
    assert (await api.call("GET", f"{AT}/0")).json["content"] == "Not Found"
