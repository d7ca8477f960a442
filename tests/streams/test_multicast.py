"""Groups, on interfaces that are there for the test."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from l7mp.errors import LocalError
from l7mp.model.multicast import Membership, Sending
from l7mp.streams.address import V4, V6
from l7mp.streams.multicast import aim, index_of, join
from l7mp.streams.udpsocket import open_socket
from tests.real.namespace import Network
from tests.streams.loopback import Peer

LOCAL_GROUP, OTHER = "239.255.1.1", "239.255.1.2"
SIX = "ff15::7"
ADDRESSES = "ip address add 192.0.2.1/24 dev m0; ip address add 192.0.2.2/24 dev m0;"


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    """One interface on which what is sent to groups can be heard."""
    if Network.why_not():
        pytest.skip(Network.why_not())
    net = Network()
    net.run(
        f"ip link add m0 type veth peer name m1; {ADDRESSES}"
        " ip -6 address add 2001:db8::1/64 dev m0 nodad; ip link set m0 up; ip link set m1 up"
    )
    yield net
    net.close()


@pytest.fixture(autouse=True)
def inside(net: Network) -> Iterator[None]:
    with net.entered():
        yield


def heard(sock: socket.socket) -> list[bytes]:
    """What waits."""
    found = []
    try:
        while True:
            found.append(sock.recv(100))
    except BlockingIOError:
        return found


def say(group: str, port: int, source: str = "192.0.2.1") -> None:
    """To everybody in ``group``."""
    family = V6 if ":" in group else V4
    with open_socket(family, (source, 0), buffer=1 << 16) as sock:
        aim(sock, Sending(interface="m0"))
        sock.sendto(f"{group} {source}".encode(), (group, port))


def member(*groups: str, family: int = V4, **how: object) -> socket.socket:
    """A socket that has joined."""
    sock = open_socket(family, ("::" if family == V6 else "0.0.0.0", 0), buffer=1 << 16)
    said = {"groups": list(groups), "interface": "m0", **how}
    try:
        join(sock, Membership.model_validate(said))
    except LocalError:
        sock.close()
        raise
    return sock


@pytest.mark.parametrize("family", [V4, V6])
def test_members_hear(family: int) -> None:
    """What is sent to a group is heard by its members, of either kind of socket."""
    with member(LOCAL_GROUP, family=family) as sock, Peer("192.0.2.1"):
        port = sock.getsockname()[1]
        say(LOCAL_GROUP, port)
        say(OTHER, port)
        assert heard(sock) == [b"239.255.1.1 192.0.2.1"]


def test_groups_of_ipv6() -> None:
    """Groups of both families can be joined on one socket."""
    with member(LOCAL_GROUP, SIX, family=V6) as sock:
        port = sock.getsockname()[1]
        say(SIX, port, "2001:db8::1")
        say(LOCAL_GROUP, port)
        assert heard(sock) == [b"ff15::7 2001:db8::1", b"239.255.1.1 192.0.2.1"]


@pytest.mark.parametrize("family", [V4, V6])
def test_only_these_sources(family: int) -> None:
    """With sources, only what they send to the group is heard."""
    with member("232.1.1.1", family=family, sources=["192.0.2.2"]) as sock:
        port = sock.getsockname()[1]
        say("232.1.1.1", port, "192.0.2.1")
        say("232.1.1.1", port, "192.0.2.2")
        assert heard(sock) == [b"232.1.1.1 192.0.2.2"]


def test_sources_of_ipv6() -> None:
    """Sources can be named for IPv6, too."""
    with member("ff35::7", family=V6, sources=["2001:db8::2"]) as sock:
        say("ff35::7", sock.getsockname()[1], "2001:db8::1")
        assert heard(sock) == []
    with member("ff35::7", family=V6, sources=["2001:db8::1"]) as sock:
        say("ff35::7", sock.getsockname()[1], "2001:db8::1")
        assert heard(sock) == [b"ff35::7 2001:db8::1"]


def test_groups_of_others_are_not_heard() -> None:
    """That another socket has joined a group does not make this one hear it."""
    with member(LOCAL_GROUP) as one, member(OTHER):
        say(OTHER, one.getsockname()[1])
        assert heard(one) == []


@pytest.mark.parametrize(
    ("groups", "family", "words"),
    [
        ([SIX], V4, f"cannot join the group {SIX} on m0: Address family"),
        (["239.0.0.1"] * 2, V4, "Address already in use"),
    ],
)
def test_what_cannot_be_joined(groups: list[str], family: int, words: str) -> None:
    """An error names the group, and says why."""
    with pytest.raises(LocalError, match=words):
        member(*groups, family=family).close()


def test_without_a_route_the_interface_must_be_named() -> None:
    """Where no route says on which interface a group is, the error tells the remedy."""
    with (
        open_socket(V4, ("0.0.0.0", 0), buffer=1 << 16) as sock,
        pytest.raises(LocalError, match=r"name it in multicast\.interface"),
    ):
        join(sock, Membership.model_validate({"groups": ["239.0.0.1"]}))


def test_an_interface_that_is_not_there() -> None:
    """An interface is looked up when it is needed."""
    assert index_of(None) == 0
    assert index_of("lo") == 1
    with pytest.raises(LocalError, match='no interface "nowhere"'):
        index_of("nowhere")


@pytest.mark.parametrize("family", [V4, V6])
def test_how_far(family: int) -> None:
    """A socket sends to groups as far, and where, as it is told."""
    with open_socket(family, None, buffer=1 << 16) as sock:
        aim(sock, Sending())
        aim(sock, Sending(ttl=9, loop=False, interface="m0"))
        if family == V6:
            level = socket.IPPROTO_IPV6
            names = ("IPV6_MULTICAST_HOPS", "IPV6_MULTICAST_LOOP", "IPV6_MULTICAST_IF")
            found = [sock.getsockopt(level, getattr(socket, name)) for name in names]
            assert found == [9, 0, index_of("m0")]
        else:
            level = socket.IPPROTO_IP
            four = ("IP_MULTICAST_TTL", "IP_MULTICAST_LOOP")
            found = [sock.getsockopt(level, getattr(socket, name)) for name in four]
            assert found == [9, 0]


def test_loop() -> None:
    """Members on this machine hear what is sent, unless told not to."""
    with member(LOCAL_GROUP) as sock, open_socket(V4, None, buffer=1 << 16) as sender:
        port = sock.getsockname()[1]
        for loop in (True, False):
            aim(sender, Sending(interface="m0", loop=loop))
            sender.sendto(str(loop).encode(), (LOCAL_GROUP, port))
        assert heard(sock) == [b"True"]
