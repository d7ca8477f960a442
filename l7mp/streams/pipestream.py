"""A byte stream of two pipes: one to read from, one to write to, or only one of them."""

from __future__ import annotations

from twisted.internet.interfaces import (
    IProducer,
    IReactorFDSet,
    IReactorTime,
)

from l7mp.errors import Loss, Reason
from l7mp.interfaces import Kind
from l7mp.streams.pipes import FIN, Inlet, Outlet
from l7mp.streams.stream import Stream
from l7mp.streams.timer import Timer
from l7mp.streams.transport import FLUSH

ONE_WAY = "one-way"
"""Why what is written to a stream that can only be read is dropped, in bytes."""


class PipeStream(Stream):
    """
    What is read from one descriptor and written to another, both from now on its own.

    A stream without an outlet drops what it is written; one without an inlet ends when
    it is told to.  Both may be the same pipe or socket in two copies.
    """

    kind = Kind.BYTES

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IReactorTime,
        inlet: int | None,
        outlet: int | None,
        over: bool = False,
    ) -> None:
        """``over``: see ``Inlet``."""
        super().__init__()
        self.half_close = inlet is not None
        self._reactor, self._clock = reactor, clock
        self._inlet: Inlet | None = None
        self._outlet: Outlet | None = None
        if inlet is not None:
            came, ended = self._came, self._no_more
            self._inlet = Inlet(reactor, clock, inlet, came, ended, over)
        if outlet is not None:
            self._outlet = self._outlet_of(outlet)
        self._write_ended = False
        self._closing: Loss | None = None
        self._timer = Timer(clock)

    def _outlet_of(self, fd: int) -> Outlet:
        return Outlet(self._reactor, self._clock, fd, self._broke, self._emptied)

    # -- the read half ------------------------------------------------------

    def _pause(self) -> None:
        if self._inlet is not None and self._closing is None:
            self._inlet.pause()

    def _resume(self) -> None:
        if self._inlet is not None:
            self._inlet.go()

    def _came(self, data: bytes) -> None:
        if self._closing is None:
            self._deliver(data)
        else:
            self._drop("closing", len(data))

    def _no_more(self, loss: Loss) -> None:
        """Nothing more can be read."""
        self._inlet = None
        if loss.reason is not Reason.FIN:
            self._leave(loss)
            return
        if self._closing is None:
            self._read_ended()
        else:
            self.read_ended = True
        if self._write_ended and self._outlet is None:
            self._both_ended()

    # -- the write half -----------------------------------------------------

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        if self._outlet is not None:
            self._outlet.box.register(producer)

    def unregisterProducer(self) -> None:
        if self._outlet is not None:
            self._outlet.box.unregister()

    def write(self, data: bytes) -> None:
        if self.loss is not None or self._write_ended:
            self._drop("closed", len(data))
        elif self._outlet is None:
            self._drop(ONE_WAY, len(data))
        else:
            self.messages_out += 1
            self.bytes_out += len(data)
            pushed_out = self._outlet.write(data)
            if pushed_out:
                self._drop("overflow", pushed_out)

    def _broke(self, loss: Loss) -> None:
        """Nothing more can be written; what can still be read is."""
        if self._inlet is None or self._closing is not None:
            self._leave(loss)
        else:
            self._write_ended = True
            self._give_up_writing()

    def _give_up_writing(self) -> None:
        outlet, self._outlet = self._outlet, None
        if outlet is not None:
            outlet.close()
            lost = outlet.box.size
            outlet.box.clear()
            outlet.box.settle()
            if lost:
                self._drop("closed", lost)

    def _emptied(self) -> None:
        """Everything written has left."""
        if self._write_ended:
            self._finish_writing()

    def end(self) -> None:
        if self.loss is None and not self._write_ended:
            self._write_ended = True
            if self._outlet is None or not self._outlet.box:
                self._finish_writing()

    def _finish_writing(self) -> None:
        """Tell the other side that nothing more comes."""
        outlet, self._outlet = self._outlet, None
        if outlet is not None:
            outlet.close()
        if self._closing is not None:
            self._leave(self._closing)
        elif self._inlet is None:
            self._both_ended()

    def _both_ended(self) -> None:
        self._read_ended()
        self._leave(FIN)

    def unsent(self) -> list[bytes]:
        return [] if self._outlet is None else self._outlet.box.pieces()

    # -- the end --------------------------------------------------------------

    def close(self, loss: Loss) -> None:
        if self.loss is not None or self._closing is not None:
            return
        self._closing = loss
        if self._write_ended and self._outlet is None:
            self._leave(loss)
            return
        self._timer.set(FLUSH, lambda: self._leave(loss))
        if self._inlet is not None:
            self._inlet.go()
        self.end()

    def abort(self, loss: Loss) -> None:
        self._leave(self._closing or loss)

    def _leave(self, loss: Loss) -> None:
        if self.loss is not None:
            return
        self._timer.cancel()
        for end in (self._inlet, self._outlet):
            if end is not None:
                end.close()
        self._inlet = None
        self._lose(self._closing or loss)
