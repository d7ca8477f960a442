"""From where a cluster's sessions are sent."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from l7mp.errors import LocalError, Reason, RemoteError
from l7mp.interfaces import Metadata
from l7mp.model.sockets import SourceBind
from l7mp.model.udp import UDPClusterSpec
from l7mp.streams.address import V4, V6, Numeric, literal
from l7mp.streams.outgoing import Place, open_from, places
from l7mp.streams.sockopts import IP_TRANSPARENT
from tests.real.namespace import Network
from tests.streams.loopback import Peer, peers, unused_port

CLIENT: Metadata = {"IP": {"src_addr": "192.0.2.9"}, "UDP": {"src_port": 5000}}
NINE = Numeric(V4, ("192.0.2.9", 0))
HERE = Numeric(V4, ("127.0.0.1", 0))


def spec(**given: Any) -> UDPClusterSpec:
    return UDPClusterSpec.model_validate({"protocol": "UDP", "port": 1, **given})


@pytest.fixture
def peer() -> Iterator[Peer]:
    with peers() as (peer,):
        yield peer


def at(peer: Peer) -> Numeric:
    return Numeric(V4, peer.address)


# -- places --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bind", "local", "metadata", "found"),
    [
        (None, None, CLIENT, [Place()]),
        ({}, None, CLIENT, [Place()]),
        ({"port": 7}, None, CLIENT, [Place(None, 7)]),
        ({}, HERE, CLIENT, [Place(HERE)]),
        ({"preserve": "port"}, None, CLIENT, [Place(None, 5000), Place()]),
        ({"preserve": "port"}, HERE, CLIENT, [Place(HERE, 5000), Place(HERE)]),
        ({"preserve": "port", "required": True}, None, CLIENT, [Place(None, 5000)]),
        ({"preserve": "port"}, None, {}, [Place()]),
        ({"preserve": "port"}, None, {"TCP": {"src_port": 9}}, [Place(None, 9), Place()]),
        ({"preserve": "client"}, None, CLIENT, [Place(NINE, 5000, True), Place()]),
        ({"preserve": "client"}, None, {"UDP": {"src_port": 9}}, [Place()]),
    ],
)  # fmt: skip
def test_places(
    bind: dict[str, Any] | None,
    local: Numeric | None,
    metadata: Metadata,
    found: list[Place],
) -> None:
    """The client's place is tried first where it is wanted, then any other."""
    said = None if bind is None else SourceBind(**bind)
    assert list(places(said, local, metadata)) == found


@pytest.mark.parametrize("preserve", ["port", "client"])
def test_a_client_without_a_port(preserve: Any) -> None:
    """A session whose client has no port cannot keep it, where that is required."""
    bind = SourceBind(preserve=preserve, required=True)
    with pytest.raises(RemoteError, match="no client with an IP address and a port"):
        list(places(bind, None, {}))


@pytest.mark.parametrize(
    ("place", "family", "sockaddr", "words"),
    [
        (Place(), V4, None, "any port"),
        (Place(None, 7), V4, ("0.0.0.0", 7), "0.0.0.0:7"),
        (Place(None, 7), V6, ("::", 7), "0.0.0.0:7"),
        (Place(HERE, 7), V4, ("127.0.0.1", 7), "127.0.0.1:7"),
        (Place(Numeric(V6, ("::1", 0, 0, 0)), 7), V6, ("::1", 7, 0, 0), "[::1]:7"),
    ],
)
def test_what_is_bound(
    place: Place, family: int, sockaddr: tuple[Any, ...] | None, words: str
) -> None:
    """A place is what the kernel is asked for, and what people read."""
    assert place.sockaddr(family) == sockaddr
    assert str(place) == words


# -- sockets -------------------------------------------------------------------


def test_only_the_endpoint_is_heard(peer: Peer) -> None:
    """The socket of a session hears only its endpoint, unless anybody may answer."""
    with open_from(Place(), at(peer), spec()) as sock:
        assert sock.getpeername() == peer.address
    options = {"answers": "any"}
    with open_from(Place(), at(peer), spec(options=options)) as sock:
        assert sock.getsockname()[1] != 0
        with pytest.raises(OSError, match="not connected"):
            sock.getpeername()


def test_a_port_that_is_taken(peer: Peer) -> None:
    """A place that somebody has is told of."""
    with pytest.raises(RemoteError, match=r"cannot send from 0.0.0.0") as raised:
        open_from(Place(None, peer.port), at(peer), spec())
    assert raised.value.loss.reason is Reason.LOCAL


def test_families_do_not_mix(peer: Peer) -> None:
    """From an address of IPv6 nobody is reached by IPv4, and that is told."""
    six = Place(Numeric(V6, ("::1", 0, 0, 0)), 7)
    with pytest.raises(RemoteError, match="one is IPv4, the other IPv6"):
        open_from(six, at(peer), spec())


@pytest.mark.parametrize("family", [V4, V6])
def test_options(family: int) -> None:
    """The socket has the options that were asked for; those that cannot be are told."""
    with peers(host="::1" if family == V6 else "127.0.0.1") as (peer,):
        remote = literal(*peer.address)
        assert remote is not None
        with open_from(Place(), remote, spec(socket={"ttl": 3})) as sock:
            assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 3
        with pytest.raises(LocalError, match="device to nowhere"):
            open_from(Place(), remote, spec(socket={"device": "nowhere"}))
        with pytest.raises(LocalError, match='no interface "nowhere"'):
            open_from(Place(), remote, spec(multicast={"interface": "nowhere"}))


def test_broadcast() -> None:
    """To everybody is sent only where that is wanted."""
    everybody = Numeric(V4, ("127.255.255.255", unused_port()))
    with pytest.raises(RemoteError, match="say broadcast: true") as raised:
        open_from(Place(), everybody, spec())
    assert raised.value.loss.reason is Reason.UNREACHABLE
    open_from(Place(), everybody, spec(broadcast=True)).close()


def test_as_somebody_else() -> None:
    """With the capability, a session can be sent from an address that is not ours."""
    if Network.why_not():
        pytest.skip(Network.why_not())
    net = Network()
    try:
        with net.entered(), Peer() as peer:
            place = Place(NINE, 5000, is_foreign=True)
            with open_from(place, at(peer), spec()) as sock:
                assert sock.getsockname() == ("192.0.2.9", 5000)
                assert sock.getsockopt(socket.IPPROTO_IP, IP_TRANSPARENT) == 1
            with pytest.raises(RemoteError, match=r"cannot send from 192.0.2.9:5000"):
                open_from(Place(NINE, 5000), at(peer), spec())
    finally:
        net.close()
