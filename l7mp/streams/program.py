"""
A program that is given messages, and gives messages, as a stream.

Both ways they are framed. The program is the buffer: one that does not read makes
whoever writes wait, and one that is not read from waits itself.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from twisted.internet.interfaces import IDelayedCall, IProducer, IPushProducer

from l7mp.errors import LocalError, Loss, Reason
from l7mp.interfaces import Note
from l7mp.streams.child import STDIN, Child
from l7mp.streams.framed import NO_BOUND
from l7mp.streams.queueing import QueueingStream
from l7mp.wire.framing import Codec

MAX_LINES = 100
"""Lines on standard error that are told one by one; then only how many there are."""


@dataclass(frozen=True, kw_only=True)
class How:
    """How to run a program."""

    command: tuple[str, ...]
    framing: Codec
    environment: Mapping[str, str] = field(default_factory=dict)
    """Beside our own."""
    directory: str | None = None
    grace: float = 1.0
    """Seconds that it has to go after each hint."""
    answers_within: float | None = None
    """Seconds for its one answer to each message; None: it answers as it likes."""
    restarts: bool = False
    """Whether it is started again when it fails, if it was of any use before."""


class ProgramStream(QueueingStream):
    """One session's program."""

    half_close = True

    def __init__(self, reactor: Any, how: How) -> None:
        """Start it; ``LocalError`` if it cannot be."""
        super().__init__(NO_BOUND, NO_BOUND)
        self._reactor, self._how = reactor, how
        self._producer: IPushProducer | None = None
        self._awaited: deque[float] = deque()
        """Until when each answer is due."""
        self._timer: IDelayedCall | None = None
        self._fate: Loss | None = None
        """Why the program has to go, once it has to."""
        self._is_over = self._write_ended = False
        self._lines = 0
        self.failed: Callable[[], None] | None = None
        """Called when answers that are due will never come."""
        self._start()

    def _start(self) -> None:
        how = self._how
        self._decoder = how.framing.decoder()
        self._useful = False
        self._child = Child(self._reactor, how.command[0], how.grace, self)
        try:
            self._reactor.spawnProcess(
                self._child,
                how.command[0],
                how.command,
                env={**os.environ, **how.environment},
                path=how.directory,
            )
        except OSError as error:
            raise LocalError(f"cannot run {how.command[0]}: {error}") from error
        if self._reasons or self._queue:
            self._child.hold()
        if self._producer is not None:
            self._child.pipe(STDIN).registerProducer(self._producer, True)
            self._producer.resumeProducing()

    # -- the read half ------------------------------------------------------

    def _pause(self) -> None:
        self._child.hold()

    def _resume_reading(self) -> None:
        self._child.release()

    def heard(self, data: bytes) -> None:
        if self._fate is not None:
            self._drop("closing", len(data))
            return
        for message in self._decoder.feed(data):
            self._gave(message)
        self._count()
        if self._decoder.broken:
            self._fail(
                Loss(Reason.PROTOCOL, f"the program wrote {self._decoder.broken}")
            )

    def _gave(self, message: bytes) -> None:
        self._useful = True
        if self._awaited:
            self._awaited.popleft()
            self._await_next()
        self._arrived(message)

    def _count(self) -> None:
        for why, count in self._decoder.dropped.items():
            self._drop(why, count)
        self._decoder.dropped.clear()

    def said(self, line: str) -> None:
        self._lines += 1
        count = self._lines
        if count <= MAX_LINES:
            self._note(Note("STDERR", line, {"line": line}))
        elif count & (count - 1) == 0:
            what = f"{count} lines on standard error so far"
            self._note(Note("STDERR", what, {"lines": count}))

    # -- answers that are due -------------------------------------------------

    def _await_next(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self._awaited and self._fate is None:
            left = max(0.0, self._awaited[0] - self._reactor.seconds())
            self._timer = self._reactor.callLater(left, self._late)

    def _late(self) -> None:
        within = cast(float, self._how.answers_within)
        self._fail(Loss(Reason.TIMEOUT, f"the program gave no answer in {within:g} s"))

    # -- the write half -----------------------------------------------------

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self._producer = cast(IPushProducer, producer)
        pipe = self._child.pipe(STDIN)
        if pipe is not None:
            pipe.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self._producer = None
        pipe = self._child.pipe(STDIN)
        if pipe is not None:
            pipe.unregisterProducer()

    def write(self, data: bytes) -> None:
        pipe = self._child.pipe(STDIN)
        if self._fate is not None or pipe is None or self._write_ended:
            self._drop("closed")
            return
        framing = self._how.framing
        frame = framing.pack(data) if len(data) <= framing.most else None
        if frame is None:
            self._drop("oversize" if len(data) > framing.most else "unframeable")
            return
        self.messages_out += 1
        self.bytes_out += len(data)
        pipe.write(frame)
        if self._how.answers_within is not None:
            self._awaited.append(self._reactor.seconds() + self._how.answers_within)
            if self._timer is None:
                self._await_next()

    def end(self) -> None:
        self._write_ended = True
        self._child.finish()

    # -- the end --------------------------------------------------------------

    def deaf(self) -> None:
        """Let who writes go on, unless it is worth to wait."""
        if self._producer is not None:
            if self._how.restarts:
                self._producer.pauseProducing()
            else:
                self._producer.resumeProducing()

    def silent(self) -> None:
        if self._fate is None:
            for message in self._decoder.end():
                self._gave(message)
            self._count()

    def _fail(self, loss: Loss) -> None:
        if self._fate is None:
            self._fate = loss
            self._child.kill()

    def close(self, loss: Loss) -> None:
        if self._leaves("closing", loss):
            self._child.wind_up()

    def abort(self, loss: Loss) -> None:
        if self._leaves("aborted", loss):
            self._child.kill()

    def _leaves(self, why: str, loss: Loss) -> bool:
        """Whether there is still a program that has to go."""
        self._discard_queue(why)
        if self._late_loss is not None:
            self._lose(loss)  # only what it gave was waited for
        if self.loss is not None or self._is_over:
            return False
        self._is_over, self._fate = True, loss
        return True

    def gone(self, loss: Loss) -> None:
        loss = self._fate or loss
        unanswered = len(self._awaited)
        if unanswered:
            self._drop("unanswered", unanswered)
            self._awaited.clear()
            if self.failed is not None:
                self.failed()
        self._await_next()
        is_last = self._is_over or self._write_ended or not self._useful
        if self._how.restarts and not is_last and self._restarted(loss):
            return
        if loss.reason is Reason.FIN and not self._is_over:
            self._read_ended()
        self._lose(loss)

    def _restarted(self, loss: Loss) -> bool:
        self._fate = None
        try:
            self._start()
        except LocalError:
            return False
        self._note(
            Note("RESTARTED", f"the program runs again; {loss}", {}, is_loud=True)
        )
        return True
