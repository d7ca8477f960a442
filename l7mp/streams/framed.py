"""A stream of bytes whose peer and we tell messages apart by a framing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import cast

from twisted.internet.interfaces import IProducer

from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK, IStream, Metadata, Note
from l7mp.streams.queueing import QueueingStream
from l7mp.wire.framing import MAX_MESSAGE, Codec, codec
from l7mp.wire.httpmeta import without_length

KEEP = 128 << 10
"""
Bytes of frames that are remembered, to say which messages a lost connection had taken
but not sent; a transport pushes back long before it has as many.
"""

NO_BOUND = 1 << 62
"""What waits here is bounded already: by what one chunk of bytes can hold."""


class _Inlet:
    """What the inner stream delivers to."""

    def __init__(self, framed: Framed) -> None:
        self._framed = framed
        self.write: Callable[[bytes], None] = framed.received

    @property
    def loss(self) -> Loss | None:
        """Whether there is any use in writing here."""
        return self._framed.loss

    def describe(self, facts: Metadata) -> None:
        """Metadata travels on, as it does without a framing."""
        self._framed.pass_on(facts)


class Framed(QueueingStream):
    """
    A stream of messages on top of a stream of bytes, which is ours from now on.

    A message that the framing cannot carry is dropped, and counted as ``unframeable``,
    or as ``oversize``; a frame of which no message can be made as ``malformed``, and
    one that the end of the stream has cut as ``truncated``.
    """

    def __init__(self, inner: IStream, framing: Codec) -> None:
        super().__init__(NO_BOUND, NO_BOUND)
        self._inner = inner
        self.half_close = inner.half_close
        self.idle_timeout = inner.idle_timeout
        self.drops = inner.drops
        self._most, self._pack = framing.most, framing.pack
        self._decoder = framing.decoder()
        self._over = False
        """Whether nothing more is to be found in what comes."""
        self._sent: deque[tuple[int, bytes]] = deque()
        """What was written last: the length of each frame, and the message in it."""
        self._sent_bytes = 0
        inner.hold(self)
        inner.deliver_to(cast(IStream, _Inlet(self)), self._inner_ended)
        inner.release(SINK)
        inner.when_lost().addCallback(self._inner_lost)

    @property
    def is_complete(self) -> bool:  # type: ignore[override]
        """As complete as what is inside."""
        return self._inner.is_complete

    # -- the read half ------------------------------------------------------

    def _pause(self) -> None:
        self._inner.hold(self)

    def _resume_reading(self) -> None:
        self._inner.release(self)

    def received(self, data: bytes) -> None:
        """The inner stream has read this much."""
        if self._over:
            self._drop("closing", len(data))
            return
        decoder = self._decoder
        for message in decoder.feed(data):
            self._arrived(message)
        if decoder.dropped:
            self._count()
        if decoder.broken:
            self._violated(decoder.broken)

    def _count(self) -> None:
        for why, count in self._decoder.dropped.items():
            self._drop(why, count)
        self._decoder.dropped.clear()

    def _violated(self, what: str) -> None:
        self._over = True
        loss = Loss(Reason.PROTOCOL, f"the peer sent {what}")
        self._inner.close(loss)
        self._lose(loss)

    def _inner_ended(self) -> None:
        self._finish()
        self._read_ended()

    def _finish(self) -> None:
        """The stream is complete, and so is the last message if it will ever be."""
        if not self._over:
            self._over = True
            for message in self._decoder.end():
                self._arrived(message)
            self._count()

    def _inner_lost(self, loss: Loss) -> None:
        if loss.reason is Reason.FIN:
            self._finish()
        self._over = True
        self._lose(loss)

    def pass_on(self, facts: Metadata) -> None:
        """Metadata came with what is read."""
        if self._sink is not None:
            self._sink.describe(without_length(facts))

    # -- the write half -----------------------------------------------------

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self._inner.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self._inner.unregisterProducer()

    def write(self, data: bytes) -> None:
        if len(data) > self._most:
            self._drop("oversize")
            return
        frame = self._pack(data)
        if frame is None:
            self._drop("unframeable")
            return
        self.messages_out += 1
        self.bytes_out += len(data)
        self._inner.write(frame)
        self._sent.append((len(frame), data))
        self._sent_bytes += len(frame)
        while self._sent_bytes - self._sent[0][0] > KEEP:
            self._sent_bytes -= self._sent.popleft()[0]

    def describe(self, facts: Metadata) -> None:
        self._inner.describe(without_length(facts))

    def tell(self, hear: Callable[[Note], None]) -> None:
        self._inner.tell(hear)

    def established(self) -> None:
        self._inner.established()

    def end(self) -> None:
        self._inner.end()

    def close(self, loss: Loss) -> None:
        self._over = True
        self._discard_queue("closing")
        self._inner.close(loss)
        self._lose_late(loss)

    def _lose_late(self, loss: Loss) -> None:
        """What was lost already, but still had something to deliver, is gone now."""
        if self._late_loss is not None:
            self._lose(loss)

    def abort(self, loss: Loss) -> None:
        self._over = True
        self._discard_queue("aborted")
        self._inner.abort(loss)
        self._lose_late(loss)

    def unsent(self) -> list[bytes]:
        """Whole messages: one of which a part was sent is sent again."""
        left = sum(map(len, self._inner.unsent()))
        messages: deque[bytes] = deque()
        for length, message in reversed(self._sent):
            if left <= 0:
                break
            messages.appendleft(message)
            left -= length
        return list(messages)


def framed(inner: IStream, name: str, max_message: int = MAX_MESSAGE) -> Framed:
    """``inner`` with a framing of ``l7mp.wire.framing``."""
    return Framed(inner, codec(name, max_message))
