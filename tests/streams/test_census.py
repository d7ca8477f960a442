"""Limits, and who makes room: a model of it, and what it promises."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from l7mp.streams.census import Census

SOURCES = st.sampled_from("abcd")


def filled(census: Census[str], **counts: int) -> Census[str]:
    """So many members of each source, called a0, a1…"""
    for source, count in counts.items():
        for n in range(count):
            census.add(source, f"{source}{n}")
    return census


@pytest.mark.parametrize(
    ("most", "per_source", "counts", "newcomer", "full"),
    [
        (None, None, {"a": 9}, "a", None),
        (3, None, {"a": 2}, "a", None),
        (3, None, {"a": 3}, "b", "max-sessions"),
        (None, 2, {"a": 2, "b": 1}, "a", "max-sessions-per-source"),
        (None, 2, {"a": 2, "b": 1}, "b", None),
        (3, 2, {"a": 2, "b": 1}, "a", "max-sessions-per-source"),
    ],
)
def test_limits(
    most: int | None,
    per_source: int | None,
    counts: dict[str, int],
    newcomer: str,
    full: str | None,
) -> None:
    """There is room until a limit is reached: of all, or of the newcomer's source."""
    assert filled(Census(most, per_source), **counts).full(newcomer) == full


@pytest.mark.parametrize(
    ("counts", "newcomer", "victim"),
    [
        ({"a": 5, "b": 1}, "c", "a0"),
        ({"a": 5, "b": 1}, "b", "a0"),
        ({"a": 5, "b": 1}, "a", "a0"),
        ({"a": 3, "b": 3}, "b", "b0"),
        ({"a": 3, "b": 2}, "b", "b0"),
        ({"a": 2, "b": 2}, "c", "a0"),
        ({"a": 1, "b": 1}, "c", None),
        ({"a": 1, "b": 1}, "b", "b0"),
    ],
)
def test_who_makes_room(
    counts: dict[str, int], newcomer: str, victim: str | None
) -> None:
    """What one source has too many of goes; where nobody has, only one's own."""
    assert filled(Census(1, None), **counts).victim(newcomer) == victim


def test_a_source_at_its_own_limit_makes_room_itself() -> None:
    """A limit for each source costs nobody else."""
    census = filled(Census(None, 2), a=9, b=2)
    assert census.victim("b") == "b0"


def test_the_silent_go_first() -> None:
    """Who was heard lately stays longer than who was not."""
    census = filled(Census(3, None), a=3)
    census.heard("a", "a0")
    assert census.victim("b") == "a1"
    census.remove("a", "a1")
    assert census.victim("a") == "a2"


class Crowd(RuleBasedStateMachine):
    """Any history of coming, going and being heard, beside a plain model."""

    def __init__(self) -> None:
        super().__init__()
        self.census: Census[int] = Census(6, None)
        self.model: dict[str, list[int]] = {}
        self.serial = 0

    @property
    def total(self) -> int:
        return sum(map(len, self.model.values()))

    @rule(source=SOURCES)
    def come(self, source: str) -> None:
        if self.census.full(source) is not None:
            self.make_room(source)
        if self.census.full(source) is None:
            self.serial += 1
            self.census.add(source, self.serial)
            self.model.setdefault(source, []).append(self.serial)

    def make_room(self, source: str) -> None:
        victim = self.census.victim(source)
        own = len(self.model.get(source, ()))
        if victim is None:
            assert own == 0
            assert max(map(len, self.model.values())) == 1
            return
        (giver,) = (s for s, members in self.model.items() if victim in members)
        assert self.model[giver][0] == victim, "not the one that was silent longest"
        if giver != source:
            assert len(self.model[giver]) == max(map(len, self.model.values()))
            assert len(self.model[giver]) > own + 1
        self.leave(giver, 0)

    @precondition(lambda self: self.total)
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        source = data.draw(st.sampled_from(sorted(self.model)))
        self.leave(source, data.draw(st.integers(0, len(self.model[source]) - 1)))

    def leave(self, source: str, index: int) -> None:
        self.census.remove(source, self.model[source].pop(index))
        if not self.model[source]:
            del self.model[source]

    @precondition(lambda self: self.total)
    @rule(data=st.data())
    def speak(self, data: st.DataObject) -> None:
        source = data.draw(st.sampled_from(sorted(self.model)))
        member = data.draw(st.sampled_from(self.model[source]))
        self.census.heard(source, member)
        self.model[source].remove(member)
        self.model[source].append(member)

    @invariant()
    def agrees(self) -> None:
        for source in "abcd":
            assert self.census.count(source) == len(self.model.get(source, ()))
        assert (self.census.full("a") is None) == (self.total < 6)
        top = max(map(len, self.model.values()), default=0)
        assert self.census._top == top


TestCrowd = Crowd.TestCase
TestCrowd.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
