"""
Ends of pipes on the reactor, and of whatever else is read and written as they are.

An end is a descriptor that does not block.  Each end has one of its own, since a
reactor knows but one object for a descriptor: who has both ends in one, copies it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress

from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import (
    IDelayedCall,
    IReactorFDSet,
    IReactorTime,
    IReadDescriptor,
    IReadWriteDescriptor,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from l7mp.errors import Loss, Reason
from l7mp.streams.outbox import Outbox

SIZE = 1 << 16
"""Bytes to read at once: what a pipe holds, unless it was enlarged."""

BUDGET = 16
"""Times to read before others get their turn."""

FIN = Loss(Reason.FIN)

_ENDS = frozenset({errno.EIO, errno.ECONNRESET})
"""How terminals and sockets say that the other side has gone."""


def own_end(fd: int, flags: int) -> int:
    """
    A descriptor of our own, which does not block, for an inherited one.

    Whether a descriptor blocks is shared with all who have inherited it, the shell
    that started us among them; so what can be is opened anew.  ``flags`` are those of
    open(2).  A file is not: it never blocks, and has a place where one reads or
    writes.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode) or os.isatty(fd):
        with suppress(OSError):
            again = flags | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
            return os.open(f"/proc/self/fd/{fd}", again)
    copy = os.dup(fd)
    if not stat.S_ISREG(mode):
        os.set_blocking(copy, False)
    return copy


def loss_of(error: OSError) -> Loss:
    """What an error of a pipe means for its stream."""
    if error.errno == errno.EPIPE:
        return Loss(Reason.RESET, "nobody reads any more")
    if error.errno in _ENDS:
        return FIN
    return Loss(Reason.LOCAL, error.strerror or str(error))


def _bug(error: BaseException | None) -> Loss:
    return Loss(Reason.LOCAL, f"{type(error).__name__}: {error}")


@implementer(IReadDescriptor)
class Inlet:
    """
    An end to read from; newborn, it does not.

    ``ended`` is called once, after everything was handed to ``received``.  Of a pipe
    that was opened when it had no writers the kernel does not tell the end; whether
    that is ``over``, or one is still awaited, the caller has to know.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IReactorTime,
        fd: int,
        received: Callable[[bytes], None],
        ended: Callable[[Loss], None],
        over: bool = False,
    ) -> None:
        self._reactor, self._clock, self._fd = reactor, clock, fd
        self._received, self._ended = received, ended
        self._going = False
        self._unsure = over  # until we know that there is a writer
        self._again: IDelayedCall | None = None

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        """What the reactor's log says where we fail."""
        return type(self).__name__

    def go(self) -> None:
        """Read."""
        if self._fd >= 0 and not self._going:
            self._going = True
            self._reactor.addReader(self)
            if self._unsure:
                self._look_again()

    def pause(self) -> None:
        """Read no more for the time being."""
        if self._going:
            self._going = False
            self._reactor.removeReader(self)

    def catch_up(self) -> None:
        """Read what there is now, if it is wanted."""
        self._look()

    def _look_again(self) -> None:
        if self._again is None:
            self._again = self._clock.callLater(0, self._look_now)

    def _look_now(self) -> None:
        self._again = None
        self._look()

    def _look(self) -> None:
        if not self._going:
            return
        try:
            self.doRead()
        except Exception as error:  # it costs this stream only
            self._end(_bug(error))
            raise
        if self._going:
            self._reactor.addReader(self)

    def doRead(self) -> None:
        for _ in range(BUDGET):
            try:
                data = os.read(self._fd, SIZE)
            except BlockingIOError:
                self._unsure = False
                return
            except OSError as error:
                self._end(loss_of(error))
                return
            if not data:
                self._end(FIN)
                return
            self._received(data)
            if not self._going:
                return
        if self._unsure:
            self._look_again()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor gave up: the writers have hung up, or we raised an exception."""
        if self._fd < 0:
            return
        if reason.check(ConnectionClosed):
            self._look()  # what came before the end counts
        else:
            self._end(_bug(reason.value))

    def _end(self, loss: Loss) -> None:
        self.close()
        self._ended(loss)

    def close(self) -> None:
        """Give the descriptor back; twice is once."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._fd >= 0:
            self.pause()
            os.close(self._fd)
            self._fd = -1


@implementer(IReadWriteDescriptor)
class Outlet:
    """
    An end to write to.

    ``broken`` is called once if it cannot be written to any more, ``emptied`` whenever
    all that waited has left; neither in the middle of ``write``.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IReactorTime,
        fd: int,
        broken: Callable[[Loss], None],
        emptied: Callable[[], None],
    ) -> None:
        self._reactor, self._clock, self._fd = reactor, clock, fd
        self._broken, self._emptied = broken, emptied
        self._fate: IDelayedCall | None = None
        self.box = Outbox()
        is_pipe = stat.S_ISFIFO(os.fstat(fd).st_mode)
        if is_pipe and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
            reactor.addReader(self)  # there is nothing to read but that all have gone

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        """What the reactor's log says where we fail."""
        return type(self).__name__

    @property
    def is_open(self) -> bool:
        """Whether it may still be written to."""
        return self._fd >= 0 and self._fate is None

    def write(self, data: bytes) -> int:
        """Write, now or later; returns how many pieces were pushed out for it."""
        if self.box or self._fate is not None:
            return self.box.put(data)
        count = self._written(data)
        if count == len(data):
            return 0
        if self._fate is None:
            self._reactor.addWriter(self)
        return self.box.put(data[count:])

    def _written(self, data: bytes) -> int:
        """How many bytes could be written."""
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._fail(loss_of(error))
            return 0

    def doRead(self) -> None:
        """Nothing can be read from where one writes."""

    def doWrite(self) -> None:
        while self.box:
            data = self.box.first()
            count = self._written(data)
            if not count and data:
                return
            self.box.sent(count)
        self._reactor.removeWriter(self)
        self.box.settle()
        if not self.box:
            self._emptied()

    def _fail(self, loss: Loss) -> None:
        self._reactor.removeWriter(self)
        self._reactor.removeReader(self)
        if self._fate is None:
            self._fate = self._clock.callLater(0, self._fall, loss)

    def _fall(self, loss: Loss) -> None:
        self.close()
        self._broken(loss)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor gave up: nobody reads any more."""
        if self._fd >= 0:
            self._fail(Loss(Reason.RESET, "nobody reads any more"))

    def close(self) -> None:
        """Give the descriptor back; twice is once."""
        if self._fate is not None and self._fate.active():
            self._fate.cancel()
        self._fate = None
        if self._fd >= 0:
            self._reactor.removeWriter(self)
            self._reactor.removeReader(self)
            _half_close(self._fd)
            os.close(self._fd)
            self._fd = -1


def _half_close(fd: int) -> None:
    """The other end of a socket, which others may have open, is told of our end."""
    if stat.S_ISSOCK(os.fstat(fd).st_mode):
        sock = socket.socket(fileno=fd)
        with suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        sock.detach()
