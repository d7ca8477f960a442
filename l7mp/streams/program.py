"""
A program that is given messages, and gives messages, as a stream.

Both ways they are framed. The program is the buffer: one that does not read makes
whoever writes wait, and one that is not read from waits itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from twisted.internet.interfaces import IDelayedCall, IProducer, IPushProducer

from l7mp.errors import LocalError, Loss, Reason
from l7mp.interfaces import SINK, IStream, Metadata, Note
from l7mp.streams.framed import NO_BOUND, Framed
from l7mp.streams.process import Child, Program
from l7mp.streams.processstream import ProcessStream
from l7mp.streams.queueing import QueueingStream
from l7mp.wire.framing import Codec


def _nobody(child: Child) -> None:
    """Nobody keeps a list."""


@dataclass(frozen=True, kw_only=True)
class How:
    """How to run a program."""

    program: Program
    framing: Codec
    facts: Mapping[str, str] = field(default_factory=dict)
    """What it is told in its environment."""
    grace: float = 5.0
    """Seconds that it has to go after a hint."""
    answers_within: float | None = None
    """Seconds for its one answer to each message; None: it answers as it likes."""
    restarts: bool = False
    """Whether it is started again when it fails, if it was of any use before."""
    born: Callable[[Child], None] = _nobody
    """Called with each process."""


class _Output:
    """What a run delivers to."""

    def __init__(self, stream: ProgramStream) -> None:
        self._stream = stream
        self.write: Callable[[bytes], None] = stream.gave

    @property
    def loss(self) -> Loss | None:
        """Whether there is any use in writing here."""
        return self._stream.loss

    def describe(self, facts: Metadata) -> None:
        """Programs have no metadata."""


class ProgramStream(QueueingStream):
    """A program, run once or, where that is wanted, again and again."""

    half_close = True

    def __init__(self, reactor: Any, how: How) -> None:
        """Start it; ``LocalError`` if it cannot be."""
        super().__init__(NO_BOUND, NO_BOUND)
        self._reactor, self._how = reactor, how
        self._producer: IPushProducer | None = None
        self._awaited: deque[float] = deque()
        """Until when each answer is due."""
        self._timer: IDelayedCall | None = None
        self._is_over = self._write_ended = False
        self.failed: Callable[[], None] | None = None
        """Called when answers that are due will never come."""
        self._start()

    def _start(self) -> None:
        how, reactor = self._how, self._reactor
        process = ProcessStream(reactor, reactor, how.program, how.facts, how.grace)
        how.born(process.child)
        process.drops = self.drops  # of all runs
        self._useful = False
        self._run = run = Framed(process, how.framing)
        run.tell(self._note)
        if self._reasons or self._queue:
            run.hold(self)
        run.deliver_to(cast(IStream, _Output(self)), lambda: self._ended(run))
        if self._producer is not None:
            run.registerProducer(self._producer, True)
            self._producer.resumeProducing()
        run.when_lost().addCallback(lambda loss: self._gone(run, loss))
        run.release(SINK)

    # -- the read half ------------------------------------------------------

    def _pause(self) -> None:
        self._run.hold(self)

    def _resume_reading(self) -> None:
        self._run.release(self)

    def gave(self, message: bytes) -> None:
        """The program has given a message."""
        self._useful = True
        if self._awaited:
            self._awaited.popleft()
            self._await_next()
        self._arrived(message)

    # -- answers that are due -------------------------------------------------

    def _await_next(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self._awaited:
            left = max(0.0, self._awaited[0] - self._reactor.seconds())
            self._timer = self._reactor.callLater(left, self._late)

    def _late(self) -> None:
        within = cast(float, self._how.answers_within)
        what = f"the program gave no answer in {within:g} s"
        self._run.abort(Loss(Reason.TIMEOUT, what))

    # -- the write half -----------------------------------------------------

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self._producer = cast(IPushProducer, producer)
        self._run.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self._producer = None
        self._run.unregisterProducer()

    def write(self, data: bytes) -> None:
        run = self._run
        if self._is_over or self._write_ended or run.loss is not None:
            self._drop("closed")
            return
        before = run.messages_out
        run.write(data)
        if run.messages_out == before:
            return  # it does not fit, and was counted
        self.messages_out += 1
        self.bytes_out += len(data)
        if self._how.answers_within is not None:
            self._awaited.append(self._reactor.seconds() + self._how.answers_within)
            if self._timer is None:
                self._await_next()

    def end(self) -> None:
        self._write_ended = True
        self._run.end()

    def unsent(self) -> list[bytes]:
        return self._run.unsent()

    # -- the end --------------------------------------------------------------

    def close(self, loss: Loss) -> None:
        if self._leaves("closing", loss):
            self._run.close(loss)

    def abort(self, loss: Loss) -> None:
        if self._leaves("aborted", loss):
            self._run.abort(loss)

    def _leaves(self, why: str, loss: Loss) -> bool:
        """Whether there is still a program that has to go."""
        self._discard_queue(why)
        self._is_over = True
        if self._late_loss is not None:
            self._lose(loss)  # only what it gave was waited for
        return self.loss is None

    def _ended(self, run: Framed) -> None:
        """It will give nothing more, though it still takes something."""
        if run is self._run and not self._how.restarts:
            self._read_ended()

    def _gone(self, run: Framed, loss: Loss) -> None:
        if self._awaited:
            self._drop("unanswered", len(self._awaited))
            self._awaited.clear()
            self._await_next()
            if self.failed is not None:
                self.failed()
        is_last = self._is_over or self._write_ended or not self._useful
        if self._how.restarts and not is_last and self._restarted(loss):
            return
        if loss.reason is Reason.FIN and not self._is_over:
            self._read_ended()
        self._lose(loss)

    def _restarted(self, loss: Loss) -> bool:
        try:
            self._start()
        except LocalError:
            return False
        what = f"the program runs again; {loss}"
        self._note(Note("RESTARTED", what, {}, is_loud=True))
        return True
