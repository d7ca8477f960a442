"""
The pipeline of a session is a ring.

Source, the ingress transforms, the destination and the egress transforms stand in a
circle and each writes to the next.  No stage is special, so there is one way to wire
the ring and one way to mend it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from l7mp.interfaces import SINK, IStream


@implementer(IPushProducer)
class Pipe:
    """
    One direction between two neighbors, and a reason to hold the first.

    It stands as the sink's producer in place of the source's transport: Twisted calls
    ``stopProducing`` on the producer of a dead sink, which for a transport means to
    close, and would end the source of a session that is about to retry.
    """

    __slots__ = ("sink", "source")

    def __init__(
        self, source: IStream, sink: IStream, ended: Callable[[], None]
    ) -> None:
        self.source, self.sink = source, sink
        source.deliver_to(sink, ended)
        sink.registerProducer(self, True)

    def open(self) -> None:
        """Let the source flow."""
        self.source.release(SINK)

    def close(self) -> None:
        """Take the two apart, leaving the source without a sink."""
        self.source.hold(SINK)
        self.source.release(self)
        self.sink.unregisterProducer()

    def pauseProducing(self) -> None:
        self.source.hold(self)

    def resumeProducing(self) -> None:
        self.source.release(self)

    def stopProducing(self) -> None:
        """The sink died.  Whether that ends the source is for the session to say."""


class Ring:
    """Streams in a circle; pipe n leads from stage n to the next."""

    def __init__(self, stages: Sequence[IStream], ended: Callable[[int], None]) -> None:
        """
        ``ended(n)`` is called when nothing more will be read from stage n.

        It is not called before ``settle`` is, and then not until that after ``mend``.
        """
        self.stages = list(stages)
        self._ended = ended
        self._early: list[tuple[int, IStream]] | None = []
        """Ends that are still to be told; None where they are told at once."""
        self._pipes = [self._pipe(index) for index in range(len(self.stages))]

    def open(self) -> None:
        """Let everything flow, the answers first so that questions find a way."""
        for pipe in reversed(self._pipes):
            pipe.open()

    def settle(self) -> None:
        """Whoever hears of ends is ready: those that came meanwhile, and later ones."""
        early, self._early = self._early, None
        for index, stream in early or ():
            self._heard(index, stream)

    def _heard(self, index: int, stream: IStream) -> None:
        if self._early is not None:
            self._early.append((index, stream))
        elif self.stages[index] is stream:
            self._ended(index)

    def after(self, index: int) -> IStream:
        """The stage that stage ``index`` writes to."""
        return self.stages[(index + 1) % len(self.stages)]

    def remove(self, index: int) -> None:
        """Leave a hole where a stage was lost."""
        self._pipes[index - 1].close()
        self._pipes[index].close()

    def mend(self, index: int, fresh: IStream) -> None:
        """Put ``fresh`` into the hole."""
        self._early = self._early or []
        self.stages[index] = fresh
        before = (index - 1) % len(self.stages)
        self._pipes[index] = self._pipe(index)
        self._pipes[before] = self._pipe(before)
        self._pipes[index].open()
        self._pipes[before].open()

    def _pipe(self, index: int) -> Pipe:
        stream = self.stages[index]
        return Pipe(stream, self.after(index), lambda: self._heard(index, stream))
