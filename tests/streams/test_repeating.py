"""Saying something until it is heard."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from l7mp.streams.repeating import LONGEST, Repeating
from l7mp.testing import Memory


def times(pause: float, seconds: float) -> list[float]:
    """When it is said within so many seconds."""
    clock, stream = Clock(), Memory()
    said: list[float] = []
    stream.write = lambda data: said.append(clock.seconds())  # type: ignore[method-assign]
    Repeating(stream, b"hello", pause, clock)
    clock.pump([0.125] * round(8 * seconds))
    return said


def test_pauses_grow() -> None:
    """Each pause is twice the one before, up to a longest."""
    assert times(0.25, 8) == [0, 0.25, 0.75, 1.75, 3.75, 5.75, 7.75]


def test_a_longer_pause_stays_as_it_is() -> None:
    """A pause that begins above the longest does not change."""
    assert times(2 * LONGEST, 12) == [0, 4, 8, 12]


def test_once() -> None:
    """With no pause it is said once."""
    assert times(0, 9) == [0]


@pytest.mark.parametrize("ends", ["stopped", "lost"])
def test_it_ends(ends: str) -> None:
    """When it was stopped, or the stream is gone, nothing more is said."""
    clock, stream = Clock(), Memory()
    saying = Repeating(stream, b"hello", 1, clock)
    if ends == "stopped":
        saying.stop()
        saying.stop()
    else:
        stream.vanish()
    clock.pump([1] * 9)
    assert stream.written == [b"hello"]
    assert not clock.getDelayedCalls()
