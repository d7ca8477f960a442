"""The contract of something that only changes data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Transform(Protocol):
    """
    No I/O, no time, no session: data in, data out.

    One that puts out as many bytes as it is fed says ``keeps_length = True``: then a
    length that was announced still holds behind it.
    """

    def feed(self, data: bytes) -> Iterable[bytes]:
        """Turn one piece of input into any number of pieces of output."""

    def end(self) -> Iterable[bytes]:
        """What was kept back, now that no more input will come."""


class Identity:
    """Changes nothing."""

    keeps_length = True

    def feed(self, data: bytes) -> Iterable[bytes]:
        """The same, as one piece."""
        return (data,)

    def end(self) -> Iterable[bytes]:
        """Nothing was kept."""
        return ()
