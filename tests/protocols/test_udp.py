"""UDP listeners and clusters as the proxy uses them, on real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from pydantic import ValidationError
from twisted.internet.defer import CancelledError, Deferred

from l7mp.errors import LocalError, Loss, Reason, RemoteError
from l7mp.interfaces import IStream
from l7mp.model.config import EndPoint
from l7mp.model.explain import problems_of
from tests.protocols.udp_world import World, cluster, listener
from tests.streams.loopback import (
    LARGEST,
    Collector,
    Peer,
    peers,
    turn,
    until,
    unused_port,
)

FIN = Loss(Reason.FIN)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def refused_words(**spec: Any) -> str:
    """What a user is told about a specification of a listener."""
    with pytest.raises(ValidationError) as raised:
        listener(**spec)
    return " ".join(str(one) for one in problems_of(raised.value, value=spec))


# -- what is declared ------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "singleton", "idle"),
    [
        ({}, False, 60),
        ({"connect": {"port": 5}}, False, 60),
        ({"connect": {"address": "127.0.0.1"}}, False, 60),
        ({"connect": {"address": "127.0.0.1", "port": 5}}, True, 0),
        (
            {
                "connect": {"address": "127.0.0.1", "port": 5},
                "options": {"mode": "server", "idle_timeout": 3},
            },
            False,
            3,
        ),
        (
            {
                "connect": {"address": "127.0.0.1", "port": 5},
                "options": {"mode": "singleton", "idle_timeout": 3},
            },
            True,
            3,
        ),
        ({"options": {"idle_timeout": 0}}, False, 0),
    ],
)
def test_modes(spec: dict[str, Any], singleton: bool, idle: float) -> None:
    """A peer that is named in full makes a singleton, unless the mode says otherwise."""
    declared = listener(**spec)
    assert declared.is_singleton is singleton
    assert declared.idle_timeout == idle
    assert declared.dump() == {"protocol": "UDP", "port": 0, **spec}


@pytest.mark.parametrize("connect", [None, {"port": 5}, {"address": "127.0.0.1"}])
def test_a_singleton_needs_its_peer(connect: dict[str, Any] | None) -> None:
    """Singleton mode without a peer that is named in full is refused when declared."""
    given = {} if connect is None else {"connect": connect}
    words = refused_words(options={"mode": "singleton"}, **given)
    assert "singleton mode needs connect.address and connect.port" in words


def test_unknown_modes_are_refused() -> None:
    """There are two modes."""
    assert "mode" in refused_words(options={"mode": "broadcast"})


# -- listeners -------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_what_is_known_of_a_session(world: World) -> None:
    """The metadata of a session are its addresses and ports, and so are its words."""
    _, port = await world.listen()
    with peers() as (four,), peers(host="::1") as (six,):
        four.send(b"4", ("127.0.0.7", port))
        assert await four.receive() == (b"4", ("127.0.0.7", port))
        six.send(b"6", ("::1", port))
        assert await six.receive() == (b"6", ("::1", port))
    (_, of_four, words_of_four), (_, of_six, words_of_six) = world.accepted
    assert of_four == {
        "IP": {"src_addr": "127.0.0.1", "dst_addr": "127.0.0.7"},
        "UDP": {"src_port": four.port, "dst_port": port},
    }
    assert words_of_four == f"127.0.0.1:{four.port}-127.0.0.7:{port}"
    assert of_six["IP"] == {"src_addr": "::1", "dst_addr": "::1"}
    assert words_of_six == f"[::1]:{six.port}-[::1]:{port}"


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("address", [None, "127.0.0.9", "0.0.0.0", "::1", "::"])
async def test_it_listens_where_it_is_told(world: World, address: str | None) -> None:
    """Without an address a listener is on all of both families, with one, there."""
    given: dict[str, Any] = {} if address is None else {"address": address}
    listening, port = await world.listen(**given)
    assert listening.address() == {"address": address or "::", "port": port}
    with peers(host="::1" if address in ("::1", "::") else "127.0.0.1") as (peer,):
        host = address if address not in (None, "0.0.0.0", "::") else peer.address[0]
        peer.send(LARGEST, (host, port))
        assert await peer.receive() == (LARGEST, (host, port))


@pytest_twisted.ensureDeferred
async def test_a_name_can_be_listened_on(world: World) -> None:
    """A host name is resolved, to IPv4 if it has both."""
    listening, _ = await world.listen(address="localhost")
    assert listening.address()["address"] == "127.0.0.1"


@pytest_twisted.ensureDeferred
async def test_the_idle_time_is_told(world: World) -> None:
    """Flows say after how many seconds of silence their sessions end."""
    _, port = await world.listen(options={"idle_timeout": 7})
    with peers() as (peer,):
        peer.send(b"x", ("127.0.0.1", port))
        await peer.receive()
    assert world.accepted[0][0].idle_timeout == 7


@pytest_twisted.ensureDeferred
async def test_listeners_share_a_port(world: World) -> None:
    """Two listeners on one port divide the peers between them, the first one first."""
    with peers(2) as (one, two):
        _, port = await world.listen(connect={"port": one.port})
        await world.listen(port=port)
        for peer in (one, two):
            peer.send(b"x", ("127.0.0.1", port))
            await peer.receive()
    assert len(world.accepted) == 2


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("by", ["port", "address", "name", "both"])
async def test_filters(world: World, by: str) -> None:
    """Only peers with the address and the port in connect make sessions."""
    with peers() as (stranger,), peers(host="127.0.0.5") as (peer,):
        connect: dict[str, Any] = {"address": "127.0.0.5", "port": peer.port}
        if by == "port":
            del connect["address"]
        elif by == "address":
            del connect["port"]
        elif by == "name":
            connect = {"address": "localhost"}
        _, port = await world.listen(connect=connect, options={"mode": "server"})
        right, wrong = (stranger, peer) if by == "name" else (peer, stranger)
        wrong.send(b"wrong", ("127.0.0.1", port))
        right.send(b"right", ("127.0.0.1", port))
        assert (await right.receive())[0] == b"right"
        assert await wrong.hears_nothing()
    assert len(world.accepted) == 1


@pytest_twisted.ensureDeferred
async def test_a_stopped_listener_keeps_its_sessions(world: World) -> None:
    """A stopped listener lets nobody in; the port is free when its sessions ended."""
    listening, port = await world.listen(address="127.0.0.1")
    with peers(2) as (old, new):
        old.send(b"one", ("127.0.0.1", port))
        await old.receive()
        await listening.stop()
        new.send(b"new", ("127.0.0.1", port))
        old.send(b"two", ("127.0.0.1", port))
        assert (await old.receive())[0] == b"two"
        assert await new.hears_nothing()
        world.accepted[0][0].close(FIN)
        Peer("127.0.0.1", port).close()


@pytest_twisted.ensureDeferred
async def test_a_new_listener_joins_the_sessions_of_an_old_one(world: World) -> None:
    """A port whose listener is gone but whose sessions live can be listened on again."""
    listening, port = await world.listen()
    with peers(2) as (old, new):
        old.send(b"one", ("127.0.0.1", port))
        await old.receive()
        await listening.stop()
        await world.listen(port=port)
        for peer in (old, new):
            peer.send(b"two", ("127.0.0.1", port))
            assert (await peer.receive())[0] == b"two"
    assert len(world.accepted) == 2


@pytest_twisted.ensureDeferred
async def test_the_end_of_the_resources_is_the_end(world: World) -> None:
    """A proxy that stops ends the sessions of its sockets."""
    _, port = await world.listen()
    with peers() as (peer,):
        peer.send(b"one", ("127.0.0.1", port))
        await peer.receive()
    world.context.resources.close()
    loss = world.accepted[0][0].loss
    assert loss is not None
    assert loss.reason is Reason.SHUTDOWN


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"port": "taken"}, ["127.0.0.1", "another"]),
        ({"address": "192.0.2.77"}, ["192.0.2.77"]),
        ({"address": "a..b"}, ["a..b"]),
        ({"address": "0.0.0.0", "connect": {"address": "::1"}}, ["::1", "IPv6"]),
    ],
)
async def test_errors_name_the_place(
    world: World, spec: dict[str, Any], words: list[str]
) -> None:
    """Who cannot listen says where and why."""
    with peers() as (other,):
        if spec.get("port") == "taken":
            spec = {"port": other.port, "address": "127.0.0.1"}
            words = [*words, str(other.port)]
        with pytest.raises(LocalError) as raised:
            await world.listen(**spec)
    assert all(word in str(raised.value) for word in words), raised.value


# -- singletons ------------------------------------------------------------------


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_singleton_speaks_first(world: World, host: str) -> None:
    """A singleton's session exists before its peer has said anything."""
    with peers(2) as (peer, stranger):
        connect = {"address": host, "port": peer.port}
        _, port = await world.listen(connect=connect)
        assert world.accepted == [], "not before the listener is known"
        await until(lambda: world.accepted)
        flow, metadata, words = world.accepted[0]
        assert metadata == {
            "IP": {"src_addr": "127.0.0.1", "dst_addr": "127.0.0.1"},
            "UDP": {"src_port": peer.port, "dst_port": port},
        }
        assert words == f"127.0.0.1:{peer.port}-127.0.0.1:{port}"
        flow.write(b"hello")
        assert await peer.receive() == (b"hello", ("127.0.0.1", port))
        stranger.send(b"spam", ("127.0.0.1", port))
        assert await stranger.hears_nothing()
        flow.close(Loss(Reason.DELETED))
        peer.send(b"again", ("127.0.0.1", port))
        assert (await peer.receive())[0] == b"again"
    assert len(world.accepted) == 2


