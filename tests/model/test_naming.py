"""Names for what is defined without one."""

from __future__ import annotations

from l7mp.model import declared as say
from l7mp.model.naming import COLLISIONS, Names, chosen, is_generated, paired
from tests.model.vocabulary import everything, listener, to


def test_numbers_go_up() -> None:
    """There is one counter per kind, whatever the stem."""
    names = Names({"Rule": 3})
    assert names.generate("Rule", "a-Rule", ()) == "a-Rule-3"
    assert names.generate("Rule", "b-Rule", ()) == "b-Rule-4"
    assert names.generate("Route", "b-Route", ()) == "b-Route-0"
    assert names.serials == {"Rule": 5, "Route": 1}


def test_collisions() -> None:
    """A taken name gets the suffixes _1 to _20, then the next number."""
    names = Names({})
    taken = {"r-0", *(f"r-0_{n}" for n in range(1, COLLISIONS))}
    assert names.generate("Rule", "r", taken) == f"r-0_{COLLISIONS}"
    taken |= {f"r-0_{COLLISIONS}"}
    assert Names({}).generate("Rule", "r", taken) == "r-1"


def test_former_names() -> None:
    """A former name is taken over if it was generated for such a place and is free."""
    names = Names({"Rule": 9})
    assert names.generate("Rule", "r", (), [None, "mine", "r-2_1"]) == "r-2_1"
    assert names.generate("Rule", "r", ("r-2",), ["r-2"]) == "r-9"


def test_chosen_names_are_not_generated() -> None:
    """A name that somebody chose further on is not generated."""
    names = Names({})
    names.reserve(say.RuleList(name="RuleList-0", rules=()))
    assert names.generate("RuleList", "RuleList", ()) == "RuleList-0_1"
    assert names.generate("Rule", "RuleList", ()) == "RuleList-0"


def test_chosen() -> None:
    """Chosen names are found wherever something is defined."""
    it = everything(listeners=[listener({"name": "r", **to({"name": "c",
                    "spec": {"protocol": "Echo"}})})])  # fmt: skip
    assert set(chosen(it)) == {("Listener", "L"), ("Rule", "r"), ("Cluster", "c")}


def test_is_generated() -> None:
    """A generated name is a stem and a number, perhaps with a suffix."""
    assert is_generated("a.b-7", "a.b")
    assert not is_generated("axb-7", "a.b")
    assert not is_generated("a.b-7x", "a.b")


def test_paired() -> None:
    """The same is found where it is now, a change where it was, the new nowhere."""

    def same(one: str, other: str) -> bool:
        return one == other

    assert paired("xab", "ab", same) == [None, "a", "b"]
    assert paired("axc", "abc", same) == ["a", "b", "c"]
    assert paired("", "ab", same) == []
