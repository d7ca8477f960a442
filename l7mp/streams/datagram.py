"""
UDP sockets on the reactor, and the flows of datagrams that run over them.

Twisted's own UDP port reads at most 8,192 bytes and cannot tell which address a
datagram was sent to, so sockets are read here: any size, with IP_PKTINFO (ip(7)), and
at most ``BUDGET`` datagrams before others get their turn.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from l7mp.errors import Loss, Reason
from l7mp.interfaces import IKernelFlow
from l7mp.streams.address import shown
from l7mp.streams.queueing import QueueingStream

MAX_DATAGRAM = 65536
"""More than any datagram can hold (RFC 768), so that none is cut."""

BUDGET = 64
"""Datagrams read per readiness event."""

RECEIVE_BUFFER = 4 << 20
"""What we ask the kernel to keep for us."""

IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)
PKTINFO_SPACE = socket.CMSG_SPACE(20)
UDP = 17

Address = tuple[Any, ...]
"""As the socket module has it: (host, port) or (host, port, flow, scope)."""

Ancillary = list[tuple[int, int, bytes]]

_DROPS = {errno.EMSGSIZE: "too-big"}
_LOSSES = {
    errno.ECONNREFUSED: Reason.REFUSED,
    errno.EHOSTUNREACH: Reason.UNREACHABLE,
    errno.ENETUNREACH: Reason.UNREACHABLE,
    errno.EHOSTDOWN: Reason.UNREACHABLE,
}


class DatagramFlow(QueueingStream):
    """What datagram streams of both sides have in common."""

    own: tuple[str, int] = ("", 0)
    peer: tuple[str, int] = ("", 0)

    def five_tuple(self) -> tuple[str, int, str, int, int]:
        """See ``IKernelFlow``."""
        return (*self.peer, *self.own, UDP)

    def received(self, data: bytes) -> None:
        """A datagram came from the peer."""
        self._arrived(data)

    def _not_sent(self, error: OSError) -> None:
        """The kernel did not take a datagram: count it, and why."""
        self._drop(_DROPS.get(error.errno or 0, "send-buffer"))


@implementer(IKernelFlow)
class ServerFlow(DatagramFlow):
    """One peer of a bound socket."""

    def __init__(
        self, server: DatagramServer, peer: Address, asked: str, reply: Ancillary
    ) -> None:
        super().__init__()
        self._server, self._address, self._reply = server, peer, reply
        self.peer = (shown(peer[0]), peer[1])
        self.own = (asked, server.port)

    def write(self, data: bytes) -> None:
        self.messages_out += 1
        self.bytes_out += len(data)
        try:
            self._server.socket.sendmsg([data], self._reply, 0, self._address)
        except OSError as error:
            self._not_sent(error)

    def end(self) -> None:
        """A flow cannot be half open."""
        self.close(Loss(Reason.FIN))

    def close(self, loss: Loss) -> None:
        """Forget the peer; its next datagram begins anew."""
        self._server.forget(self._address)
        self._discard_queue("closed")
        self._lose(loss)

    def abort(self, loss: Loss) -> None:
        self.close(loss)


Offer = Callable[[ServerFlow], bool]
"""Asked about a newborn flow; whoever answers True has taken it."""


@implementer(IReadDescriptor)
class DatagramServer:
    """
    A bound socket that gives every peer a flow of its own.

    Several listeners may share it; a new peer is offered to them in turn.  It lives
    until neither listeners nor flows are left, and then calls ``unused``.
    """

    def __init__(
        self, reactor: Any, address: str, port: int, unused: Callable[[], None]
    ) -> None:
        """Bind; raises ``OSError``."""
        self._reactor, self._unused = reactor, unused
        self._flows: dict[Address, ServerFlow] = {}
        self._listeners: list[Offer] = []
        self.socket = bound_socket(address, port)
        self._wildcard = address in ("::", "0.0.0.0")  # noqa: S104  # a comparison
        self.address, self.port = self.socket.getsockname()[:2]
        reactor.addReader(self)

    # -- listeners ------------------------------------------------------------

    def add(self, offer: Offer) -> None:
        """One more listener, asked after those that are there."""
        self._listeners.append(offer)

    def remove(self, offer: Offer) -> None:
        """One listener less; its flows live on."""
        self._listeners.remove(offer)
        self._close_if_unused()

    def flow(self, peer: Address, asked: str | None = None) -> ServerFlow:
        """A flow with ``peer``, who has sent nothing yet (or asked ``asked``)."""
        if self.socket.family == socket.AF_INET6 and len(peer) == 2:
            host = peer[0] if ":" in peer[0] else f"::ffff:{peer[0]}"
            peer = (host, peer[1], 0, 0)
        reply = self._reply_from(asked) if asked and self._wildcard else []
        flow = ServerFlow(self, peer, shown(asked or self.address), reply)
        self._flows[peer] = flow
        return flow

    def forget(self, peer: Address) -> None:
        """The flow with ``peer`` is over."""
        if self._flows.pop(peer, None) is not None:
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        if not self._flows and not self._listeners:
            self._unused()

    def close(self) -> None:
        """Give the port back."""
        self._reactor.removeReader(self)
        self.socket.close()

    # -- IReadDescriptor --------------------------------------------------------

    def fileno(self) -> int:
        """See ``IFileDescriptor``."""
        return self.socket.fileno()

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return "l7mp-udp"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor lets go of the socket only when it stops."""

    def doRead(self) -> None:
        """Read what is there, but not for ever."""
        receive, flows = self.socket.recvmsg, self._flows
        for _ in range(BUDGET):
            try:
                data, ancillary, _flags, peer = receive(MAX_DATAGRAM, PKTINFO_SPACE)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error; which flow it belongs to is not told
            flow = flows.get(peer) or self._newcomer(peer, ancillary)
            if flow is not None:
                flow.received(data)
            if self.socket.fileno() < 0:
                return

    def _newcomer(self, peer: Address, ancillary: Ancillary) -> ServerFlow | None:
        flow = self.flow(peer, _asked_address(ancillary))
        for offer in list(self._listeners):
            if offer(flow):
                # it may have been refused already, and then its datagram is, too
                return flow if flow.loss is None else None
        del self._flows[peer]
        return None

    def _reply_from(self, asked: str) -> Ancillary:
        if self.socket.family == socket.AF_INET6:
            packed = socket.inet_pton(socket.AF_INET6, asked)
            info = struct.pack("=16sI", packed, 0)
            return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info)]
        packed = socket.inet_pton(socket.AF_INET, asked)
        return [(socket.IPPROTO_IP, IP_PKTINFO, struct.pack("=I4s4s", 0, packed, b""))]


