"""A JSON value that knows where in a text each of its parts was written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from l7mp.model.problem import Invalid, Problem, pointer_to, quoted, steps_of

MAX_DEPTH = 100
"""How many lists and mappings may be inside one another."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value, or the key of an entry, begins; and the places inside it."""

    line: int = 0
    column: int = 0
    inner: Mapping[str, Place] = field(default_factory=dict)
    """By key, and by position for lists."""


@dataclass(frozen=True, slots=True)
class Document:
    """A value as read from ``source``; made of dict, list, str, numbers, bool, None."""

    value: Any
    source: str = ""
    places: Callable[[], Place] = field(default=Place, repr=False, compare=False)
    """Finds the places; called only when something is wrong."""

    def locate(self, pointer: str) -> tuple[int, int]:
        """
        Line and column of what ``pointer`` names, counted from 1; 0, 0 if unknown.

        For the entry of a mapping that is its key.  What does not exist is where the
        nearest thing around it is.
        """
        place = self.places()
        for step in steps_of(pointer):
            inner = place.inner.get(step)
            if inner is None:
                break
            place = inner
        return place.line, place.column

    def at(self, pointer: str) -> Any:
        """The value that ``pointer`` names, or ``Invalid`` that says what is missing."""
        value = self.value
        walked: list[str] = []
        for step in steps_of(pointer):
            if isinstance(value, dict) and step in value:
                value = value[step]
            elif isinstance(value, list) and step in map(str, range(len(value))):
                value = value[int(step)]
            else:
                where, what = pointer_to(walked), f"the key {quoted(step)} is missing"
                raise Invalid([self.problem(where, what)])
            walked.append(step)
        return value

    def problem(self, path: str, message: str, hint: str = "") -> Problem:
        """A problem with what ``path`` names."""
        line, column = self.locate(path)
        return Problem(path, message, hint, self.source, line, column)

    def located(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        """The same problems, told where they are, in the order of the text."""
        placed = []
        for one in problems:
            line, column = self.locate(one.path)
            placed.append(replace(one, source=self.source, line=line, column=column))
        return tuple(sorted(placed, key=lambda one: (one.line, one.column)))


def syntax_error(
    source: str, line: int, column: int, message: str, hint: str = ""
) -> Invalid:
    """The exception for a text that is not a document at all."""
    return Invalid([Problem("", message, hint, source, line, column)])
