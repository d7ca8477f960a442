"""Several streams behind one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from l7mp.core.ring import Pipe
from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK, IStream, Kind, Note
from l7mp.streams import fan as fans
from l7mp.streams.fan import Fan
from l7mp.testing import Memory, check_stream
from tests.core.support import same

FIN = Loss(Reason.FIN)
RESET = Loss(Reason.RESET)


class World:
    """A fan in a ring, its branches and what it said."""

    def __init__(
        self, mode: Any = "all", branches: int = 3, drop: bool = False, late: int = 0
    ) -> None:
        self.fan = Fan(tuple("abcdefgh"[:branches]), mode, drop)
        self.branches = [Memory(window=2) for _ in range(branches)]
        self.notes: list[Note] = []
        self.fan.tell(self.notes.append)
        for index in range(branches - late):
            self.attach(index)
        self.source, self.sink = Memory(), Memory()
        Pipe(self.source, self.fan, self.fan.end).open()
        Pipe(self.fan, self.sink, self.sink.end).open()

    def attach(self, index: int) -> None:
        self.fan.attach(index, self.branches[index])

    @property
    def written(self) -> list[list[bytes]]:
        return [branch.written for branch in self.branches]


def test_it_keeps_the_contract() -> None:
    """A fan is a stream, of the kind of its branches."""

    def make() -> tuple[IStream, Callable[[bytes], None]]:
        fan, branch = Fan(("a",), "all", False), Memory(Kind.BYTES)
        fan.attach(0, branch)
        assert fan.kind is Kind.BYTES
        return fan, branch.inject

    check_stream(make)


def test_all() -> None:
    """Every branch gets everything, and everything comes back."""
    world = World()
    world.source.inject(b"question")
    assert world.written == [[b"question"]] * 3
    for index, branch in enumerate(world.branches):
        branch.inject(b"%d" % index)
    assert world.sink.written == [b"0", b"1", b"2"]


def test_all_wait_for_the_slowest() -> None:
    """A full branch makes the source wait until it has room again."""
    world = World()
    world.source.inject(b"1", b"2")
    held = [world.source.is_held]
    for branch in world.branches:
        branch.drain()
        held.append(world.source.is_held)
    assert held == [True, True, True, False]


def test_a_held_fan_holds_its_branches() -> None:
    """What the next stage cannot take waits where it comes from."""
    world = World(late=1)
    world.fan.hold("busy")
    world.attach(2)
    for branch in world.branches:
        branch.inject(b"x")
    assert [branch.pending for branch in world.branches] == [[b"x"]] * 3
    world.fan.release("busy")
    assert world.sink.written == [b"x"] * 3


def test_all_end_with_the_first() -> None:
    """Where every message has to reach everybody, one loss is the loss of all."""
    world = World()
    world.branches[1].vanish()
    assert world.fan.loss == RESET
    assert [branch.closed for branch in world.branches] == [RESET, None, RESET]
    world.source.inject(b"late")
    assert world.fan.drops == {"closed": 1}


def test_all_go_on_without_one() -> None:
    """Where told so, it goes on until the last is lost, and says so."""
    world = World(drop=True)
    world.source.inject(b"1", b"2")
    world.branches[0].drain()
    world.branches[2].drain()
    world.branches[1].vanish()
    assert not world.source.is_held
    (note,) = world.notes
    assert (note.word, note.facts) == (
        "BRANCH-LOST",
        {"branch": "b", "reason": "reset"},
    )
    world.branches[0].vanish()
    assert world.fan.loss is None
    world.branches[2].vanish()
    assert world.fan.loss == RESET


def test_all_that_were_told_the_end_may_go() -> None:
    """Branches go in peace one by one; the last one's end is the end."""
    world = World()
    world.source.hang_up()
    assert all(branch.ended for branch in world.branches)
    for branch in world.branches:
        assert world.fan.loss is None
        branch.inject(b"bye")
        branch.hang_up()
        branch.vanish(Reason.FIN)
    assert world.sink.written == [b"bye"] * 3
    assert world.sink.ended
    assert world.fan.loss == FIN


def test_the_end_is_when_all_have_ended() -> None:
    """A branch that has nothing more to say leaves the others to say it."""
    world = World(branches=2)
    world.branches[0].hang_up()
    assert not world.sink.ended
    world.branches[1].hang_up()
    assert world.sink.ended


