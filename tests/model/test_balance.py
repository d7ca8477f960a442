"""Choosing one of a cluster's endpoints."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.errors import LocalError
from l7mp.model.balance import POLICIES, choose
from l7mp.model.pointer import MISSING

HASHING = ["ConsistentHash", "HashRing"]
KEYS = 10_000


@dataclass(frozen=True)
class Place:
    """An endpoint as the configuration has it."""

    address: str
    port: int | None = None
    weight: int = 1
    name: str = ""


SEED = [Place("127.0.0.1", weight=3), Place("127.0.0.2"), Place("127.0.0.3")]
"""The endpoints of the cluster with sticky sessions in the original's README."""


def spread(endpoints: list[Place], keys: int = KEYS) -> list[Place | None]:
    """The endpoint of each of many keys."""
    return [
        choose("ConsistentHash", f"key-{number}", endpoints, 0.0)
        for number in range(keys)
    ]


# -- all policies -------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_to_choose(policy: str) -> None:
    """Without endpoints, or with weightless ones only, there is nothing to choose."""
    assert choose(policy, "key", [], 0.5) is None
    assert choose(policy, MISSING, [Place("a", weight=0)], 0.5) is None


@given(
    st.sampled_from([*POLICIES]),
    st.integers() | st.just(MISSING),
    st.floats(0, 1, exclude_max=True),
)
def test_weight_zero(policy: str, key: Any, draw: float) -> None:
    """An endpoint of weight 0 is never chosen."""
    idle, busy = Place("idle", weight=0), Place("busy")
    assert choose(policy, key, [idle, busy, idle], draw) is busy


@pytest.mark.parametrize(
    ("policy", "hint"), [("trivial", 'did you mean "Trivial"?'), ("Best", "use one of")]
)
def test_unknown_policy(policy: str, hint: str) -> None:
    """A policy that nobody knows is refused."""
    with pytest.raises(LocalError, match="unknown load balancing policy") as info:
        choose(policy, "key", SEED, 0.0)
    assert hint in str(info.value)


def test_trivial() -> None:
    """Trivial chooses the first endpoint, whatever the key."""
    chosen = {choose("Trivial", key, SEED, 0.9) for key in ("a", 1, MISSING)}
    assert chosen == {SEED[0]}


# -- by key -------------------------------------------------------------------


def test_seed_proportion() -> None:
    """Weights 3:1:1 give 3:1:1 of 10,000 keys, within 5 %."""
    shares = Counter(spread(SEED))
    for endpoint, expected in zip(SEED, (6_000, 2_000, 2_000), strict=True):
        assert shares[endpoint] == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("weights", [(1, 1), (1, 2, 3, 4), (10, 1), (100, 100, 50)])
def test_proportions(weights: tuple[int, ...]) -> None:
    """Each endpoint gets its share of the keys, within what chance does to a count."""
    endpoints = [Place(f"10.0.0.{n}", 80, weight) for n, weight in enumerate(weights)]
    shares = Counter(spread(endpoints))
    for endpoint in endpoints:
        share = endpoint.weight / sum(weights)
        deviation = (KEYS * share * (1 - share)) ** 0.5
        assert abs(shares[endpoint] - KEYS * share) < 4 * deviation


endpoint_lists = st.lists(
    st.builds(
        Place,
        st.sampled_from(["a", "b", "c", "2001:db8::1", "/run/x"]),
        st.sampled_from([None, 80, 81]),
        st.integers(0, 5),
    ),
    max_size=6,
    unique_by=lambda one: (one.address, one.port),
)
json_keys = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
    ),
    max_leaves=5,
)
key_lists = st.lists(json_keys, max_size=8)


@given(endpoint_lists, key_lists, st.data())
def test_removing_moves_only_its_own_keys(
    endpoints: list[Place], keys: list[Any], data: st.DataObject
) -> None:
    """Keys of other endpoints stay where they are when one is removed."""
    gone = data.draw(st.sampled_from(endpoints)) if endpoints else None
    rest = [one for one in endpoints if one is not gone]
    for key in keys:
        before = choose("ConsistentHash", key, endpoints, 0.0)
        after = choose("ConsistentHash", key, rest, 0.0)
        assert after == before or before is gone


