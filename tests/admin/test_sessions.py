"""Sessions as REST shows them, and as it ends them."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import quote

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from l7mp.admin.operation import OK, Call
from l7mp.admin.sessions import OPERATIONS, session_view
from l7mp.errors import Loss, Reason
from l7mp.model import edit
from l7mp.model.declared import Listener
from l7mp.observers.journal import Journal
from tests.admin.served import Served
from tests.core.support import World
from tests.streams.loopback import until

NOTHING = {"messages_in": 0, "bytes_in": 0, "messages_out": 0, "bytes_out": 0}


class Watched(World):
    """A world with a journal, of which sessions are shown."""

    def __init__(self) -> None:
        super().__init__()
        self.journal = Journal()
        self.proxy.subscribe(self.journal)

    def shown(self) -> dict[str, Any]:
        return session_view(self.session, self.proxy.config, self.journal).dump()


def test_a_session_that_is_connected() -> None:
    """Source, destination and chains, each with what it is and what passed it."""
    world = Watched()
    world.route(ingress=[{"name": "t", "spec": {"protocol": "Echo"}}])
    source = world.arrive(IP={"src_addr": "a"})
    source.inject(b"four")
    shown = world.shown()
    counted = {**NOTHING, "messages_in": 1, "bytes_in": 4}
    assert shown["name"] == world.session.name
    assert shown["metadata"] == {"IP": {"src_addr": "a"}}
    assert shown["status"] == "CONNECTED"
    assert shown["counters"] == counted
    assert shown["drops"] == {}
    assert shown["source"] == {
        "origin": "in",
        "listener": {"protocol": "Messages"},
        "status": "READY",
        "counters": counted,
    }
    assert shown["destination"] == {
        "origin": "out",
        "endpoint": {"name": "e1", "spec": {"address": "a"}},
        "protocol": "Messages",
        "status": "READY",
        "counters": {**NOTHING, "messages_out": 1, "bytes_out": 4},
    }
    (transform,) = shown["ingress"]
    assert transform["endpoint"] == {"name": "t", "spec": {"address": "<VIRTUAL>"}}
    assert shown["egress"] == []
    assert [one["event"] for one in shown["events"]] == [
        "INIT",
        "LOOKUP SUCCESS",
        "CONNECT",
    ]
    assert not {"warnings", "reason"} & shown.keys()


def test_a_session_that_is_being_connected() -> None:
    """A stage shows its protocol, but no endpoint before one is chosen."""
    world = Watched()
    world.route(retry={"retry_on": "always"})
    world.proxy.edit(lambda config: edit.delete_endpoint(config, "e1"))
    world.proxy.edit(lambda config: edit.delete_endpoint(config, "e2"))
    world.arrive()
    destination = world.shown()["destination"]
    assert destination["endpoint"] == {}
    assert destination["protocol"] == "Messages"
    assert destination["counters"] == NOTHING
    world.proxy.edit(lambda config: edit.delete_cluster(config, "out"))
    assert world.shown()["destination"]["protocol"] == ""


def test_a_session_with_an_endpoint_s_own_port() -> None:
    """A port that the endpoint has for itself is shown."""
    world = Watched()
    end = {"name": "e", "spec": {"address": "a", "port": 7}}
    spec = {"protocol": "Messages"}
    rules = [{"action": {"route": {"destination": "out"}}}]
    world.configure(
        clusters=[{"name": "out", "spec": spec, "endpoints": [end]}],
        listeners=[{"name": "in", "spec": spec, "rules": rules}],
    )
    world.arrive()
    assert world.shown()["destination"]["endpoint"] == end


def test_a_session_without_a_route() -> None:
    """A session that no rule matched is tracked with a destination that is pending."""
    world = Watched()
    spec = {"protocol": "Messages"}
    listener = {"name": "in", "spec": spec, "rules": [], "options": {"track": 5}}
    world.configure(listeners=[listener])
    world.arrive()
    shown = world.shown()
    assert shown["destination"] == {"status": "PENDING"}
    assert shown["ingress"] == shown["egress"] == []
    assert shown["reason"]["reason"] == "no-route"
    words = [one["event"] for one in shown["events"]]
    assert words == ["INIT", "ERROR", "END", "DESTROY"]
    world.clock.advance(6)


def test_a_session_whose_objects_are_deleted() -> None:
    """Listener and endpoint are invalid once they are gone, and only then."""
    world = Watched()
    world.route("Messages", "Messages")
    world.arrive()
    world.proxy.edit(lambda config: edit.delete_endpoint(config, "e2"))
    assert world.shown()["destination"]["endpoint"]["name"] == "e1"
    world.proxy.edit(lambda config: edit.delete_endpoint(config, "e1"))
    assert world.shown()["destination"]["endpoint"] == "<INVALID>"
    world.proxy.edit(lambda config: edit.delete_cluster(config, "out"))
    assert world.shown()["destination"]["endpoint"] == "<INVALID>"
    assert world.shown()["source"]["listener"] == {"protocol": "Messages"}
    world.proxy.edit(lambda config: edit.delete_listener(config, "in"))
    assert world.shown()["source"]["listener"] == "<INVALID>"


def test_a_listener_of_the_same_name_is_another_one() -> None:
    """A session does not claim a listener that took the place of its own."""
    world = Watched()
    world.route()
    world.arrive()
    world.proxy.edit(lambda config: edit.delete_listener(config, "in"))
    again = world.say(
        Listener,
        {"name": "in", "spec": {"protocol": "Messages", "port": 2}, "rules": []},
    )
    world.proxy.edit(lambda config: edit.add_listener(config, world.words, again))
    assert world.shown()["source"]["listener"] == "<INVALID>"


def test_a_session_that_loses_boundaries() -> None:
    """What is lost on the way is a warning on the session."""
    world = Watched()
    world.route("Messages", "Bytes")
    world.arrive()
    (warning,) = world.shown()["warnings"]
    assert "boundaries" in warning


def test_drops_are_summed() -> None:
    """What reached nobody is counted by reason, whichever stage lost it."""
    world = Watched()
    world.route()
    source = world.arrive()
    source.drops["queue full"] = 2
    world.messages.made[0].drops.update({"queue full": 3, "too large": 1})
    assert world.shown()["drops"] == {"queue full": 5, "too large": 1}


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        (Loss(Reason.DELETED, "over"), {"reason": "deleted", "detail": "over"}),
        (
            Loss(Reason.FIN, "kicked", 4000),
            {"reason": "fin", "detail": "kicked", "code": 4000},
        ),
    ],
)
def test_a_session_that_is_over(loss: Loss, reason: dict[str, Any]) -> None:
    """While it is tracked, an ended session tells why, by the peer's code if any."""
    world = Watched()
    spec = {"protocol": "Messages"}
    rules = [{"action": {"route": {"destination": {"spec": {"protocol": "Echo"}}}}}]
    listener = {"name": "in", "spec": spec, "rules": rules, "options": {"track": 5}}
    world.configure(listeners=[listener])
    world.arrive()
    world.session.end(loss)
    shown = world.shown()
    assert shown["reason"] == reason
    assert shown["status"] in ("FINALIZING", "DESTROYED")
    assert "END" in [one["event"] for one in shown["events"]]
    world.clock.advance(6)


