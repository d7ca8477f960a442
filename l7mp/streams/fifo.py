"""
FIFOs (fifo(7)) and inherited descriptors as ends that never block.

An end is named by a path or by the number of a descriptor that the process that
started us has left open.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import struct
import termios
from collections.abc import Callable, Iterable

from twisted.internet.interfaces import (
    IDelayedCall,
    IReactorFDSet,
    IReactorTime,
    IReadDescriptor,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from l7mp.errors import LocalError, Loss, Reason, RemoteError
from l7mp.streams.access import Access, Made, kind_at
from l7mp.streams.pipes import own_end

End = str | int
"""The path of a FIFO, or the number of an inherited descriptor."""

PAUSE = 0.1
"""Seconds until we look again whether anybody has come, or can be let in."""

_REASONS = {errno.ENXIO: Reason.REFUSED, errno.ENOENT: Reason.UNREACHABLE}
_COUNT = struct.Struct("@i")


def shown(end: End) -> str:
    """An end, for people."""
    return end if isinstance(end, str) else f"descriptor {end}"


def check(end: End) -> None:
    """Raise ``LocalError`` if ``end`` can be nothing to read or to write."""
    if isinstance(end, int):
        _check_inherited(end)
    elif (kind := kind_at(end)) != stat.S_IFIFO:
        what = "there is no such file" if kind is None else "that is no FIFO"
        raise LocalError(f"cannot open {end}: {what}; mkfifo makes one")


def _check_inherited(fd: int) -> None:
    # What we have opened ourselves is closed for programs that we start; what was left
    # open for us is not.
    try:
        inherited = os.get_inheritable(fd)
    except OSError:
        inherited = False
    if not inherited:
        what = f"descriptor {fd} was not left open by who started the proxy"
        raise LocalError(f"{what}; a shell does that by {fd}<file or {fd}>file")


def is_fifo(end: End) -> bool:
    """Whether others can come after the last writer has gone."""
    mode = os.fstat(end).st_mode if isinstance(end, int) else os.stat(end).st_mode
    return stat.S_ISFIFO(mode)


def directions(fd: int) -> tuple[bool, bool]:
    """Whether an inherited descriptor can be read, and written."""
    mode = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
    return mode != os.O_WRONLY, mode != os.O_RDONLY


def open_end(end: End, flags: int) -> int:
    """
    A descriptor that does not block; ``flags`` are those of open(2).

    Raises ``RemoteError``: refused if nobody reads where we would write.
    """
    try:
        if isinstance(end, int):
            return own_end(end, flags)
        return os.open(end, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, Reason.LOCAL)
        why = error.strerror or str(error)
        if reason is Reason.REFUSED:
            why = "nobody reads there"
        raise RemoteError(Loss(reason, f"{shown(end)}: {why}")) from error


def make(ends: Iterable[End], access: Access) -> list[Made]:
    """Make the FIFOs that are missing; raises ``LocalError`` and leaves none then."""
    made: list[Made] = []
    for end in ends:
        try:
            if isinstance(end, str) and kind_at(end) is None:
                made.append(_made(end))
                access.give(end, 0o666)
        except LocalError:
            for one in made:
                one.remove()
            raise
    return made


def _made(path: str) -> Made:
    try:
        os.mkfifo(path, 0)
    except OSError as error:
        raise LocalError(f"cannot make {path}: {error.strerror}") from error
    return Made.at(path)


def has_reader(fd: int) -> bool:
    """Whether what is written would be read."""
    poll = select.poll()
    poll.register(fd, 0)
    return not any(events & select.POLLERR for _, events in poll.poll(0))


def waiting(fd: int) -> int:
    """How many bytes can be read at once."""
    count: int = _COUNT.unpack(fcntl.ioctl(fd, termios.FIONREAD, bytes(_COUNT.size)))[0]
    return count


@implementer(IReadDescriptor)
class Lookout:
    """
    Waits until there is something to read from a FIFO.

    Holds the FIFO open as long as it is not closed, so that writers find it ready
    also between two sessions, and what they write is not lost.
    """

    def __init__(self, reactor: IReactorFDSet, clock: IReactorTime, end: End) -> None:
        self._reactor, self._clock, self._end = reactor, clock, end
        self._anchor = open_end(end, os.O_RDONLY)
        self._fd = -1
        self._timer: IDelayedCall | None = None
        self._found: Callable[[int], None] | None = None

    def wait(self, found: Callable[[int], None]) -> None:
        """Call ``found``, once, with a descriptor of its own."""
        self._found = found
        self._watch()

    def _watch(self) -> None:
        self._timer = None
        try:
            self._fd = open_end(self._end, os.O_RDONLY)
        except RemoteError:  # somebody has removed it; the anchor is left
            try:
                self._fd = open_end(self._anchor, os.O_RDONLY)
            except RemoteError:  # there are no more descriptors
                self._timer = self._clock.callLater(PAUSE, self._watch)
                return
        if waiting(self._fd):  # of which the kernel need not tell
            self._timer = self._clock.callLater(0, self._look)
        else:
            self._reactor.addReader(self)

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        """What the reactor's log says where we fail."""
        return type(self).__name__

    def doRead(self) -> None:
        self._look()

    def connectionLost(self, reason: Failure) -> None:
        """A writer has come and gone; whether it has said anything, we see."""
        self._look()

    def _look(self) -> None:
        self._timer = None
        if self._fd < 0 or self._found is None:
            return
        self._reactor.removeReader(self)
        fd, self._fd = self._fd, -1
        if waiting(fd):
            found, self._found = self._found, None
            found(fd)
        else:
            os.close(fd)
            self._timer = self._clock.callLater(0, self._watch)

    def close(self) -> None:
        """Wait no more; twice is once."""
        self._found = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._fd >= 0:
            self._reactor.removeReader(self)
            os.close(self._fd)
            self._fd = -1
        if self._anchor >= 0:
            os.close(self._anchor)
            self._anchor = -1
