"""What carries the packets of a user-space SCTP: UDP (RFC 6951) or IP itself."""

from __future__ import annotations

import errno
import socket
from typing import Protocol

from twisted.internet.interfaces import IReactorFDSet

from l7mp.errors import LocalError, Loss
from l7mp.streams.address import V4, Numeric, Sockaddr, shown
from l7mp.streams.endpoint import bind_error
from l7mp.streams.udpsocket import (
    ASKED,
    BUDGET,
    PKTINFO_SPACE,
    SIZE,
    Ancillary,
    DatagramReader,
    answer_from,
    loss_of,
    open_socket,
    route_to,
    tell_asked,
    tried_again,
)
from l7mp.wire.sctp import plausible

IPPROTO_SCTP = 132
"""The number of SCTP in the header of IP (RFC 9260, section 3)."""

BUFFER = 4 << 20
"""Bytes that may wait in the kernel for all associations of a carrier."""

Key = tuple[Sockaddr, bytes]
"""A peer and, packed, our address that it speaks to; empty where there is but one."""


class Path:
    """A peer's address, and ours, and a number for both."""

    __slots__ = ("carrier", "key", "number", "source", "users")

    def __init__(self, carrier: Carrier, key: Key, number: int) -> None:
        self.carrier, self.key, self.number = carrier, key, number
        self.source: Ancillary = answer_from(key[1]) if key[1] else []
        self.users = 0
        """How many associations go this way."""

    @property
    def peer(self) -> tuple[str, int]:
        """Its IP address, and its port of UDP; 0 without UDP."""
        host, port = self.key[0][:2]
        return shown(host), port

    @property
    def own(self) -> str:
        """Our IP address."""
        if self.key[1]:
            return shown(socket.inet_ntop(self.carrier.family, self.key[1]))
        return self.carrier.own[0]


class Station(Protocol):
    """Who takes what comes, and numbers the paths."""

    def has_port(self, port: int) -> bool:
        """Whether a port of SCTP is in use here."""

    def new_path(self, carrier: Carrier, key: Key) -> Path:
        """A path that was not there."""

    def forget_path(self, path: Path) -> None:
        """Nobody goes this way any more."""

    def input(self, path: Path, packet: bytes) -> None:
        """A packet came."""

    def settle(self) -> None:
        """Look at what the packets did."""

    def unreachable(self, path: Path, loss: Loss) -> None:
        """The network says that nothing gets there."""

    def emptied(self, carrier: Carrier) -> None:
        """Nobody uses the carrier any more."""


