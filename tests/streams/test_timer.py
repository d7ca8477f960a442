"""Timers do one thing, once."""

from __future__ import annotations

from twisted.internet.task import Clock

from l7mp.streams.timer import Timer


def test_the_last_word_counts() -> None:
    """Of all that was set only the last is done, and only once."""
    clock, said = Clock(), list[str]()
    timer = Timer(clock)
    timer.set(1, lambda: said.append("first"))
    timer.set(2, lambda: said.append("last"))
    clock.pump([1, 1, 1])
    assert said == ["last"]


def test_it_can_be_set_by_what_it_does() -> None:
    """As by what looks again and again."""
    clock, said = Clock(), list[int]()
    timer = Timer(clock)

    def again() -> None:
        said.append(len(said))
        timer.set(1, again)

    timer.set(1, again)
    clock.pump([1, 1, 1])
    assert said == [0, 1, 2]
    timer.cancel()
    timer.cancel()
    assert not clock.getDelayedCalls()
