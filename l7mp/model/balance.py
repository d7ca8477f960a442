"""
Choosing one of a cluster's endpoints.

ConsistentHash is weighted rendezvous hashing: every endpoint draws a number from the
key and from what it is, the best draw wins. Each endpoint wins in exact proportion to
its weight, and as no draw depends on the other endpoints, removing one moves only its
own keys, adding one moves keys only to it. (D. G. Thaler and C. V. Ravishankar, "Using
name-based mappings to increase hit rates", 1998; the weighted score is by J. Schindelhauer
and G. Schomaker, "Weighted distributed hash tables", 2005.)
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Protocol, TypeVar

from l7mp.errors import LocalError
from l7mp.model.pointer import MISSING
from l7mp.model.problem import did_you_mean, quoted


class Endpoint(Protocol):
    """What is asked of an endpoint; its name is not."""

    @property
    def address(self) -> str:
        """Where it is: an address, a host name, or the path of a socket."""

    @property
    def port(self) -> int | None:
        """A port of its own, None for the cluster's."""

    @property
    def weight(self) -> int:
        """Its share of the sessions; 0 for none."""


E = TypeVar("E", bound=Endpoint)


def choose(policy: str, key: Any, endpoints: Sequence[E], draw: float) -> E | None:
    """
    The endpoint for a session, None if there is none to choose.

    ``key`` is what the metadata has at the load balancer's key: any JSON value, MISSING
    when there is no key or nothing there. ``draw`` is a random number from 0 to below 1
    and decides where the key cannot. Raises ``LocalError`` for an unknown policy.
    """
    choice = POLICIES.get(policy)
    if choice is None:
        hint = did_you_mean(policy, POLICIES) or f"use one of {', '.join(POLICIES)}"
        raise LocalError(f"unknown load balancing policy {quoted(policy)}; {hint}")
    usable = [one for one in _identified(endpoints) if one[0].weight > 0]
    return choice(key, usable, draw) if usable else None


def _identified(endpoints: Sequence[E]) -> Iterator[tuple[E, bytes]]:
    """
    Endpoints with what they are to the hash: address, port and, among equal ones, place.

    Not the name: an endpoint that is deleted and added again gets its keys back.
    """
    seen: Counter[tuple[str, int | None]] = Counter()
    for endpoint in endpoints:
        place = (endpoint.address, endpoint.port)
        yield endpoint, _canonical([*place, seen[place]])
        seen[place] += 1


def _trivial(_key: Any, usable: Sequence[tuple[E, bytes]], _draw: float) -> E:
    return usable[0][0]


def _hashed(key: Any, usable: Sequence[tuple[E, bytes]], draw: float) -> E:
    if key is MISSING or key is None:
        return _at_random(usable, draw)
    # A line end separates key and endpoint: JSON has none outside its strings.
    seed = blake2b(_canonical(key) + b"\n", digest_size=8)

    def score(one: tuple[E, bytes]) -> tuple[float, bytes]:
        endpoint, identity = one
        hashed = seed.copy()
        hashed.update(identity)
        # 52 bits and a half: always above 0 and below 1 as a float
        number = (int.from_bytes(hashed.digest(), "big") >> 12) + 0.5
        return -endpoint.weight / math.log(number / 2**52), identity

    return max(usable, key=score)[0]


def _at_random(usable: Sequence[tuple[E, bytes]], draw: float) -> E:
    left = draw * sum(endpoint.weight for endpoint, _ in usable)
    for endpoint, _ in usable[:-1]:
        left -= endpoint.weight
        if left < 0:
            return endpoint
    return usable[-1][0]


def _canonical(value: Any) -> bytes:
    """One spelling for each JSON value."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


_Choice = Callable[[Any, Sequence[tuple[E, bytes]], float], E]

POLICIES: Mapping[str, _Choice[Any]] = {
    "Trivial": _trivial,
    "ConsistentHash": _hashed,
    "HashRing": _hashed,
}
"""How each policy chooses, by name; the last two are one under two names."""
