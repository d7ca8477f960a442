"""What carries SCTP's packets, with somebody else at the station."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from l7mp.errors import LocalError, Loss, Reason
from l7mp.streams.address import literal
from l7mp.streams.carrier import IPPROTO_SCTP, Carrier, Key, Path, open_raw, open_udp
from tests.streams.loopback import peers, turn, until
from tests.streams.userland import place

PACKET = bytes.fromhex("1389138a0000000000000000") + bytes(4)
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets need root")


class Station:
    """Remembers what comes."""

    def __init__(self) -> None:
        self.made: list[Path] = []
        self.forgotten: list[Path] = []
        self.packets: list[tuple[Path, bytes]] = []
        self.unreached: list[tuple[Path, Loss]] = []
        self.empty: list[Carrier] = []
        self.ports = {0x138A}
        self.wants = False

    def has_port(self, port: int) -> bool:
        return port in self.ports

    def new_path(self, carrier: Carrier, key: Key) -> Path:
        self.made.append(Path(carrier, key, len(self.made) + 1))
        return self.made[-1]

    def forget_path(self, path: Path) -> None:
        self.forgotten.append(path)

    def input(self, path: Path, packet: bytes) -> None:
        self.packets.append((path, packet))
        path.users += self.wants

    def settle(self) -> None:
        pass

    def unreachable(self, path: Path, loss: Loss) -> None:
        self.unreached.append((path, loss))

    def emptied(self, carrier: Carrier) -> None:
        self.empty.append(carrier)


class Rig:
    """A carrier at a station."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.station = Station()
        self.it = Carrier(reactor, open_udp(place(host=host)), self.station)
        self.it.users = 1

    @property
    def where(self) -> tuple[str, int]:
        return "127.0.0.1", self.it.own[1]


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.it.close()


@pytest_twisted.ensureDeferred
async def test_a_stranger_has_a_path_for_one_packet(rig: Rig) -> None:
    """Unless something came of the packet."""
    with peers() as (peer,):
        peer.send(PACKET, rig.where)
        await until(lambda: rig.station.forgotten)
        rig.station.wants = True
        peer.send(PACKET, rig.where)
        peer.send(PACKET, rig.where)
        await until(lambda: len(rig.station.packets) == 3)
        assert len(rig.station.made) == 2
        path = rig.station.made[1]
        assert path.peer == peer.address
        assert path.own == "127.0.0.1"
        assert [packet for _, packet in rig.station.packets] == [PACKET] * 3


@pytest_twisted.ensureDeferred
async def test_what_is_no_packet_is_counted(rig: Rig) -> None:
    """Strangers' garbage does not reach the library."""
    with peers() as (peer,):
        peer.send(b"garbage", rig.where)
        await until(lambda: rig.it.drops == {"malformed": 1})
        assert not rig.station.made


@pytest_twisted.ensureDeferred
async def test_packets_go_to_the_peer(rig: Rig) -> None:
    """A path leads to an address and a port of UDP."""
    with peers() as (peer,):
        path = rig.it.path_to(peer.address)
        assert rig.it.path_to(peer.address) is path
        rig.it.send(path, PACKET)
        assert await peer.receive() == (PACKET, rig.where)


@pytest_twisted.ensureDeferred
async def test_answers_come_from_the_address_that_was_asked() -> None:
    """Also where the carrier is bound to every address."""
    rig = Rig("0.0.0.0")
    rig.station.wants = True
    with peers() as (peer,):
        peer.send(PACKET, ("127.0.0.3", rig.it.own[1]))
        await until(lambda: rig.station.packets)
        (path,) = rig.station.made
        assert path.own == "127.0.0.3"
        rig.it.send(path, PACKET)
        assert await peer.receive() == (PACKET, ("127.0.0.3", rig.it.own[1]))
        assert rig.it.path_to(peer.address) is not path
    rig.it.close()


@pytest_twisted.ensureDeferred
async def test_the_network_says_that_nobody_is_there(rig: Rig) -> None:
    """The paths to that address and port hear of it, and no others."""
    with peers(2) as (peer, other):
        path = rig.it.path_to(peer.address)
        rig.it.path_to(other.address)
        peer.close()
        rig.it.send(path, PACKET)
        await until(lambda: rig.station.unreached)
        ((found, loss),) = rig.station.unreached
        assert found is path
        assert loss.reason is Reason.REFUSED


