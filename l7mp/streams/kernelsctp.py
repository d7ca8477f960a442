"""
SCTP of the kernel (sctp(7), RFC 6458): its sockets on the reactor.

The numbers of options that Python lacks are Linux's (linux/sctp.h).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import (
    IDelayedCall,
    IReactorFDSet,
    IReadWriteDescriptor,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from l7mp.errors import LocalError, Loss, Reason
from l7mp.streams.address import V4, V6, Numeric, host_port, shown
from l7mp.streams.association import Association, Ends
from l7mp.streams.endpoint import BACKLOG, bind_error
from l7mp.streams.udpsocket import BUDGET
from l7mp.streams.usrsctp import Tuning
from l7mp.wire import sctp
from l7mp.wire.sctp import LINUX, notification, packed, sockaddrs

SIZE = 1 << 17
"""Bytes to read at once; longer messages come in parts."""

BUFFER = 1 << 20
"""Bytes that may wait in each direction: no longer message can be sent."""

PAUSE = 1.0
"""Seconds to wait for a descriptor when there is none left."""

UDP_PORT = "/proc/sys/net/sctp/udp_port"
"""Where the kernel says at which port of UDP it takes encapsulated SCTP."""

_SCTP = socket.IPPROTO_SCTP
_RTOINFO, _ASSOCINFO, _INITMSG, _NODELAY, _PEER_ADDR_PARAMS, _STATUS = 0, 1, 2, 3, 9, 14
_RECVRCVINFO, _REMOTE_UDP_PORT, _EVENT = 32, 36, 127
_BINDX_ADD, _PEER_ADDRS, _CONNECTX = 100, 108, 110
_SNDBUFFORCE, _RCVBUFFORCE = 32, 33
_SNDINFO, _RCVINFO = 2, 3
_UNORDERED = 1
_NOTIFICATION = 0x8000
_HB_ENABLE, _HB_DISABLE = 1, 2
_RTO_INITIAL, _RTO_MIN = 1000, 200
_FOREVER = 0xFFFFFFFF
_SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_ABOUT = struct.Struct("=HHH2x4s")  # the first members of struct sctp_rcvinfo
_SENDINFO = struct.Struct("=HH4sIi")
_SPACE = socket.CMSG_SPACE(28)
_COUNTS = struct.Struct("=16xHH")  # where struct sctp_status has the streams
_ADDRESSES = struct.Struct("=iI")


def is_there() -> bool:
    """Whether the kernel has SCTP."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, _SCTP).close()
    except OSError:
        return False
    return True


def open_socket(family: int, tuning: Tuning, remote_udp: int | None) -> socket.socket:
    """
    A socket of the one-to-one style; raises ``LocalError`` if there is no such.

    ``remote_udp`` is the port of UDP at which the peer takes SCTP, None without UDP.
    """
    try:
        sock = socket.socket(family, socket.SOCK_STREAM, _SCTP)
    except OSError as error:
        what = f"the kernel has no SCTP ({error.strerror})"
        hint = "load its module (modprobe sctp), or say engine: user"
        raise LocalError(f"{what}; {hint}") from error
    try:
        sock.setblocking(False)
        _prepare(sock, tuning)
        if remote_udp is not None:
            port = socket.htons(remote_udp)
            about = struct.pack("=i4x128xH6x", 0, port)
            sock.setsockopt(_SCTP, _REMOTE_UDP_PORT, about)
    except OSError:
        sock.close()
        raise
    return sock


def _prepare(sock: socket.socket, tuning: Tuning) -> None:
    for forced, asked in (
        (_SNDBUFFORCE, socket.SO_SNDBUF),
        (_RCVBUFFORCE, socket.SO_RCVBUF),
    ):
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, BUFFER)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, asked, BUFFER)
    for kind in LINUX.types:
        sock.setsockopt(_SCTP, _EVENT, struct.pack("=iHBx", 0, kind, 1))
    streams, tries = tuning.streams, tuning.retransmissions
    beat = min(round(tuning.heartbeat * 1000), _FOREVER)
    flags = _HB_ENABLE if beat else _HB_DISABLE
    for option, value in (
        (_NODELAY, struct.pack("=i", 1)),
        (_RECVRCVINFO, struct.pack("=i", 1)),
        (_INITMSG, struct.pack("=HHHH", streams, streams, 0, 0)),
        (_RTOINFO, struct.pack("=iIII", 0, _RTO_INITIAL, 0, _RTO_MIN)),
        (_ASSOCINFO, struct.pack("=iHHIII", 0, tries, 0, 0, 0, 0)),
        (_PEER_ADDR_PARAMS,
         struct.pack("=i128xIHIIIIBx", 0, beat, tuning.path_tries, 0, 0, flags, 0, 0)),
    ):  # fmt: skip
        sock.setsockopt(_SCTP, option, value)


