"""UDP between machines: who is seen to speak, and what the packets look like."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import pytest
import pytest_twisted

from l7mp.errors import LocalError, Reason, RemoteError
from tests.protocols.real import LOOPBACK, real
from tests.protocols.udp_world import World
from tests.real.namespace import Network
from tests.streams.loopback import Collector, Peer, peers, until, unused_port

CLIENT, PROXY, UPSTREAM = "10.1.0.2", "10.1.0.1", "10.2.0.2"
CLIENT6, UPSTREAM6 = "2001:db8:1::2", "2001:db8:2::2"
NOBODY = 65534


class Net(NamedTuple):
    """A client, a proxy with two cables, and a server behind it."""

    client: Network
    proxy: Network
    server: Network

    @contextmanager
    def peers(self, six: bool = False) -> Iterator[tuple[Peer, Peer]]:
        """One on the client's machine and one on the server's."""
        with ExitStack() as stack:
            with self.client.entered():
                client = stack.enter_context(Peer(CLIENT6 if six else CLIENT))
            with self.server.entered():
                server = stack.enter_context(Peer(UPSTREAM6 if six else UPSTREAM))
            yield client, server


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    """Three machines in a row."""
    if Network.why_not():
        pytest.skip(Network.why_not())
    net = Net(Network(), Network(), Network())
    for one in net:  # no address waits until nobody has objected to it
        one.run(
            "cd /proc/sys/net/ipv6/conf; for i in all default; do echo 0 >$i/accept_dad; done"
        )
    net.proxy.link("p0", net.client, "c0")
    net.proxy.link("p1", net.server, "s0")
    net.client.run(
        "ip address add 10.1.0.2/24 dev c0; ip route add default via 10.1.0.1;"
        "ip address add 2001:db8:1::2/64 dev c0 nodad;"
        "ip route add default via 2001:db8:1::1"
    )
    net.server.run(
        "ip address add 10.2.0.2/24 dev s0; ip route add default via 10.2.0.1;"
        "ip address add 2001:db8:2::2/64 dev s0 nodad;"
        "ip route add default via 2001:db8:2::1"
    )
    net.proxy.run(
        "for a in 10.1.0.1 10.1.0.11; do ip address add $a/24 dev p0; done;"
        "for a in ::1 ::11; do ip address add 2001:db8:1$a/64 dev p0 nodad; done;"
        "ip address add 10.2.0.1/24 dev p1;"
        "ip address add 2001:db8:2::1/64 dev p1 nodad;"
        "ip rule add fwmark 7 prohibit;"
        # What comes back from the server is ours, whosever address it has.
        "ip rule add iif p1 lookup 100; ip route add local default dev lo table 100;"
        "ip -6 rule add iif p1 lookup 100;"
        "ip -6 route add local default dev lo table 100"
    )
    yield net
    for one in net:
        one.close()


@pytest.fixture(autouse=True)
def inside(net: Net) -> Iterator[None]:
    with net.proxy.entered():
        yield


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


@contextmanager
def unprivileged() -> Iterator[None]:
    """Without capabilities for a while."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


# -- who answers -----------------------------------------------------------------


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("everywhere", [None, "0.0.0.0"])
@pytest.mark.parametrize("asked", ["10.1.0.1", "10.1.0.11", "10.2.0.1"])
async def test_who_is_asked_answers(
    net: Net, world: World, asked: str, everywhere: str | None
) -> None:
    """On a host with many addresses, the one that was asked is the one that answers."""
    given: dict[str, Any] = {} if everywhere is None else {"address": everywhere}
    _, port = await world.listen(**given)
    with net.peers() as (client, _):
        client.send(b"question", (asked, port))
        assert await client.receive() == (b"question", (asked, port))
    assert world.accepted[0][1]["IP"] == {"src_addr": CLIENT, "dst_addr": asked}


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("asked", ["2001:db8:1::1", "2001:db8:1::11", "2001:db8:2::1"])
async def test_who_is_asked_answers_by_ipv6(net: Net, world: World, asked: str) -> None:
    """The same for IPv6, where the kernel would rather choose another address."""
    _, port = await world.listen()
    with net.peers(six=True) as (client, _):
        client.send(b"question", (asked, port))
        assert await client.receive() == (b"question", (asked, port))
    assert world.accepted[0][1]["IP"] == {"src_addr": CLIENT6, "dst_addr": asked}


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
async def test_in_place_of_another(net: Net, world: World, six: bool) -> None:
    """A transparent listener hears what is sent to others, and answers as they would."""
    ip = "ip -6" if six else "ip"
    net.proxy.run(f"{ip} rule add iif p0 lookup 100")
    try:
        _, port = await world.listen(socket={"transparent": True})
        asked = UPSTREAM6 if six else UPSTREAM
        with net.peers(six) as (client, _):
            client.send(b"question", (asked, port))
            assert await client.receive() == (b"question", (asked, port))
        assert world.accepted[0][1]["IP"]["dst_addr"] == asked
    finally:
        net.proxy.run(f"{ip} rule del iif p0 lookup 100")


