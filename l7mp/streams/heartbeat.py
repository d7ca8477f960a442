"""Finding out whether a silent peer is still there."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Heartbeat:
    """
    Asks for a sign of life from time to time.

    Every ``interval`` seconds, or ``patience`` if that is longer, ``ask`` is called,
    and if nothing was ``heard`` within ``patience`` seconds after that, so is
    ``silent``, until ``stop``.  The owner sets ``heard`` whenever anything arrives:
    that costs next to nothing, there is no timer to push forward.  Without patience
    it only asks.
    """

    def __init__(
        self,
        clock: IReactorTime,
        interval: float,
        patience: float,
        ask: Callable[[], None],
        silent: Callable[[], None],
    ) -> None:
        self.heard = False
        self._clock = clock
        self._interval, self._patience = interval, patience
        self._ask, self._silent = ask, silent
        self._call: IDelayedCall | None = clock.callLater(interval, self._beat)

    def _beat(self) -> None:
        self.heard = False
        next_step = self._check if self._patience else self._beat
        self._call = self._clock.callLater(self._patience or self._interval, next_step)
        self._ask()

    def _check(self) -> None:
        rest = max(0.0, self._interval - self._patience)
        self._call = self._clock.callLater(rest, self._beat)
        if not self.heard:
            self._silent()

    def stop(self) -> None:
        """Ask no more; twice is once."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
