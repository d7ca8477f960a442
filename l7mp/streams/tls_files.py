"""Files that are read again when they change, as certificates do."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from twisted.internet.interfaces import IReactorTime

from l7mp.errors import LocalError

T = TypeVar("T")

PATIENCE = 1.0
"""
Seconds that files may contradict each other.

Whoever renews a certificate writes two files, and between them they do not match.
"""

Signature = tuple[tuple[int, int, int] | None, ...]
"""When each file was changed, its size, and which one it is; None: it is not there."""


class Reloaded(Generic[T]):
    """
    What was made of some files, made anew when they change.

    Asking costs a stat(2) of each file.  When the new files are of no use the old
    value stays, and ``warn`` is told, once for each such change.
    """

    def __init__(
        self,
        files: Sequence[str],
        make: Callable[[], T],
        warn: Callable[[str], None],
        clock: IReactorTime,
    ) -> None:
        """Raises what ``make`` raises, a ``LocalError``."""
        self._files, self._make = files, make
        self._warn, self._clock = warn, clock
        self._known = self._signature()
        self._value = make()
        self._bad: tuple[float, str] | None = None
        """Since when the files are of no use, and why; until that was told."""

    def current(self) -> T:
        """The value as the files are now."""
        signature = self._signature()
        if signature != self._known:
            self._known = signature
            self._load()
        elif self._bad is not None and self._bad[0] + PATIENCE <= self._clock.seconds():
            self._warn(f"{self._bad[1]}; what was there before stays in use")
            self._bad = None
        return self._value

    def _load(self) -> None:
        try:
            self._value = self._make()
            self._bad = None
        except LocalError as error:
            since = self._clock.seconds() if self._bad is None else self._bad[0]
            self._bad = (since, str(error))

    def _signature(self) -> Signature:
        return tuple(map(_signature, self._files))


def _signature(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