class Carrier(DatagramReader):
    """
    A socket for the packets of many associations.

    One on IP hears what is sent to every program of the machine: there is one for
    each version of IP, and it takes only what is for a port in use here.

    A path lives while an association does, so that strangers cost nothing but what
    the answer to each of their packets does.
    """

    def __init__(
        self, reactor: IReactorFDSet, sock: socket.socket, station: Station
    ) -> None:
        """``sock`` is bound; from now on it is ours."""
        host, port = sock.getsockname()[:2]
        self.own: tuple[str, int] = (shown(host), port)
        """Where it is bound; the port is UDP's."""
        self.family = int(sock.family)
        self.is_raw = sock.type == socket.SOCK_RAW
        self.drops: dict[str, int] = {}
        """Packets that could not be sent or were none, by reason."""
        self.users = 0
        """How many listeners it serves."""
        self._station = station
        self._paths: dict[Key, Path] = {}
        self._is_everywhere = not any(socket.inet_pton(sock.family, host))
        if self._is_everywhere:
            tell_asked(sock)
        super().__init__(reactor, sock)

    # -- paths ----------------------------------------------------------------

    def path_to(self, peer: Sockaddr, asked: bytes = b"") -> Path:
        """The way to a peer, from a packed address of ours if one is given."""
        if self.is_raw:
            peer = (peer[0], 0, *peer[2:])
        if self._is_everywhere and not asked:
            asked = route_to(self.family, _somewhere(peer))
        key = (peer, asked)
        return self._paths.get(key) or self._new(key)

    def _new(self, key: Key) -> Path:
        path = self._paths[key] = self._station.new_path(self, key)
        return path

    def release(self, path: Path) -> None:
        """Forget a path that nobody uses."""
        if not path.users and self._paths.get(path.key) is path:
            del self._paths[path.key]
            self._station.forget_path(path)
        self.tidy()

    def tidy(self) -> None:
        """Be gone, if nobody uses it."""
        if self._is_open and not self.users and not self._paths:
            self._station.emptied(self)

    def close(self) -> None:
        """Give the socket back; twice is once."""
        self._let_go()

    # -- packets --------------------------------------------------------------

    def send(self, path: Path, packet: bytes) -> None:
        """Send a packet; one that is lost will be sent again by SCTP."""
        try:
            self._send(path, packet)
        except OSError as first:
            error = tried_again(lambda: self._send(path, packet), first)
            if error is not None:
                why = loss_of(error).reason.value if self._is_open else "closed"
                self._drop(why)

    def _send(self, path: Path, packet: bytes) -> None:
        if path.source:
            self._sock.sendmsg((packet,), path.source, 0, path.key[0])
        else:
            self._sock.sendto(packet, path.key[0])

    def _drop(self, why: str) -> None:
        self.drops[why] = self.drops.get(why, 0) + 1

    def doRead(self) -> None:
        for count in range(BUDGET):
            if not self._is_open:
                return
            try:
                packet, info, _, peer = self._sock.recvmsg(SIZE, PKTINFO_SPACE)
            except BlockingIOError:
                if not count:
                    self._read_errors()  # what else would we have been called for?
                break
            except OSError:
                self._read_errors()
                continue
            if not self.is_raw or self._is_ours(packet := self._bare(packet)):
                self._came(packet, info, peer)
        self._station.settle()

    def _bare(self, packet: bytes) -> bytes:
        """Without the header of IP, which IPv6 does not hand over."""
        return packet[(packet[0] & 15) * 4 :] if self.family == V4 else packet

    def _is_ours(self, packet: bytes) -> bool:
        """Other programs of this machine speak SCTP, too."""
        return self._station.has_port(int.from_bytes(packet[2:4], "big"))

    def _came(self, packet: bytes, info: Ancillary, peer: Sockaddr) -> None:
        key = (peer, info[0][2][ASKED[self.family]] if info else b"")
        path = self._paths.get(key)
        if path is not None:
            self._station.input(path, packet)
        else:
            self._stranger(key, packet)

    def _stranger(self, key: Key, packet: bytes) -> None:
        if not plausible(packet):
            self._drop("malformed")
            return
        path = self._new(key)
        try:
            self._station.input(path, packet)
            self._station.settle()
        finally:
            self.release(path)

    def _met(self, error: OSError, peer: Sockaddr | None) -> None:
        """What the network says about a packet of ours."""
        if error.errno == errno.EMSGSIZE or peer is None:
            return
        for path in [p for p in self._paths.values() if p.key[0][0] == peer[0]]:
            if self.is_raw or path.key[0][1] == peer[1]:
                self._station.unreachable(path, loss_of(error))

    def _blamed(self, loss: Loss) -> None:
        """A bug showed in what a packet did; the library has its own state."""

    def _dismissed(self, loss: Loss) -> None:
        self._let_go()


def _somewhere(peer: Sockaddr) -> Sockaddr:
    """The peer at a port that UDP can be connected to, to ask for the route."""
    return (peer[0], peer[1] or 1, *peer[2:])


def open_udp(place: Numeric) -> socket.socket:
    """A UDP socket for encapsulated packets; raises ``LocalError``."""
    try:
        return open_socket(place.family, place.sockaddr, buffer=BUFFER)
    except OSError as error:
        host, port = place.sockaddr[:2]
        raise bind_error("UDP", shown(host), port, error) from error


def open_raw(place: Numeric) -> socket.socket:
    """A socket for packets right on IP; raises ``LocalError``."""
    host = place.sockaddr[0]
    try:
        sock = socket.socket(place.family, socket.SOCK_RAW, IPPROTO_SCTP)
    except PermissionError as error:
        what = "SCTP on IP in user space needs CAP_NET_RAW"
        hint = "run with it, or encapsulate SCTP in UDP"
        raise LocalError(f"{what}; {hint}") from error
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        sock.bind((host, 0, *place.sockaddr[2:]))
    except OSError as error:
        sock.close()
        raise bind_error("SCTP", shown(host), 0, error) from error
    return sock
