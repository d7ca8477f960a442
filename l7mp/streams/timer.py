"""One thing at a time that is to be done later."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Timer:
    """What is set takes the place of what was set before."""

    __slots__ = ("_call", "_clock")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._call: IDelayedCall | None = None

    def set(self, seconds: float, act: Callable[[], object]) -> None:
        """Call ``act`` after so many ``seconds``, and nothing else."""
        self.cancel()
        self._call = self._clock.callLater(seconds, act)

    def cancel(self) -> None:
        """Call nothing; twice is once."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
