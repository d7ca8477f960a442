"""
From one configuration to the next: what has to be done, without doing it.

Only listeners (which hold ports) and clusters (whose protocols may hold files and
rooms) run; rulelists, rules and routes are looked up when a session needs them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from l7mp.model.config import Cluster, Config, Listener


class Verb(Enum):
    """What to do with one object."""

    STOP = "stop"
    UPDATE = "update"
    START = "start"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do; ``UPDATE`` keeps the port."""

    verb: Verb
    what: Listener | Cluster

    def inverse(self, old: Config) -> Step:
        """What undoes this step, given the configuration before it."""
        if self.verb is Verb.START:
            return Step(Verb.STOP, self.what)
        if self.verb is Verb.STOP:
            return Step(Verb.START, self.what)
        return Step(Verb.UPDATE, old.listeners[self.what.name])


def plan(old: Config, new: Config) -> Iterator[Step]:
    """Stop what goes, users before used; then start what comes, used before users."""
    yield from _differing(Verb.STOP, old.listeners, new.listeners)
    yield from _differing(Verb.STOP, old.clusters, new.clusters)
    yield from _differing(Verb.START, new.clusters, old.clusters)
    for name, listener in new.listeners.items():
        before = old.listeners.get(name)
        if before is None or before.spec != listener.spec:
            yield Step(Verb.START, listener)
        elif before != listener:
            yield Step(Verb.UPDATE, listener)


def _differing(
    verb: Verb,
    these: Mapping[str, Listener] | Mapping[str, Cluster],
    others: Mapping[str, Listener] | Mapping[str, Cluster],
) -> Iterator[Step]:
    """A step for each of these that the others lack, or have with another spec."""
    for name, it in these.items():
        other = others.get(name)
        if other is None or other.spec != it.spec:
            yield Step(verb, it)