# -- who asks --------------------------------------------------------------------


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("preserve", [None, "port", "client"])
async def test_who_is_seen_to_ask(net: Net, preserve: Any, six: bool) -> None:
    """The upstream sees the proxy, or the client's port, or the client itself."""
    async with real() as it:
        with net.peers(six) as (client, server):
            cluster: dict[str, Any] = {"protocol": "UDP", "port": server.port}
            if preserve:
                cluster["bind"] = {"preserve": preserve, "required": True}
            listener = {"protocol": "UDP", "port": 1}
            bound = await it.route(listener, cluster, {"address": server.address[0]})
            for _ in range(2):
                to = "2001:db8:1::1" if six else PROXY
                client.send(b"question", (to, bound["port"]))
                data, (host, port) = await server.receive()
                assert data == b"question"
                assert (port == client.port) is bool(preserve)
                own = "2001:db8:2::1" if six else "10.2.0.1"
                assert host == (client.address[0] if preserve == "client" else own)
                server.send(b"answer", (host, port))
                assert await client.receive() == (b"answer", (to, bound["port"]))


def client_at(host: str, port: int) -> dict[str, Any]:
    """The metadata of a session of this client."""
    return {"IP": {"src_addr": host}, "UDP": {"src_port": port}}


@pytest_twisted.ensureDeferred
async def test_a_taken_port_is_replaced(world: World) -> None:
    """A client's port that is not free is replaced, or ends the session if it must not."""
    with peers(2) as (client, server):
        said = client_at(*client.address)
        bind = {"preserve": "port"}
        to: dict[str, Any] = {"port": server.port, "metadata": said}
        flow = await world.connect(LOOPBACK, **to, bind=bind)
        assert flow.five_tuple()[3] != client.port
        with pytest.raises(RemoteError, match=f"cannot send from .*:{client.port}"):
            await world.connect(LOOPBACK, **to, bind={**bind, "required": True})


@pytest_twisted.ensureDeferred
async def test_two_clients_with_one_port(world: World) -> None:
    """Of two clients with the same port the second gets another, unless it must not."""
    port = unused_port()
    with peers() as (server,):
        to = {"port": server.port}
        one = await world.connect(
            LOOPBACK,
            **to,
            metadata=client_at("10.9.0.1", port),
            bind={"preserve": "port"},
        )
        other = client_at("10.9.0.2", port)
        two = await world.connect(
            LOOPBACK, **to, metadata=other, bind={"preserve": "port"}
        )
        assert one.five_tuple()[3] == port
        assert two.five_tuple()[3] != port
        bind = {"preserve": "port", "required": True}
        with pytest.raises(RemoteError, match="in use by another session"):
            await world.connect(LOOPBACK, **to, metadata=other, bind=bind)


@pytest_twisted.ensureDeferred
async def test_nobody_speaks_for_others_without_permission(world: World) -> None:
    """Sending as the client needs a capability, which the reason names."""
    with (
        peers() as (server,),
        unprivileged(),
        pytest.raises(LocalError, match=r"transparent .*it needs CAP_NET_ADMIN"),
    ):
        await world.connect(
            LOOPBACK,
            port=server.port,
            metadata=client_at("10.9.0.1", 5000),
            bind={"preserve": "client"},
        )


# -- what packets look like ------------------------------------------------------


def looks(peer: Peer) -> tuple[bytes, dict[str, int]]:
    """The next datagram, and the type of service and hops of its packet."""
    data, found, _, _ = peer.sock.recvmsg(100, 200)
    names = {
        (socket.IPPROTO_IP, socket.IP_TOS): "tos",
        (socket.IPPROTO_IP, socket.IP_TTL): "ttl",
        (socket.IPPROTO_IPV6, socket.IPV6_TCLASS): "tos",
        (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT): "ttl",
    }
    return data, {
        names[level, kind]: int.from_bytes(value, "little")
        for level, kind, value in found
    }


def look(peer: Peer) -> None:
    """Have a peer told how packets look."""
    if ":" in peer.address[0]:
        level = socket.IPPROTO_IPV6
        options = (socket.IPV6_RECVTCLASS, socket.IPV6_RECVHOPLIMIT)
    else:
        level, options = socket.IPPROTO_IP, (socket.IP_RECVTOS, 12)
    for option in options:
        peer.sock.setsockopt(level, option, 1)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
async def test_service_and_hops(net: Net, six: bool) -> None:
    """What both sides of the proxy send has the DSCP and the hops it was told."""
    async with real() as it:
        with net.peers(six) as (client, server):
            for peer in (client, server):
                look(peer)
            bound = await it.route(
                {"protocol": "UDP", "port": 1, "socket": {"tos": 0x20, "ttl": 5}},
                {
                    "protocol": "UDP",
                    "port": server.port,
                    "socket": {"dscp": 46, "ttl": 9},
                },
                {"address": server.address[0]},
            )
            client.send(b"x", ("2001:db8:1::1" if six else PROXY, bound["port"]))
            session = await it.one_session()
            await until(lambda: session.stages[1].stream.messages_out)
            assert looks(server) == (b"x", {"tos": 46 << 2, "ttl": 9})
            own = session.stages[1].stream.five_tuple()[2:4]
            server.send(b"y", own)
            await until(lambda: session.stages[0].stream.messages_out)
            assert looks(client) == (b"y", {"tos": 0x20, "ttl": 5})


