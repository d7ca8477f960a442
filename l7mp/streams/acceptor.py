"""Accepting connections on a listening socket of any family and type."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from twisted.internet.interfaces import (
    IDelayedCall,
    IReactorFDSet,
    IReactorTime,
    IReadDescriptor,
)
from twisted.python.failure import Failure
from zope.interface import implementer

BUDGET = 64
"""Connections to accept before other sockets get their turn."""

PAUSE = 0.1
"""Seconds to wait when the system has no descriptor or memory for one more."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@implementer(IReadDescriptor)
class Acceptor:
    """Hands each new connection, a non-blocking socket, to ``accepted``."""

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IReactorTime,
        sock: socket.socket,
        accepted: Callable[[socket.socket], None],
    ) -> None:
        """``sock`` listens; from now on it is ours."""
        self._reactor, self._clock, self._sock = reactor, clock, sock
        self._accepted = accepted
        self._is_open = True
        self._pause: IDelayedCall | None = None
        sock.setblocking(False)
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._sock.fileno()

    def logPrefix(self) -> str:
        """What the reactor's log says where we fail."""
        return type(self).__name__

    def doRead(self) -> None:
        for _ in range(BUDGET):
            try:
                connection, _ = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._rest()
                return
            connection.setblocking(False)
            self._accepted(connection)
            if not self._is_open:
                return

    def _rest(self) -> None:
        """Who waits to be accepted goes on waiting, in the kernel."""
        self._reactor.removeReader(self)
        self._pause = self._clock.callLater(PAUSE, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        self._reactor.addReader(self)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops, or one connection showed a bug; others still come."""
        if self._is_open and self._pause is None:
            self._rest()

    def close(self) -> None:
        """Accept nothing more; twice is once."""
        if self._is_open:
            self._is_open = False
            if self._pause is not None:
                self._pause.cancel()
                self._pause = None
            self._reactor.removeReader(self)
            self._sock.close()
