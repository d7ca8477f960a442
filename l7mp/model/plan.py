"""
From one configuration to the next: what has to be done, without doing it.

Only listeners (which hold ports) and clusters (whose protocols may hold files and
rooms) run; rulelists, rules and routes are looked up when a session needs them.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    for name, listener in old.listeners.items():
        replacement = new.listeners.get(name)
        if replacement is None or replacement.spec != listener.spec:
            yield Step(Verb.STOP, listener)
    for name, cluster in old.clusters.items():
        successor = new.clusters.get(name)
        if successor is None or successor.spec != cluster.spec:
            yield Step(Verb.STOP, cluster)
    for name, cluster in new.clusters.items():
        predecessor = old.clusters.get(name)
        if predecessor is None or predecessor.spec != cluster.spec:
            yield Step(Verb.START, cluster)
    for name, listener in new.listeners.items():
        before = old.listeners.get(name)
        if before is None or before.spec != listener.spec:
            yield Step(Verb.START, listener)
        elif before != listener:
            yield Step(Verb.UPDATE, listener)
