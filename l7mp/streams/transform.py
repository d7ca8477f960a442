"""A sans-I/O transform as a stream, so that it can stand in a ring."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from twisted.internet.interfaces import IProducer, IPushProducer

from l7mp.errors import Loss
from l7mp.interfaces import Metadata
from l7mp.streams.queueing import MAX_BYTES, MAX_MESSAGES, QueueingStream
from l7mp.wire.httpmeta import without_length
from l7mp.wire.transform import Transform


class TransformStream(QueueingStream):
    """What is written comes out, changed; pressure goes the other way."""

    half_close = True

    def __init__(
        self,
        transform: Transform,
        max_messages: int = MAX_MESSAGES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """The bounds are those of what waits while the stream is held."""
        super().__init__(max_messages, max_bytes)
        self._transform = transform
        self._counts_drops = hasattr(transform, "dropped")
        self._producer: IPushProducer | None = None

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self._producer = cast(IPushProducer, producer)
        if self._reasons:
            self._producer.pauseProducing()

    def unregisterProducer(self) -> None:
        self._producer = None

    def _pause(self) -> None:
        if self._producer is not None:
            self._producer.pauseProducing()

    def _resume_reading(self) -> None:
        if self._producer is not None:
            self._producer.resumeProducing()

    def write(self, data: bytes) -> None:
        if self.loss is not None:
            self._drop("closed")
            return
        self.messages_out += 1
        self.bytes_out += len(data)
        self._hand_on(self._transform.feed(data))

    def _hand_on(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self._arrived(piece)
        if self._counts_drops:
            self._count_drops()

    def _count_drops(self) -> None:
        """What the transform could make nothing of is shown with our own drops."""
        dropped: int | dict[str, int] = cast(Any, self._transform).dropped
        if isinstance(dropped, dict):
            for why, count in dropped.items():
                self._drop(why, count)
            dropped.clear()
        elif dropped:
            self.drops["transform"] = dropped

    def describe(self, facts: Metadata) -> None:
        if self._sink is not None:
            kept = getattr(self._transform, "keeps_length", False)
            self._sink.describe(facts if kept else without_length(facts))

    def end(self) -> None:
        if not self.read_ended:
            self._hand_on(self._transform.end())
            self._read_ended()

    def abort(self, loss: Loss) -> None:
        self._discard_queue("aborted")
        self._lose(loss)

    def close(self, loss: Loss) -> None:
        """
        Hand on everything that waits, held or not.

        A sink that closes too will never again ask for more, and it can write what it
        is given before it goes.
        """
        if self.loss is not None:
            return
        if not self.read_ended:
            self._hand_on(self._transform.end())
        if self._sink is not None and self._sink.loss is None:
            while self._queue:
                self._deliver(self._queue.popleft())
        self._discard_queue("closed")
        self._lose(loss)
