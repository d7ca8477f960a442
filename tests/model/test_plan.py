"""From one configuration to the next."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from l7mp.model.config import Cluster, Config, Listener
from l7mp.model.declared import ListenerOptions
from l7mp.model.plan import Step, Verb, plan
from tests.model.vocabulary import PortSpec

NAMES = st.sampled_from("abcd")
SPECS = st.builds(PortSpec, protocol=st.just("UDP"), port=st.integers(1, 2))
OPTIONS = st.none() | st.builds(ListenerOptions, track=st.integers(0, 1))
LISTENERS = st.builds(
    Listener, name=NAMES, spec=SPECS, rules=st.sampled_from("xy"), options=OPTIONS
)
CLUSTERS = st.builds(Cluster, name=NAMES, spec=SPECS)
CONFIGS = st.builds(
    lambda listeners, clusters: Config(
        listeners={one.name: one for one in listeners},
        clusters={one.name: one for one in clusters},
    ),
    st.lists(LISTENERS, max_size=4),
    st.lists(CLUSTERS, max_size=4),
)
Running = dict[tuple[type, str], Listener | Cluster]


def running(config: Config) -> Running:
    objects: list[Listener | Cluster] = [*config.listeners.values()]
    objects += config.clusters.values()
    return {(type(one), one.name): one for one in objects}


def execute(world: Running, steps: Iterable[Step]) -> Running:
    world = dict(world)
    for step in steps:
        key = (type(step.what), step.what.name)
        if step.verb is Verb.START:
            assert key not in world, "started twice"
            world[key] = step.what
        elif step.verb is Verb.STOP:
            assert world.pop(key) == step.what
        else:
            assert world[key].spec == step.what.spec, "an update keeps the port"
            world[key] = step.what
    return world


@given(CONFIGS, CONFIGS)
def test_gets_there(old: Config, new: Config) -> None:
    """The steps of a plan lead from what runs to what should run."""
    assert execute(running(old), plan(old, new)) == running(new)


@given(CONFIGS, CONFIGS, st.integers(0, 20))
def test_gets_back(old: Config, new: Config, failed: int) -> None:
    """Undoing in reverse what was done so far leads back to what ran."""
    done = list(plan(old, new))[:failed]
    world = execute(running(old), done)
    undone = [step.inverse(old) for step in reversed(done)]
    assert execute(world, undone) == running(old)


@given(CONFIGS)
def test_nothing_to_do(config: Config) -> None:
    """From a configuration to itself there is nothing to do."""
    assert not list(plan(config, config))


@given(CONFIGS, CONFIGS)
def test_order(old: Config, new: Config) -> None:
    """What is used stops after its users and starts before them; stops come first."""
    ranks = {
        (Verb.STOP, Listener): 0,
        (Verb.STOP, Cluster): 1,
        (Verb.START, Cluster): 2,
        (Verb.START, Listener): 3,
        (Verb.UPDATE, Listener): 3,
    }
    order = [ranks[step.verb, type(step.what)] for step in plan(old, new)]
    assert order == sorted(order)
