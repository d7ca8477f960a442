"""Which stages carry messages, and where that hurts."""

from __future__ import annotations

import pytest

from l7mp.model.framing import Framing, framing_of
from l7mp.model.hops import Hops, Stop, crossings, framable, hops_of
from l7mp.model.spec import Flow
from tests.model.vocabulary import BYTES, MESSAGES, WORDS

FLOWS = {
    "m": Flow(MESSAGES, MESSAGES),
    "b": Flow(BYTES, BYTES),
    "-": Flow(None, None),
    ">": Flow(MESSAGES, BYTES),
    "<": Flow(None, MESSAGES),
}


@pytest.mark.parametrize(
    ("ring", "lost", "arbitrary"),
    [
        ("mm", [], []),
        ("mb", [0], [1]),
        ("bm", [1], [0]),
        ("m-b", [1], [2]),
        ("--", [], []),
        ("mbmb", [0, 2], [1, 3]),
        ("m>b", [], [2]),
        ("m>b<", [], []),
        ("b<b", [1], []),
    ],
)
def test_crossings(ring: str, lost: list[int], arbitrary: list[int]) -> None:
    """Boundaries suffer where a stage takes another kind than it is given."""
    flows = [FLOWS[one] for one in ring]
    assert crossings(flows, MESSAGES, BYTES) == lost
    assert crossings(flows, BYTES, MESSAGES) == arbitrary


def judged(*protocols: str, route: str | None = None) -> Hops:
    """A ring of protocols, each with a framing of its own behind a slash."""
    stops = []
    for one in protocols:
        protocol, _, own = one.partition("/")
        spec = WORDS.cluster({"protocol": protocol})
        stops.append(Stop(protocol, spec, framing_of(own or None)))  # type: ignore[arg-type]
    return hops_of(stops, framing_of(route), WORDS.flow_of)  # type: ignore[arg-type]


def formats(hops: Hops) -> list[str | None]:
    return [None if one is None else one.format for one in hops.framings]


def test_without_a_framing() -> None:
    """Nothing is framed, and every mixture is told."""
    assert judged("UDP", "TCP") == Hops((None, None), (0,), (1,))


def test_own_framing() -> None:
    """A framed stage carries messages, between bytes it is where boundaries suffer."""
    assert formats(judged("UDP", "TCP/lines")) == [None, "lines"]
    assert judged("UDP", "TCP/lines").lost == ()
    assert judged("TCP", "TCP/lines").lost == (1,)


def test_framing_of_a_route() -> None:
    """It is for those that have none of their own, if the ring has messages at all."""
    assert formats(judged("UDP", "Echo", "TCP", route="nul")) == [None, None, "nul"]
    assert formats(judged("TCP", "TCP/u8", route="nul")) == ["nul", "u8"]
    assert formats(judged("TCP", "TCP", route="nul")) == [None, None]
    assert formats(judged("UDP", "TCP/none", route="nul")) == [None, None]
    assert not judged("UDP", "TCP", "TCP", route="nul").lost


def test_none_is_silent() -> None:
    """Who says that there are no boundaries need not be told."""
    assert judged("UDP", "TCP/none") == Hops((None, None), (), ())
    assert judged("UDP", "TCP", route="none") == Hops((None, None), (), ())
    assert judged("UDP/none", "TCP").lost == ()


def test_framable() -> None:
    """Frames go into plain streams of bytes, and into nothing else."""
    assert [framable(FLOWS[one]) for one in "mb-><"] == [
        False,
        True,
        False,
        False,
        False,
    ]


def test_a_framing_may_limit_messages() -> None:
    """What was said about a framing stays with the stage."""
    framing = Framing(format="lines", max_message=5)
    stops = [
        Stop("u", WORDS.cluster({"protocol": "UDP"})),
        Stop("t", WORDS.cluster({"protocol": "TCP"}), framing),
    ]
    assert hops_of(stops, None, WORDS.flow_of).framings == (None, framing)
