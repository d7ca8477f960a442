"""Clusters that stand on other clusters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from l7mp.model.config import Cluster, Config
from l7mp.model.hops import BYTES, FRAMED, is_framed
from l7mp.model.spec import Flow, FlowOf, Spec


def owner_of(cluster: str) -> str:
    """The parent of what is defined inside a cluster; no route can be called so."""
    return f"cluster {cluster}"


def closure(config: Config, names: Iterable[str]) -> set[str]:
    """These clusters, and all that they stand on."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            cluster = config.clusters.get(name)
            waiting += cluster.spec.members if cluster is not None else ()
    return found


def follows(clusters: Mapping[str, Cluster]) -> dict[str, list[str]]:
    """Which clusters each one stands on, as far as they exist."""
    return {
        name: [str(one) for one in cluster.spec.members if one in clusters]
        for name, cluster in clusters.items()
    }


def flow_in(config: Config, flow_of: FlowOf) -> FlowOf:
    """
    ``flow_of`` that also knows clusters which stand on others.

    Those take and give what their members do; if these differ, bytes, since some will
    lose the boundaries.
    """

    def resolved(spec: Spec) -> Flow:
        if not spec.members:
            return flow_of(spec)
        inner = closure(config, map(str, spec.members))
        leaves = [
            FRAMED if is_framed(cluster.framing) else flow_of(cluster.spec)
            for name in inner
            if (cluster := config.clusters.get(name)) and not cluster.spec.members
        ]
        return Flow(
            _common({leaf.takes for leaf in leaves}),
            _common({leaf.gives for leaf in leaves}),
        )

    return resolved


def _common(kinds: set[str | None]) -> str | None:
    kinds = kinds - {None}
    return kinds.pop() if len(kinds) == 1 else BYTES if kinds else None
