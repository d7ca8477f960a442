"""A sans-I/O transform as a stream, so that it can stand in a ring."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from twisted.internet.interfaces import IProducer, IPushProducer

from l7mp.errors import Loss, Reason
from l7mp.interfaces import Metadata
from l7mp.streams.queueing import QueueingStream
from l7mp.wire.transform import Transform


class TransformStream(QueueingStream):
    """What is written comes out, changed; pressure goes the other way."""

    half_close = True

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        self._transform = transform
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
        self.messages_out += 1
        self.bytes_out += len(data)
        self._hand_on(self._transform.feed(data))

    def _hand_on(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self._arrived(piece)

    def describe(self, facts: Metadata) -> None:
        if self._sink is not None:
            self._sink.describe(facts)

    def end(self) -> None:
        if not self.read_ended:
            self._hand_on(self._transform.end())
            self._read_ended()

    def abort(self, loss: Loss) -> None:
        self._discard_queue("aborted")
        self._lose(loss)

    def close(self, loss: Loss) -> None:
        if not self._queue or self._sink is None:
            self.abort(loss)
        else:
            self._lose(Loss(Reason.FIN))