@pytest_twisted.ensureDeferred
async def test_a_singleton_can_be_stopped_before_it_began(world: World) -> None:
    """A singleton listener that is stopped at once never makes a session."""
    connect = {"address": "127.0.0.1", "port": unused_port()}
    listening, _ = await world.listen(connect=connect)
    await listening.stop()
    await turn(2)
    assert world.accepted == []


# -- clusters --------------------------------------------------------------------


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_sessions_have_sockets_of_their_own(world: World, host: str) -> None:
    """Every session sends from another port, and hears only its own answers."""
    with peers(host=host) as (server,):
        flows = [await world.connect(host, port=server.port) for _ in range(20)]
        got = [Collector(flow).got for flow in flows]
        for n, flow in enumerate(flows):
            flow.write(b"%d" % n + LARGEST[2:])
        for n in range(20):
            data, source = await server.receive()
            assert data == b"%d" % n + LARGEST[2:]
            server.send(b"%d" % n, source)
        await until(lambda: all(got))
    assert got == [[b"%d" % n] for n in range(20)]
    assert len({flow.five_tuple()[3] for flow in flows}) == 20


@pytest_twisted.ensureDeferred
async def test_the_port_of_an_endpoint_counts_first(world: World) -> None:
    """An endpoint's own port comes before the cluster's; names are resolved."""
    with peers() as (server,):
        flow = await world.connect("localhost", server.port, port=unused_port())
        assert flow.five_tuple()[:2] == server.address
        flow.write(b"hello")
        assert (await server.receive())[0] == b"hello"


