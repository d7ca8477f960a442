"""Saying something again and again, over a network that may lose it."""

from __future__ import annotations

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from l7mp.interfaces import IStream

LONGEST = 2.0
"""Seconds between two repetitions when there have been many."""


class Repeating:
    """
    Writes ``data`` to ``stream`` at once, and again until it is stopped.

    The first pause is ``pause`` seconds, and each is twice as long as the one before,
    up to LONGEST; 0 means never again.
    """

    def __init__(
        self, stream: IStream, data: bytes, pause: float, clock: IReactorTime
    ) -> None:
        self._stream, self._data, self._clock = stream, data, clock
        self._pause = pause
        self._timer: IDelayedCall | None = None
        self._say()

    def _say(self) -> None:
        self._timer = None
        if self._stream.loss is not None:
            return
        self._stream.write(self._data)
        if self._pause:
            self._timer = self._clock.callLater(self._pause, self._say)
            self._pause = min(2 * self._pause, max(LONGEST, self._pause))

    def stop(self) -> None:
        """Say it no more; twice is once."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
