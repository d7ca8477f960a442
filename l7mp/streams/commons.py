"""One input and one output that many sessions share, each with a stream of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.interfaces import (
    IProducer,
    IPushProducer,
    IReactorFDSet,
    IReactorTime,
)
from zope.interface import implementer

from l7mp.errors import Loss
from l7mp.interfaces import Kind
from l7mp.streams.pipes import FIN, Inlet, Outlet
from l7mp.streams.queueing import QueueingStream
from l7mp.streams.timer import Timer
from l7mp.streams.transport import FLUSH

SILENCE = 1.0
"""
Seconds without input after which a session that has said everything has heard it all.

The input goes on for others, so there is no other end of it.
"""


@implementer(IPushProducer)
class Commons:
    """
    What is read goes to all members, what they write is mixed.

    It is read as long as any member can take it: with none, or with all of them held,
    it waits.  A member that is slower than another has a queue, and loses what is
    oldest in it.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IReactorTime,
        outlet: int | None,
        lingers: bool = True,
    ) -> None:
        """``lingers``: whether members stay until it has been silent for a while."""
        self._reactor, self.clock, self._lingers = reactor, clock, lingers
        self.members: list[SharedStream] = []
        self.is_full = False
        """Whether what is written has to wait."""
        self.has_heard = False
        """Whether there was any input."""
        self._inlet: Inlet | None = None
        self._outlet: Outlet | None = None
        if outlet is not None:
            self._outlet = Outlet(reactor, clock, outlet, self._broke, self._emptied)
            self._outlet.box.register(self)

    def read_from(self, fd: int, ended: Callable[[Loss], None]) -> None:
        """Read what members can take from ``fd``; ``ended`` hears of its end."""

        def over(loss: Loss) -> None:
            self._inlet = None
            ended(loss)

        self._inlet = Inlet(self._reactor, self.clock, fd, self._came, over, over=True)
        self.update()

    # -- members ----------------------------------------------------------------

    def join(self) -> SharedStream:
        """A stream for one session."""
        member = SharedStream(self)
        self.members.append(member)
        return member

    def leave(self, member: SharedStream) -> None:
        """One less; twice is once."""
        if member in self.members:
            self.members.remove(member)
            self.update()

    @property
    def is_reading(self) -> bool:
        """Whether there may be more input."""
        return self._inlet is not None

    @property
    def lingers(self) -> bool:
        """Whether somebody who has said everything should wait for more input."""
        return self._lingers and self.is_reading

    # -- input --------------------------------------------------------------------

    def update(self) -> None:
        """Read, if anybody can take it."""
        if self._inlet is None:
            return
        if any(member.takes for member in self.members):
            self._inlet.go()
        else:
            self._inlet.pause()

    def _came(self, data: bytes) -> None:
        self.has_heard = True
        for member in list(self.members):
            member.hear(data)

    # -- output -------------------------------------------------------------------

    def write(self, data: bytes) -> int | None:
        """How many pieces were pushed out for it; None: nobody can hear it."""
        if self._outlet is None:
            return None
        return self._outlet.write(data)

    @property
    def has_unwritten(self) -> bool:
        """Whether something waits to be written."""
        return self._outlet is not None and bool(self._outlet.box)

    def finish_writing(self) -> None:
        """Nothing more will be written by anybody."""
        outlet, self._outlet = self._outlet, None
        if outlet is not None:
            outlet.close()
        self._emptied()

    def _broke(self, loss: Loss) -> None:
        self.finish_writing()

    def _emptied(self) -> None:
        self.resumeProducing()
        for member in list(self.members):
            member.flushed()

    def pauseProducing(self) -> None:
        self.is_full = True
        for member in self.members:
            if member.producer is not None:
                member.producer.pauseProducing()

    def resumeProducing(self) -> None:
        if self.is_full:
            self.is_full = False
            for member in list(self.members):
                if member.producer is not None:
                    member.producer.resumeProducing()

    def stopProducing(self) -> None:
        """Members are told in another way."""

    # -- the end --------------------------------------------------------------------

    def end_all(self, loss: Loss) -> None:
        """There is no more input, for whomever it was; then they are lost."""
        for member in list(self.members):
            member.over(loss)

    def close(self) -> None:
        """Give back what is open; twice is once."""
        for end in (self._inlet, self._outlet):
            if end is not None:
                end.close()
        self._inlet = self._outlet = None


class SharedStream(QueueingStream):
    """One session's view of what is shared."""

    kind = Kind.BYTES
    half_close = True

    def __init__(self, commons: Commons) -> None:
        super().__init__()
        self._commons = commons
        self.producer: IPushProducer | None = None
        self._write_ended = False
        self._leaving: Loss | None = None
        self._last = 0.0
        self._timer = Timer(commons.clock)

    # -- the read half ------------------------------------------------------

    @property
    def takes(self) -> bool:
        """Whether it can take input now."""
        return not self._reasons and not self._queue and not self.read_ended

    def hear(self, data: bytes) -> None:
        """There was input."""
        self._last = self._commons.clock.seconds()
        if self._leaving is None and not self.read_ended:
            self._arrived(data)

    def _pause(self) -> None:
        self._commons.update()

    def _resume_reading(self) -> None:
        self._commons.update()

    def input_ended(self) -> None:
        """There will be no more input."""
        self._read_ended()
        if self._write_ended:
            self._depart(FIN)

    # -- the write half -----------------------------------------------------

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self.producer = cast(IPushProducer, producer)
        if self._commons.is_full:
            self.producer.pauseProducing()

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        if self.loss is not None or self._write_ended:
            self._drop("closed", len(data))
            return
        pushed_out = self._commons.write(data)
        if pushed_out is None:
            self._drop("closed", len(data))
            return
        self.messages_out += 1
        self.bytes_out += len(data)
        if pushed_out:
            self._drop("overflow", pushed_out)

    def end(self) -> None:
        if self._write_ended or self.loss is not None:
            return
        self._write_ended = True
        if self._commons.lingers and not self.read_ended:
            self._last = self._commons.clock.seconds()
            self._timer.set(SILENCE, self._waited)
        else:
            self._had_enough()

    def _waited(self) -> None:
        """Being held is no silence."""
        now = self._commons.clock.seconds()
        if not self.takes:
            self._last = now
        left = self._last + SILENCE - now
        if left > 0:
            self._timer.set(left, self._waited)
        else:
            self._had_enough()

    def _had_enough(self) -> None:
        self._read_ended()
        self._depart(FIN)

    # -- the end --------------------------------------------------------------

    def _depart(self, loss: Loss) -> None:
        """Go, as soon as what was written has left."""
        if self.loss is None and self._leaving is None:
            self._leaving = loss
            self._timer.set(FLUSH, self._gone)
            if not self._commons.has_unwritten:
                self._gone()

    def flushed(self) -> None:
        """Everything that was written has left."""
        if self._leaving is not None:
            self._gone()

    def _gone(self) -> None:
        assert self._leaving is not None, "nobody wants to go"
        self._timer.cancel()
        self._commons.leave(self)
        self._lose(self._leaving)

    def over(self, loss: Loss) -> None:
        """What is shared is no more."""
        if not loss.code:
            self._read_ended()
        self._timer.cancel()
        self._commons.leave(self)
        self._lose(self._leaving or loss)

    def close(self, loss: Loss) -> None:
        self._discard_queue("aborted")
        self._write_ended = True
        if self._late_loss is not None:
            self._lose(loss)
        self._depart(loss)

    def abort(self, loss: Loss) -> None:
        self._discard_queue("aborted")
        self._timer.cancel()
        self._commons.leave(self)
        self._lose(loss)