@pytest_twisted.ensureDeferred
async def test_bind(world: World) -> None:
    """A cluster sends from the address and the port in bind."""
    port = unused_port("127.0.0.8")
    with peers() as (server,):
        for bind, own in [
            ({"address": "127.0.0.8", "port": port}, ("127.0.0.8", port)),
            ({"port": port}, ("127.0.0.1", port)),
        ]:
            flow = await world.connect("127.0.0.1", port=server.port, bind=bind)
            flow.write(b"x")
            assert (await server.receive())[1] == own
        flow = await world.connect(
            "127.0.0.1", port=server.port, bind={"address": "127.0.0.8"}
        )
        flow.write(b"x")
        assert (await server.receive())[1][0] == "127.0.0.8"
    with peers(host="::1") as (server,):
        flow = await world.connect("::1", port=server.port, bind={"port": port})
        flow.write(b"x")
        assert (await server.receive())[1] == ("::1", port)


@pytest_twisted.ensureDeferred
async def test_a_bound_port_serves_one_session_for_each_endpoint(world: World) -> None:
    """Two sessions never have the same five-tuple; the next may have it afterwards."""
    bind = {"port": unused_port()}
    with peers(2) as (one, two):
        first = await world.connect("127.0.0.1", port=one.port, bind=bind)
        await world.connect("127.0.0.1", port=two.port, bind=bind)
        with pytest.raises(RemoteError, match="in use by another session"):
            await world.connect("127.0.0.1", port=one.port, bind=bind)
        first.write(b"undisturbed")
        assert (await one.receive())[0] == b"undisturbed"
        first.close(FIN)
        again = await world.connect("127.0.0.1", port=one.port, bind=bind)
        assert again.five_tuple() == first.five_tuple()


