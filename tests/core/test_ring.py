"""The ring keeps data in order whatever is done to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed

from l7mp.core.events import Faulted
from l7mp.core.ring import Pipe, Ring
from l7mp.interfaces import IStream, Kind
from l7mp.testing import Memory
from tests.core.support import World, same


def nothing(index: int) -> None:
    """Nobody cares that stage ``index`` ended."""


def ring_of(*stages: object) -> Ring:
    ring = Ring(stages, nothing)  # type: ignore[arg-type]
    ring.open()
    return ring


@given(
    st.lists(st.binary(min_size=1), max_size=30), st.integers(0, 3), st.integers(1, 5)
)
def test_pressure_loses_and_reorders_nothing(
    data: list[bytes], transforms: int, window: int
) -> None:
    """However many transforms and however small the window, all arrives in order."""
    source, sink = Memory(), Memory(window=window)
    ring_of(source, *[same() for _ in range(transforms)], sink)
    source.inject(*data)
    seen: list[bytes] = []
    while sink.written:
        assert len(sink.written) <= window
        seen += sink.written
        sink.drain()
    assert seen == data


@pytest.mark.parametrize("index", range(4))
def test_every_stage_can_be_replaced(index: int) -> None:
    """A fresh stage gets from its predecessor and gives to its successor."""
    ring = ring_of(*[Memory() for _ in range(4)])
    fresh = Memory()
    ring.remove(index)
    ring.mend(index, fresh)
    before, after = ring.stages[index - 1], ring.after(index)
    before.inject(b"in")  # type: ignore[attr-defined]
    fresh.inject(b"out")
    assert fresh.written == [b"in"]
    assert after.written == [b"out"]  # type: ignore[attr-defined]


def test_a_hole_holds_the_stage_before_it() -> None:
    """What arrives while a stage is missing waits for the one that takes its place."""
    source, lost = Memory(), Memory()
    ring = ring_of(source, lost)
    ring.remove(1)
    source.inject(b"meanwhile")
    assert lost.written == []
    fresh = Memory()
    ring.mend(1, fresh)
    assert fresh.written == [b"meanwhile"]


def test_the_end_of_a_stage_is_told_by_its_place() -> None:
    """Which stage has ended is known to whoever made the ring."""
    heard: list[int] = []
    stages = [Memory() for _ in range(3)]
    ring = Ring(stages, heard.append)
    ring.open()
    ring.settle()
    stages[2].hang_up()
    stages[0].hang_up()
    assert heard == [2, 0]


def test_early_ends_are_told_when_somebody_is_ready() -> None:
    """As of a stage that had ended before the ring was made, or before it was mended."""
    heard: list[int] = []
    stages = [Memory() for _ in range(3)]
    stages[1].hang_up()
    ring = Ring(stages, heard.append)
    ring.open()
    stages[2].hang_up()
    assert heard == []
    ring.settle()
    assert heard == [1, 2]
    fresh, late = Memory(), Memory()
    late.hang_up()
    for one in (fresh, late):
        one.hang_up()
        ring.remove(1)
        ring.mend(1, one)
    assert heard == [1, 2]
    ring.settle()
    assert heard == [1, 2, 1]


@pytest.mark.parametrize("is_retried", [False, True])
def test_a_stage_that_ends_before_the_others_are_there(is_retried: bool) -> None:
    """Its end is heard as any other: it travels on, or the stage is connected again."""
    world = World()
    retry = {"retry_on": "always" if is_retried else "never"}
    world.route("Bytes", "Bytes", egress=["out"], retry=retry)
    early, slow = Memory(Kind.BYTES), Deferred[IStream]()
    early.hang_up()
    world.bytes.outcomes = [succeed(early), slow]
    source = world.arrive(Kind.BYTES)
    slow.callback(last := Memory(Kind.BYTES))
    assert not world.said(Faulted)
    assert source.closed is None
    assert last.ended is not is_retried
    assert len(world.bytes.made) == is_retried


def test_a_dead_sink_does_not_end_its_source() -> None:
    """Twisted calls stopProducing on a dead sink's producer; that is not the source."""
    source = Memory()
    Pipe(source, Memory(), lambda: None).stopProducing()
    assert source.loss is None