@pytest_twisted.ensureDeferred
async def test_marks_are_routed_by(net: Net, world: World) -> None:
    """The mark of a session's packets decides about their way, from the first on."""
    with net.peers() as (_, server):
        await world.connect(UPSTREAM, port=server.port, socket={"mark": 8})
        with pytest.raises(RemoteError) as raised:
            await world.connect(UPSTREAM, port=server.port, socket={"mark": 7})
        assert raised.value.loss.reason is Reason.UNREACHABLE


@pytest_twisted.ensureDeferred
async def test_only_by_one_interface(net: Net, world: World) -> None:
    """A listener on an interface hears nothing that comes by another."""
    _, port = await world.listen(socket={"device": "p1"})
    with net.peers() as (client, server):
        client.send(b"x", ("10.2.0.1", port))
        server.send(b"y", ("10.2.0.1", port))
        assert (await server.receive())[0] == b"y"
        assert await client.hears_nothing()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("whole", [False, True], ids=["fragments", "whole"])
async def test_what_is_too_large_for_the_way(
    net: Net, world: World, whole: bool
) -> None:
    """A large datagram is cut into fragments, or dropped and counted if it must not."""
    size = 4000
    with net.peers() as (_, server):
        options = {"dont_fragment": whole}
        flow = await world.connect(UPSTREAM, port=server.port, socket=options)
        Collector(flow)
        flow.write(bytes(size))
        flow.write(b"small")
        received = [(await server.receive())[0] for _ in range(1 if whole else 2)]
        assert received == ([b"small"] if whole else [bytes(size), b"small"])
        assert flow.drops == ({"too-big": 1} if whole else {})


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("whole", [False, True], ids=["fragments", "whole"])
async def test_what_a_router_finds_too_large(
    net: Net, world: World, whole: bool
) -> None:
    """A router's word costs one datagram, counted once; what follows fits, or is told."""
    far = Network()
    try:
        net.server.link("r0", far, "f0")
        net.server.run(
            "ip address add 10.3.0.1/24 dev r0; ip link set r0 mtu 1300;"
            "echo 1 >/proc/sys/net/ipv4/ip_forward"
        )
        far.run("ip address add 10.3.0.2/24 dev f0; ip route add default via 10.3.0.1")
        net.proxy.run("ip route add 10.3.0.0/24 via 10.2.0.2 dev p1")
        with far.entered():
            there = Peer("10.3.0.2")
        with there:
            options = {"dont_fragment": whole}
            flow = await world.connect("10.3.0.2", port=there.port, socket=options)
            Collector(flow)
            flow.write(bytes(1400))
            await until(lambda: flow.drops)
            flow.write(bytes(1400))
            flow.write(b"small")
            received = [(await there.receive())[0] for _ in range(1 if whole else 2)]
        assert received == ([b"small"] if whole else [bytes(1400), b"small"])
        assert flow.drops == {"too-big": 2 if whole else 1}
        assert flow.loss is None
    finally:
        net.proxy.run("ip route del 10.3.0.0/24")
        net.server.run("ip link del r0")
        far.close()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("option", ["reuse_port", "reuse_address"])
async def test_a_port_can_be_shared(world: World, option: str) -> None:
    """Two proxies can have one port if both say so."""
    other = World()
    try:
        _, port = await world.listen(socket={option: True})
        with pytest.raises(LocalError, match="another process"):
            await other.listen(port=port)
        await other.listen(port=port, socket={option: True})
    finally:
        other.close()


@pytest_twisted.ensureDeferred
async def test_an_address_that_will_come(world: World) -> None:
    """A listener can be on an address that the machine does not have yet."""
    with pytest.raises(LocalError, match="does not have that address"):
        await world.listen(address="10.3.0.1")
    for option in ("freebind", "transparent"):
        await world.listen(address="10.3.0.1", socket={option: True})


@pytest_twisted.ensureDeferred
async def test_a_listener_without_permission(world: World) -> None:
    """What may not be had is refused when the listener is made, and says what it needs."""
    with (
        unprivileged(),
        pytest.raises(LocalError, match=r"option mark to 1: .*it needs CAP_NET_ADMIN"),
    ):
        await world.listen(socket={"mark": 1})


@pytest_twisted.ensureDeferred
async def test_a_session_without_permission() -> None:
    """What a cluster may not have ends its sessions, with the reason."""
    async with real() as it:
        with peers(2) as (client, server):
            bound = await it.route(
                {"protocol": "UDP", "port": 1, "address": LOOPBACK},
                {"protocol": "UDP", "port": server.port, "socket": {"mark": 1}},
                {"address": LOOPBACK},
            )
            with unprivileged():
                client.send(b"x", (LOOPBACK, bound["port"]))
                loss = await it.loss()
    assert loss.reason is Reason.LOCAL
    assert "it needs CAP_NET_ADMIN" in loss.detail