# -- over REST ----------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_the_request_s_own_session_is_listed(api: Served) -> None:
    """The session that carries a request is there while it is answered, and ends."""
    await api.apply(
        {"clusters": [{"name": "c", "spec": {"protocol": "L7mpController"}}]}
    )
    base = await api.listen("controller", "HTTP", destination="c")
    (session,) = (await api.call("GET", "/sessions", base=base)).json
    assert session["source"]["origin"] == "controller"
    assert session["metadata"]["HTTP"]["url"]["path"] == "/api/v1/sessions"
    assert session["destination"]["protocol"] == "L7mpController"
    assert session["status"] == "CONNECTED"
    assert await api.ok("GET", "/sessions") == []


@pytest_twisted.ensureDeferred
async def test_a_session_is_ended_by_name(api: Served) -> None:
    """A session is shown by its name, and ended by it: its peer is let go."""
    base = await api.listen("in", "TCP", destination={"spec": {"protocol": "Echo"}})
    with socket.create_connection(address_of(base)) as peer:
        peer.setblocking(False)
        await until(lambda: api.proxy.sessions)
        (session,) = await api.ok("GET", "/sessions")
        path = f"/sessions/{quote(session['name'], safe='')}"
        assert await api.ok("GET", path) == session
        assert await api.ok("DELETE", path) == {"status": 200, "message": "OK"}
        assert await until(lambda: ended(peer))
    assert await api.ok("GET", "/sessions") == []


def test_a_session_that_deletes_itself_is_answered() -> None:
    """A request to end the session that carries it is answered; the end is its own."""
    world = Watched()
    world.route()
    world.arrive()
    name = world.session.name
    (delete,) = (one for one in OPERATIONS if one.method == "DELETE")
    for session, status in ((name, "CONNECTED"), ("", "DESTROYED")):
        it = Call(world.proxy, world.journal, {"name": name}, session=session)
        replies: list[object] = []
        mine = world.session
        Deferred.fromCoroutine(delete.handler(it)).addCallback(replies.append)
        assert replies == [OK]
        assert mine.status == status


@pytest_twisted.ensureDeferred
async def test_unknown_names(api: Served) -> None:
    """A session that does not exist is not found, and cannot be deleted."""
    for method, content in (
        ("GET", "Not Found"),
        ("DELETE", 'Cannot delete session: Unknown session "none"'),
    ):
        reply = await api.call(method, "/sessions/none")
        assert (reply.status, reply.json["content"]) == (400, content)


def address_of(base: str) -> tuple[str, int]:
    host, _, port = base.removeprefix("http://").partition(":")
    return host, int(port)


def ended(peer: socket.socket) -> bool:
    """Whether the other side has closed."""
    try:
        return peer.recv(1) == b""
    except BlockingIOError:
        return False
