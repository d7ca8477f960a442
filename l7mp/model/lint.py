"""
What a route does to message boundaries, judged before it runs.

A hop from a stream of messages to a stream of bytes loses the boundaries for good, and
the other way round they are where chance has cut the stream, unless a framing says how
messages are told apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from l7mp.model.config import Config, Listener, Route
from l7mp.model.framing import Framing
from l7mp.model.hops import Stop, hops_of
from l7mp.model.members import flow_in
from l7mp.model.problem import Problem
from l7mp.model.spec import FlowOf

REMEDY = (
    "name a framing on the route, the listener or the cluster: lines, u16be, …;"
    " or none, if boundaries do not matter"
)


def route_warnings(config: Config, flow_of: FlowOf) -> dict[str, list[str]]:
    """What is lost on each route, for every listener from which it can be reached."""
    return _told(config, flow_of, strictly=False)


def boundary_problems(
    config: Config, flow_of: FlowOf, places: Mapping[str, str]
) -> Iterator[Problem]:
    """
    What is wrong with routes where boundaries are not to be left to chance.

    ``places`` says where a route is written.
    """
    for name, sentences in _told(config, flow_of, strictly=True).items():
        for sentence in sentences:
            what = f'route "{name}": {sentence}'
            yield Problem(places.get(name, ""), what, REMEDY)


def unreachable_clusters(config: Config) -> Iterator[str]:
    """What is said of clusters that could reach something, but have no endpoint."""
    for cluster in config.clusters.values():
        if not cluster.virtual and not cluster.endpoints:
            yield (
                f'cluster "{cluster.name}" has no endpoints: its sessions are refused'
                " (no-endpoint) until one is added"
            )


def _told(config: Config, flow_of: FlowOf, *, strictly: bool) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {}
    flow_of = flow_in(config, flow_of)
    for listener in config.listeners.values():
        for name in routes_of(config, listener.rules):
            route = config.routes.get(name)
            stops = _stops(config, listener, route) if route is not None else None
            if route is None or stops is None:
                continue  # cannot tell until everything is defined
            for sentence in complaints(stops, route.framing, flow_of, strictly):
                known = told.setdefault(name, [])
                if sentence not in known:
                    known.append(sentence)
    return told


def _stops(config: Config, source: Listener, route: Route) -> list[Stop] | None:
    stages = (*route.ingress, route.destination, *route.egress)
    clusters = [config.clusters.get(stage) for stage in stages]
    stops = [Stop(source.name, source.spec, source.framing)]
    for cluster in clusters:
        if cluster is None:
            return None
        stops.append(Stop(cluster.name, cluster.spec, cluster.framing))
    return stops


def complaints(
    stops: list[Stop], route: Framing | None, flow_of: FlowOf, strictly: bool = False
) -> Iterator[str]:
    """What a ring loses; strictly, also where its boundaries come from nowhere."""
    hops = hops_of(stops, route, flow_of)
    for hop in hops.lost:
        giver, taker = stops[hop], stops[(hop + 1) % len(stops)]
        yield (
            f"message boundaries are lost: {_shown(giver)} speaks in messages,"
            f" {_shown(taker)} in a stream of bytes"
        )
    for hop in hops.arbitrary if strictly else ():
        giver, taker = stops[hop], stops[(hop + 1) % len(stops)]
        yield (
            f"message boundaries are arbitrary: {_shown(giver)} speaks in a stream of"
            f" bytes, {_shown(taker)} in messages"
        )


def _shown(stop: Stop) -> str:
    return f"{stop.name} ({stop.spec.protocol})"


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
