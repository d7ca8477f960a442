"""Flows of frames through a packet socket: one, or one for every source."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from l7mp.errors import Loss, Reason
from l7mp.interfaces import ICloseable
from l7mp.streams.address import Sockaddr
from l7mp.streams.packetsocket import (
    AUXILIARY,
    AUXILIARY_SPACE,
    LUMP_ECN,
    NEEDS_CHECKSUM,
    OFFLOAD,
    TCP_LUMPS,
    VLAN_TPID_VALID,
    VLAN_VALID,
    Wanted,
    lost_by_kernel,
    why_not,
)
from l7mp.streams.queueing import QueueingStream
from l7mp.streams.udpsocket import (
    BUDGET,
    Ancillary,
    DatagramReader,
    drop_reason,
    tried_again,
)
from l7mp.wire.ethernet import summed, tagged
from l7mp.wire.segment import segments

SIZE = (1 << 16) + 256
"""Bytes to read at once: more than any frame has, with its tag and what precedes it."""

_CUSTOMER = 0x8100
_NO_OFFLOAD = bytes(OFFLOAD.size)
_ONE_FRAME = frozenset({errno.EMSGSIZE, errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM})


class To(NamedTuple):
    """Where to send a payload that has no header of its own."""

    ethertype: int
    address: bytes


class Heard(NamedTuple):
    """A frame or payload, and what the kernel says of it."""

    data: bytes
    ethertype: int
    packet_type: int
    """For us, for all, for others: ``socket.PACKET_HOST`` and so on."""
    source: bytes

    @property
    def is_for_us(self) -> bool:
        """Whether it was sent to the interface's own address."""
        return self.packet_type == socket.PACKET_HOST

    @property
    def is_for_all(self) -> bool:
        """Whether it was a broadcast."""
        return self.packet_type == socket.PACKET_BROADCAST


class PacketFlow(QueueingStream):
    """What is heard on an interface, or from one source there, and said to it."""

    lossy = True

    def __init__(
        self,
        shared: PacketSocket,
        key: bytes,
        to: To | None = None,
        idle_timeout: float = 0.0,
    ) -> None:
        """Payloads are sent ``to``, or else to whoever spoke last."""
        super().__init__()
        self.key, self.idle_timeout = key, idle_timeout
        self._shared, self._to, self._last = shared, to, to
        self._unsent: list[bytes] = []

    def received(self, heard: Heard) -> None:
        """A packet came."""
        if self._to is None:
            self._last = To(heard.ethertype, heard.source)
        self._arrived(heard.data)

    def write(self, data: bytes) -> None:
        if self.loss is not None:
            self._drop("closed")
            return
        error = self._shared.send(data, self._last)
        if error is None:
            self.messages_out += 1
            self.bytes_out += len(data)
        elif error.errno in _ONE_FRAME:
            self._drop(drop_reason(error))
        elif error.errno in (errno.EINVAL, errno.EDESTADDRREQ):
            self._drop("runt" if error.errno == errno.EINVAL else "no-destination")
        else:
            self._unsent.append(data)
            self._shared.fail(error)

    def unsent(self) -> list[bytes]:
        return self._unsent

    def end(self) -> None:
        self.gone(Loss(Reason.FIN))

    def abort(self, loss: Loss) -> None:
        self._discard_queue("aborted")
        self.gone(loss)

    def gone(self, loss: Loss) -> None:
        """It is over; what waits is still delivered."""
        self._shared.forget(self)
        self._lose(loss)


Taker = Callable[["PacketSocket", bytes, Heard], PacketFlow | None]
"""Makes the flow for a packet that belongs to no other, or drops it."""


