"""A call, moment by moment, with a line that notes what it is asked."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import SINK, IStream
from l7mp.streams.httpcall import (
    EXPECT_TIME,
    ONCE,
    REFUSED,
    Call,
    Calling,
    opens_tunnel,
)
from l7mp.streams.transport import FLUSH, LINGER
from l7mp.wire.httprequest import Request
from tests.streams.origin import CONNECT, GET, POST, UPGRADE, Answer, status_of

RESET = Loss(Reason.RESET)
STRICT = dataclasses.replace(POST, strict=True)
EXPECTS = dataclasses.replace(POST, expects=True)


class Line:
    """Remembers everything."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.got = b""

    def send(self, data: bytes) -> None:
        self.got += data

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.said.append(name)


class Producer:
    """Remembers what it was last told."""

    said = ""

    def pauseProducing(self) -> None:
        self.said = "pause"

    def resumeProducing(self) -> None:
        self.said = "resume"


class World:
    """A call on a line, the clock, and what it is asked to do again."""

    def __init__(self, request: Request, timeout: float = 10, **more: Any) -> None:
        self.clock, self.line = Clock(), Line()
        self.again: list[Deferred[IStream]] = []
        self.call = Call(request, Calling(self.clock, self._again, timeout), **more)
        self.call.carry(self.line)
        self.answer = Answer(self.call)
        self.line.said.clear()

    def _again(self, call: Call) -> Deferred[IStream]:
        self.again.append(Deferred())
        return self.again[-1]


def test_a_request_without_a_body_is_complete_at_once() -> None:
    """What is written to it is dropped, and counted."""
    line = Line()
    call = Call(GET, Calling(Clock(), lambda _: Deferred()))
    call.carry(line)
    call.registerProducer(Producer(), True)  # type: ignore[arg-type]
    call.write(b"x")
    call.end()
    assert (line.said, line.got, call.drops) == (["finish"], b"", {"closing": 1})


@pytest.mark.parametrize("request_", [GET, POST])
def test_a_response_that_does_not_begin(request_: Request) -> None:
    """A server has so many seconds from the end of the request."""
    it = World(request_)
    it.clock.advance(9)
    if request_ is POST:
        it.call.end()
    it.line.said.clear()
    it.clock.advance(9 if request_ is POST else 0.9)
    assert it.call.loss is None
    it.clock.advance(1)
    assert (status_of(it.call), it.line.said[-1]) == ("timeout", "drop")


@pytest.mark.parametrize("timeout", [0, 10])
def test_there_is_no_hurry_once_it_has_begun(timeout: float) -> None:
    """A response that has begun, or for which there is no limit, may take its time."""
    it = World(GET, timeout=timeout)
    if timeout:
        it.call.head(200, [])
    it.clock.advance(1000)
    assert it.call.loss is None
    assert it.clock.getDelayedCalls() == []


def test_nobody_waits_for_continue_for_ever() -> None:
    """A server that says nothing gets the body after a moment."""
    it = World(EXPECTS)
    producer = Producer()
    it.call.registerProducer(producer, True)  # type: ignore[arg-type]
    assert producer.said == "pause"
    it.clock.advance(EXPECT_TIME)
    assert (producer.said, it.line.said) == ("resume", ["registerProducer"])
    it.call.write(b"body")
    it.call.end()
    assert it.line.got == b"body"
    it.call.inform(100, [])
    assert it.line.said == ["registerProducer", "unregisterProducer", "finish"]


def test_a_refusal_instead_of_continue() -> None:
    """A server that does not want the body says so, and never gets it."""
    it = World(EXPECTS)
    producer = Producer()
    it.call.registerProducer(producer, True)  # type: ignore[arg-type]
    it.call.head(417, [])
    it.clock.advance(EXPECT_TIME)
    assert producer.said == "pause"
    assert it.answer.facts[0]["status"] == 417


def test_trying_again() -> None:
    """An untouched call whose connection was no good is carried once more."""
    it = World(POST)
    producer = Producer()
    it.call.registerProducer(producer, True)  # type: ignore[arg-type]
    it.call.gone(RESET, tries=ONCE)
    assert (len(it.again), producer.said) == (1, "pause")
    it.call.write(b"early")
    it.call.end()
    fresh = Line()
    it.call.carry(fresh)
    assert (fresh.got, producer.said) == (b"early", "resume")
    assert fresh.said[-1] == "finish"
    it.call.gone(RESET, tries=ONCE)
    assert (len(it.again), status_of(it.call)) == (1, "reset")


def test_a_refusal_may_be_repeated() -> None:
    """What a server says that it has not looked at is tried a number of times."""
    it = World(GET)
    for _ in range(REFUSED):
        it.call.gone(RESET, tries=REFUSED)
        it.call.carry(it.line)
    assert (len(it.again), it.call.loss) == (REFUSED, None)
    it.call.gone(RESET, tries=REFUSED)
    assert status_of(it.call) == "reset"


def test_trying_again_in_vain() -> None:
    """If there is no other connection that is the end."""
    it = World(GET)
    it.call.gone(RESET, tries=ONCE)
    it.again[0].errback(Failure(RemoteError(Loss(Reason.REFUSED))))
    assert status_of(it.call) == "reset"