def family_of(numbers: Sequence[Numeric]) -> int:
    """The family of sockets that all these addresses fit."""
    return V4 if all(number.family == V4 for number in numbers) else V6


def bind(sock: socket.socket, places: Sequence[Numeric], port: int) -> None:
    """Have the port at all these addresses; raises ``LocalError``."""
    for place in places:
        host, scope = place.sockaddr[0], (*place.sockaddr, 0, 0)[3]
        try:
            sock.setsockopt(_SCTP, _BINDX_ADD, packed(host, port, scope))
        except OSError as error:
            raise bind_error("SCTP", shown(host), port, error) from error
        port = sock.getsockname()[1]


def check_tunnel(port: int) -> None:
    """
    Raise ``LocalError`` unless the kernel takes SCTP in UDP at ``port``.

    0 stands for any port.  It is the whole machine's setting, and not ours to change.
    """
    try:
        with open(UDP_PORT, encoding="ascii") as file:
            found = int(file.read())
    except (OSError, ValueError):
        found = 0
    if not found or port not in (0, found):
        now = f"at port {found}" if found else "not at all"
        what = f"the kernel takes SCTP in UDP {now}"
        hint = f"sysctl -w net.sctp.udp_port={port or 9899}, or say engine: user"
        raise LocalError(f"{what}; {hint}")


