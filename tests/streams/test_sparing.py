"""What may happen very often is told now and then."""

from __future__ import annotations

from twisted.internet.task import Clock

from l7mp.streams.sparing import PAUSE, Sparing


def test_it_is_told_at_once_and_then_now_and_then() -> None:
    """The first time is told, further ones are counted until the pause is over."""
    clock, said = Clock(), list[str]()
    sparing = Sparing(clock, said.append, "{topic}: {count}")
    for _ in range(5):
        sparing("full")
    sparing("empty")
    assert said == ["full: 1", "empty: 1"]
    clock.advance(PAUSE - 1)
    sparing("full")
    assert len(said) == 2
    clock.advance(1)
    sparing("full")
    sparing("full")
    assert said[2:] == ["full: 6"]
