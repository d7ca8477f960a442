"""Resources of twisted.web as the destination of a session."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK, Metadata
from l7mp.streams.resource import (
    PIECE,
    ISessionName,
    ResourceStream,
    is_request,
    site_of,
)
from l7mp.streams.stream import Stream
from l7mp.wire.httpmeta import request_metadata

Render = Callable[[Request], Any]


@implementer(IResource)
class Page(Resource):
    """Whatever a test wants it to be."""

    isLeaf = True

    def __init__(self, render: Render) -> None:
        super().__init__()
        self._render = render

    def render(self, request: Any) -> Any:
        return self._render(request)


class Listener(Stream):
    """What stands behind the stage: notes everything in order."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []

    def describe(self, facts: Metadata) -> None:
        self.heard.append(facts["HTTP"])

    def write(self, data: bytes) -> None:
        self.heard.append(data)

    def end(self) -> None:
        self.heard.append("end")

    @property
    def body(self) -> bytes:
        return b"".join(one for one in self.heard if isinstance(one, bytes))


class World:
    """A stage around a page, and what it says."""

    def __init__(self, render: Render, method: str = "GET", **more: Any) -> None:
        target = more.pop("target", "/a%20b?x=1&x=2")
        headers = more.pop("headers", {"host": "example.org:8080"})
        about = request_metadata(method, target, "1.1", headers.items())
        metadata: Metadata = {
            "IP": {"src_addr": "192.0.2.1", "dst_addr": "2001:db8::1"},
            "TCP": {"src_port": 5000, "dst_port": 80},
            "HTTP": about,
            "name": "HTTP:a-b-0",
        }
        self.clock = Clock()
        self.site: Site = site_of(Page(render), self.clock)
        self.stage = ResourceStream(self.site, metadata, self.clock, **more)
        self.listener = Listener()
        self.stage.deliver_to(self.listener)
        self.stage.release(SINK)

    def ask(self, *body: bytes) -> list[Any]:
        for piece in body:
            self.stage.write(piece)
        self.stage.end()
        return self.listener.heard


def waiting(requests: list[Request]) -> Render:
    """A page that keeps its requests and answers later."""

    def render(request: Request) -> Any:
        requests.append(request)
        return NOT_DONE_YET

    return render


def test_a_request_is_rendered() -> None:
    """The resource sees method, path, arguments, headers, body and both ends."""
    seen: list[Any] = []

    def render(request: Request) -> bytes:
        assert request.content is not None
        seen.extend([request.method, request.uri, request.path, request.args])
        seen.extend([request.content.read(), request.getCookie(b"k")])
        seen.extend([request.getClientAddress().host, request.getHost().port])
        seen.extend([request.getRequestHostname(), request.isSecure()])
        return b"answer"

    world = World(
        render, "PUT", headers={"Host": "h:1", "Cookie": "k=v", "Content-Length": "4"}
    )
    assert world.ask(b"bo", b"dy") == [
        {
            "status": 200,
            "headers": {"content-type": "text/html", "content-length": "6"},
        },
        b"answer",
        "end",
    ]
    assert seen == [
        *(b"PUT", b"/a%20b?x=1&x=2", b"/a%20b", {b"x": [b"1", b"2"]}),
        *(b"body", b"v", "192.0.2.1", 80, b"h", False),
    ]
    assert world.stage.loss == Loss(Reason.FIN)


def test_the_request_knows_its_session() -> None:
    """The name of the session that carries a request is a component of it."""
    names: list[str] = []

    def render(request: Request) -> bytes:
        names.append(str(ISessionName(request, "")))
        return b""

    World(render).ask()
    assert names == ["HTTP:a-b-0"]


def test_other_requests_have_no_session() -> None:
    """A request that came by another way has no session's name."""
    site = site_of(Page(lambda request: b""), Clock())
    channel = World(lambda request: b"").stage._channel
    assert str(ISessionName(site.requestFactory(channel, queued=False), "")) == ""


def test_status_and_headers() -> None:
    """Status and headers are the resource's, but for those of the connection."""

    def render(request: Request) -> bytes:
        request.setResponseCode(418)
        request.setHeader("X-One", "1")
        request.setHeader("Connection", "close")
        request.addCookie("a", "b")
        request.addCookie("c", "d")
        return b"x"

    assert World(render).ask()[0] == {
        "status": 418,
        "headers": {
            "x-one": "1",
            "set-cookie": ["a=b", "c=d"],
            "content-type": "text/html",
            "content-length": "1",
        },
    }


