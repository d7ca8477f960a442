"""A child process, as far as its descriptors, its end and its last hour go."""

from __future__ import annotations

import signal
import typing
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import ProcessProtocol, connectionDone
from twisted.python.failure import Failure

from l7mp.errors import Loss, Reason

MAX_LINE = 1000
"""Bytes of one line on standard error that are shown."""

STDIN, STDOUT = 0, 1


def loss_of_exit(name: str, failure: Failure) -> Loss:
    """What the end of a process means: the exit status is the code."""
    if failure.check(ProcessDone):
        return Loss(Reason.FIN, f"{name} is done", 0)
    died: Any = failure.value
    if died.signal is not None:
        what = signal.Signals(died.signal).name
        return Loss(Reason.EXIT, f"{name} was ended by {what}", -died.signal)
    return Loss(Reason.EXIT, f"{name} exited with {died.exitCode}", died.exitCode)


class Parent(typing.Protocol):
    """Who hears of what a child does."""

    def heard(self, data: bytes) -> None:
        """It wrote to its standard output."""

    def said(self, line: str) -> None:
        """It wrote a line to its standard error."""

    def deaf(self) -> None:
        """It will read nothing more."""

    def silent(self) -> None:
        """It will write nothing more."""

    def gone(self, loss: Loss) -> None:
        """All is over."""


class Child(ProcessProtocol):
    """One run of a program; ``grace`` is how many seconds it has after each hint."""

    def __init__(
        self, clock: IReactorTime, name: str, grace: float, parent: Parent
    ) -> None:
        self._clock, self._name, self._grace = clock, name, grace
        self._parent = parent
        self._line = b""
        self._timer: IDelayedCall | None = None
        self._has_to_go = False

    # -- its descriptors --------------------------------------------------------

    def pipe(self, number: int) -> Any:
        """Our end of one of its descriptors, None if that is closed."""
        transport: Any = self.transport
        return None if transport is None else transport.pipes.get(number)

    def hold(self) -> None:
        """Read no more of what it writes."""
        pipe = self.pipe(STDOUT)
        if pipe is not None:
            pipe.pauseProducing()

    def release(self) -> None:
        """Read again."""
        pipe = self.pipe(STDOUT)
        if pipe is not None:
            pipe.resumeProducing()

    def outReceived(self, data: bytes) -> None:
        self._parent.heard(data)

    def inConnectionLost(self) -> None:
        self._parent.deaf()

    def outConnectionLost(self) -> None:
        self._parent.silent()

    def errReceived(self, data: bytes) -> None:
        *lines, rest = (self._line + data).split(b"\n")
        self._line = rest[:MAX_LINE]
        for line in lines:
            self._parent.said(line[:MAX_LINE].decode(errors="replace"))

    # -- its end ----------------------------------------------------------------

    def finish(self) -> None:
        """Nothing more will be written; it may read what there is."""
        pipe = self.pipe(STDIN)
        if pipe is not None:
            pipe.unregisterProducer()  # Twisted waits for what a producer has to say
            pipe.loseConnection()

    def wind_up(self) -> None:
        """Let it go: by the end of its input, then a hint, then by force."""
        self._has_to_go = True
        self.finish()
        self.release()
        self._later(self._hint)

    def _hint(self) -> None:
        self._signal("TERM")
        self._later(self.kill)

    def kill(self) -> None:
        """Now."""
        self._has_to_go = True
        self._signal("KILL")
        self.release()

    def _signal(self, name: str) -> None:
        transport: Any = self.transport
        try:
            transport.signalProcess(name)
        except ProcessExitedAlready:
            transport.loseConnection()

    def _later(self, act: Callable[[], object] | None) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None if act is None else self._clock.callLater(self._grace, act)

    def processExited(self, reason: Failure = connectionDone) -> None:
        """It is no more, but others may have its descriptors, and we may not have read."""
        if self._has_to_go:
            transport: Any = self.transport
            self._later(transport.loseConnection)

    def processEnded(self, reason: Failure = connectionDone) -> None:
        self._later(None)
        if self._line:
            self._parent.said(self._line.decode(errors="replace"))
        self._parent.gone(loss_of_exit(self._name, reason))