def _asked_address(ancillary: Ancillary) -> str | None:
    """Which of our addresses a datagram was sent to."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            return socket.inet_ntop(socket.AF_INET6, data[:16])
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
            return socket.inet_ntop(socket.AF_INET, data[4:8])
    return None


def bound_socket(address: str, port: int) -> socket.socket:
    """A socket that takes datagrams of both families if ``address`` is ``::``."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock


@implementer(IKernelFlow, IReadDescriptor)
class ClientFlow(DatagramFlow):
    """A connected socket of its own; ICMP errors tell of its peer alone."""

    half_close = True

    def __init__(
        self,
        reactor: Any,
        sock: socket.socket,
        linger: float,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._reactor, self._socket, self._release = reactor, sock, release
        self._linger = linger
        self._timer: IDelayedCall | None = None
        self._write_ended = False
        own, peer = sock.getsockname(), sock.getpeername()
        self.own, self.peer = (shown(own[0]), own[1]), (shown(peer[0]), peer[1])
        reactor.addReader(self)

    # -- IReadDescriptor --------------------------------------------------------

    def fileno(self) -> int:
        """See ``IFileDescriptor``."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return "l7mp-udp"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor lets go of the socket only when it stops."""

    def doRead(self) -> None:
        """Read what is there, but not for ever."""
        receive = self._socket.recv
        for _ in range(BUDGET):
            try:
                data = receive(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:
                self._failed(error)
                return
            if self._timer is not None:
                self._timer.reset(self._linger)
            self._arrived(data)
            if self.loss is not None:
                return

    def _failed(self, error: OSError) -> None:
        reason = _LOSSES.get(error.errno or 0)
        if reason is not None:
            self._finish(Loss(reason, f"{self.peer[0]}:{self.peer[1]}: {error.strerror}"))

    # -- IStream ------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        self.messages_out += 1
        self.bytes_out += len(data)
        if self._write_ended or self.loss is not None:
            self._drop("closed")
            return
        try:
            self._socket.send(data)
        except OSError as error:
            self._not_sent(error)
            self._failed(error)

    def end(self) -> None:
        """The peer may still answer: wait until it is silent for the linger time."""
        if not self._write_ended and self.loss is None:
            self._write_ended = True
            over = Loss(Reason.FIN)
            self._timer = self._reactor.callLater(self._linger, self._finish, over)

    def abort(self, loss: Loss) -> None:
        self._discard_queue("aborted")
        self._finish(loss)

    def _finish(self, loss: Loss) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self._socket.fileno() >= 0:
            self._reactor.removeReader(self)
            self._socket.close()
            self._release()
        self._lose(loss)
