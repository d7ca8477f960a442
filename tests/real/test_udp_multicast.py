"""Groups and broadcasts, between machines: heard, spoken to, and answered."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import pytest_twisted

from l7mp.errors import LocalError
from l7mp.model.multicast import Membership
from l7mp.streams.multicast import join
from tests.protocols.real import Real, real
from tests.protocols.udp_world import World
from tests.real.test_udp_network import (
    CLIENT,
    CLIENT6,
    PROXY,
    Net,
    inside,
    looks,
    net,
    world,
)
from tests.streams.loopback import Peer, turn, until

__all__ = ["inside", "net", "world"]

GROUP, OTHER, GROUP6 = "239.1.1.1", "239.1.1.2", "ff15::1:1"
UDP: dict[str, Any] = {"protocol": "UDP", "port": 1}


@contextmanager
def member(net: Net, group: str, port: int = 0) -> Iterator[Peer]:
    """Somebody on the server's machine who has joined."""
    with net.server.entered():
        peer = Peer("::" if ":" in group else "0.0.0.0", port)
        join(peer.sock, Membership(groups=(group,), interface="s0"))
    with peer:
        yield peer


def at_p0(*groups: str, **how: Any) -> dict[str, Any]:
    """Membership on the client's side."""
    return {"groups": list(groups), "interface": "p0", **how}


# -- listeners -------------------------------------------------------------------


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("address", [None, "0.0.0.0", GROUP])
async def test_a_group_is_heard_and_answered(
    net: Net, world: World, address: str | None
) -> None:
    """What is sent to a group makes a session, and is answered from a unicast address."""
    given: dict[str, Any] = {} if address is None else {"address": address}
    _, port = await world.listen(multicast=at_p0(GROUP), **given)
    with net.peers() as (client, _):
        for data in (b"one", b"two"):
            client.send(data, (GROUP, port))
            answer, (host, source_port) = await client.receive()
            assert (answer, source_port) == (data, port)
            assert host in ("10.1.0.1", "10.1.0.11")
    ((flow, metadata, _),) = world.accepted
    assert metadata["IP"] == {"src_addr": CLIENT, "dst_addr": GROUP}
    assert flow.drops == {}


@pytest_twisted.ensureDeferred
async def test_a_group_of_ipv6(net: Net, world: World) -> None:
    """Groups of both families are heard by one listener."""
    _, port = await world.listen(multicast=at_p0(GROUP, GROUP6))
    with net.peers(six=True) as (six, _), net.peers() as (four, _):
        six.send(b"6", (GROUP6, port))
        data, (host, _) = await six.receive()
        assert (data, host) in ((b"6", "2001:db8:1::1"), (b"6", "2001:db8:1::11"))
        four.send(b"4", (GROUP, port))
        assert (await four.receive())[0] == b"4"
    assert world.accepted[0][1]["IP"] == {"src_addr": CLIENT6, "dst_addr": GROUP6}


@pytest_twisted.ensureDeferred
async def test_a_group_of_the_link(net: Net, world: World) -> None:
    """A group that no router passes on is heard, and answered to a link's address."""
    _, port = await world.listen(multicast=at_p0("ff02::7:7"))
    with net.client.entered():
        client = Peer("::")
        there = socket.if_nametoindex("c0")
    with client:
        client.sock.sendto(b"x", ("ff02::7:7", port, 0, there))
        data, (host, _) = await client.receive()
        assert (data, host[:4]) == (b"x", "fe80")
    assert world.accepted[0][1]["IP"]["src_addr"].startswith("fe80")


@pytest_twisted.ensureDeferred
async def test_only_groups_that_were_joined(net: Net, world: World) -> None:
    """A listener hears its own group, whatever others on this machine have joined."""
    _, port = await world.listen(multicast=at_p0(GROUP), address=GROUP)
    await world.listen(multicast=at_p0(OTHER), address=OTHER, port=port)
    with net.peers() as (client, _):
        for group in (OTHER, GROUP):
            client.send(group.encode(), (group, port))
            await client.receive()
            assert world.accepted[-1][1]["IP"]["dst_addr"] == group
    assert len(world.accepted) == 2


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("group", "named", "heard"),
    [
        ("232.1.1.1", CLIENT, True),
        ("232.1.1.1", "10.1.0.99", False),
        ("ff35::7", CLIENT6, True),
        ("ff35::7", "2001:db8:1::99", False),
    ],
)
async def test_only_sources_that_are_named(
    net: Net, world: World, group: str, named: str, heard: bool
) -> None:
    """With sources, whoever else sends to the group is not heard (RFC 4607)."""
    _, port = await world.listen(multicast=at_p0(group, sources=[named]))
    with net.peers(six=":" in group) as (client, _):
        client.send(b"x", (group, port))
        if heard:
            assert (await client.receive())[0] == b"x"
        else:
            assert await client.hears_nothing()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("membership", "words"),
    [
        ({"groups": [GROUP], "interface": "eth9"}, 'no interface "eth9"'),
        ({"groups": [GROUP, GROUP], "interface": "p0"}, "already in use"),
    ],
)
async def test_who_cannot_join_does_not_listen(
    world: World, membership: dict[str, Any], words: str
) -> None:
    """A listener that cannot join its groups is refused, and leaves no socket."""
    with pytest.raises(LocalError, match=words):
        await world.listen(multicast=membership)