def test_mirror() -> None:
    """All get a copy; the first one's answers come back, the others' are discarded."""
    world = World("mirror")
    world.source.inject(b"question")
    assert world.written == [[b"question"]] * 3
    for branch in world.branches:
        branch.inject(b"answer")
    assert world.sink.written == [b"answer"]
    assert world.fan.drops == {"discarded": 2}


def test_a_slow_mirror_loses_its_own() -> None:
    """Nobody waits for a mirror; what it cannot take is counted."""
    world = World("mirror", branches=2)
    for _ in range(5):
        world.source.inject(b"x")
        world.branches[0].drain()
    assert not world.source.is_held
    assert len(world.branches[1].written) == 2
    assert world.fan.drops == {"mirror": 3}
    world.branches[1].drain()
    world.source.inject(b"again")
    assert world.branches[1].written == [b"again"]


def test_a_lost_mirror_harms_nothing() -> None:
    """It is noted, and what it would have got is counted."""
    world = World("mirror", late=1)
    world.branches[1].vanish()
    world.fan.fail(2, Loss(Reason.REFUSED))
    world.source.inject(b"x")
    world.branches[0].inject(b"y")
    assert world.sink.written == [b"y"]
    assert world.fan.drops == {"mirror": 2}
    assert [note.facts["branch"] for note in world.notes] == ["b", "c"]
    world.branches[0].kept = [b"left"]
    world.branches[0].vanish()
    assert world.fan.loss == RESET
    assert world.fan.unsent() == [b"left"]


def test_late_mirrors() -> None:
    """What was written before a branch was connected is written then, up to a bound."""
    world = World("mirror", branches=2, late=1)
    world.source.inject(b"1")
    world.fan.describe({"a": 1})
    world.attach(1)
    assert world.branches[1].written == [b"1"]
    assert [branch.facts for branch in world.branches] == [[{"a": 1}], []]