def test_a_response_of_unknown_length_is_not_framed() -> None:
    """A response that is written piece by piece comes without Twisted's chunks."""
    requests: list[Request] = []
    world = World(waiting(requests))
    assert world.ask() == []
    requests[0].write(b"one")
    assert world.listener.heard[1:] == [b"one"]
    requests[0].write(b"two")
    requests[0].finish()
    head, *rest = world.listener.heard
    assert rest == [b"one", b"two", "end"]
    assert "transfer-encoding" not in head["headers"]


def test_an_empty_response_has_a_head() -> None:
    """A response without a body still says its status."""

    def render(request: Request) -> bytes:
        request.setResponseCode(204)
        return b""

    assert World(render).ask()[0]["status"] == 204


def test_head() -> None:
    """A HEAD request is answered with the head alone."""
    world = World(lambda request: b"answer", "HEAD")
    head, end = world.ask()
    assert (head["headers"]["content-length"], end) == ("6", "end")


def test_finish_is_notified() -> None:
    """A resource hears that its response was complete."""
    requests: list[Request] = []
    world = World(waiting(requests))
    world.ask()
    heard: list[None] = []
    requests[0].notifyFinish().addCallback(heard.append)
    requests[0].finish()
    assert heard == [None]
    world.stage.abort(Loss(Reason.RESET))
    assert world.stage.loss == Loss(Reason.FIN)


@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_session_that_ends_is_notified(how: str) -> None:
    """A resource hears that nobody waits for its response any more."""
    requests: list[Request] = []
    world = World(waiting(requests))
    world.ask()
    failures: list[Failure] = []
    requests[0].notifyFinish().addErrback(failures.append)
    requests[0].write(b"half")
    world.stage.hold("x")
    requests[0].write(b"more")
    getattr(world.stage, how)(Loss(Reason.DELETED, "over"))
    getattr(world.stage, how)(Loss(Reason.FIN))
    assert failures[0].check(ConnectionLost)
    assert world.stage.loss == Loss(Reason.DELETED, "over")
    assert world.stage.drops == {"aborted": 4}
    requests[0].write(b"late")
    assert world.listener.body == b"half"


def test_a_session_that_ends_amid_the_request() -> None:
    """A request that was never complete is never rendered."""
    requests: list[Request] = []
    world = World(waiting(requests), "POST")
    world.stage.write(b"half")
    world.stage.abort(Loss(Reason.RESET))
    world.stage.write(b"more")
    world.stage.end()
    assert not requests
    assert world.listener.heard == []


def test_too_large_a_body() -> None:
    """A body beyond the bound is answered 413, and the rest of it dropped."""
    requests: list[Request] = []
    world = World(waiting(requests), "POST", max_body=10)
    world.stage.write(b"12345678")
    world.stage.write(b"abcd")
    head, body, end = world.listener.heard
    assert (head["status"], end) == (413, "end")
    assert json.loads(body)["status"] == 413
    world.stage.write(b"efgh")
    world.stage.end()
    assert not requests
    assert world.stage.loss == Loss(Reason.FIN)
    assert world.stage.drops == {"closing": 4}


