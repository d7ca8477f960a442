"""
socat on interfaces: what goes into a wire comes out of it, and the wire is a session.

Two hosts have a cable each to a third, where a session carries the frames of one cable
to the other and back.  What the hosts say on IP, or below, is socat's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from typing import NamedTuple

import pytest
import pytest_twisted

from tests.real.namespace import Network
from tests.real.socat import MISSING, Socat, socat
from tests.real.whole import whole

WHY_NOT = MISSING or Network.why_not()
ensure = pytest_twisted.ensureDeferred
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)

EXPERIMENT = 253
"""A protocol of IP that is nobody's (RFC 3692)."""

LEFT, RIGHT = {"4": "10.9.0.1", "6": "fd09::1"}, {"4": "10.9.0.2", "6": "fd09::2"}
"""Who is at either end, by version of IP."""


class Wire(NamedTuple):
    """Two hosts, and what is between them."""

    left: Network
    between: Network
    right: Network


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    wire = Wire(Network(), Network(), Network())
    ends = (("left", wire.left, LEFT), ("right", wire.right, RIGHT))
    for name, host, addresses in ends:
        wire.between.link(name, host, "wire")
        host.run(
            f"ip address add {addresses['4']}/24 dev wire;"
            f" ip address add {addresses['6']}/64 dev wire nodad"
        )
    yield wire
    for network in wire:
        network.close()


@asynccontextmanager
async def carried(wire: Wire) -> AsyncIterator[None]:
    """While a session carries what is on the cables."""
    packets = {"protocol": "AF_PACKET", "promiscuous": True}
    with wire.between.entered():
        async with whole() as it:
            await it.listen(
                {**packets, "interface": "left"}, {**packets, "address": "right"}
            )
            yield


class Pair(NamedTuple):
    """The two ends of a conversation, and whether the second can answer."""

    left: str
    right: str
    answers: bool = True

    @property
    def is_alone(self) -> bool:
        """Whether nobody else is heard there."""
        return not self.left.startswith("INTERFACE")

    def wrap(self, text: bytes) -> bytes:
        """A message with this text."""
        return text if self.is_alone else frame(text)

    @property
    def id(self) -> str:
        return "-to-".join(end.partition(":")[0] for end in (self.left, self.right))


def frame(text: bytes) -> bytes:
    """A frame to everybody, of a type for experiments."""
    return b"\xff" * 6 + b"\x02\0\0\0\0\x0a\x88\xb5" + text.ljust(50, b".")


def pairs(name: str, version: str) -> list[Pair]:
    """What there is for one version of IP."""
    left, right = (
        f"[{ends[version]}]" if version == "6" else ends[version]
        for ends in (LEFT, RIGHT)
    )
    there = f"{right}:{EXPERIMENT}"
    return [
        Pair(f"{name}-SENDTO:{there}", f"{name}-RECVFROM:{EXPERIMENT},fork"),
        Pair(f"{name}-SENDTO:{there}", f"{name}-RECV:{EXPERIMENT}", answers=False),
        Pair(f"{name}-DATAGRAM:{there}", f"{name}-DATAGRAM:{left}:{EXPERIMENT}"),
    ]  # fmt: skip


PAIRS = [
    *pairs("IP", "4"),
    *pairs("IP4", "4"),
    *pairs("IP6", "6"),
    Pair("INTERFACE:wire", "INTERFACE:wire"),
]

TAP = "TUN:10.9.1.1/24,up,tun-type=tap,tun-name=tap9,iff-no-pi"

ADDRESSES = [TAP, *(end for pair in PAIRS for end in (pair.left, pair.right))]
"""Everything in these tables."""


def started(stack: ExitStack, host: Network, *addresses: str) -> Socat:
    """A socat on a host, ended with the stack."""
    with host.entered():
        return stack.enter_context(socat(*addresses, messages=True))


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.id)
@ensure
async def test_over_a_wire(wire: Wire, pair: Pair) -> None:
    """Each message arrives as one, and so do the answers."""
    # Each message is for a process of its own, which can take only what was sent first.
    is_apart = pair.right.endswith("fork")
    server = [pair.right, "EXEC:cat" if is_apart else "-"]
    with ExitStack() as stack:
        there = started(stack, wire.right, *([] if pair.answers else ["-u"]), *server)
        await there.is_ready()
        async with carried(wire):
            here = started(stack, wire.left, "-", pair.left)
            await here.is_ready()
            for message in map(pair.wrap, (b"one", b"three") if is_apart else ()):
                here.send(message)
                await here.hears(message)
            if not is_apart:
                await says(here, there, pair, b"one", b"three")
            if not is_apart and pair.answers:
                await says(there, here, pair, b"four", b"fifteen")


async def says(here: Socat, there: Socat, pair: Pair, *texts: bytes) -> None:
    """What one says, the other hears."""
    messages = [pair.wrap(text) for text in texts]
    here.send(*messages)
    await there.hears(*messages, among=not pair.is_alone)


@ensure
async def test_a_tap(wire: Wire) -> None:
    """What comes from a tap of socat's is a session's, and goes there again."""
    with ExitStack() as stack:
        here = started(stack, wire.between, "-", TAP)
        await here.is_ready()
        with wire.between.entered():
            async with whole() as it:
                packets = {"protocol": "AF_PACKET", "interface": "tap9"}
                await it.listen(
                    {**packets, "ethertype": "local1"}, {"protocol": "Echo"}
                )
                messages = [frame(b"one"), frame(b"three, and longer" * 20)]
                here.send(*messages)
                await here.hears(*messages, among=True)
