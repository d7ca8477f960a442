"""Rulelists that apply each other."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from l7mp.model.config import Rule, RuleList
from l7mp.model.loops import find_loop

GRAPHS = st.dictionaries(
    st.sampled_from("abcde"), st.lists(st.sampled_from("abcdef"), max_size=3)
)


def loop_in(graph: dict[str, list[str]]) -> tuple[str, ...]:
    lists = {name: RuleList(name, (*(name + to for to in graph[name]), "lost", "plain"))
             for name in graph}  # fmt: skip
    rules = {name + to: Rule(name + to, None, (), None, to)
             for name in graph for to in graph[name]}  # fmt: skip
    return find_loop(lists, {**rules, "plain": Rule("plain", None, (), "r", None)})


@given(GRAPHS)
def test_finds_a_loop_if_there_is_one(graph: dict[str, list[str]]) -> None:
    """A loop is found exactly if some rulelist can come back to itself."""
    reach = {name: {to for to in graph[name] if to in graph} for name in graph}
    for _ in graph:
        reach = {n: r.union(*(reach[to] for to in r)) for n, r in reach.items()}
    loop = loop_in(graph)
    assert bool(loop) == any(name in reach[name] for name in reach)
    assert all(after in graph[name] for name, after in pairwise(loop))
    assert not loop or loop[0] == loop[-1]


def test_diamond() -> None:
    """Two ways to the same rulelist are no loop."""
    assert loop_in({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}) == ()
    assert loop_in({"a": ["a"]}) == ("a", "a")