@pytest_twisted.ensureDeferred
async def test_one_peer_does_not_pay_for_another(rig: Rig) -> None:
    """What the network says of a packet is told with the next, which goes all the same."""
    with peers(2) as (gone, peer):
        gone.close()
        rig.it.send(rig.it.path_to(gone.address), PACKET)
        rig.it.send(rig.it.path_to(peer.address), PACKET)
        assert await peer.receive() == (PACKET, rig.where)
        assert not rig.it.drops


def test_what_cannot_be_sent_is_counted(rig: Rig) -> None:
    """SCTP sends it again; the count says why."""
    path = rig.it.path_to(("127.0.0.1", 9))
    rig.it.send(path, bytes(70_000))
    rig.it.close()
    rig.it.send(path, PACKET)
    assert rig.it.drops == {"local-error": 1, "closed": 1}


def test_a_carrier_that_nobody_uses_is_empty(rig: Rig) -> None:
    """A path or a listener is a use."""
    path = rig.it.path_to(("127.0.0.1", 9))
    path.users = 1
    rig.it.release(path)
    rig.it.users = 0
    rig.it.tidy()
    assert not rig.station.empty
    path.users = 0
    rig.it.release(path)
    assert rig.station.empty == [rig.it]


@pytest_twisted.ensureDeferred
async def test_a_fault_in_a_packet_is_no_end(rig: Rig) -> None:
    """The reactor lets go of what raised an exception; the carrier comes back."""
    with peers() as (peer,):
        rig.it.connectionLost(Failure(ZeroDivisionError("on purpose")))
        peer.send(PACKET, rig.where)
        await until(lambda: rig.station.packets)
        rig.it.connectionLost(Failure(ConnectionLost()))
        with pytest.raises(OSError):
            rig.it._sock.getsockname()


@pytest_twisted.ensureDeferred
async def test_a_carrier_that_is_closed_while_it_reads_stops(rig: Rig) -> None:
    """What was still to be read is nobody's."""
    with peers() as (peer,):
        for _ in range(3):
            peer.send(PACKET, rig.where)
        rig.it.users = 0
        rig.station.emptied = lambda carrier: carrier.close()  # type: ignore[method-assign]
        await until(lambda: rig.station.packets)
        await turn(3)
        assert len(rig.station.packets) == 1


def test_ports_of_udp_in_use(rig: Rig) -> None:
    """The address, the port and a remedy are said."""
    with pytest.raises(LocalError, match="choose another port"):
        open_udp(place(rig.it.own[1]))


@ROOT
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest_twisted.ensureDeferred
async def test_packets_right_on_ip(host: str) -> None:
    """What is for a port of ours comes without IP's header; the rest is not ours."""
    station = Station()
    station.wants = True
    sock = open_raw(place(host="::" if ":" in host else "0.0.0.0"))
    it = Carrier(reactor, sock, station)
    found = literal(host)
    assert found is not None
    with socket.socket(found.family, socket.SOCK_RAW, IPPROTO_SCTP) as peer:
        peer.bind(found.sockaddr)
        peer.sendto(PACKET[:2] + b"\0\x09" + PACKET[4:], found.sockaddr)
        peer.sendto(PACKET, found.sockaddr)
        await until(lambda: station.packets)
        assert [packet for _, packet in station.packets] == [PACKET]
        (path,) = station.made
        assert (path.peer, path.own) == ((host, 0), host)
        assert it.path_to((host, 5, *found.sockaddr[2:])) is path
        it.send(path, PACKET)
        await until(lambda: len(station.packets) == 2)
    it.close()


@ROOT
def test_an_address_that_is_not_ours() -> None:
    """It cannot be had on IP either."""
    with pytest.raises(LocalError, match="does not have that address"):
        open_raw(place(host="192.0.2.1"))


def test_raw_sockets_are_a_privilege(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, what to do is said."""

    class Refusing(socket.socket):
        def __init__(self, *_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("l7mp.streams.carrier.socket.socket", Refusing)
    with pytest.raises(LocalError, match="CAP_NET_RAW; run with it, or encapsulate"):
        open_raw(place())