@pytest_twisted.ensureDeferred
async def test_a_broadcast_is_heard_and_answered(net: Net, world: World) -> None:
    """What is sent to everybody makes a session, and is answered by an own address."""
    _, port = await world.listen()
    with net.peers() as (client, _):
        for _ in range(2):
            client.send(b"anybody?", ("10.1.0.255", port))
            data, (host, _) = await client.receive()
            assert (data, host) == (b"anybody?", PROXY)
    assert world.accepted[0][1]["IP"]["dst_addr"] == "10.1.0.255"


# -- clusters --------------------------------------------------------------------


async def route(
    it: Real, address: str, port: int, listener: dict[str, Any], **cluster: Any
) -> int:
    """The port of a proxy that sends to a group."""
    to = {"protocol": "UDP", "port": port, **cluster}
    bound = await it.route({**UDP, **listener}, to, {"address": address})
    number: int = bound["port"]
    return number


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("group", [GROUP, GROUP6, "ff02::7:7"])
async def test_members_are_spoken_to_and_answer(net: Net, group: str) -> None:
    """Every member hears what is sent to a group, and any of them may answer."""
    six = ":" in group
    async with real() as it:
        with member(net, group) as one, net.peers(six) as (client, other):
            port = await route(
                it, group, one.port, {},
                multicast={"interface": "p1", "ttl": 5},
                options={"answers": "any"},
            )  # fmt: skip
            client.send(b"who is there?", ("2001:db8:1::1" if six else PROXY, port))
            data, source = await one.receive()
            assert data == b"who is there?"
            one.send(b"me", source)
            other.send(b"me, too", source)
            heard = {(await client.receive())[0] for _ in range(2)}
            assert heard == {b"me", b"me, too"}


@pytest_twisted.ensureDeferred
async def test_only_the_endpoint_answers_unless_anybody_may(net: Net) -> None:
    """Who is not the endpoint is not heard by a session that has not asked for it."""
    async with real() as it:
        with member(net, GROUP) as one, net.peers() as (client, _):
            how = {"multicast": {"interface": "p1"}}
            port = await route(it, GROUP, one.port, {}, **how)
            client.send(b"who is there?", (PROXY, port))
            one.send(b"me", (await one.receive())[1])
            assert await client.hears_nothing()


@pytest_twisted.ensureDeferred
async def test_how_far_it_goes(net: Net) -> None:
    """The packets to a group have the hops that were asked for."""
    async with real() as it:
        with member(net, GROUP) as one, net.peers() as (client, _):
            one.sock.setsockopt(0, 12, 1)  # IP_RECVTTL
            how = {"multicast": {"interface": "p1", "ttl": 7}}
            port = await route(it, GROUP, one.port, {}, **how)
            client.send(b"x", (PROXY, port))
            session = await it.one_session()
            await until(lambda: session.stages[1].stream.messages_out)
            await turn()
            assert looks(one) == (b"x", {"ttl": 7})


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("address", "how"),
    [("10.2.0.255", {}), ("255.255.255.255", {"socket": {"device": "p1"}})],
)
async def test_everybody_is_spoken_to(
    net: Net, address: str, how: dict[str, Any]
) -> None:
    """With broadcast, everybody on the link is sent to, and anybody may answer."""
    async with real() as it:
        with net.server.entered():
            one = Peer("0.0.0.0")
        with one, net.peers() as (client, _):
            options = {"answers": "any"}
            how = {"broadcast": True, "options": options, **how}
            port = await route(it, address, one.port, {}, **how)
            client.send(b"anybody?", (PROXY, port))
            data, source = await one.receive()
            assert data == b"anybody?"
            one.send(b"me", source)
            assert (await client.receive())[0] == b"me"


@pytest_twisted.ensureDeferred
async def test_a_group_can_be_carried_to_another_link(net: Net) -> None:
    """A group on one link is carried to a group on another, as no router would."""
    async with real() as it:
        with member(net, OTHER) as one, net.peers() as (client, _):
            how = {"interface": "p1"}
            port = await route(
                it, OTHER, one.port, {"multicast": at_p0(GROUP)}, multicast=how
            )
            client.send(b"live", (GROUP, port))
            assert (await one.receive())[0] == b"live"
