"""
One stream in front of several: what is written goes to all of its branches.

Which branches' answers count, and which ones are waited for, is the mode's.

- ``all``: all of them. Answers come back as they come.
- ``mirror``: the first. The others are given a copy as far as they keep up.
- ``first``: whichever answers first, and the others are closed then.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Literal, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProducer, IPushProducer
from zope.interface import implementer

from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK, IStream, Metadata, Note
from l7mp.streams.framed import NO_BOUND
from l7mp.streams.queueing import MAX_BYTES, MAX_MESSAGES, QueueingStream
from l7mp.streams.stream import MAX_UNTOLD
from l7mp.wire.httpmeta import without_length

Mode = Literal["all", "mirror", "first"]

BEATEN = Loss(Reason.FIN, "another was first")


@implementer(IPushProducer)
class Branch:
    """One way to go: the sink of its stream, and the producer, too."""

    def __init__(self, fan: Fan, name: str) -> None:
        self.name = name
        self.stream: IStream | None = None
        """None while it is being connected."""
        self.is_out = False
        """Whether it is lost, or takes part no longer."""
        self.is_full = self.has_ended = False
        self.backlog: deque[bytes] = deque()
        """What was written while it was being connected."""
        self.backlog_bytes = 0
        self.facts: deque[Metadata] = deque(maxlen=MAX_UNTOLD)
        """What it has said about an answer of which nothing has come yet."""
        self._fan = fan

    @property
    def loss(self) -> Loss | None:
        """Whether there is any use in writing here."""
        return self._fan.loss

    def keep(self, data: bytes) -> int:
        """Have this written later; how many older messages it has pushed out."""
        self.backlog.append(data)
        self.backlog_bytes += len(data)
        lost = 0
        while len(self.backlog) > MAX_MESSAGES or self.backlog_bytes > MAX_BYTES:
            self.backlog_bytes -= len(self.backlog.popleft())
            lost += 1
        return lost

    def write(self, data: bytes) -> None:
        """Its stream has read this."""
        self._fan.heard(self, data)

    def describe(self, facts: Metadata) -> None:
        """And this about what comes next."""
        self._fan.told(self, facts)

    def pauseProducing(self) -> None:
        self.is_full = True
        self._fan.pressed()

    def resumeProducing(self) -> None:
        self.is_full = False
        self._fan.pressed()

    def stopProducing(self) -> None:
        """Its stream is lost, and that is told otherwise."""


class Fan(QueueingStream):
    """Branches are connected by others, who say how it went: ``attach`` or ``fail``."""

    half_close = True

    def __init__(self, names: tuple[str, ...], mode: Mode, drops_lost: bool) -> None:
        """With ``drops_lost`` all goes on without a branch that is lost."""
        super().__init__(NO_BOUND, NO_BOUND)
        self.branches = tuple(Branch(self, name) for name in names)
        self.pending: dict[int, Deferred[Any]] = {}
        """What connects them."""
        self._mode, self._drops_lost = mode, drops_lost
        self._chosen = self.branches[0] if mode == "mirror" else None
        """The one whose answers count, if it is one."""
        self._teller: Branch | None = None
        """Of all whose answers count, the one that describes them."""
        self._producer: IPushProducer | None = None
        self._is_pressed = self._write_ended = False
        self._closing: Loss | None = None

    # -- branches ---------------------------------------------------------------

    def attach(self, index: int, stream: IStream) -> None:
        """A branch is connected."""
        self.pending.pop(index, None)
        branch = self.branches[index]
        if branch.is_out:
            stream.abort(self._closing or BEATEN)
            return
        branch.stream = stream
        self.lossy = self.lossy or stream.lossy
        if index == 0:
            self.kind = stream.kind
        if self._counts(branch) and (self._reasons or self._queue):
            stream.hold(self)
        stream.tell(self._note)
        stream.deliver_to(cast(IStream, branch), lambda: self._ended(branch))
        stream.registerProducer(branch, True)
        stream.when_lost().addCallback(lambda loss: self._lost(branch, loss))
        while branch.backlog:
            stream.write(branch.backlog.popleft())
        if self._write_ended:
            stream.end()
        stream.release(SINK)

    def fail(self, index: int, loss: Loss) -> None:
        """A branch could not be connected."""
        self.pending.pop(index, None)
        if not self.branches[index].is_out:
            self._lost(self.branches[index], loss)

    def _counts(self, branch: Branch) -> bool:
        return self._chosen is None or branch is self._chosen

    def _counting(self) -> list[Branch]:
        """Those still there whose answers count."""
        return [one for one in self.branches if not one.is_out and self._counts(one)]

    def choose(self, branch: Branch) -> None:
        """Go on with this one alone."""
        self._chosen = branch
        for one in self.branches:
            if one is not branch:
                self._retire(one, BEATEN)
        while branch.facts:
            self._describe(branch.facts.popleft())
        self.pressed()

    def _retire(self, branch: Branch, loss: Loss, *, at_once: bool = False) -> None:
        if not branch.is_out:
            branch.is_out = True
            branch.backlog.clear()
            connecting = self.pending.pop(self.branches.index(branch), None)
            if connecting is not None:
                connecting.cancel()
        stream = branch.stream
        if stream is not None and stream.loss is None:
            (stream.abort if at_once else stream.close)(loss)

    @property
    def is_complete(self) -> bool:  # type: ignore[override]
        """Whether everybody is whose answers count, be they there or gone."""
        counting = [one.stream for one in self.branches if self._counts(one)]
        return all(stream is not None and stream.is_complete for stream in counting)

    # -- the read half ------------------------------------------------------

    def _pause(self) -> None:
        for branch in self._counting():
            if branch.stream is not None:
                branch.stream.hold(self)

    def _resume_reading(self) -> None:
        for branch in self._counting():
            if branch.stream is not None:
                branch.stream.release(self)

    def heard(self, branch: Branch, data: bytes) -> None:
        """A branch has answered."""
        if branch.is_out:
            self._drop("closing")
            return
        if self._mode == "first" and self._chosen is None:
            self.choose(branch)
        if self._counts(branch):
            self._arrived(data)
        else:
            self._drop("discarded")

    def told(self, branch: Branch, facts: Metadata) -> None:
        """A branch has metadata about its answer."""
        if branch.is_out:
            return
        if self._mode == "first" and self._chosen is None:
            branch.facts.append(facts)
        elif self._mode == "all":
            self._teller = self._teller or branch
            if self._teller is branch:  # another would begin a second response
                self._describe(without_length(facts))
        elif self._counts(branch):
            self._describe(facts)

    def _describe(self, facts: Metadata) -> None:
        if self._sink is not None:
            self._sink.describe(facts)

    def _ended(self, branch: Branch) -> None:
        if branch.facts and not branch.is_out:
            self.choose(branch)
        branch.has_ended = True
        self._check_end()

    def _check_end(self) -> None:
        counting = self._counting()
        if counting and all(one.has_ended for one in counting):
            self._read_ended()

    # -- the write half -----------------------------------------------------

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self._producer = cast(IPushProducer, producer)
        if self._is_pressed:
            self._producer.pauseProducing()

    def unregisterProducer(self) -> None:
        self._producer = None

    def pressed(self) -> None:
        """The buffer of a branch is full, or no longer: make the writer wait, or not."""
        pressed = any(one.is_full for one in self._counting())
        if pressed is not self._is_pressed:
            self._is_pressed = pressed
            if self._producer is not None:
                if pressed:
                    self._producer.pauseProducing()
                else:
                    self._producer.resumeProducing()

    def write(self, data: bytes) -> None:
        if self._closing is not None or self.loss is not None:
            self._drop("closed")
            return
        self.messages_out += 1
        self.bytes_out += len(data)
        for branch in self.branches:
            stream = branch.stream
            if branch.is_out:
                if self._mode == "mirror":
                    self._drop("mirror")
            elif stream is None:
                lost = branch.keep(data)
                if lost:
                    self._drop("overflow", lost)
            elif branch.is_full and not self._counts(branch):
                self._drop("mirror")
            else:
                stream.write(data)

    def describe(self, facts: Metadata) -> None:
        for branch in self.branches:
            if branch.stream is not None and not branch.is_out:
                branch.stream.describe(facts)

    def end(self) -> None:
        if not self._write_ended:
            self._write_ended = True
            for branch in self.branches:
                if branch.stream is not None and not branch.is_out:
                    branch.stream.end()

    def unsent(self) -> list[bytes]:
        """Known only where there is one branch that counts."""
        chosen = self._chosen
        if chosen is None or chosen.stream is None:
            return []
        return chosen.stream.unsent()

    # -- the end --------------------------------------------------------------

    def _lost(self, branch: Branch, loss: Loss) -> None:
        if self._closing is not None:
            self._vanish()
            return
        if branch.is_out:
            return
        branch.is_out = True
        branch.backlog.clear()
        if not self._counts(branch):
            self._tell(branch, loss)
        elif self._is_enough(loss) and self._counting():
            self._tell(branch, loss)
            self.pressed()
            self._check_end()
        else:
            self._perish(loss)

    def _is_enough(self, loss: Loss) -> bool:
        """Whether it can go on with what is left, if something is."""
        if self._mode != "all" or self._drops_lost:
            return True
        return self._write_ended and loss.reason is Reason.FIN

    def _tell(self, branch: Branch, loss: Loss) -> None:
        what = f'goes on without "{branch.name}": {loss}'
        facts = {"branch": branch.name, "reason": loss.reason.value}
        self._note(Note("BRANCH-LOST", what, facts))

    def _perish(self, loss: Loss) -> None:
        """What is left is of no use; it goes by itself."""
        for one in self.branches:
            self._retire(one, loss)
        if loss.reason is Reason.FIN:
            self._read_ended()
        self._lose(loss)

    def close(self, loss: Loss) -> None:
        self._leave(loss, "closing", at_once=False)

    def abort(self, loss: Loss) -> None:
        self._leave(loss, "aborted", at_once=True)

    def _leave(self, loss: Loss, why: str, *, at_once: bool) -> None:
        self._discard_queue(why)
        self._closing = self._closing or loss
        for one in self.branches:
            self._retire(one, loss, at_once=at_once)
        self._vanish()

    def _vanish(self) -> None:
        streams = [one.stream for one in self.branches if one.stream is not None]
        if all(stream.loss is not None for stream in streams):
            self._lose(cast(Loss, self._closing))