@pytest_twisted.ensureDeferred
async def test_strays_are_not_heard(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What strangers send to a bound port before it is connected is not delivered."""
    port = unused_port()
    connect = socket.socket.connect
    with peers(2) as (server, stranger):

        def slowly(sock: socket.socket, address: Any) -> None:
            stranger.send(b"spam", ("127.0.0.1", port))
            connect(sock, address)

        monkeypatch.setattr(socket.socket, "connect", slowly)
        flow = await world.connect("127.0.0.1", port=server.port, bind={"port": port})
        got = Collector(flow).got
        server.send(b"answer", ("127.0.0.1", port))
        await until(lambda: got)
    assert got == [b"answer"]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("address", "spec", "reason", "words"),
    [
        ("255.255.255.255", {}, Reason.UNREACHABLE, ""),
        ("a..b", {}, Reason.UNREACHABLE, "a..b"),
        ("::1", {"bind": {"address": "127.0.0.1"}}, Reason.UNREACHABLE, "::1"),
        ("127.0.0.1", {"bind": {"address": "192.0.2.77"}}, Reason.LOCAL, "192.0.2.77"),
        ("127.0.0.1", {"bind": {"address": "a..b"}}, Reason.UNREACHABLE, "a..b"),
        ("127.0.0.1", {"bind": {"port": "taken"}}, Reason.LOCAL, "in use"),
    ],
)
async def test_failures_have_reasons(
    world: World, address: str, spec: dict[str, Any], reason: Reason, words: str
) -> None:
    """A session that cannot begin says why."""
    with peers() as (other,):
        if spec.get("bind", {}).get("port") == "taken":
            spec = {"bind": {"port": other.port}}
        with pytest.raises(RemoteError) as raised:
            await world.connect(address, port=9, **spec)
    assert raised.value.loss.reason is reason
    assert words in raised.value.loss.detail


@pytest_twisted.ensureDeferred
async def test_connecting_can_be_cancelled(world: World) -> None:
    """A session that ends while its endpoint's name is resolved leaves nothing."""
    endpoint = EndPoint("endpoint", "localhost")
    connecting: Deferred[IStream] = world.context.connect(cluster(port=9), endpoint, {})
    connecting.cancel()
    with pytest.raises(CancelledError):
        await connecting


@pytest_twisted.ensureDeferred
async def test_linger_is_declared(world: World) -> None:
    """How long to wait for a late answer is an option of the cluster."""
    with peers() as (server,):
        flow = await world.connect("127.0.0.1", port=server.port, options={"linger": 0})
        flow.end()
        await until(lambda: flow.loss)
    assert flow.loss == FIN
