"""
Flows of datagrams that share one bound socket: a stream for every peer.

A flow is known by its five-tuple: who speaks, and which of our addresses was asked.
The answers leave from that address, also where the socket is bound to all of them.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Hashable
from enum import Enum
from typing import Final

from twisted.internet.interfaces import IReactorFDSet
from zope.interface import implementer

from l7mp.errors import Loss, Reason
from l7mp.interfaces import ICloseable, IKernelFlow
from l7mp.streams.address import Sockaddr, is_group, shown
from l7mp.streams.queueing import QueueingStream
from l7mp.streams.udpsocket import (
    ASKED,
    BUDGET,
    PKTINFO_SPACE,
    SIZE,
    Ancillary,
    DatagramReader,
    answer_from,
    drop_reason,
    loss_of,
    route_to,
    tell_asked,
    tried_again,
)

Key = tuple[Sockaddr, bytes]
"""A peer and, packed, our address that it asked; empty where there is but one."""


class Refused(Enum):
    """The type of ``REFUSED``."""

    REFUSED = "refused"


REFUSED: Final = Refused.REFUSED
"""Who takes new peers says so of one that nobody may have."""

Taker = Callable[[Key], "PeerFlow | Refused | None"]
"""Makes or finds the flow for what belongs to no other, if it wants its peer."""

STRANGER = "stranger"
"""The reason for which datagrams are dropped that nobody wants."""

_FATAL = frozenset({Reason.REFUSED, Reason.UNREACHABLE})
"""What makes it pointless to go on speaking to a peer."""

_NO_SOURCE = frozenset({errno.EINVAL, errno.EADDRNOTAVAIL, errno.ENETUNREACH})
"""Errors of speaking from an address that is ours no more, or a broadcast address."""


@implementer(IKernelFlow)
class PeerFlow(QueueingStream):
    """
    The datagrams of one peer.

    There may be very many of them, so they keep little.
    """

    lossy = True

    received = QueueingStream._arrived  # noqa: SLF001  # ours, and one call less
    """The peer sent this."""

    def __init__(
        self, shared: SharedSocket, key: Key, idle_timeout: float, is_patient: bool
    ) -> None:
        """A patient flow does not mind that its peer is not there."""
        super().__init__()
        self.idle_timeout, self.is_patient = idle_timeout, is_patient
        self._shared, self.key = shared, key
        self.ident: Hashable = key
        """What tells it apart on its socket."""
        self._source = shared.source(key[1])

    def five_tuple(self) -> tuple[str, int, str, int, int]:
        (host, port), (own, own_port) = self.key[0][:2], self._shared.own
        if self.key[1]:
            own = self._shared.unpack(self.key[1])
        return shown(host), port, own, own_port, socket.IPPROTO_UDP

    def believe(self) -> None:
        """The peer has proved that it is where it says; most flows never doubt it."""

    def asked_at(self, key: Key) -> None:
        """The peer speaks to another address of ours, or from another of its own."""
        self.key = key
        self._source = self._shared.source(key[1])

    def write(self, data: bytes) -> None:
        if self.loss is not None:
            self._drop("closed")
            return
        try:
            self._send(data)
        except OSError as first:
            error = self._sent_otherwise(data, first)
            if error is not None:
                self._drop(drop_reason(error))
                return
        self.messages_out += 1
        self.bytes_out += len(data)

    def _send(self, data: bytes) -> None:
        if self._source:
            self._shared.sendmsg((data,), self._source, 0, self.key[0])
        else:
            self._shared.sendto(data, self.key[0])

    def _sent_otherwise(self, data: bytes, error: OSError) -> OSError | None:
        left = tried_again(lambda: self._send(data), error)
        if left is not None and self._source and left.errno in _NO_SOURCE:
            sendto, peer = self._shared.sendto, self.key[0]
            left = tried_again(lambda: sendto(data, peer), left)
            if left is None:
                self._source = []
        return left

    def met(self, error: OSError) -> None:
        """A datagram to the peer met ``error`` on its way."""
        if error.errno == errno.ECONNREFUSED:
            loss = Loss(Reason.REFUSED, "the peer's port is closed")
        else:
            loss = loss_of(error)
        if self.is_patient or loss.reason not in _FATAL:
            self._drop(drop_reason(error))
        else:
            self._leave(loss)

    def end(self) -> None:
        self._leave(Loss(Reason.FIN))

    def abort(self, loss: Loss) -> None:
        self._discard_queue("aborted")
        self._leave(loss)

    def _leave(self, loss: Loss) -> None:
        # The peer's next datagram begins anew, whatever the loss brings about.
        self._shared.forget(self)
        self._lose(loss)


@implementer(ICloseable)
class SharedSocket(DatagramReader):
    """
    A bound socket, those who take the peers that are new to it, and the flows.

    ``emptied`` is called when the last of them is gone; closing is left to it.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        sock: socket.socket,
        emptied: Callable[[], None],
    ) -> None:
        """``sock`` is bound; from now on it is ours."""
        host, port = sock.getsockname()[:2]
        self.own: tuple[str, int] = (shown(host), port)
        """Where it is bound."""
        self.family = int(sock.family)
        self.sendto, self.sendmsg = sock.sendto, sock.sendmsg
        self._is_everywhere = not any(socket.inet_pton(sock.family, host))
        if self._is_everywhere:
            tell_asked(sock)
        self._emptied = emptied
        self.drops: dict[str, int] = {}
        """What came and reached no flow, counted by reason."""
        self.terms: object = None
        """What those who listen here have agreed on."""
        self._takers: list[Taker] = []
        self._flows: dict[Hashable, PeerFlow] = {}
        self._sources: dict[bytes, Ancillary] = {b"": []}
        self._reading: Hashable = None
        super().__init__(reactor, sock)

    # -- new peers ------------------------------------------------------------

    def offer_to(self, take: Taker) -> None:
        """Offer new peers to ``take``, too, when nobody before it wants them."""
        self._takers.append(take)

    def offer_no_more(self, take: Taker) -> None:
        """``take`` wants nobody any more; twice is once."""
        if take in self._takers:
            self._takers.remove(take)
            self._tidy()

    @property
    def is_offered(self) -> bool:
        """Whether anybody wants new peers."""
        return bool(self._takers)

    def drop(self, why: str) -> None:
        """Account for a datagram that reaches no flow."""
        self.drops[why] = self.drops.get(why, 0) + 1

    def close(self) -> None:
        """End everything."""
        self._dismissed(Loss(Reason.SHUTDOWN))

    # -- flows --------------------------------------------------------------

    def has(self, key: Key) -> bool:
        """Whether there is a flow with this five-tuple."""
        return key in self._flows

    def knows(self, flow: PeerFlow) -> bool:
        """Whether what its peer sends still goes to ``flow``."""
        return self._flows.get(flow.ident) is flow

    def add(self, flow: PeerFlow) -> None:
        """From now on give ``flow`` what its peer sends."""
        self._flows[flow.ident] = flow

    def move(self, flow: PeerFlow, key: Key) -> None:
        """``flow`` has another five-tuple now."""
        del self._flows[flow.ident]
        flow.asked_at(key)
        flow.ident = key
        self.add(flow)

    def forget(self, flow: PeerFlow) -> None:
        """Give ``flow`` nothing more; twice is once."""
        if self.knows(flow):
            del self._flows[flow.ident]
            self._tidy()

    def end_all(self, loss: Loss) -> None:
        """End every flow."""
        for flow in list(self._flows.values()):
            flow.abort(loss)

    def _tidy(self) -> None:
        if self._is_open and not self._flows and not self._takers:
            self._emptied()

    # -- our addresses ------------------------------------------------------

    def source(self, asked: bytes) -> Ancillary:
        """What makes an answer leave from the address that was asked, unless a group."""
        found = self._sources.get(asked)
        if found is None:
            found = [] if is_group(asked) else answer_from(asked)
            self._sources[asked] = found
        return found

    def route_to(self, peer: Sockaddr) -> bytes:
        """The packed address of ours that ``peer`` is most likely to ask."""
        return route_to(self.family, peer) if self._is_everywhere else b""

    def unpack(self, asked: bytes) -> str:
        """A packed address, for people."""
        return shown(socket.inet_ntop(self.family, asked))

    # -- reading ------------------------------------------------------------

    def doRead(self) -> None:
        recvmsg, flows, asked = self._sock.recvmsg, self._flows, ASKED[self.family]
        for count in range(BUDGET):
            try:
                data, info, _, peer = recvmsg(SIZE, PKTINFO_SPACE)
            except BlockingIOError:
                if not count:
                    self._read_errors()  # what else would we have been called for?
                break
            except OSError:
                if not self._is_open:
                    return
                self._read_errors()
                continue
            key = self._reading = (peer, info[0][2][asked] if info else b"")
            flow = flows.get(key) or self._newcomer(key)
            if flow is not None:
                flow.received(data)
        else:
            self._read_errors()  # which otherwise wait for a moment of silence

    def _newcomer(self, key: Key) -> PeerFlow | None:
        for take in self._takers:
            flow = take(key)
            if flow is REFUSED:
                return None  # who refused it has counted it
            if flow is not None:
                return flow
        self.drop(STRANGER)
        return None

    def _met(self, error: OSError, peer: Sockaddr | None) -> None:
        """Tell the flows of the peer; an error of nobody means nothing."""
        if peer is not None:
            self._met_by(peer, error)

    def _met_by(self, peer: Sockaddr, error: OSError) -> None:
        for asked in list(self._sources):
            flow = self._flows.get((peer, asked))
            if flow is not None:
                flow.met(error)

    def _blamed(self, loss: Loss) -> None:
        flow = self._flows.get(self._reading) if self._reading else None
        if flow is not None:
            flow.abort(loss)

    def _dismissed(self, loss: Loss) -> None:
        self._let_go()
        self._takers.clear()
        self.end_all(loss)
