"""A program as a byte stream: its standard input and output."""

from __future__ import annotations

import os
from collections.abc import Mapping

from twisted.internet.interfaces import IReactorFDSet, IReactorTime

from l7mp.errors import Loss, Reason
from l7mp.interfaces import Note
from l7mp.streams.murmur import Murmur
from l7mp.streams.pipes import Inlet
from l7mp.streams.pipestream import PipeStream
from l7mp.streams.process import Program, launch, loss_of
from l7mp.streams.transport import LINGER

VERDICT = 0.2
"""
Seconds after the end of its output that a program has to say how it ended.

Until then the end is not told: whoever hears of it may be gone before the status.
"""

END_OF_FILE = b"\x04"
"""What one types at a terminal when there is nothing more to type."""


class ProcessStream(PipeStream):
    """
    One run of a program.

    It is over when the program has exited and everybody has closed its output.  When
    the stream ends first, the program has the end of its input, then a signal, and
    after ``kill_after`` seconds another that it cannot refuse.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IReactorTime,
        program: Program,
        facts: Mapping[str, str],
        kill_after: float,
    ) -> None:
        """Raises ``LocalError`` if it cannot be run."""
        child, ends = launch(reactor, clock, program, facts, self._exited)
        self._program, self._kill_after = program, kill_after
        self._fate: Loss | None = None
        self._at_line_start = True
        super().__init__(reactor, clock, ends.stdout, ends.stdin)
        self.child = child
        self._murmur = Murmur(clock, self._said)
        self._errors: Inlet | None = None
        if ends.stderr is not None:
            feed, end = self._murmur.feed, self._said_all
            self._errors = Inlet(reactor, clock, ends.stderr, feed, end)
            self._errors.go()

    # -- what it says beside its data -----------------------------------------

    def _said(self, line: str) -> None:
        name = os.path.basename(self._program.command[0])
        self._note(Note("STDERR", f"{name}: {line}", {"line": line}, True))

    def _said_all(self, _: Loss) -> None:
        self._errors = None
        self._murmur.end()

    # -- its input ------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if data:
            self._at_line_start = data.endswith(b"\n")
        super().write(data)

    def end(self) -> None:
        if self._program.pty and not self._write_ended:
            # In the middle of a line the first one only hands over what is there.
            super().write(END_OF_FILE * (1 if self._at_line_start else 2))
        super().end()

    def _finish_writing(self) -> None:
        if self._program.pty and self._closing is None:
            return  # which would hang up
        outlet, self._outlet = self._outlet, None
        if outlet is not None:
            outlet.close()
        if self._closing is not None:
            self._timer.set(LINGER, self._hint)

    def _broke(self, loss: Loss) -> None:
        """It reads no more, which need not be its end."""
        self._write_ended = True
        self._give_up_writing()
        if self._closing is not None:
            self._timer.set(LINGER, self._hint)

    # -- its end --------------------------------------------------------------

    def _no_more(self, loss: Loss) -> None:
        """Its output has ended."""
        self._inlet = None
        if loss.reason is not Reason.FIN:
            self._leave(loss)
        elif self._fate is not None:
            self._finish(self._fate)
        elif self._closing is None:
            self._timer.set(VERDICT, self._late_end)

    def _late_end(self) -> None:
        """It lives on without an output."""
        self._read_ended()

    def _exited(self, status: int) -> None:
        self._fate = loss_of(self._program.command[0], status)
        if self._errors is not None:
            self._errors.catch_up()
        if self._inlet is None or self._closing is not None:
            self._finish(self._fate)

    def _finish(self, loss: Loss) -> None:
        if loss.reason is Reason.FIN and self._closing is None:
            self._read_ended()
        self._leave(loss)

    def close(self, loss: Loss) -> None:
        if self.loss is not None or self._closing is not None:
            return
        if self._fate is not None:
            self._leave(loss)
        elif self._write_ended and self._outlet is None:
            self._closing = loss
            if self._inlet is not None:
                self._inlet.go()
            self._timer.set(LINGER, self._hint)
        else:
            super().close(loss)

    def _hint(self) -> None:
        """It was given time; now it has to go, and the stream is over when it has."""
        if self.child.is_running:
            self.child.dismiss(self._kill_after, hang_up=self._program.pty)
        elif self._closing is not None:
            self._leave(self._closing)

    def _leave(self, loss: Loss) -> None:
        if self.loss is not None:
            return
        self.child.dismiss(self._kill_after, hang_up=self._program.pty)
        if self._errors is not None:
            self._errors.close()
            self._said_all(loss)
        super()._leave(loss)