def test_giving_up_trying_again() -> None:
    """A call that is aborted waits for no other connection."""
    it = World(GET)
    it.call.gone(RESET, tries=ONCE)
    it.call.abort(Loss(Reason.DELETED))
    it.again[0].addErrback(lambda _: None)
    assert it.again[0].called
    assert status_of(it.call) == "deleted"


def test_only_what_was_untouched_is_tried_again() -> None:
    """Not what was perhaps heard, and not what was written to."""
    one, two, three = World(GET), World(POST), World(GET)
    one.call.gone(RESET)
    two.call.write(b"x")
    two.call.gone(RESET, tries=ONCE)
    three.call.head(200, [])
    three.call.gone(RESET, tries=ONCE)
    assert [len(it.again) for it in (one, two, three)] == [0, 0, 0]


def test_closing_completes_what_has_no_other_end() -> None:
    """A session of datagrams that falls silent has sent a whole request."""
    it = World(POST)
    it.call.write(b"body")
    it.call.close(Loss(Reason.IDLE))
    assert it.line.said == ["unregisterProducer", "finish", "resume"] or (
        it.line.said == ["finish", "resume"]
    )
    it.call.head(200, [])
    it.call.body(b"late")
    it.call.completed()
    assert status_of(it.call) == "idle"
    assert (it.answer.got, it.call.drops) == (b"", {"closing": 4})


def test_closing_does_not_wait_for_ever() -> None:
    """A response that does not come soon is given up."""
    it = World(POST)
    it.call.close(Loss(Reason.IDLE))
    it.clock.advance(LINGER)
    assert (status_of(it.call), it.line.said[-1]) == ("idle", "part")


@pytest.mark.parametrize(
    ("request_", "reason"), [(STRICT, Reason.IDLE), (POST, Reason.PROTOCOL)]
)
def test_closing_does_not_complete_what_is_cut(
    request_: Request, reason: Reason
) -> None:
    """A body that was to go on is dropped, so that nobody takes it for whole."""
    it = World(request_)
    it.call.write(b"half")
    it.call.close(Loss(reason))
    assert "finish" not in it.line.said
    assert (status_of(it.call), it.line.said[-1]) == (reason.value, "drop")
    it.call.close(Loss(Reason.FIN))
    it.call.abort(Loss(Reason.FIN))
    assert status_of(it.call) == reason.value


def test_a_request_that_was_answered_early_is_not_completed() -> None:
    """When the client has its response, the end of the session is not its request's."""
    it = World(STRICT)
    it.call.write(b"half")
    it.call.head(200, [])
    it.call.completed()
    it.call.end()
    assert "finish" not in it.line.said
    assert (status_of(it.call), it.line.said[-1]) == ("fin", "drop")


def test_a_tunnel_that_is_closed() -> None:
    """It is left in order, and dropped if the other side does not leave, too."""
    it = World(CONNECT)
    it.call.opened(200, [], it.line)
    it.call.write(b"x")
    it.call.close(Loss(Reason.DELETED))
    assert it.line.said[-2:] == ["finish", "resume"]
    it.clock.advance(FLUSH)
    assert (status_of(it.call), it.line.said[-1]) == ("deleted", "part")


def test_what_a_tunnel_never_took() -> None:
    """What was written to a tunnel that never opened is counted."""
    it = World(UPGRADE)
    it.call.write(b"early")
    it.call.gone(RESET)
    assert (status_of(it.call), it.call.drops) == ("reset", {"aborted": 1})


def test_an_end_before_the_tunnel_is_open() -> None:
    """It is said when the tunnel is there."""
    it = World(CONNECT)
    it.call.write(b"all")
    it.call.end()
    assert it.line.said == []
    it.call.opened(200, [], it.line)
    assert (it.line.got, it.line.said) == (b"all", ["end_half"])


@pytest.mark.parametrize("how", ["gone", "late", "abort"])
def test_a_tunnel_that_is_awaited_in_vain(how: str) -> None:
    """Whoever waits for a tunnel hears why there is none."""
    opened: Deferred[None] = Deferred()
    failures: list[Any] = []
    opened.addErrback(failures.append)
    it = World(CONNECT, opened=opened)
    if how == "gone":
        it.call.gone(RESET)
    elif how == "late":
        it.clock.advance(10)
    else:
        it.call.abort(RESET)
    (failure,) = failures
    assert failure.value.loss == it.call.loss


def test_a_tunnel_that_is_awaited_tells_nobody_else() -> None:
    """Interim responses on the way to it are nobody's business."""
    opened: Deferred[None] = Deferred()
    call = Call(CONNECT, Calling(Clock(), lambda _: Deferred()), opened)
    line = Line()
    call.carry(line)
    answer = Answer(call, flowing=False)
    assert call.wants_data
    call.inform(102, [])
    call.opened(200, [], line)
    assert opened.called
    assert (answer.facts, call.wants_data, line.said) == ([], False, ["pause"])
    call.release(SINK)
    assert line.said == ["pause", "resume"]


@pytest.mark.parametrize(
    ("request_", "status", "opens"),
    [
        (CONNECT, 204, True),
        (CONNECT, 407, False),
        (UPGRADE, 101, True),
        (UPGRADE, 200, False),
        (GET, 101, False),
    ],
)
def test_what_opens_a_tunnel(request_: Request, status: int, opens: bool) -> None:
    """2xx opens that of CONNECT, 101 that of an upgrade, and nothing any other."""
    assert opens_tunnel(request_, status) is opens
