"""How many there are of each source, and whose turn it is to make room."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Census(Generic[T]):
    """
    Members, each of a source, within limits; every operation takes constant time.

    Room is made fairly: what a source has more than others goes first, so that a
    source with many members cannot push out those of one with few.
    """

    def __init__(self, most: int | None, most_per_source: int | None) -> None:
        self._most, self._most_per_source = most, most_per_source
        self._total = 0
        # For each source its members, the one that was silent for longest first.
        self._members: dict[Hashable, dict[T, None]] = {}
        # The sources that have so many members.
        self._having: dict[int, dict[Hashable, None]] = {}
        self._top = 0
        """How many members the sources have that have most."""

    def full(self, source: Hashable) -> str | None:
        """Why there is no room for one more of ``source``; None if there is."""
        limit = self._most_per_source
        if limit is not None and self.count(source) >= limit:
            return "max-sessions-per-source"
        if self._most is not None and self._total >= self._most:
            return "max-sessions"
        return None

    def count(self, source: Hashable) -> int:
        """How many members ``source`` has."""
        return len(self._members.get(source, ()))

    def victim(self, source: Hashable) -> T | None:
        """
        Who should make room for one more of ``source``, where there is none.

        One of the source that has most, if it has more than ``source`` will have;
        otherwise one of its own; None if it has none, for then nobody has too many.
        """
        own, giver = self.count(source), source
        limit = self._most_per_source
        if self._top > own + 1 and (limit is None or own < limit):
            giver = next(iter(self._having[self._top]))
        return next(iter(self._members.get(giver, ())), None)

    def add(self, source: Hashable, member: T) -> None:
        """``member`` of ``source`` is here."""
        members = self._members.setdefault(source, {})
        members[member] = None
        self._total += 1
        self._moved(source, len(members) - 1, len(members))

    def remove(self, source: Hashable, member: T) -> None:
        """``member`` has left."""
        members = self._members[source]
        del members[member]
        self._total -= 1
        if not members:
            del self._members[source]
        self._moved(source, len(members) + 1, len(members))

    def heard(self, source: Hashable, member: T) -> None:
        """``member`` is the last one of its source to be silent now."""
        members = self._members[source]
        del members[member]
        members[member] = None

    def _moved(self, source: Hashable, before: int, after: int) -> None:
        if before:
            del self._having[before][source]
            if not self._having[before]:
                del self._having[before]
        if after:
            self._having.setdefault(after, {})[source] = None
        # What has most changes by one at a time.
        if after > self._top or (self._top and self._top not in self._having):
            self._top = after
