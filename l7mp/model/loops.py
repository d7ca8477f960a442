"""Rulelists that apply each other, and clusters that stand on each other, without end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from l7mp.model.config import Config, Rule, RuleList
from l7mp.model.members import follows
from l7mp.model.problem import Problem


def loop_problems(config: Config, applies: bool) -> Iterator[Problem]:
    """What has no end; ``applies`` says whether rulelists are worth a look."""
    loop = find_loop(config.rulelists, config.rules) if applies else ()
    if loop:
        what = f"rulelists apply each other in a loop: {' → '.join(loop)}"
        yield Problem("", what, "remove one of the apply actions")
    loop = find_cycle(follows(config.clusters))
    if loop:
        what = f"clusters stand on each other in a loop: {' → '.join(loop)}"
        yield Problem("", what, "take one of them out of another")


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
    return find_cycle(follows)


def find_cycle(follows: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The names along a cycle, the first repeated; () if none."""
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
