"""
UDP sockets on the reactor.

Twisted's own UDP port truncates at 8,192 bytes, does not know which address was
asked, and lets errors of sending escape; this one does not.  The option numbers that
Python lacks are Linux's, see ip(7) and ipv6(7).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator

from twisted.internet.error import ConnectionClosed, ConnectionDone
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from l7mp.errors import Loss, Reason
from l7mp.streams.address import V4, V6, Sockaddr

SIZE = 1 << 16
"""Bytes to read at once: more than any datagram has (RFC 768: 65,507 over IPv4)."""

BUDGET = 64
"""Datagrams to read before other sockets get their turn."""

Ancillary = list[tuple[int, int, bytes]]

_IP_PKTINFO = 8
_IP_RECVERR = 11
_IPV6_RECVERR = 25
_IN_PKTINFO = struct.Struct("@i4s4s")  # interface, our address, address in the header
_IN6_PKTINFO = struct.Struct("@16si")  # our address, interface
_EXTENDED_ERR = struct.Struct("@IB")  # how struct sock_extended_err begins
_OF_OURS = 1  # the origin of errors that the call which met them has told, too

PKTINFO_SPACE = socket.CMSG_SPACE(_IN6_PKTINFO.size)
"""Bytes of ancillary data that tell which address a datagram was sent to."""

ASKED = {V4: slice(8, 12), V6: slice(0, 16)}
"""Where in that data the address is, packed."""

_ERROR_SPACE = 512

_FULL = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM})
_REASONS = {
    errno.ECONNREFUSED: Reason.REFUSED,
    errno.ETIMEDOUT: Reason.TIMEOUT,
    **dict.fromkeys(
        (
            errno.ENETUNREACH,
            errno.EHOSTUNREACH,
            errno.ENETDOWN,
            errno.EHOSTDOWN,
            errno.EADDRNOTAVAIL,
            errno.EACCES,
            errno.EPERM,
            errno.EPROTO,
            errno.ENOPROTOOPT,
        ),
        Reason.UNREACHABLE,
    ),
}


# -- making them ---------------------------------------------------------------


def open_socket(
    family: int,
    local: Sockaddr | None = None,
    *,
    buffer: int,
    reuse: bool = False,
    prepare: Callable[[socket.socket], None] = lambda _: None,
) -> socket.socket:
    """
    A UDP socket, bound to ``local`` if given; raises ``OSError``.

    ``buffer`` is how many bytes the kernel should keep in each direction, as far as
    the system's limits allow.  A socket of IPv6 serves IPv4, too.  What else is asked
    of it ``prepare`` asks, before it is bound; what that raises is raised.
    """
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        # Errors are queued with the address they are about, and a full queue on the
        # way out is told instead of being passed over.
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        if family == V6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if reuse:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        prepare(sock)
        if local is not None:
            sock.bind(local)
    except BaseException:
        sock.close()
        raise
    return sock


def tell_asked(sock: socket.socket) -> None:
    """Have every datagram come with the address that it was sent to."""
    if sock.family == V6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def answer_from(asked: bytes) -> Ancillary:
    """The ancillary data that make a datagram leave from a packed address of ours."""
    if len(asked) == len(b"IPv4"):
        packed = _IN_PKTINFO.pack(0, asked, bytes(4))
        return [(socket.IPPROTO_IP, _IP_PKTINFO, packed)]
    packed = _IN6_PKTINFO.pack(asked, 0)
    return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, packed)]


def route_to(family: int, peer: Sockaddr) -> bytes:
    """Our packed address from which the kernel would speak to ``peer``; empty: none."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(peer)  # sends nothing
        except OSError:
            return b""
        return socket.inet_pton(family, probe.getsockname()[0])


# -- their errors --------------------------------------------------------------


def loss_of(error: OSError) -> Loss:
    """What an error of a socket means for the flow it is about."""
    reason = _REASONS.get(error.errno or 0, Reason.LOCAL)
    return Loss(reason, error.strerror or str(error))


def drop_reason(error: OSError) -> str:
    """Under which word to count a datagram that could not be sent."""
    if error.errno in _FULL:
        return "send-buffer"
    if error.errno == errno.EMSGSIZE:
        return "too-big"
    return loss_of(error).reason.value


def tried_again(send: Callable[[], object], error: OSError) -> OSError | None:
    """
    Send again what failed with ``error``; returns what it fails with now.

    The kernel tells what befell an earlier datagram in the next call, whatever that
    is: the first error may be about another datagram than this, or another peer.
    """
    if error.errno in _FULL:
        return error
    try:
        send()
    except OSError as its_own:
        return its_own
    return None


def queued_errors(sock: socket.socket) -> Iterator[tuple[OSError, Sockaddr | None]]:
    """
    The errors that wait at ``sock``, at most a budget of them, each taken away.

    With each comes the peer whose datagram met it, or None if it was told without.
    """
    for _ in range(BUDGET):
        try:
            _, found, _, peer = sock.recvmsg(0, _ERROR_SPACE, socket.MSG_ERRQUEUE)
        except OSError:
            break
        for level, kind, data in found:
            if (level, kind) in _ERRORS:
                number, origin = _EXTENDED_ERR.unpack_from(data)
                if origin != _OF_OURS:
                    yield _error(number), peer
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        yield _error(code), None


_ERRORS = {
    (socket.IPPROTO_IP, _IP_RECVERR),
    (socket.IPPROTO_IPV6, _IPV6_RECVERR),
}


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


# -- watching them -------------------------------------------------------------


@implementer(IReadDescriptor)
class DatagramReader:
    """
    Watches a UDP socket; subclasses read it.

    A reactor gives up on a descriptor that has an error, or whose reader raised an
    exception (which it has logged by then).  For a datagram socket neither is the
    end, so this one comes back.
    """

    def __init__(self, reactor: IReactorFDSet, sock: socket.socket) -> None:
        self._reactor, self._sock = reactor, sock
        self._is_open = True
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._sock.fileno()

    def logPrefix(self) -> str:
        """What the reactor's log says where we fail."""
        return type(self).__name__

    def doRead(self) -> None:
        raise NotImplementedError

    def connectionLost(self, reason: Failure) -> None:
        if not self._is_open:
            return
        if reason.check(ConnectionClosed) and not reason.check(ConnectionDone):
            self._dismissed(Loss(Reason.SHUTDOWN, "the reactor has stopped"))
            return
        if not reason.check(ConnectionDone):
            what = f"{reason.value.__class__.__name__}: {reason.getErrorMessage()}"
            self._blamed(Loss(Reason.LOCAL, what))
        self._read_errors()
        if self._is_open:
            self._reactor.addReader(self)

    def _read_errors(self) -> None:
        """Take the errors that wait off the socket."""
        for error, peer in queued_errors(self._sock):
            self._met(error, peer)
            if not self._is_open:
                break

    def _met(self, error: OSError, peer: Sockaddr | None) -> None:
        """A datagram sent to ``peer`` met ``error``."""
        raise NotImplementedError

    def _blamed(self, loss: Loss) -> None:
        """What was being read raised an exception."""
        raise NotImplementedError

    def _dismissed(self, loss: Loss) -> None:
        """The reactor will not call again."""
        raise NotImplementedError

    def _let_go(self) -> None:
        """Close the socket; twice is once."""
        if self._is_open:
            self._is_open = False
            self._reactor.removeReader(self)
            self._sock.close()