@given(endpoint_lists, key_lists, st.randoms(use_true_random=False))
def test_order_and_names_do_not_matter(
    endpoints: list[Place], keys: list[Any], dice: random.Random
) -> None:
    """An endpoint that comes back elsewhere, under another name, gets its keys back."""
    others = [replace(one, name="renamed") for one in endpoints]
    dice.shuffle(others)
    for key in keys:
        one = choose("ConsistentHash", key, endpoints, 0.0)
        other = choose("HashRing", key, others, 0.9)
        assert one == (other and replace(other, name=""))


def test_more_weight_only_attracts() -> None:
    """When an endpoint becomes heavier, keys move to it and nowhere else."""
    heavier = [replace(SEED[0], weight=6), *SEED[1:]]
    moves = {
        (before and before.address, after and after.address)
        for before, after in zip(spread(SEED, 500), spread(heavier, 500), strict=True)
        if (before and before.address) != (after and after.address)
    }
    assert moves == {("127.0.0.2", "127.0.0.1"), ("127.0.0.3", "127.0.0.1")}


def test_two_ports_are_two_endpoints() -> None:
    """Endpoints on one host that differ in port share the keys."""
    endpoints = [Place("h", 80), Place("h", 81), Place("h")]
    shares = Counter(spread(endpoints, 3000))
    assert all(900 < shares[endpoint] < 1100 for endpoint in endpoints)


def test_equal_endpoints() -> None:
    """Equal endpoints share the keys, too; without one, the rest keep theirs."""
    twins = [Place("h", name="e1"), Place("h", name="e2"), Place("other")]
    before, after = spread(twins, 3000), spread(twins[::2], 3000)
    assert all(900 < count < 1100 for count in Counter(before).values())
    assert all(
        (one == other) or one is twins[1]
        for one, other in zip(before, after, strict=True)
    )


@given(json_keys, endpoint_lists)
def test_every_key_sticks(key: Any, endpoints: list[Place]) -> None:
    """A key of any JSON type always leads to the same endpoint."""
    chosen = {choose("ConsistentHash", key, endpoints, draw) for draw in (0.0, 0.9)}
    assert len(chosen) == 1


def test_one_spelling_for_each_value() -> None:
    """Equal JSON values are equal keys: 1 and 1.0, objects in any order."""
    many = [Place(str(number)) for number in range(1000)]
    for one, other in [(1, 1.0), ({"a": 1, "b": 2}, {"b": 2, "a": 1})]:
        assert choose("HashRing", one, many, 0.0) is choose(
            "HashRing", other, many, 0.0
        )
    assert choose("HashRing", 1, many, 0.0) is not choose("HashRing", "1", many, 0.0)


KEPT: dict[Any, str] = {
    "a": "1",
    "d": "1",
    "10.0.0.1": "1",
    "fe80::1": "1",
    1: "3",
    2.5: "2",
    False: "1",
}


def test_stable_across_releases() -> None:
    """Where a key leads is part of our promise: proxies of one farm must agree."""
    chosen = [choose("ConsistentHash", key, SEED, 0.0) for key in KEPT]
    assert [one and one.address[-1] for one in chosen] == [*KEPT.values()]


# -- without key --------------------------------------------------------------


@pytest.mark.parametrize("key", [MISSING, None])
@pytest.mark.parametrize("policy", HASHING)
def test_weighted_random(policy: str, key: Any) -> None:
    """Without a key, a draw decides, each endpoint having its share of the draws."""
    endpoints = [*SEED, Place("idle", weight=0)]
    chosen = [choose(policy, key, endpoints, number / 100) for number in range(100)]
    assert chosen == [SEED[0]] * 60 + [SEED[1]] * 20 + [SEED[2]] * 20


@given(endpoint_lists, st.floats(0, 1, exclude_max=True))
def test_every_draw_chooses(endpoints: list[Place], draw: float) -> None:
    """Any draw leads to an endpoint with weight, if there is one."""
    chosen = choose("HashRing", MISSING, endpoints, draw)
    weights = [endpoint.weight for endpoint in endpoints]
    assert (chosen is None) == (sum(weights) == 0)
    assert chosen is None or chosen.weight > 0