@implementer(IReadWriteDescriptor)
class KernelLink:
    """A socket of the kernel, and the association it is."""

    association: Association

    def __init__(
        self, reactor: IReactorFDSet, sock: socket.socket, own: tuple[str, ...]
    ) -> None:
        """``own`` are our addresses, if they were laid down."""
        self._reactor, self._sock, self._own = reactor, sock, own
        self._is_open, self._is_connecting = True, False
        self._ends: Ends | None = None

    def begin(self, clock: Any, streams_out: int) -> Association:
        """The association."""
        self.association = Association(self, clock, streams_out)
        return self.association

    def connect(self, peers: Sequence[Numeric]) -> None:
        """Send INIT."""
        self._is_connecting = True
        numbers = b"".join(
            packed(host, port, *scope[1:2])
            for host, port, *scope in (peer.sockaddr for peer in peers)
        )
        try:
            self._sock.setsockopt(_SCTP, _CONNECTX, numbers)
        except BlockingIOError:
            pass
        except OSError as error:
            self.association.failed(error)
            return
        self.association.read(True)

    # -- for the association --------------------------------------------------------

    def send(self, data: bytes, stream: int, ppid: int, unordered: bool) -> None:
        flags = _UNORDERED if unordered else 0
        about = _SENDINFO.pack(stream, flags, ppid.to_bytes(4, "big"), 0, 0)
        self._sock.sendmsg((data,), ((_SCTP, _SNDINFO, about),))

    def watch(self, reading: bool, writing: bool) -> None:
        if not self._is_open:
            return
        (self._reactor.addReader if reading else self._reactor.removeReader)(self)
        (self._reactor.addWriter if writing else self._reactor.removeWriter)(self)

    def shutdown(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.association.failed(error)

    def abort(self) -> None:
        if self._is_open:
            never = struct.pack("=ii", 1, 0)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, never)
            self.close()

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._reactor.removeReader(self)
            self._reactor.removeWriter(self)
            self._sock.close()

    def shown(self, address: sctp.Sockaddr) -> str:
        return shown(address.host)

    def ends(self) -> Ends:
        if self._ends is None:
            self._ends = self.learn()
        return self._ends

    def learn(self) -> Ends:
        """Ask the kernel; raises ``OSError`` if there is no association any more."""
        own, peer = self._sock.getsockname(), self._sock.getpeername()
        status = self._sock.getsockopt(_SCTP, _STATUS, 512)
        incoming, outgoing = _COUNTS.unpack_from(status)
        found = self._sock.getsockopt(_SCTP, _PEER_ADDRS, 1024)[_ADDRESSES.size :]
        peers = [shown(one.host) for one in sockaddrs(found)]
        first = shown(peer[0])
        return Ends(
            self._own or (shown(own[0]),),
            own[1],
            (first, *(one for one in peers if one != first)),
            peer[1],
            incoming,
            outgoing,
        )

    # -- for the reactor --------------------------------------------------------------

    def fileno(self) -> int:
        return self._sock.fileno()

    def logPrefix(self) -> str:
        """What the reactor's log says where we fail."""
        return type(self).__name__

    def doWrite(self) -> None:
        self.association.writable()

    def doRead(self) -> None:
        association = self.association
        for _ in range(BUDGET):
            if not association.is_reading:
                return
            try:
                data, about, flags, _ = self._sock.recvmsg(SIZE, _SPACE)
            except BlockingIOError:
                return
            except OSError as error:
                if not self._is_connecting or error.errno != errno.ENOTCONN:
                    association.failed(error)
                return
            if not data:
                association.ended()
                return
            self._came(data, about, flags)

    def _came(
        self, data: bytes, about: list[tuple[int, int, bytes]], flags: int
    ) -> None:
        if flags & _NOTIFICATION:
            said = notification(data, LINUX)
            if said is not None and said.word == sctp.COMM_UP:
                self._is_connecting = False
            self.association.notified(said)
            return
        stream = ppid = 0
        for level, kind, info in about:
            if (level, kind) == (_SCTP, _RCVINFO):
                stream, _, _, raw = _ABOUT.unpack_from(info)
                ppid = int.from_bytes(raw, "big")
        is_whole = bool(flags & socket.MSG_EOR)
        self.association.received(data, stream, ppid, is_whole)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor gave up: the peer has hung up, or we raised an exception."""
        if not self._is_open:
            return
        if not reason.check(ConnectionClosed):
            what = f"{reason.value.__class__.__name__}: {reason.getErrorMessage()}"
            self.association.abort(Loss(Reason.LOCAL, what))
            return
        self.doRead()  # what came before the end counts
        if self._is_open:
            code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self.association.failed(OSError(code or errno.ECONNRESET, "lost"))


@implementer(IReadWriteDescriptor)
class KernelDoor:
    """A listening socket of the kernel."""

    def __init__(
        self,
        reactor: Any,
        sock: socket.socket,
        own: tuple[str, ...],
        accept: Callable[[Association], None],
    ) -> None:
        """``sock`` is bound; from now on it is ours."""
        self._reactor, self._sock, self._own = reactor, sock, own
        self._accept = accept
        self._is_open = True
        self._resting: IDelayedCall | None = None
        sock.listen(BACKLOG)
        host, port = sock.getsockname()[:2]
        self.place = (own[0] if own else shown(host), port)
        reactor.addReader(self)

    def address(self) -> dict[str, Any]:
        """Where it is bound."""
        return {"address": self.place[0], "port": self.place[1]}

    def close(self) -> None:
        """Let nobody in any more; twice is once."""
        if self._is_open:
            self._is_open = False
            if self._resting is not None and self._resting.active():
                self._resting.cancel()
            self._reactor.removeReader(self)
            self._sock.close()

    def fileno(self) -> int:
        return self._sock.fileno()

    def logPrefix(self) -> str:
        """What the reactor's log says where we fail."""
        return f"SCTP {host_port(*self.place)}"

    def doRead(self) -> None:
        for _ in range(BUDGET):
            if not self._is_open:
                return
            try:
                sock, _ = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _SHORT:
                    self._rest()
                return
            sock.setblocking(False)
            link = KernelLink(self._reactor, sock, self._own)
            try:
                streams_out = link.ends().streams_out
            except OSError:  # it has gone already
                link.close()
            else:
                self._accept(link.begin(self._reactor, streams_out))

    def _rest(self) -> None:
        """There is no descriptor left: who waits is asked in when there may be one."""
        self._reactor.removeReader(self)
        self._resting = self._reactor.callLater(PAUSE, self._reactor.addReader, self)

    def doWrite(self) -> None:
        """Nothing is written here."""

    def connectionLost(self, reason: Failure) -> None:
        """A fault of ours does not close the door."""
        if self._is_open and not reason.check(ConnectionClosed):
            self._reactor.addReader(self)
