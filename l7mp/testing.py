"""
What tests of streams and protocols need: a stream of nothing, a script, a conformance.

Public, so that protocols made elsewhere can hold themselves to the same contract.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.interfaces import IProducer, IPushProducer

from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK, IStream, Kind, Metadata
from l7mp.streams.stream import Stream


class Memory(Stream):
    """
    Remembers what is written to it, and plays the peer's part when told to.

    ``window`` is how many messages it takes before it asks its producer to pause.
    """

    half_close = True

    def __init__(self, kind: Kind = Kind.DATAGRAMS, window: int = 1 << 30) -> None:
        super().__init__()
        self.kind, self.window = kind, window
        self.written: list[bytes] = []
        self.facts: list[Metadata] = []
        self.pending: list[bytes] = []
        self.producer: IPushProducer | None = None
        self.ended = self.is_established = False
        self.closed: Loss | None = None
        self.kept: list[bytes] = []
        """What ``unsent`` says."""

    def inject(self, *data: bytes) -> None:
        """The peer sends."""
        self.pending.extend(data)
        self._resume()

    def hang_up(self) -> None:
        """The peer ends its side."""
        self._read_ended()

    def vanish(self, reason: Reason = Reason.RESET) -> None:
        """The peer is gone."""
        self._lose(Loss(reason))

    def drain(self) -> None:
        """The peer reads what was written."""
        self.written.clear()
        if self.producer is not None:
            self.producer.resumeProducing()

    def _resume(self) -> None:
        while self.pending and not self.is_held:
            self._deliver(self.pending.pop(0))

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self.producer = cast(IPushProducer, producer)

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        self.messages_out += 1
        self.bytes_out += len(data)
        self.written.append(data)
        if len(self.written) >= self.window and self.producer is not None:
            self.producer.pauseProducing()

    def describe(self, facts: Metadata) -> None:
        self.facts.append(facts)

    def established(self) -> None:
        self.is_established = True

    def end(self) -> None:
        self.ended = True

    def close(self, loss: Loss) -> None:
        self.closed = loss
        self._lose(loss)

    def abort(self, loss: Loss) -> None:
        self._lose(loss)

    def unsent(self) -> list[bytes]:
        return self.kept


Pair = Callable[[], tuple[IStream, Callable[[bytes], None]]]
"""Makes a newborn stream, and a function with which its peer sends."""


def check_stream(make: Pair) -> None:
    """
    Assert what every stream promises, as far as it needs no time and no network.

    Raises ``AssertionError`` with the broken promise.
    """
    for check in (_holds_newborn, _holds_for_every_reason, _is_lost_once):
        check(*make())


def _listener() -> Memory:
    return Memory()


def _holds_newborn(stream: IStream, send: Callable[[bytes], None]) -> None:
    sink = _listener()
    stream.deliver_to(sink)
    send(b"early")
    assert sink.written == [], "a newborn stream delivered before it was released"
    stream.release(SINK)
    assert b"".join(sink.written) == b"early", "what came early was lost"


def _holds_for_every_reason(stream: IStream, send: Callable[[bytes], None]) -> None:
    sink = _listener()
    stream.deliver_to(sink)
    stream.release(SINK)
    stream.hold("one")
    stream.hold("two")
    stream.hold("two")
    stream.release("one")
    stream.release("unknown")
    send(b"held")
    assert sink.written == [], "released although a reason was left"
    stream.release("two")
    assert b"".join(sink.written) == b"held", "not released with the last reason"


def _is_lost_once(stream: IStream, send: Callable[[bytes], None]) -> None:
    heard: list[Loss] = []
    stream.when_lost().addCallback(heard.append)
    stream.abort(Loss(Reason.DELETED))
    stream.abort(Loss(Reason.IDLE))
    stream.close(Loss(Reason.IDLE))
    assert heard == [Loss(Reason.DELETED)], f"lost {len(heard)} times: {heard}"
    again: list[Loss] = []
    stream.when_lost().addCallback(again.append)
    assert again == heard, "asked afterwards, it says something else"
