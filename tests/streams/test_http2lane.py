"""One stream of HTTP/2, apart from its connection."""

from __future__ import annotations

from typing import Any

import pytest

from l7mp.errors import Loss, Reason
from l7mp.streams.http import Exchange
from l7mp.streams.http2lane import HIGH, Lane
from l7mp.wire.httpmeta import request_metadata
from tests.streams.web import Sink


class Connection:
    """Notes what a lane asks, and has a window that is shut."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.returned = 0

    def taken(self, lane: Lane, charged: int) -> None:
        self.returned += charged

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.said.append(name)


@pytest.fixture
def connection() -> Connection:
    return Connection()


@pytest.fixture
def lane(connection: Connection) -> Lane:
    made = Lane(connection, 1, True)
    made.exchange = Exchange(made, request_metadata("POST", "/", "2.0", ()))
    return made


def test_the_window_opens_as_data_is_taken(lane: Lane, connection: Connection) -> None:
    """What is charged to the client, padding too, is given back when it is read."""
    lane.data(b"abc", 10)
    lane.data(b"", 5)
    lane.ended()
    assert connection.returned == 0
    assert not lane.exchange.read_ended
    sink = Sink(lane.exchange)
    assert (sink.got, connection.returned, sink.ended) == (b"abc", 15, True)
    assert connection.said == ["inform"]


def test_data_after_the_response_is_given_back(
    lane: Lane, connection: Connection
) -> None:
    """A request that nobody reads any more does not use up the window."""
    lane.data(b"abc", 3)
    lane.exchange.end()
    assert connection.returned == 3
    assert lane.exchange.drops == {"closing": 3}


def test_the_producer_is_paused_at_the_mark(lane: Lane) -> None:
    """A response waits for its client up to a bound."""
    sink = Sink(lane.exchange)
    heard: list[str] = []
    sink.pauseProducing = lambda: heard.append("pause")  # type: ignore[attr-defined]
    sink.resumeProducing = lambda: heard.append("resume")  # type: ignore[attr-defined]
    lane.exchange.registerProducer(sink, True)  # type: ignore[arg-type]
    lane.exchange.write(bytes(HIGH))
    assert heard == []
    lane.exchange.write(b"x")
    lane.exchange.write(b"x")
    assert heard == ["pause"]
    lane.emptied()
    lane.emptied()
    assert heard == ["pause", "resume"]


def test_an_exchange_is_over_once(lane: Lane, connection: Connection) -> None:
    """What the connection says of the end reaches the exchange."""
    lane.exchange.close(Loss(Reason.IDLE))
    lane.exchange.close(Loss(Reason.FIN))
    assert connection.said == ["begin", "ready", "ready", "later", "later"]
    lane.over(Loss(Reason.FIN))
    assert lane.exchange.loss == Loss(Reason.IDLE)
