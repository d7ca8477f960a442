"""A flow of datagrams with a socket of its own, connected to its one peer."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime
from zope.interface import implementer

from l7mp.errors import Loss, Reason
from l7mp.interfaces import IKernelFlow
from l7mp.model.udp import LINGER
from l7mp.streams.address import Sockaddr, shown
from l7mp.streams.queueing import QueueingStream
from l7mp.streams.udpsocket import (
    BUDGET,
    SIZE,
    DatagramReader,
    drop_reason,
    loss_of,
    tried_again,
)


@implementer(IKernelFlow)
class ConnectedFlow(DatagramReader, QueueingStream):
    """
    What a cluster sends to an endpoint, and what comes back.

    The socket is read also while the flow is held: the queue here counts what it
    drops, the kernel's would not.
    """

    half_close = True
    lossy = True

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IReactorTime,
        sock: socket.socket,
        linger: float = LINGER,
        peer: Sockaddr | None = None,
    ) -> None:
        """``sock`` is connected unless ``peer`` is given; from now on it is ours."""
        QueueingStream.__init__(self)
        self._peer: Sockaddr = sock.getpeername() if peer is None else peer
        self._send: Callable[[bytes], int] = sock.send
        self._own: Sockaddr = sock.getsockname()
        self._clock, self._linger = clock, linger
        self._timer: IDelayedCall | None = None
        self._quiet_since: float | None = None  # while lingering
        self._fate: Loss | None = None  # known, but not yet told
        self._unsent: list[bytes] = []
        DatagramReader.__init__(self, reactor, sock)

    def five_tuple(self) -> tuple[str, int, str, int, int]:
        (peer, peer_port), (own, own_port) = self._peer[:2], self._own[:2]
        return shown(peer), peer_port, shown(own), own_port, socket.IPPROTO_UDP

    # -- the read half ------------------------------------------------------

    def doRead(self) -> None:
        recv, arrived = self._sock.recv, self._arrived
        for count in range(BUDGET):
            try:
                data = recv(SIZE)
            except BlockingIOError:
                if not count:
                    self._read_errors()  # what else would we have been called for?
                break
            except OSError as error:
                if not self._is_open:
                    return
                if error.errno != errno.EMSGSIZE:  # which the queue of errors tells
                    self._met(error, None)
                continue
            if self._quiet_since is not None:
                self._quiet_since = self._clock.seconds()
            arrived(data)

    def _met(self, error: OSError, peer: Sockaddr | None) -> None:
        if error.errno == errno.EMSGSIZE:
            # A router refused it; what follows will be fragmented.
            self._drop(drop_reason(error))
        else:
            self._doom(loss_of(error))

    def _doom(self, loss: Loss) -> None:
        """The flow is over, though not in the middle of what goes on right now."""
        if self._fate is None:
            self._fate = loss
            self._wait(0)

    def _blamed(self, loss: Loss) -> None:
        self.abort(loss)

    def _dismissed(self, loss: Loss) -> None:
        self.abort(loss)

    # -- the write half -----------------------------------------------------

    def write(self, data: bytes) -> None:
        try:
            self._send(data)
        except OSError as first:
            error = tried_again(lambda: self._send(data), first)
            if error is not None:
                self._not_sent(data, error)
                return
        self.messages_out += 1
        self.bytes_out += len(data)

    def _not_sent(self, data: bytes, error: OSError) -> None:
        if not self._is_open:
            self._drop("closed")
        elif drop_reason(error) in ("send-buffer", "too-big"):
            self._drop(drop_reason(error))
        else:
            self._unsent.append(data)
            self._doom(loss_of(error))

    def unsent(self) -> list[bytes]:
        return self._unsent

    # -- the end --------------------------------------------------------------

    def end(self) -> None:
        if self._is_open and self._fate is None and self._quiet_since is None:
            self._quiet_since = self._clock.seconds()
            self._wait(self._linger)

    def abort(self, loss: Loss) -> None:
        self._discard_queue("aborted")
        self._leave(loss)

    def _wait(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.callLater(seconds, self._waited)

    def _waited(self) -> None:
        self._timer = None
        if self._fate is not None:
            self.doRead()  # what came before the end counts
            self._finish()
            return
        assert self._quiet_since is not None, "nothing else to wait for"
        left = self._quiet_since + self._linger - self._clock.seconds()
        if left > 0:
            self._wait(left)
        else:
            self._fate = Loss(Reason.FIN)
            self._finish()

    def _finish(self) -> None:
        assert self._fate is not None, "finished without a reason"
        if self._fate.reason is Reason.FIN:
            self._read_ended()
        self._leave(self._fate)

    def _leave(self, loss: Loss) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._let_go()
        self._lose(loss)
