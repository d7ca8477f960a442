"""
Which stages of a ring carry messages, which carry bytes, and where that hurts.

A framing makes a stage of bytes one of messages. It is named by the listener or the
cluster; what names none takes the route's, if there are messages in the ring at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from l7mp.model.framing import Framing
from l7mp.model.spec import Flow, FlowOf, Spec

BYTES = "byte-stream"
DATAGRAMS = "datagram-stream"

_PLAIN = Flow(BYTES, BYTES)
FRAMED = Flow(DATAGRAMS, DATAGRAMS)
"""What a stage is that has a framing."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A stage, as far as boundaries are concerned."""

    name: str
    spec: Spec
    framing: Framing | None = None
    """Its own."""


@dataclass(frozen=True, slots=True)
class Hops:
    """What happens to boundaries in a ring; hop n leads from stage n to the next."""

    framings: tuple[Framing | None, ...]
    """How messages are told apart at each stage, None where nothing has to be done."""
    lost: tuple[int, ...]
    """Hops from messages to bytes that nobody asked for."""
    arbitrary: tuple[int, ...]
    """Hops from bytes to messages that nobody asked for."""


def framable(flow: Flow) -> bool:
    """Whether a framing can make messages of what a stage carries."""
    return flow == _PLAIN


def hops_of(stops: Sequence[Stop], route: Framing | None, flow_of: FlowOf) -> Hops:
    """Judge a ring: the source, the stages of a route, and the route's own framing."""
    flows = [flow_of(stop.spec) for stop in stops]
    framings = [stop.framing for stop in stops]
    mixed = any(
        is_framed(framing) or DATAGRAMS in (flow.takes, flow.gives)
        for flow, framing in zip(flows, framings, strict=True)
    )
    if route is not None and mixed:
        framings = [
            route if own is None and framable(flow) and not stop.spec.members else own
            for stop, flow, own in zip(stops, flows, framings, strict=True)
        ]
    flows = [
        FRAMED if is_framed(framing) else flow
        for flow, framing in zip(flows, framings, strict=True)
    ]
    quiet = [framing is not None and not is_framed(framing) for framing in framings]

    def heard(hops: list[int]) -> tuple[int, ...]:
        following = len(stops)
        return tuple(h for h in hops if not (quiet[h] or quiet[(h + 1) % following]))

    return Hops(
        tuple(framing if is_framed(framing) else None for framing in framings),
        heard(crossings(flows, DATAGRAMS, BYTES)),
        heard(crossings(flows, BYTES, DATAGRAMS)),
    )


def is_framed(framing: Framing | None) -> bool:
    """Whether something has to be done."""
    return framing is not None and framing.format != "none"


def crossings(flows: Sequence[Flow], given: str, taken: str) -> list[int]:
    """
    Where a stage is given the one and takes the other.

    A stage that gives None passes on what it gets; one that takes None takes either.
    """
    hops = []
    current = flows[0].gives
    for index in range(len(flows)):
        following = flows[(index + 1) % len(flows)]
        if current == given and following.takes == taken:
            hops.append(index)
        if following.gives is not None:
            current = following.gives
    return hops
