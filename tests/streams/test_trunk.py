"""An association that sessions share."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import Note
from l7mp.streams.association_stream import Manner
from l7mp.streams.trunk import Made, Trunk
from tests.streams.links import Bench

FIN = Loss(Reason.FIN)
UP = Note("COMM_UP", "up", {})


class Depot:
    """A trunk whose association the test makes."""

    def __init__(self, streams: int = 3) -> None:
        self.bench = Bench(streams)
        self.made: Deferred[Made] = Deferred()
        self.count = self.gone = 0
        self.it = Trunk(self._associate, self._went)

    def _associate(self) -> Deferred[Made]:
        self.count += 1
        return self.made

    def _went(self) -> None:
        self.gone += 1

    def join(self, stream: int | None = None) -> list[Any]:
        """How joining went, as soon as it is known."""
        results: list[Any] = []
        self.it.join(Manner(stream)).addBoth(results.append)
        return results

    def up(self) -> None:
        self.made.callback((self.bench.it, [UP]))


def reason_of(results: list[Any]) -> Reason:
    (failure,) = results
    assert isinstance(failure, Failure)
    assert isinstance(failure.value, RemoteError)
    return failure.value.loss.reason


def test_sessions_share_an_association() -> None:
    """It is made once; each has a stream, and hears that the association is up."""
    depot = Depot()
    first, second = depot.join(), depot.join(2)
    assert not first
    depot.up()
    third = depot.join()
    assert depot.count == 1
    lanes = [*first, *second, *third]
    assert [lane.number for lane in lanes] == [0, 2, 1]
    heard: list[Note] = []
    for lane in lanes:
        lane.tell(heard.append)
    assert heard == [UP] * 3


@pytest.mark.parametrize("stream", [None, 0, 9])
def test_streams_come_to_an_end(stream: int | None) -> None:
    """One that is in use, or is not there, or any when all are: that is said."""
    depot = Depot(streams=1)
    depot.join()
    depot.up()
    late = depot.join(stream)
    assert reason_of(late) is Reason.LOCAL
    assert "of 1" in str(late[0].value) or "all 1" in str(late[0].value)


def test_the_last_shuts_it_down() -> None:
    """And from then on it takes no more sessions."""
    depot = Depot()
    first, second = depot.join(), depot.join()
    depot.up()
    first[0].end()
    assert depot.bench.link.said == []
    second[0].end()
    assert depot.bench.link.said == ["shutdown"]
    assert depot.gone


def test_none_of_those_who_waited_may_stay() -> None:
    """An association without a session is shut down at once."""
    depot = Depot(streams=1)
    late = depot.join(5)
    depot.up()
    assert reason_of(late) is Reason.LOCAL
    assert depot.bench.link.said == ["shutdown"]


def test_an_association_that_cannot_be_made() -> None:
    """All who waited hear why, and the next begins anew."""
    depot = Depot()
    waiting = [depot.join(), depot.join()]
    depot.made.errback(RemoteError(Loss(Reason.REFUSED)))
    assert [reason_of(one) for one in waiting] == [Reason.REFUSED] * 2
    assert depot.gone == 1


def test_giving_up() -> None:
    """The association is given up with the last who wanted it."""
    depot = Depot()
    waiting = [depot.it.join(Manner()), depot.it.join(Manner())]
    results: list[Any] = []
    for one in waiting:
        one.addBoth(results.append)
    given_up = []
    for one in waiting:
        one.cancel()
        given_up.append(depot.made.called)
    assert given_up == [False, True]
    assert [bool(one.check(CancelledError)) for one in results] == [True, True]


def test_the_association_ends_under_its_sessions() -> None:
    """They hear, and the trunk takes no more."""
    depot = Depot()
    first = depot.join()
    depot.up()
    depot.bench.it.ended()
    assert first[0].loss == FIN
    assert depot.gone


def test_the_cluster_goes() -> None:
    """Who waits is refused; who has a stream keeps it."""
    depot = Depot()
    waiting = depot.join()
    depot.it.close()
    assert reason_of(waiting) is Reason.RECONFIGURED
    other = Depot()
    there = other.join()
    other.up()
    other.it.close()
    assert there[0].loss is None
    there[0].end()
    assert other.bench.link.said == ["shutdown"]
    assert other.gone == 0
