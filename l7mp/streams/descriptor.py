"""
Messages over a socket of one's own that keeps their boundaries.

Twisted's transports join what was sent and share out what was read anew; here a
message is read and written whole.  Meant for connected sockets of Unix, SCTP and the
like: a subclass says how one message is received, sent, and the end of them told.
"""

from __future__ import annotations

import errno
import mmap
import socket

from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import (
    IProducer,
    IReactorFDSet,
    IReactorTime,
    IReadWriteDescriptor,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from l7mp.errors import Loss, Reason
from l7mp.interfaces import Kind
from l7mp.streams.outbox import Outbox
from l7mp.streams.stream import Stream
from l7mp.streams.timer import Timer
from l7mp.streams.transport import FLUSH, LINGER
from l7mp.streams.udpsocket import drop_reason
from l7mp.streams.udpsocket import loss_of as datagram_loss

LARGEST = 1 << 20
"""Bytes of the longest message that is received whole; a longer one is dropped."""

BUDGET = 64
"""Messages to read, or to write, before other sockets get their turn."""

_GONE = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN, errno.ESHUTDOWN})


def loss_of(error: OSError) -> Loss:
    """What an error of a message socket means for its stream."""
    if error.errno in _GONE:
        return Loss(Reason.RESET, error.strerror or str(error))
    return datagram_loss(error)


