"""Streams of messages that cannot all be held back at their source."""

from __future__ import annotations

from collections import deque

from l7mp.errors import Loss
from l7mp.interfaces import Kind
from l7mp.streams.stream import Stream

MAX_MESSAGES = 4096
MAX_BYTES = 4 << 20


class QueueingStream(Stream):
    """
    A stream that keeps, up to a bound, what arrives while it is held.

    What does not fit pushes out the oldest message, which is counted under
    ``overflow``.  An orderly loss is reported when the queue has been delivered.
    """

    kind = Kind.DATAGRAMS

    def __init__(
        self, max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES
    ) -> None:
        super().__init__()
        self._queue: deque[bytes] | None = None
        self._queued_bytes = 0
        self._max_messages, self._max_bytes = max_messages, max_bytes
        self._draining = False
        self._late_end = False
        self._late_loss: Loss | None = None

    @property
    def queued(self) -> int:
        """How many messages wait."""
        return len(self._queue) if self._queue else 0

    def _arrived(self, data: bytes) -> None:
        """A message came: deliver it, or keep it while the stream is held."""
        if self._reasons or self._queue:
            self._enqueue(data)
        else:
            self._deliver(data)

    def _enqueue(self, data: bytes) -> None:
        queue = self._queue
        if queue is None:
            queue = self._queue = deque()
        queue.append(data)
        self._queued_bytes += len(data)
        while len(queue) > self._max_messages or self._queued_bytes > self._max_bytes:
            self._queued_bytes -= len(queue.popleft())
            self._drop("overflow")

    def _resume(self) -> None:
        if self._draining:
            return
        self._draining = True
        try:
            while self._queue and not self._reasons:
                data = self._queue.popleft()
                self._queued_bytes -= len(data)
                self._deliver(data)
        finally:
            self._draining = False
        if not self._queue and not self._reasons:
            self._queue = None
            self._drained()

    def _drained(self) -> None:
        """Everything that waited was delivered: go on reading, or say what is late."""
        if self._late_end:
            self._late_end = False
            super()._read_ended()
        if self._late_loss is not None:
            super()._lose(self._late_loss)
        elif not self.read_ended and self.loss is None:
            self._resume_reading()

    def _resume_reading(self) -> None:
        """Read from the peer again; the default never stopped."""

    def _read_ended(self) -> None:
        if self._queue:
            self._late_end = True
        else:
            super()._read_ended()

    def _lose(self, loss: Loss) -> None:
        if self._queue and loss.orderly:
            self._late_loss = self._late_loss or loss
        else:
            super()._lose(self._late_loss or loss)

    def _discard_queue(self, why: str) -> None:
        """Forget what waits, and count it."""
        if self._queue:
            self._drop(why, len(self._queue))
            self._queue = None
            self._queued_bytes = 0
