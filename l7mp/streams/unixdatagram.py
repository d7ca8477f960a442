"""
Datagrams of Unix sockets: a listening socket that many share, and one of one's own.

Unlike UDP's they are not lost on the way: whoever sends to a full queue waits.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

from twisted.internet.interfaces import (
    IDelayedCall,
    IProducer,
    IReactorFDSet,
    IReactorTime,
    IReadDescriptor,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from l7mp.errors import Loss, Reason
from l7mp.streams.census import Census
from l7mp.streams.descriptor import BUDGET, LARGEST, MessageDescriptor
from l7mp.streams.outbox import Outbox
from l7mp.streams.queueing import QueueingStream
from l7mp.streams.timer import Timer
from l7mp.streams.transport import FLUSH
from l7mp.streams.udpsocket import drop_reason
from l7mp.streams.unixsocket import (
    CREDENTIALS_SPACE,
    Bound,
    failure_of,
    shown,
    tell_credentials,
)

SOON, LATE = 0.001, 0.05
"""Seconds until a peer whose queue was full is tried again: the first time, at most."""

LINGER = 1.0
"""Seconds of silence that stand for the end of what a peer has to say."""

UNANSWERABLE = "unanswerable"
"""Why what is written to a peer without an address is dropped."""

_OF_ONE = frozenset({errno.EMSGSIZE, errno.ENOBUFS, errno.ENOMEM})
_PID, _GID = 4, 8
"""Where in credentials the process ends, and the group begins; the user is between."""

Key = tuple[bytes, bytes]
"""Address of a peer, and its credentials if it has no address."""


class DatagramPeer(QueueingStream):
    """The datagrams of one peer of a shared socket."""

    half_close = False

    def __init__(
        self, hall: DatagramHall, key: Key, credentials: bytes, idle_timeout: float
    ) -> None:
        super().__init__()
        self.key, self.credentials = key, credentials
        self.idle_timeout = idle_timeout
        self._hall, self._outbox = hall, Outbox()
        self._closing: Loss | None = None
        self._timer = Timer(hall.clock)

    received = QueueingStream._arrived  # noqa: SLF001  # ours, and one call less
    """The peer sent this."""

    @property
    def address(self) -> bytes:
        """Where answers go; empty if they cannot."""
        return self.key[0]

    def is_same(self, credentials: bytes) -> bool:
        """Whether it is still the same user and group who speaks."""
        return credentials[_PID:] == self.credentials[_PID:]

    # -- the write half -----------------------------------------------------

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self._outbox.register(producer)

    def unregisterProducer(self) -> None:
        self._outbox.unregister()

    def write(self, data: bytes) -> None:
        if self.loss is not None or self._closing is not None:
            self._drop("closed")
        elif not self.address:
            self._drop(UNANSWERABLE)
        elif self._outbox or not self._has_sent(data):
            pushed_out = self._outbox.put(data)
            if pushed_out:
                self._drop("overflow", pushed_out)
            self._hall.blocked(self)

    def _has_sent(self, data: bytes) -> bool:
        """Whether ``data`` is out of the way."""
        try:
            self._hall.sendto(data, self.address)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _OF_ONE:
                self._doom(failure_of(error, shown(self.address)))
                return False
            self._drop(drop_reason(error))
        else:
            self.messages_out += 1
            self.bytes_out += len(data)
        return True

    def _doom(self, loss: Loss) -> None:
        """The peer is gone, though not in the middle of what goes on right now."""
        self._timer.set(0, lambda: self._leave(Loss(Reason.REFUSED, loss.detail)))

    def try_again(self) -> bool:
        """Send what waits; whether any of it has left."""
        before = len(self._outbox)
        while self._outbox and self._has_sent(self._outbox.first()):
            self._outbox.sent()
        left = before - len(self._outbox)
        self._outbox.settle()
        if self._closing is not None and not self._outbox:
            self._leave(self._closing)
        return left > 0

    @property
    def is_waiting(self) -> bool:
        """Whether there is anything to send."""
        return bool(self._outbox)

    def unsent(self) -> list[bytes]:
        return self._outbox.pieces()

    # -- the end --------------------------------------------------------------

    def end(self) -> None:
        self.close(Loss(Reason.FIN))

    def close(self, loss: Loss) -> None:
        if self.loss is not None or self._closing is not None:
            return
        if not self._outbox:
            self._leave(loss)
            return
        self._closing = loss
        self._timer.set(FLUSH, lambda: self._leave(loss))

    def abort(self, loss: Loss) -> None:
        self._discard_queue("aborted")
        self._leave(loss)

    def _leave(self, loss: Loss) -> None:
        # The peer's next datagram begins anew, whatever the loss brings about.
        self._timer.cancel()
        self._hall.forget(self)
        self._lose(self._closing or loss)


@implementer(IReadDescriptor)
class DatagramHall:
    """
    A bound socket and the peers that speak to it: a session for each address.

    Peers without one are told apart by their process, and cannot be answered.  A peer
    at whose address another user or group turns up is gone.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IReactorTime,
        bound: Bound,
        accept: Callable[[DatagramPeer], None],
        idle_timeout: float,
        census: Census[DatagramPeer] | None = None,
        turned_away: Callable[[str], None] = lambda _: None,
    ) -> None:
        """
        ``census`` says whether there is room for one more peer of a user.

        ``turned_away`` hears why somebody's datagram was dropped: there was none.
        """
        self._reactor, self.clock, self._bound = reactor, clock, bound
        self._sock = bound.sock
        self.sendto = self._sock.sendto
        self._accept: Callable[[DatagramPeer], None] | None = accept
        self._idle_timeout = idle_timeout
        self._census: Census[DatagramPeer] = census or Census(None, None)
        self._turned_away = turned_away
        self._peers: dict[Key, DatagramPeer] = {}
        self._blocked: set[DatagramPeer] = set()
        self._retry: IDelayedCall | None = None
        self._pause = SOON
        self._reading: DatagramPeer | None = None
        self._space = bytearray(LARGEST)
        tell_credentials(self._sock)
        reactor.addReader(self)

    # -- the door ---------------------------------------------------------------

    def close(self) -> None:
        """Let in nobody any more; who is inside stays.  Twice is once."""
        self._accept = None
        self._bound.remove_file()
        self._tidy()

    def forget(self, peer: DatagramPeer) -> None:
        """Give ``peer`` nothing more; twice is once."""
        self._blocked.discard(peer)
        if self._peers.get(peer.key) is peer:
            del self._peers[peer.key]
            self._tidy()

    def _tidy(self) -> None:
        if self._accept is None and not self._peers and self._sock.fileno() >= 0:
            self._reactor.removeReader(self)
            if self._retry is not None:
                self._retry.cancel()
                self._retry = None
            self._sock.close()

    # -- reading ------------------------------------------------------------

    def fileno(self) -> int:
        return self._sock.fileno()

    def logPrefix(self) -> str:
        """What the reactor's log says where we fail."""
        return type(self).__name__

    def doRead(self) -> None:
        space = self._space
        for _ in range(BUDGET):
            try:
                size, info, flags, address = self._sock.recvmsg_into(
                    (space,), CREDENTIALS_SPACE
                )
            except OSError:  # nothing waits, or we have just been closed
                return
            credentials = info[0][2]
            peer = self._reading = self._peer(os.fsencode(address or b""), credentials)
            if peer is not None:
                self._hand_over(peer, size, flags)
            self._reading = None

    def _hand_over(self, peer: DatagramPeer, size: int, flags: int) -> None:
        if flags & socket.MSG_CTRUNC:
            peer._drop("descriptors")  # noqa: SLF001  # ours
        if flags & socket.MSG_TRUNC:
            peer._drop("oversize")  # noqa: SLF001  # ours
        else:
            peer.received(bytes(self._space[:size]))

    def _peer(self, address: bytes, credentials: bytes) -> DatagramPeer | None:
        key = (address, b"" if address else credentials)
        peer = self._peers.get(key)
        if peer is not None and not peer.is_same(credentials):
            peer.abort(Loss(Reason.RESET, "another user has the peer's address"))
            peer = None
        return self._newcomer(key, credentials) if peer is None else peer

    def _newcomer(self, key: Key, credentials: bytes) -> DatagramPeer | None:
        user, census = credentials[_PID:_GID], self._census
        full = census.full(user)
        if self._accept is None or full is not None:
            self._turned_away(full or "closed")
            return None
        peer = DatagramPeer(self, key, credentials, self._idle_timeout)
        self._peers[key] = peer
        census.add(user, peer)
        peer.when_lost().addCallback(lambda _: census.remove(user, peer))
        self._accept(peer)
        return peer

    def connectionLost(self, reason: Failure) -> None:
        """A bug costs the peer that was being read."""
        if self._sock.fileno() < 0:
            return
        if self._reading is not None:
            self._reading.abort(Loss(Reason.LOCAL, reason.getErrorMessage()))
            self._reading = None
        if self._sock.fileno() >= 0:
            self._reactor.addReader(self)

    # -- writing ------------------------------------------------------------

    def blocked(self, peer: DatagramPeer) -> None:
        """
        Try ``peer`` again in a moment.

        The kernel tells of room in the queue of a peer only those who are connected
        to it, so we have to ask.
        """
        self._blocked.add(peer)
        if self._retry is None:
            self._retry = self.clock.callLater(self._pause, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        moved = [peer.try_again() for peer in list(self._blocked)]
        self._blocked = {peer for peer in self._blocked if peer.is_waiting}
        self._pause = SOON if any(moved) else min(2 * self._pause, LATE)
        if self._blocked and self._retry is None:
            self._retry = self.clock.callLater(self._pause, self._try_again)


class DatagramFlow(MessageDescriptor):
    """
    What a cluster sends to a socket, and what comes back to its own address.

    Datagrams have no end of their own, so after ours a silence stands for it.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IReactorTime,
        sock: socket.socket,
        linger: float,
    ) -> None:
        super().__init__(reactor, clock, sock)
        self._linger, self._last = linger, 0.0
        tell_credentials(sock)

    def _receive(self) -> bytes | None:
        space = self._room()
        size, _, flags, _ = self._sock.recvmsg_into((space,), CREDENTIALS_SPACE)
        self._last = self._clock.seconds()
        if flags & socket.MSG_CTRUNC:
            self._drop("descriptors")
        if flags & socket.MSG_TRUNC:
            self._drop("oversize")
            return None
        return space[:size]

    def _flushed(self) -> None:
        self._shut_down = True
        if self._closing is not None:
            self._leave(self._closing)
            return
        self._last = self._clock.seconds()
        self._wait(self._linger)

    def _wait(self, seconds: float) -> None:
        self._timer.set(seconds, self._waited)

    def _waited(self) -> None:
        left = self._last + self._linger - self._clock.seconds()
        if left > 0:
            self._wait(left)
            return
        self._read_ended()
        self._leave(Loss(Reason.FIN))

    def close(self, loss: Loss) -> None:
        if self._shut_down:
            self._leave(loss)  # nobody will tell us of an end
        else:
            super().close(loss)