def test_a_large_response_waits_while_held() -> None:
    """A response comes in pieces, and no further than it is taken."""
    text = bytes(range(256)) * 1024
    world = World(lambda request: text)
    world.stage.hold("x")
    assert world.ask() == []
    assert world.stage.loss is None

    def full(data: bytes) -> None:
        world.listener.heard.append(data)
        world.stage.hold("x")

    world.listener.write = full  # type: ignore[method-assign]
    for number in range(1, len(text) // PIECE + 1):
        world.stage.release("x")
        assert len(world.listener.body) == number * PIECE
    assert world.stage.loss is None
    world.stage.release("x")
    assert world.listener.body == text
    assert world.listener.heard[-1] == "end"
    assert world.stage.loss == Loss(Reason.FIN)


class Maker:
    """Makes three pieces, one each time it is asked."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.left = [b"1", b"2", b"3"]

    def render(self, request: Request) -> Any:
        self.request = request
        request.registerProducer(self, False)
        return NOT_DONE_YET

    def resumeProducing(self) -> None:
        self.said.append("resume")
        self.request.write(self.left.pop(0))
        if not self.left:
            self.request.unregisterProducer()
            self.request.finish()

    def pauseProducing(self) -> None:
        self.said.append("pause")

    def stopProducing(self) -> None:
        self.said.append("stop")


def test_pull_producers_are_asked_while_somebody_listens() -> None:
    """A pull producer is asked again when what it made was taken, and not while held."""
    maker = Maker()
    world = World(maker.render)

    def full(data: bytes) -> None:
        world.listener.heard.append(data)
        if data == b"2":
            world.stage.hold("x")

    world.listener.write = full  # type: ignore[method-assign]
    world.ask()
    world.clock.pump([0] * 5)
    assert world.listener.body == b"12"
    world.stage.release("x")
    world.clock.pump([0] * 5)
    assert world.listener.heard[1:] == [b"1", b"2", b"3", "end"]
    assert not world.clock.getDelayedCalls()


def test_producers_are_stopped_when_the_session_ends() -> None:
    """A producer hears that nobody will ever want more."""
    maker = Maker()
    world = World(maker.render)
    world.stage.hold("x")
    world.ask()
    world.stage.abort(Loss(Reason.RESET))
    assert maker.said == ["stop"]
    assert not world.clock.getDelayedCalls()


def test_push_producers_are_paused() -> None:
    """A push producer is paused while the stage is held."""

    class Pusher(Maker):
        def resumeProducing(self) -> None:
            self.said.append("resume")

    maker = Pusher()
    requests: list[Request] = []
    world = World(waiting(requests))
    world.ask()
    requests[0].registerProducer(maker, True)
    world.stage.hold("x")
    world.stage.release("x")
    requests[0].unregisterProducer()
    world.stage.hold("x")
    assert maker.said == ["pause", "resume"]
    requests[0].registerProducer(maker, True)
    assert maker.said == ["pause", "resume", "pause"]
    requests[0].unregisterProducer()
    requests[0].finish()


def test_a_failing_resource(logged_failures: list[Failure]) -> None:
    """A resource that raises is answered 500, and the failure logged."""

    def render(request: Request) -> bytes:
        raise ZeroDivisionError

    assert World(render).ask()[0]["status"] == 500
    assert logged_failures.pop().check(ZeroDivisionError)


def test_a_malformed_form() -> None:
    """A form that Twisted cannot read is answered 400."""
    form = {"Content-Type": "multipart/form-data"}
    world = World(lambda request: b"", "POST", headers=form)
    assert world.ask(b"x")[0]["status"] == 400
    assert world.stage.loss == Loss(Reason.FIN)


def test_a_resource_may_leave() -> None:
    """A resource that closes its connection has said everything."""
    requests: list[Request] = []
    world = World(waiting(requests))
    world.ask()
    requests[0].write(b"x")
    requests[0].loseConnection()
    assert world.listener.heard[1:] == [b"x", "end"]


def test_a_resource_may_give_up() -> None:
    """A resource that aborts its connection ends the session without an end."""
    requests: list[Request] = []
    world = World(waiting(requests))
    world.ask()
    requests[0].write(b"x")
    world.stage._channel.abortConnection()
    assert world.stage.loss is not None
    assert world.stage.loss.reason is Reason.RESET
    assert world.listener.heard[1:] == [b"x"]


def test_rewritten_requests() -> None:
    """What rules have made of a request is rendered, however strange."""
    seen: list[Any] = []

    def render(request: Request) -> bytes:
        seen.extend([request.method, request.path, request.requestHeaders])
        return b""

    world = World(render, target="/")
    about = world.stage._metadata["HTTP"]
    about["url"]["path"] = "árvíz tűrő"
    about["method"] = "POST"
    stage = ResourceStream(
        world.site, {"HTTP": {**about, "headers": {"a": 1, "b c": "x"}}}, world.clock
    )
    stage.deliver_to(world.listener)
    stage.release(SINK)
    stage.end()
    path = b"/%C3%A1rv%C3%ADz%20t%C5%B1r%C5%91"
    assert seen == [b"POST", path, Headers({b"a": [b"1"]})]


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"HTTP": 1},
        {"HTTP": {"method": "GET"}},
        {"HTTP": {"method": "GET", "url": {}, "headers": {}}},
        {"HTTP": {"method": "GET", "url": {"path": "/"}, "headers": 1}},
    ],
)
def test_what_is_no_request(metadata: Metadata) -> None:
    """Metadata without a method, a path and headers is no request."""
    assert not is_request(metadata)
    assert is_request({"HTTP": request_metadata("GET", "/", "1.1", ())})
