"""Ends sessions in which nothing moves: one timer for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

SWEEPS = 8
"""How many times a session is looked at during the shortest time-out."""


class Watched(Protocol):
    """What can be idle."""

    @property
    def traffic(self) -> int:
        """A number that changes when data moves."""


@dataclass(slots=True)
class _Watch:
    timeout: float
    expire: Callable[[], None]
    traffic: int
    since: float


class IdleWatch:
    """
    Looks at the traffic of sessions now and then, instead of at every message.

    A session is ended at most one eighth of the shortest time-out late.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._watches: dict[Watched, _Watch] = {}
        self._timer: IDelayedCall | None = None

    def watch(
        self, session: Watched, timeout: float, expire: Callable[[], None]
    ) -> None:
        """Call ``expire`` when ``session`` was idle for ``timeout`` seconds."""
        now = self._clock.seconds()
        self._watches[session] = _Watch(timeout, expire, session.traffic, now)
        self._schedule(timeout / SWEEPS)

    def forget(self, session: Watched) -> None:
        """Stop watching; unknown sessions are ignored."""
        self._watches.pop(session, None)
        if not self._watches and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, pause: float) -> None:
        if self._timer is not None:
            if self._timer.getTime() <= self._clock.seconds() + pause:
                return
            self._timer.cancel()
        self._timer = self._clock.callLater(pause, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        for session, watch in list(self._watches.items()):
            if session.traffic != watch.traffic:
                watch.traffic, watch.since = session.traffic, now
            elif now - watch.since >= watch.timeout:
                self._watches.pop(session, None)
                watch.expire()
        if self._watches:
            shortest = min(watch.timeout for watch in self._watches.values())
            self._schedule(shortest / SWEEPS)
