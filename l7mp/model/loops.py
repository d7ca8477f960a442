"""Rulelists that apply each other without end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from l7mp.model.config import Rule, RuleList


def find_loop(
    rulelists: Mapping[str, RuleList], rules: Mapping[str, Rule]
) -> tuple[str, ...]:
    """The names along a loop of ``apply`` actions, the first repeated; () if none."""
    follows = {
        name: [
            rules[rule].apply or ""
            for rule in rulelist.rules
            if rule in rules and rules[rule].apply in rulelists
        ]
        for name, rulelist in rulelists.items()
    }
    done: set[str] = set()
    for start in follows:
        trail: dict[str, Iterator[str]] = {}
        step: str | None = start
        while step is not None:
            if step in trail:
                names = list(trail)
                return (*names[names.index(step) :], step)
            if step not in done:
                trail[step] = iter(follows[step])
            step = _next_step(trail, done)
    return ()


def _next_step(trail: dict[str, Iterator[str]], done: set[str]) -> str | None:
    """One step further in a depth-first walk, or None when the walk is over."""
    while trail:
        last = next(reversed(trail))
        following = next(trail[last], None)
        if following is not None:
            return following
        done.add(last)
        del trail[last]
    return None