@implementer(IReadWriteDescriptor)
class MessageDescriptor(Stream):
    """
    A stream of messages around a non-blocking socket, which from now on is its own.

    Reading stops while the stream is held, so that the peer or the kernel waits;
    what cannot be written waits in an ``Outbox``, and so does the producer.

    A subclass may override ``_receive``, ``_transmit``, ``_shut`` and ``_refused``,
    and sets ``half_close`` to False if its socket cannot be half closed: then
    ``end()`` closes it once everything has left.
    """

    kind = Kind.DATAGRAMS
    half_close = True

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IReactorTime,
        sock: socket.socket,
        largest: int = LARGEST,
    ) -> None:
        super().__init__()
        self._reactor, self._clock, self._sock = reactor, clock, sock
        self._largest = largest
        self._space: mmap.mmap | None = None
        self._outbox = Outbox()
        self._write_ended = self._shut_down = False
        self._closing: Loss | None = None
        self._fate: Loss | None = None  # known, but not yet told
        self._timer = Timer(clock)
        sock.setblocking(False)

    # -- what a protocol says otherwise ----------------------------------------

    def _receive(self) -> bytes | None:
        """
        The next message, or None for one that was dropped and counted.

        Raises ``BlockingIOError`` when none waits, ``EOFError`` at the peer's end,
        another ``OSError`` when the socket has failed.
        """
        space = self._room()
        size = self._sock.recv_into(space, 0, socket.MSG_TRUNC)
        if size > self._largest:
            self._drop("oversize")
            return None
        if not size:
            raise EOFError
        return space[:size]

    def _transmit(self, data: bytes) -> None:
        """
        Send one message.

        Raises ``BlockingIOError`` if it has to wait until the socket is writable,
        another ``OSError`` if it cannot be sent.
        """
        self._sock.send(data)

    def _shut(self) -> None:
        """Tell the peer that nothing more will be written."""
        self._sock.shutdown(socket.SHUT_WR)

    def _refused(self, error: OSError) -> bool:
        """
        Whether ``error`` is about one message only, which is counted and dropped.

        Otherwise it is the end of the stream.
        """
        return error.errno in (errno.EMSGSIZE, errno.ENOBUFS, errno.ENOMEM)

    def _room(self) -> mmap.mmap:
        """Space for the longest message; pages that nothing was read to cost nothing."""
        if self._space is None:
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            self._space = mmap.mmap(-1, self._largest, flags)
        return self._space

    # -- the reactor's --------------------------------------------------------

    def fileno(self) -> int:
        return self._sock.fileno()

    def logPrefix(self) -> str:
        """What the reactor's log says where we fail."""
        return type(self).__name__

    def connectionLost(self, reason: Failure) -> None:
        """The reactor gave up: the peer has hung up, or we raised an exception."""
        if self.loss is not None:
            return
        if reason.check(ConnectionClosed):
            if self._is_reading:
                self.doRead()  # what came before the end counts
            self._leave(Loss(Reason.RESET, "the peer hung up"))
        else:
            what = f"{reason.value.__class__.__name__}: {reason.getErrorMessage()}"
            self.abort(Loss(Reason.LOCAL, what))

    # -- the read half ------------------------------------------------------

    @property
    def _is_reading(self) -> bool:
        if self.loss is not None or self.read_ended:
            return False
        return self._closing is not None or not self._reasons

    def _pause(self) -> None:
        if self.loss is None and self._closing is None:
            self._reactor.removeReader(self)

    def _resume(self) -> None:
        if self._is_reading:
            self._reactor.addReader(self)

    def doRead(self) -> None:
        for _ in range(BUDGET):
            try:
                data = self._receive()
            except BlockingIOError:
                return
            except EOFError:
                self._peer_ended()
                return
            except OSError as error:
                self._leave(loss_of(error))
                return
            if data is not None:
                self._read(data)
            if not self._is_reading:
                return

    def _read(self, data: bytes) -> None:
        if self._closing is None:
            self._deliver(data)
        else:
            self._drop("closing")

    def _peer_ended(self) -> None:
        self._reactor.removeReader(self)
        if self._closing is None:
            self._read_ended()
        else:
            self.read_ended = True
        if self._shut_down:
            self._leave(Loss(Reason.FIN))

    # -- the write half -----------------------------------------------------

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self._outbox.register(producer)

    def unregisterProducer(self) -> None:
        self._outbox.unregister()

    def write(self, data: bytes) -> None:
        if self.loss is not None or self._write_ended:
            self._drop("closed")
        elif self._outbox or self._fate is not None:
            self._wait_with(data)
        else:
            try:
                self._transmit(data)
            except BlockingIOError:
                self._wait_with(data)
                self._reactor.addWriter(self)
            except OSError as error:
                self._not_sent(data, error)
            else:
                self._sent(data)

    def _wait_with(self, data: bytes) -> None:
        pushed_out = self._outbox.put(data)
        if pushed_out:
            self._drop("overflow", pushed_out)

    def _sent(self, data: bytes) -> None:
        self.messages_out += 1
        self.bytes_out += len(data)

    def _not_sent(self, data: bytes, error: OSError) -> bool:
        """Whether it may be forgotten; otherwise the stream is over, or will be."""
        if self._refused(error):
            self._drop(drop_reason(error))
            return True
        if not self._outbox:
            self._outbox.put(data)
        # Not in the middle of a write: the session is not done with it.
        self._fail(loss_of(error))
        return False

    def _fail(self, loss: Loss) -> None:
        self._fate = loss
        self._reactor.removeWriter(self)
        self._timer.set(0, lambda: self._failed(loss))

    def _failed(self, loss: Loss) -> None:
        if self._is_reading:
            self.doRead()  # what came before the end counts
        self._leave(loss)

    def doWrite(self) -> None:
        for _ in range(BUDGET):
            if not self._outbox or not self._wrote_first():
                break
        if not self._outbox:
            self._reactor.removeWriter(self)
            self._outbox.settle()
            if self._write_ended and not self._outbox:
                self._flushed()

    def _wrote_first(self) -> bool:
        """Whether the next message is out of the way."""
        data = self._outbox.first()
        try:
            self._transmit(data)
        except BlockingIOError:
            return False
        except OSError as error:
            if not self._not_sent(data, error):
                return False
        else:
            self._sent(data)
        self._outbox.sent()
        return True

    def end(self) -> None:
        if self.loss is None and not self._write_ended:
            self._write_ended = True
            if not self._outbox:
                self._flushed()

    def _flushed(self) -> None:
        """Everything has left: say so."""
        if not self.half_close:
            self._leave(Loss(Reason.FIN))
            return
        self._shut_down = True
        try:
            self._shut()
        except OSError as error:
            self._leave(loss_of(error))
            return
        if self.read_ended:
            self._leave(Loss(Reason.FIN))
        elif self._closing is not None:
            self._timer.set(LINGER, lambda: self._leave(Loss(Reason.FIN)))

    def unsent(self) -> list[bytes]:
        return self._outbox.pieces()

    # -- the end --------------------------------------------------------------

    def close(self, loss: Loss) -> None:
        if self._closing is not None or self.loss is not None:
            return
        self._closing = loss
        if self._fate is not None:
            return  # it goes in a moment, whoever wants it to
        if not self.read_ended:
            self._reactor.addReader(self)
        if self._shut_down:
            self._timer.set(LINGER, lambda: self._leave(loss))
        else:
            self._timer.set(FLUSH, lambda: self._leave(loss))
            self.end()

    def abort(self, loss: Loss) -> None:
        self._leave(loss)

    def _leave(self, loss: Loss) -> None:
        if self.loss is not None:
            return
        self._timer.cancel()
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._sock.close()
        self._space = None
        self._lose(self._closing or loss)
