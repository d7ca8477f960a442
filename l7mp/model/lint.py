"""
What a route does to message boundaries, judged before it runs.

A hop from a stream of messages to a stream of bytes loses the boundaries for good.
Transforms that keep what they are fed have no kind of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from l7mp.model.config import Config, Route
from l7mp.model.spec import KindOf, Spec

BYTES = "byte-stream"
DATAGRAMS = "datagram-stream"


def lossy_hops(kinds: Sequence[str | None]) -> list[int]:
    """
    Where a ring of stages loses boundaries: n for the hop from stage n to the next.

    ``None`` is the kind of a stage that passes on what it gets; the source, stage 0,
    and the destination are where messages begin.
    """
    hops = []
    current = kinds[0]
    for index in range(len(kinds)):
        following = kinds[(index + 1) % len(kinds)]
        if current == DATAGRAMS and following == BYTES:
            hops.append(index)
        if following is not None:
            current = following
    return hops


def route_warnings(config: Config, kind_of: KindOf) -> dict[str, list[str]]:
    """What is lost on each route, for every listener from which it can be reached."""
    warnings: dict[str, list[str]] = {}
    for listener in config.listeners.values():
        giver = (listener.name, listener.spec)
        for name in routes_of(config, listener.rules):
            route = config.routes.get(name)
            for warning in _lost(config, giver, route, kind_of) if route else ():
                known = warnings.setdefault(name, [])
                if warning not in known:
                    known.append(warning)
    return warnings


def _lost(
    config: Config,
    source: tuple[str, Spec],
    route: Route,
    kind_of: KindOf,
) -> Iterator[str]:
    stages = (*route.ingress, route.destination, *route.egress)
    if any(stage not in config.clusters for stage in stages):
        return  # cannot tell until they are defined
    ring = [
        source,
        *((stage, config.clusters[stage].spec) for stage in stages),
    ]
    for hop in lossy_hops([kind_of(spec) for _, spec in ring]):
        yield boundary_warning(ring[hop], ring[(hop + 1) % len(ring)])


def boundary_warning(giver: tuple[str, Spec], taker: tuple[str, Spec]) -> str:
    """The sentence about a hop between two stages, (name, specification) each."""
    return (
        f"message boundaries are lost: {giver[0]} ({giver[1].protocol}) speaks in messages,"
        f" {taker[0]} ({taker[1].protocol}) in a stream of bytes"
    )


def routes_of(config: Config, rulelist: str) -> set[str]:
    """The names of the routes that sessions of a rulelist may take."""
    found: set[str] = set()
    seen = {rulelist}
    waiting = [rulelist]
    while waiting:
        table = config.rulelists.get(waiting.pop())
        for name in table.rules if table else ():
            rule = config.rules.get(name)
            if rule is None:
                continue
            if rule.apply is not None and rule.apply not in seen:
                seen.add(rule.apply)
                waiting.append(rule.apply)
            elif rule.apply is None and rule.route is not None:
                found.add(rule.route)
    return found