@implementer(ICloseable)
class PacketSocket(DatagramReader):
    """
    A packet socket and its flows, of which ``by_source`` tells whether there are many.

    ``failed`` is called when the interface is down or gone. Without ``take`` the
    socket is closed with its last flow.
    """

    def __init__(
        self,
        reactor: object,
        sock: socket.socket,
        wanted: Wanted,
        take: Taker | None = None,
        failed: Callable[[], None] | None = None,
        by_source: bool = False,
    ) -> None:
        """``sock`` is from ``open_packet_socket``; from now on it is ours."""
        super().__init__(reactor, sock)  # type: ignore[arg-type]  # mypy-zope
        self.address: bytes = sock.getsockname()[4]
        """The hardware address of the interface."""
        self.wanted = wanted
        self._clock = reactor
        self._take, self._failed, self._by_source = take, failed, by_source
        self._flows: dict[bytes, PacketFlow] = {}
        self._dying: IDelayedCall | None = None
        self.drops: dict[str, int] = {}
        """What came and was given to no flow, counted by reason."""

    # -- flows ----------------------------------------------------------------

    def add(self, flow: PacketFlow) -> None:
        """From now on give ``flow`` what is for it."""
        self._flows[flow.key] = flow

    def lives(self, key: bytes) -> bool:
        """Whether there is a flow for this source."""
        return key in self._flows

    def forget(self, flow: PacketFlow) -> None:
        """Give ``flow`` nothing more; twice is once."""
        if self._flows.get(flow.key) is flow:
            del self._flows[flow.key]
            self._tidy()

    @property
    def population(self) -> int:
        """How many flows there are."""
        return len(self._flows)

    def take_no_more(self) -> None:
        """Whoever is new belongs to nobody; what lives goes on."""
        self._take = self._failed = None
        self._tidy()

    def close(self) -> None:
        """End everything."""
        self._dismissed(Loss(Reason.SHUTDOWN))

    def _tidy(self) -> None:
        if self._take is None and not self._flows:
            self._let_go()

    # -- sending ----------------------------------------------------------------

    def send(self, data: bytes, to: To | None) -> OSError | None:
        """Why it could not be sent, if so."""
        if not self._is_open:
            return OSError(errno.EBADF, "closed")
        try:
            self._send(data, to)
        except OSError as first:
            return tried_again(lambda: self._send(data, to), first)
        return None

    def _send(self, data: bytes, to: To | None) -> None:
        if not self.wanted.cooked:
            self._sock.sendmsg((_NO_OFFLOAD, data))
        elif to is None:
            raise OSError(errno.EDESTADDRREQ, "nobody has spoken yet")
        else:
            where = (self.wanted.interface, to.ethertype, 0, 0, to.address)
            self._sock.sendto(data, where)

    def fail(self, error: OSError) -> None:
        """The interface cannot be used, though not in the middle of what goes on."""
        if self._dying is None and self._is_open:
            loss = why_not(error, self.wanted.interface)
            later = self._clock.callLater  # type: ignore[attr-defined]
            self._dying = later(0, self._die, loss)

    # -- reading ----------------------------------------------------------------

    def doRead(self) -> None:
        recvmsg = self._sock.recvmsg
        for count in range(BUDGET):
            try:
                data, info, flags, peer = recvmsg(SIZE, AUXILIARY_SPACE)
            except BlockingIOError:
                if not count:
                    self._read_errors()  # what else would we have been called for?
                return
            except OSError as error:
                self._met(error, None)
                return
            if flags & socket.MSG_TRUNC:
                self.drop("oversize")
            else:
                self._read(data, info, peer)
            if not self._is_open:
                return
        self.drop("receive-buffer", lost_by_kernel(self._sock))  # we are busy

    def _read(self, data: bytes, info: Ancillary, peer: tuple[Any, ...]) -> None:
        frames = [data]
        if not self.wanted.cooked:
            frames = _whole(data, info[0][2] if info else b"")
        for frame in frames:
            self._heard(Heard(frame, peer[1], peer[2], peer[4]))

    def drop(self, why: str, count: int = 1) -> None:
        """Account for packets that no flow will have."""
        if count:
            self.drops[why] = self.drops.get(why, 0) + count

    def _heard(self, heard: Heard) -> None:
        key = heard.source if self._by_source else b""
        flow = self._flows.get(key)
        if flow is None and self._take is not None:
            flow = self._take(self, key, heard)
            if flow is None:  # and that was counted
                return
        if flow is not None:
            flow.received(heard)
        else:
            self.drop("nobody")

    def _met(self, error: OSError, peer: Sockaddr | None) -> None:
        self._die(why_not(error, self.wanted.interface))

    def _blamed(self, loss: Loss) -> None:
        for flow in list(self._flows.values()):
            flow.abort(loss)

    def _dismissed(self, loss: Loss) -> None:
        self._failed = None
        self._die(loss)

    def _die(self, loss: Loss) -> None:
        self._take = None
        failed, self._failed = self._failed, None
        self._let_go()
        for flow in list(self._flows.values()):
            flow.gone(loss)
        if failed is not None:
            failed()

    def _let_go(self) -> None:
        if self._dying is not None and self._dying.active():
            self._dying.cancel()
        super()._let_go()


def _whole(data: bytes, auxiliary: bytes) -> list[bytes]:
    """Frames as they are on the wire, with what interfaces leave to others done."""
    flags, lump, _, size, start, offset = OFFLOAD.unpack_from(data)
    frames = [data[OFFLOAD.size :]]
    if lump & ~LUMP_ECN in TCP_LUMPS:
        frames = segments(frames[0], start, size)
    elif flags & NEEDS_CHECKSUM:
        frames = [summed(frames[0], start, offset)]
    if auxiliary:
        status, *_, tci, tpid = AUXILIARY.unpack(auxiliary)
        if status & VLAN_VALID:
            tpid = tpid if status & VLAN_TPID_VALID else _CUSTOMER
            frames = [tagged(frame, tci, tpid) for frame in frames]
    return frames
