"""
Which endpoint a session goes to: weighted rendezvous hashing, and nothing random.

Every endpoint gets a score for the key, and the highest wins (Thaler and Ravishankar,
"A Name-Based Mapping Scheme for Rendezvous", 1996; the weighted form is due to
Schindelhauer and Schomaker, 2005).  Shares follow the weights exactly, and an endpoint
that goes takes only its own keys along.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, Protocol, TypeVar

from l7mp.model.pointer import MISSING

SCALE = float(1 << 64)


class Choosable(Protocol):
    """What balancing has to know of an endpoint."""

    @property
    def address(self) -> str:
        """Where it is."""

    @property
    def port(self) -> int | None:
        """Its own port, None for the cluster's."""

    @property
    def weight(self) -> int:
        """Its share; 0 is never chosen."""


E = TypeVar("E", bound=Choosable)


def choose(policy: str, key: Any, endpoints: Sequence[E], draw: float) -> E | None:
    """
    The endpoint for a session with this key, None if there is none to choose.

    ``Trivial`` (and ``None``) takes the first.  Otherwise equal keys go to the same
    endpoint; without a key (``MISSING`` or null) the random ``draw`` in [0, 1) decides,
    weighted likewise.
    """
    able = [endpoint for endpoint in endpoints if endpoint.weight > 0]
    if not able:
        return None
    if policy not in ("ConsistentHash", "HashRing"):
        return able[0]
    if key is MISSING or key is None:
        return _drawn(able, draw)
    text = json.dumps(key, sort_keys=True, ensure_ascii=False).encode()
    scores = [
        _score(text, identity, endpoint.weight)
        for endpoint, identity in zip(able, _identities(able), strict=True)
    ]
    return able[max(range(len(able)), key=scores.__getitem__)]


def _drawn(endpoints: Sequence[E], draw: float) -> E:
    left = draw * sum(endpoint.weight for endpoint in endpoints)
    for endpoint in endpoints:
        left -= endpoint.weight
        if left < 0:
            return endpoint
    return endpoints[-1]


def _score(key: bytes, identity: bytes, weight: int) -> float:
    digest = blake2b(key, digest_size=8, key=identity).digest()
    uniform = (int.from_bytes(digest, "big") + 0.5) / SCALE
    return -weight / math.log(uniform) if uniform < 1.0 else math.inf


def _identities(endpoints: Iterable[Choosable]) -> list[bytes]:
    """
    What an endpoint is, whatever it is called: its address and port.

    One that is deleted and added again gets its keys back; equal ones are numbered.
    """
    seen: Counter[tuple[str, int | None]] = Counter()
    identities = []
    for endpoint in endpoints:
        place = (endpoint.address, endpoint.port)
        words = f"{endpoint.address}\0{endpoint.port}\0{seen[place]}"
        identities.append(blake2b(words.encode(), digest_size=32).digest())
        seen[place] += 1
    return identities
