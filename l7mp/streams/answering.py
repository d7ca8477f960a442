"""
One program for many sessions.

It gives one answer for each message, in order, so every answer finds who has asked. A
message that the program is not given has no answer, and one that fails leaves nobody
waiting for the answer of another.
"""

from __future__ import annotations

from collections import deque
from typing import Any, cast

from twisted.internet.interfaces import IProducer, IPushProducer
from zope.interface import implementer

from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK, IStream, Metadata, Note
from l7mp.streams.program import How, ProgramStream
from l7mp.streams.queueing import QueueingStream


class Asker(QueueingStream):
    """One session's part in it; a slow one loses its own answers, and nobody else's."""

    half_close = True

    def __init__(self, shared: AnsweringProgram) -> None:
        super().__init__()
        self._shared = shared
        self._producer: IPushProducer | None = None
        self._owed = 0
        """How many answers are still to come."""
        self._write_ended = False

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self._producer = cast(IPushProducer, producer)
        if self._shared.is_full:
            self._producer.pauseProducing()

    def unregisterProducer(self) -> None:
        self._producer = None

    def press(self, is_full: bool) -> None:
        """The program reads no more, or again."""
        if self._producer is not None:
            if is_full:
                self._producer.pauseProducing()
            else:
                self._producer.resumeProducing()

    def write(self, data: bytes) -> None:
        if self.loss is not None or self._write_ended:
            self._drop("closed")
            return
        self.messages_out += 1
        self.bytes_out += len(data)
        if self._shared.ask(self, data):
            self._owed += 1
        else:
            self._drop("unanswered")

    def answer(self, data: bytes | None) -> None:
        """An answer, or the news that there will be none."""
        self._owed -= 1
        if data is None:
            self._drop("unanswered")
        elif self.loss is None:
            self._arrived(data)
        self._check_end()

    def end(self) -> None:
        self._write_ended = True
        self._check_end()

    def _check_end(self) -> None:
        if self._write_ended and not self._owed and self.loss is None:
            self._read_ended()
            self.leave(Loss(Reason.FIN))

    def note(self, note: Note) -> None:
        """The program has said something."""
        self._note(note)

    def leave(self, loss: Loss) -> None:
        """It is over for this session."""
        self._shared.leave(self)
        self._lose(loss)

    def abort(self, loss: Loss) -> None:
        self._discard_queue("aborted")
        self.leave(loss)


@implementer(IPushProducer)
class AnsweringProgram:
    """The program, and everybody who asks it."""

    def __init__(self, reactor: Any, how: How) -> None:
        """``how`` says within which time an answer is due."""
        self.askers: dict[Asker, None] = {}
        self.is_full = False
        self._waiting: deque[Asker] = deque()
        self._program = program = ProgramStream(reactor, how)
        program.failed = self._forget
        program.tell(self._heard)
        program.deliver_to(cast(IStream, self), lambda: None)
        program.registerProducer(self, True)
        program.when_lost().addCallback(self._lost)
        program.release(SINK)

    @property
    def loss(self) -> Loss | None:
        """Why there is no program any more."""
        return self._program.loss

    def join(self) -> Asker:
        """A part in it for another session."""
        asker = Asker(self)
        self.askers[asker] = None
        return asker

    def leave(self, asker: Asker) -> None:
        """One less; the program stays for those to come."""
        self.askers.pop(asker, None)

    def ask(self, asker: Asker, data: bytes) -> bool:
        """Whether the program was given the message."""
        program = self._program
        before = program.messages_out
        self._waiting.append(asker)  # its answer may be here before it was asked
        program.write(data)
        if program.messages_out == before:
            self._waiting.pop()
            return False
        return True

    # -- what the program delivers to, and who it asks to wait -----------------------

    def write(self, data: bytes) -> None:
        """It has answered."""
        if self._waiting:
            self._waiting.popleft().answer(data)
        else:
            what = "the program has answered nobody"
            self._program.abort(Loss(Reason.PROTOCOL, what))

    def describe(self, facts: Metadata) -> None:
        """Programs have no metadata."""

    def pauseProducing(self) -> None:
        self._press(is_full=True)

    def resumeProducing(self) -> None:
        self._press(is_full=False)

    def stopProducing(self) -> None:
        """It has closed its input; its end is told otherwise."""

    def _press(self, is_full: bool) -> None:
        if self.is_full is not is_full:
            self.is_full = is_full
            for asker in tuple(self.askers):
                asker.press(is_full)

    # -- its life --------------------------------------------------------------------

    def _heard(self, note: Note) -> None:
        for asker in tuple(self.askers):
            asker.note(note)

    def _forget(self) -> None:
        """Nobody will be answered any more for what was asked."""
        waiting, self._waiting = self._waiting, deque()
        for asker in waiting:
            asker.answer(None)

    def _lost(self, loss: Loss) -> None:
        for asker in tuple(self.askers):
            asker.leave(loss)

    def close(self) -> None:
        """Its cluster has gone: it is told, and killed if that does not help."""
        self._program.close(Loss(Reason.DELETED))
