"""One timer watches all sessions."""

from __future__ import annotations

from twisted.internet.task import Clock

from l7mp.core.idle import IdleWatch


class Still:
    """Something whose traffic is what the test says."""

    traffic = 0


def test_silence_ends_and_traffic_does_not() -> None:
    """A session ends when nothing moved for its time-out, and no sooner."""
    clock, ended = Clock(), []
    watch, busy, still = IdleWatch(clock), Still(), Still()
    watch.watch(busy, 16, lambda: ended.append("busy"))
    watch.watch(still, 8, lambda: ended.append("still"))
    for _ in range(7):
        busy.traffic += 1
        clock.advance(1)
    assert ended == []
    for _ in range(3):
        busy.traffic += 1
        clock.advance(1)
    assert ended == ["still"]
    clock.pump([1] * 20)
    assert ended == ["still", "busy"]
    assert not clock.getDelayedCalls()


def test_forgetting_the_last_stops_the_timer() -> None:
    """No session, no timer."""
    clock = Clock()
    watch, one = IdleWatch(clock), Still()
    watch.watch(one, 60, lambda: None)
    watch.watch(one, 10, lambda: None)
    watch.forget(Still())
    watch.forget(one)
    watch.forget(one)
    assert not clock.getDelayedCalls()
