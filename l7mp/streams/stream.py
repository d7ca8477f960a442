"""What all streams share: being held for several reasons at once, and being lost."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProducer
from zope.interface import implementer

from l7mp.errors import Loss
from l7mp.interfaces import SINK, IStream, Kind, Metadata, Note

MAX_UNTOLD = 16
"""How many notes a stream keeps, the latest, until somebody hears them."""


@implementer(IStream)
class Stream:
    """
    The common half of every stream; subclasses do the I/O.

    A subclass reads from its peer only while ``is_held`` is false: it overrides
    ``_pause`` and ``_resume``, hands on what it reads with ``_deliver``, says
    ``_read_ended`` at the end of the peer's data and ``_lose`` when all is over.
    """

    kind: Kind = Kind.BYTES
    half_close: bool = False
    is_complete: bool = False
    lossy: bool = False
    idle_timeout: float = 0.0

    # Most streams never say anything, so this costs them nothing.
    _hear: Callable[[Note], None] | None = None
    _untold: tuple[Note, ...] = ()

    def __init__(self) -> None:
        self._sink: IStream | None = None
        self._on_end: Callable[[], None] | None = None
        self._reasons: set[object] = {SINK}
        self.loss: Loss | None = None
        self._waiting: list[Deferred[Loss]] = []
        self._end_pending = False
        self.read_ended = False
        self.messages_in = self.bytes_in = 0
        self.messages_out = self.bytes_out = 0
        self.drops: dict[str, int] = {}

    # -- the read half ------------------------------------------------------

    @property
    def is_held(self) -> bool:
        """Whether there is any reason not to deliver."""
        return bool(self._reasons)

    def deliver_to(
        self, sink: IStream, ended: Callable[[], None] | None = None
    ) -> None:
        self._sink = sink
        self._on_end = ended or sink.end
        if self._end_pending:
            self._end_pending = False
            self._on_end()

    def hold(self, reason: object) -> None:
        if not self._reasons:
            self._reasons.add(reason)
            self._pause()
        else:
            self._reasons.add(reason)

    def release(self, reason: object) -> None:
        if reason in self._reasons:
            self._reasons.remove(reason)
            if not self._reasons:
                self._resume()

    def _pause(self) -> None:
        """Stop reading from the peer; the default has nothing to stop."""

    def _resume(self) -> None:
        """Read from the peer again."""

    def _deliver(self, data: bytes) -> None:
        """Hand on what was read; only while not held."""
        self.messages_in += 1
        self.bytes_in += len(data)
        self._sink.write(data)  # type: ignore[union-attr]

    def _read_ended(self) -> None:
        """The peer will send nothing more; heard once."""
        if self.read_ended:
            return
        self.read_ended = True
        if self._on_end is None:
            self._end_pending = True
        else:
            self._on_end()

    def _drop(self, why: str, count: int = 1) -> None:
        """Account for data that will reach nobody."""
        self.drops[why] = self.drops.get(why, 0) + count

    # -- the write half -----------------------------------------------------

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Streams that never push back have nothing to tell the producer."""

    def unregisterProducer(self) -> None:
        """See ``registerProducer``."""

    def write(self, data: bytes) -> None:
        raise NotImplementedError

    def describe(self, facts: Metadata) -> None:
        """Most streams have no words for metadata on the wire."""

    def tell(self, hear: Callable[[Note], None]) -> None:
        self._hear = hear
        untold, self._untold = self._untold, ()
        for note in untold:
            hear(note)

    def _note(self, note: Note) -> None:
        """Say what happened, as soon as somebody hears it."""
        if self._hear is not None:
            self._hear(note)
        else:
            self._untold = (*self._untold, note)[-MAX_UNTOLD:]

    def established(self) -> None:
        """Most protocols have no word for it."""

    def end(self) -> None:
        raise NotImplementedError

    def close(self, loss: Loss) -> None:
        """By default closing in order is no different from dropping."""
        self.abort(loss)

    def abort(self, loss: Loss) -> None:
        raise NotImplementedError

    def unsent(self) -> list[bytes]:
        return []

    # -- the end --------------------------------------------------------------

    def when_lost(self) -> Deferred[Loss]:
        lost: Deferred[Loss] = Deferred(self._forget)
        if self.loss is not None:
            lost.callback(self.loss)
        else:
            self._waiting.append(lost)
        return lost

    def _forget(self, waiting: Deferred[Loss]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    def _lose(self, loss: Loss) -> None:
        """Report the loss, once; the first reason counts."""
        if self.loss is None:
            self.loss = loss
            while self._waiting:  # one callback may cancel another
                self._waiting.pop(0).callback(loss)
