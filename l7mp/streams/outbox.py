"""What waits to be sent, in order, and the producer that waits with it."""

from __future__ import annotations

from collections import deque
from typing import cast

from twisted.internet.interfaces import IProducer, IPushProducer

MAX_PIECES = 8192
MAX_BYTES = 8 << 20


class Outbox:
    """
    A bounded queue in front of something that is not always ready to be written to.

    The producer is asked to pause as soon as anything waits, since what is behind
    this has a buffer of its own, and to go on when nothing does.  For a producer that
    cannot pause there is a bound, beyond which the oldest piece is pushed out: twice
    what a queueing stream may hand on at once.
    """

    def __init__(
        self, max_pieces: int = MAX_PIECES, max_bytes: int = MAX_BYTES
    ) -> None:
        self._pieces: deque[bytes] = deque()
        self._max_pieces, self._max_bytes = max_pieces, max_bytes
        self._producer: IPushProducer | None = None
        self._paused = False
        self.size = 0
        """How many bytes wait."""

    def __len__(self) -> int:
        return len(self._pieces)

    def register(self, producer: IProducer) -> None:
        """From now on tell ``producer`` when to pause."""
        self._producer, self._paused = cast(IPushProducer, producer), False
        if self._pieces:
            self._pause()

    def unregister(self) -> None:
        """Tell the producer nothing more."""
        self._producer, self._paused = None, False

    def put(self, data: bytes) -> int:
        """Keep ``data``; returns how many pieces were pushed out for it."""
        self._pieces.append(data)
        self.size += len(data)
        pushed_out = 0
        while len(self._pieces) > self._max_pieces or self.size > self._max_bytes:
            self.size -= len(self._pieces.popleft())
            pushed_out += 1
        if not self._paused:
            self._pause()
        return pushed_out

    def first(self) -> bytes:
        """What is to be sent next; there must be something."""
        return self._pieces[0]

    def sent(self, count: int | None = None) -> None:
        """The first piece has left, or only ``count`` bytes of it."""
        first = self._pieces[0]
        if count is None or count == len(first):
            self._pieces.popleft()
            self.size -= len(first)
        else:
            self._pieces[0] = first[count:]
            self.size -= count

    def settle(self) -> None:
        """Let the producer go on if nothing waits any more."""
        if self._paused and not self._pieces:
            self._paused = False
            if self._producer is not None:
                self._producer.resumeProducing()

    def pieces(self) -> list[bytes]:
        """All that waits, in order."""
        return list(self._pieces)

    def clear(self) -> int:
        """Forget what waits; returns how many pieces that were."""
        count = len(self._pieces)
        self._pieces.clear()
        self.size = 0
        return count

    def _pause(self) -> None:
        self._paused = True
        if self._producer is not None:
            self._producer.pauseProducing()
