"""
Names for what is defined without one.

There is one counter per kind of object. Names that the user chose anywhere in a
declaration are never generated, and what stays the same from one declaration to the
next keeps the name that was generated for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from l7mp.model.base import Declared

T = TypeVar("T")
U = TypeVar("U")

COLLISIONS = 20
"""How many suffixes are tried when a generated name is taken."""


class Names:
    """Generates names; ``serials`` has the next number for each kind."""

    def __init__(self, serials: Mapping[str, int]) -> None:
        self.serials = dict(serials)
        self._reserved: set[tuple[str, str]] = set()

    def reserve(self, it: Declared) -> None:
        """Keep the names that are chosen in ``it`` from being generated."""
        self._reserved.update(chosen(it))

    def generate(
        self,
        kind: str,
        stem: str,
        taken: Collection[str],
        former: Iterable[str | None] = (),
    ) -> str:
        """
        A fresh name, or the first of the ``former`` ones that was generated so, too.

        ``former`` are the names of what the previous declaration had in this place.
        """
        for name in former:
            if name and is_generated(name, stem) and self._is_free(kind, name, taken):
                return name
        while True:
            number = self.serials.get(kind, 0)
            self.serials[kind] = number + 1
            for name in _candidates(f"{stem}-{number}"):
                if self._is_free(kind, name, taken):
                    return name

    def _is_free(self, kind: str, name: str, taken: Collection[str]) -> bool:
        return name not in taken and (kind, name) not in self._reserved


def _candidates(name: str) -> Iterator[str]:
    yield name
    for attempt in range(1, COLLISIONS + 1):
        yield f"{name}_{attempt}"


def is_generated(name: str, stem: str) -> bool:
    """Whether it looks like a name that is generated from this stem."""
    return re.fullmatch(re.escape(stem) + r"-\d+(_\d+)?", name) is not None


def chosen(it: Any) -> Iterator[tuple[str, str]]:
    """The kind and the name of everything that has one in a declaration."""
    if isinstance(it, Declared):
        name = getattr(it, "name", None)
        if isinstance(name, str):
            yield type(it).__name__, name
        it = tuple(it.__dict__.values())
    if isinstance(it, tuple):
        for inner in it:
            yield from chosen(inner)


def paired(
    items: Sequence[T], former: Sequence[U], same: Callable[[T, U], bool]
) -> list[U | None]:
    """
    For each of ``items`` what it was: the same, else what was in its place, if any.

    So an insertion renames nothing, and a change in place keeps the name.
    """
    left = dict(enumerate(former))
    found: list[U | None] = [None] * len(items)
    for index, item in enumerate(items):
        match = next((i for i, old in left.items() if same(item, old)), None)
        if match is not None:
            found[index] = left.pop(match)
    return [
        left.pop(index, None) if old is None else old for index, old in enumerate(found)
    ]
