"""Telling copies of a header from data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from zope.interface import alsoProvides

from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK, IKernelFlow
from l7mp.streams.screened import COPIES, Screened
from l7mp.testing import Memory, check_stream

COPY = b"header"


class Counting(Screened):
    """Counts the copies of its header."""

    copies = 0

    def came(self) -> None:
        self.copies += 1


class Scene:
    """A screened stream between a peer and a sink."""

    def __init__(self, copy: bytes | None = COPY, rest: tuple[bytes, ...] = ()) -> None:
        self.clock, self.inner, self.sink = Clock(), Memory(), Memory()
        self.stream = Counting(self.inner, self.clock, copy, rest)
        self.stream.deliver_to(self.sink)
        self.stream.release(SINK)

    @property
    def copies(self) -> int:
        return self.stream.copies

    def is_direct(self) -> bool:
        """Whether data goes straight from the inner stream to the sink."""
        return self.inner._sink is self.sink


def test_copies_are_no_data() -> None:
    """Copies are told, before data and after it, and are not delivered."""
    scene = Scene()
    scene.inner.inject(COPY, b"a", COPY, b"b", COPY + b"!")
    assert scene.sink.written == [b"a", b"b", COPY + b"!"]
    assert scene.copies == 2


def test_it_steps_out() -> None:
    """Some time after the first data copies are data, and nothing stands in their way."""
    scene = Scene()
    scene.inner.inject(b"a")
    scene.clock.advance(COPIES - 1)
    assert not scene.is_direct()
    scene.clock.advance(1)
    assert scene.is_direct()
    scene.inner.inject(COPY)
    assert (scene.sink.written, scene.copies) == ([b"a", COPY], 0)


def test_copies_prolong_the_time() -> None:
    """While copies come, more may come."""
    scene = Scene()
    scene.inner.inject(b"a")
    scene.clock.advance(COPIES - 1)
    scene.inner.inject(COPY)
    scene.clock.advance(COPIES - 1)
    scene.inner.inject(COPY)
    assert scene.copies == 2
    scene.clock.advance(COPIES)
    assert scene.is_direct()


def test_without_data_copies_may_always_come() -> None:
    """Time does not count before there was data, and no timer runs for it."""
    scene = Scene()
    scene.inner.inject(COPY)
    assert not scene.clock.getDelayedCalls()
    scene.clock.advance(100 * COPIES)
    scene.inner.inject(COPY)
    assert scene.copies == 2


def test_a_loss_ends_it() -> None:
    """No timer outlives the stream."""
    scene = Scene()
    scene.inner.inject(b"a")
    scene.stream.abort(Loss(Reason.DELETED))
    assert not scene.clock.getDelayedCalls()


def test_nothing_to_screen() -> None:
    """Without a copy to expect it stands in nobody's way from the beginning."""
    scene = Scene(copy=None)
    assert scene.is_direct()
    scene.inner.inject(COPY)
    assert scene.sink.written == [COPY]
    assert not scene.clock.getDelayedCalls()


def test_a_second_sink_is_screened_too() -> None:
    """Who takes the sink's place gets no copies either, and is stepped out of."""
    scene, second = Scene(), Memory()
    scene.inner.inject(b"a")
    scene.stream.deliver_to(second)
    scene.inner.inject(COPY, b"b")
    scene.clock.advance(COPIES)
    scene.inner.inject(COPY)
    assert second.written == [b"b", COPY]


def test_the_end_is_told_once() -> None:
    """The end of the peer's data goes to whoever asked for it, stepped out or not."""
    for late in (False, True):
        scene, ends = Scene(), [0]

        def ended(ends: list[int] = ends) -> None:
            ends[0] += 1

        scene.stream.deliver_to(scene.sink, ended)
        scene.inner.inject(b"a")
        scene.clock.advance(COPIES * late)
        scene.inner.hang_up()
        scene.clock.advance(COPIES)
        assert ends == [1]
        assert not scene.sink.ended


def test_stepping_out_without_a_sink() -> None:
    """A stream that lost its sink while copies came is delivered to the next one."""
    scene = Scene(rest=(b"early",))
    scene.inner.inject(b"a")
    scene.stream.hold(SINK)
    scene.clock.advance(COPIES)
    scene.inner.inject(COPY)
    scene.stream.release(SINK)
    assert scene.sink.written == [b"early", b"a", COPY]


def test_the_kernel_may_forward_it_then() -> None:
    """While copies may come they must be seen; later it is as good as the inner stream."""
    scene = Scene()
    inner: Any = scene.inner
    alsoProvides(inner, IKernelFlow)
    assert IKernelFlow(scene.stream, None) is None
    scene.inner.inject(b"a")
    scene.clock.advance(COPIES)
    assert IKernelFlow(scene.stream, None) is inner


def test_it_keeps_the_contract() -> None:
    """A screened stream is a stream."""

    def make() -> tuple[Screened, Callable[[bytes], None]]:
        inner = Memory()
        return Screened(inner, Clock(), COPY), inner.inject

    check_stream(make)
