"""A stream of HTTP/2 on its way to a call, moment by moment."""

from __future__ import annotations

import dataclasses
from typing import Any

from twisted.internet.task import Clock

from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK
from l7mp.streams.httpcall import ONCE, Call, Calling
from l7mp.streams.httpclient2lane import HIGH, Lane
from tests.streams.origin import GET, POST, Answer

RESET = Loss(Reason.RESET)


class Engine:
    """The connection; notes what is asked of it."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.said.append(name)


def lane(number: int = 1, **request: Any) -> tuple[Lane, Call, Engine]:
    engine = Engine()
    asked = dataclasses.replace(POST if "has_body" in request else GET, **request)
    call = Call(asked, Calling(Clock(), lambda _: NotImplemented))
    made = Lane(engine, number, call)
    call.carry(made)
    return made, call, engine


def test_everything_waits_in_order_for_a_held_call() -> None:
    """Head, body and end are told when the call may hear of them, and charged then."""
    one, call, engine = lane()
    engine.said.clear()
    one.arrived(one.head, 200, [])
    one.arrived(one.data, b"body", 4)
    one.arrived(one.ended)
    one.arrived(one.lost, RESET, 0)
    assert engine.said == []
    answer = Answer(call, flowing=False)
    call.release(SINK)
    assert (answer.got, answer.ended) == (b"body", True)
    assert engine.said == ["taken", "checked", "forget"]
    assert call.loss == Loss(Reason.FIN)


def test_padding_is_charged_and_not_told() -> None:
    """A frame of padding counts against the window only."""
    one, call, engine = lane()
    answer = Answer(call)
    one.arrived(one.data, b"", 100)
    assert (answer.got, engine.said[-1]) == (b"", "taken")


def test_what_can_be_repeated() -> None:
    """Only on a connection that had been used, before anything was heard."""
    assert lane(1)[0].tries == 0
    one, call, _ = lane(3)
    before = one.tries
    Answer(call)
    one.arrived(one.inform, 103, [])
    assert (before, one.tries) == (ONCE, 0)
    assert lane(3, method="POST")[0].tries == 0


def test_a_producer_is_paused_while_much_waits() -> None:
    """Beyond so many bytes the producer pauses, and goes on when all are sent."""
    one, _, _ = lane(has_body=True)
    producer = Engine()
    one.registerProducer(producer, True)  # type: ignore[arg-type]
    one.send(bytes(HIGH))
    assert producer.said == []
    one.send(b"x")
    one.send(b"x")
    assert producer.said == ["pauseProducing"]
    other = Engine()
    one.registerProducer(other, True)  # type: ignore[arg-type]
    assert other.said == ["pauseProducing"]
    one.outbox.clear()
    one.emptied()
    one.emptied()
    assert other.said == ["pauseProducing", "resumeProducing"]
    one.unregisterProducer()
    one.send(bytes(HIGH + 1))
    assert other.said == ["pauseProducing", "resumeProducing"]


def test_an_end_is_said_once() -> None:
    """A request that was completed is not completed again."""
    one, _, engine = lane(has_body=True)
    one.finish([])
    one.end_half()
    assert engine.said == ["ready"]
    one.drop()
    one.part()
    assert engine.said == ["ready", "cancel", "cancel"]