def test_a_backlog_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest messages for a branch that is still being connected are pushed out."""
    monkeypatch.setattr(fans, "MAX_MESSAGES", 2)
    monkeypatch.setattr(fans, "MAX_BYTES", 10)
    world = World("mirror", branches=2, late=1)
    for data in (b"1", b"2", b"3", b"nine long", b"4"):
        world.source.inject(data)
        world.branches[0].drain()
    assert world.fan.drops == {"overflow": 3}
    world.attach(1)
    assert world.branches[1].written == [b"nine long", b"4"]


def test_first() -> None:
    """Whoever answers first goes on alone, and the others are closed."""
    world = World("first")
    world.source.inject(b"question")
    world.branches[1].inject(b"fast")
    world.branches[0].inject(b"slow")
    world.source.inject(b"more")
    assert world.sink.written == [b"fast"]
    assert world.written == [[b"question"], [b"question", b"more"], [b"question"]]
    assert [branch.closed is None for branch in world.branches] == [False, True, False]
    assert world.fan.loss is None
    world.branches[1].vanish()
    assert world.fan.loss == RESET


def test_first_of_those_that_are_left() -> None:
    """A branch that is lost before any answer is out of the race."""
    world = World("first")
    world.branches[0].vanish()
    world.branches[1].hang_up()
    world.branches[2].inject(b"mine")
    assert world.sink.written == [b"mine"]
    assert not world.sink.ended
    assert world.fan.unsent() == []


def test_too_late_for_the_race() -> None:
    """Who is connected when another has answered is let go, and who waits is cancelled."""
    world = World("first", late=2)
    cancelled: list[int] = []
    world.fan.pending[2] = Deferred(lambda _: cancelled.append(2))
    world.fan.pending[2].addErrback(lambda _: world.fan.fail(2, RESET))
    world.branches[0].inject(b"mine")
    assert cancelled == [2]
    world.attach(1)
    assert world.branches[1].loss == fans.BEATEN
    assert world.fan.loss is None


def test_answers_of_those_who_are_out_are_counted() -> None:
    """What is still read from a stream that closes reaches nobody."""
    world = World("first", branches=2)
    world.branches[0].inject(b"mine")
    world.fan.branches[1].write(b"late")
    world.fan.branches[1].stopProducing()
    assert world.fan.drops == {"closing": 1}


def test_descriptions() -> None:
    """Metadata goes to all branches; of theirs what counts comes back."""
    world = World("mirror", branches=2)
    world.fan.describe({"a": 1})
    assert [branch.facts for branch in world.branches] == [[{"a": 1}]] * 2
    world.fan.branches[0].describe({"b": 2})
    world.fan.branches[1].describe({"c": 3})
    assert world.sink.facts == [{"b": 2}]


HEAD = {"HTTP": {"status": 200, "headers": {"content-length": "2"}, "begin": True}}


def test_of_several_answers_one_is_described() -> None:
    """What comes mixed is not what each was said to be, and has not its length."""
    world = World(branches=2)
    world.fan.branches[1].describe(HEAD)
    world.fan.branches[0].describe(HEAD)
    world.fan.branches[1].describe({"HTTP": {"trailers": {}}})
    shown = {"HTTP": {"status": 200, "headers": {}, "begin": True}}
    assert world.sink.facts == [shown, {"HTTP": {"trailers": {}}}]


def test_the_first_to_answer_is_described() -> None:
    """What others had said before of answers that did not come is not passed on."""
    world = World("first")
    for branch, status in zip(world.fan.branches, (1, 2, 3), strict=True):
        branch.describe({"HTTP": {"status": status}})
    assert world.sink.facts == []
    world.branches[1].inject(b"mine")
    assert world.sink.facts == [{"HTTP": {"status": 2}}]
    world.fan.branches[0].describe({"HTTP": {"status": 4}})
    world.fan.branches[1].describe({"HTTP": {"status": 5}})
    assert world.sink.facts[1:] == [{"HTTP": {"status": 5}}]


@pytest.mark.parametrize("mode", ["all", "mirror", "first"])
def test_it_is_complete_when_all_that_count_are(mode: str) -> None:
    """Nothing is connected again for a response that is there, also when that is over."""
    world = World(mode, branches=2)
    seen = [world.fan.is_complete]
    for branch in world.branches:
        branch.is_complete = True
        branch.inject(b"answer")
        seen.append(world.fan.is_complete)
    world.fan.end()
    for branch in world.branches:
        branch.vanish(Reason.FIN)
    assert world.fan.loss == FIN
    assert [*seen, world.fan.is_complete] == [False, mode != "all", True, True]


def test_an_answer_may_have_nothing_but_a_description() -> None:
    """As with the status 204; an end about which nothing was said is no answer."""
    world = World("first", branches=2)
    world.branches[0].hang_up()
    assert world.branches[1].closed is None
    world.fan.branches[1].describe({"HTTP": {"status": 204}})
    world.branches[1].hang_up()
    assert world.sink.facts == [{"HTTP": {"status": 204}}]
    assert world.sink.ended


@pytest.mark.parametrize("leave", [Fan.close, Fan.abort])
def test_the_end(leave: Callable[[Fan, Loss], None]) -> None:
    """Closed or aborted, every branch goes, and then the fan is lost."""
    world = World(late=1)
    cancelled: list[int] = []
    world.fan.pending[2] = Deferred(lambda _: cancelled.append(2))
    world.fan.pending[2].addErrback(lambda _: world.fan.fail(2, RESET))
    leave(world.fan, FIN)
    assert [branch.loss for branch in world.branches] == [FIN, FIN, None]
    assert (cancelled, world.fan.loss) == ([2], FIN)
    world.attach(2)
    assert world.branches[2].loss == FIN


def test_a_late_branch_hears_the_end() -> None:
    """The end of what is written reaches also who is connected afterwards."""
    world = World("mirror", branches=2, late=1)
    world.source.hang_up()
    world.fan.end()
    world.attach(1)
    assert [branch.ended for branch in world.branches] == [True, True]


def test_pressed_before_there_is_a_writer() -> None:
    """Who begins to write to a full fan is made to wait at once."""
    fan, branch = Fan(("a",), "all", False), Memory()
    fan.attach(0, branch)
    fan.branches[0].pauseProducing()
    source = Memory()
    Pipe(source, fan, fan.end).open()
    assert source.is_held
    fan.unregisterProducer()
    fan.branches[0].resumeProducing()
    assert fan.is_held  # nobody reads it
    fan.hold(SINK)


def test_a_transform_for_a_branch() -> None:
    """One that closes hands on what waits, as long as somebody reads it."""
    world = World(branches=1, late=1)
    transform = same()
    world.fan.attach(0, transform)
    world.source.inject(b"x")
    assert world.sink.written == [b"x"]
    transform.close(FIN)
    assert world.fan.loss == FIN
