"""An association as the stream of one session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProducer, IPushProducer

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import Kind, Metadata, Note
from l7mp.streams.association import Association
from l7mp.streams.stream import Stream
from l7mp.wire.sctp import COMM_UP, MAX_PPID, MAX_STREAM


@dataclass(frozen=True)
class Manner:
    """How messages are sent, as far as that is laid down."""

    stream: int | None = None
    ppid: int | None = None
    unordered: bool = False

    def with_facts(self, facts: object) -> Manner:
        """The same, where ``/SCTP/stream`` and ``/SCTP/ppid`` say nothing else."""
        about = facts.get("SCTP") if isinstance(facts, Mapping) else None
        if not isinstance(about, Mapping):
            return self
        return Manner(
            _number(about.get("stream"), MAX_STREAM, self.stream),
            _number(about.get("ppid"), MAX_PPID, self.ppid),
            self.unordered,
        )


def _number(value: Any, highest: int, otherwise: int | None) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= highest:
        return value
    return otherwise


class AssociationStream(Stream):
    """
    All messages of one association.

    What the ring says of the next message (``/SCTP/stream`` and ``/SCTP/ppid``) is
    done, unless it is laid down otherwise; and of what comes the same is said.
    """

    kind = Kind.DATAGRAMS
    half_close = False

    def __init__(
        self,
        association: Association,
        manner: Manner,
        first: tuple[bytes, int, int] | None = None,
    ) -> None:
        """``first`` is a message that was read already."""
        super().__init__()
        self._association = association
        self._manner, self._first = manner, first
        self._stream, self._ppid = manner.stream or 0, manner.ppid or 0
        self._fit()
        self._said: tuple[int, int] | None = None
        self._producer: IPushProducer | None = None
        association.owner = self

    # -- the read half ------------------------------------------------------

    def _pause(self) -> None:
        self._association.read(False)

    def _resume(self) -> None:
        if self._first is not None:
            first, self._first = self._first, None
            self.message(*first)
            if self._reasons:
                return
        self._association.read(True)

    def message(self, data: bytes, stream: int, ppid: int) -> None:
        """See ``Owner``."""
        if self._said != (stream, ppid):
            self._said = (stream, ppid)
            if self._sink is not None:
                self._sink.describe({"SCTP": {"stream": stream, "ppid": ppid}})
        self._deliver(data)

    def happened(self, note: Note) -> None:
        """See ``Owner``."""
        self._note(note)

    def dropped(self, why: str) -> None:
        """See ``Owner``."""
        self._drop(why)

    def over(self, loss: Loss) -> None:
        """See ``Owner``."""
        if self._first is not None:
            self._first = None
            self._drop("aborted")
        self._lose(loss)

    # -- the write half -----------------------------------------------------

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self._producer = cast(IPushProducer, producer)
        if self._association.is_full:
            self._producer.pauseProducing()

    def unregisterProducer(self) -> None:
        self._producer = None

    def choked(self) -> None:
        """See ``Owner``."""
        if self._producer is not None:
            self._producer.pauseProducing()

    def eased(self) -> None:
        """See ``Owner``."""
        if self._producer is not None:
            self._producer.resumeProducing()

    def describe(self, facts: Metadata) -> None:
        wanted = Manner().with_facts(facts)
        if self._manner.stream is None and wanted.stream is not None:
            self._stream = wanted.stream
        if self._manner.ppid is None and wanted.ppid is not None:
            self._ppid = wanted.ppid
        self._fit()

    def _fit(self) -> None:
        """The peer takes a number of streams; what has none there goes on the first."""
        if self._stream >= self._association.streams_out:
            self._stream = 0

    def write(self, data: bytes) -> None:
        if not self._association.is_open:
            self._drop("closed")
        elif not data:
            self._drop("empty")
        elif self._association.send(
            data, self._stream, self._ppid, self._manner.unordered
        ):
            self.messages_out += 1
            self.bytes_out += len(data)

    def unsent(self) -> list[bytes]:
        return self._association.unsent()

    # -- the end --------------------------------------------------------------

    def end(self) -> None:
        self.close(Loss(Reason.FIN))

    def close(self, loss: Loss) -> None:
        self._association.finish(loss)

    def abort(self, loss: Loss) -> None:
        self._association.abort(loss)


class Beginning:
    """The owner of an association that has no stream yet."""

    def __init__(self) -> None:
        self.notes: list[Note] = []

    def message(self, data: bytes, stream: int, ppid: int) -> None:
        """See ``Owner``."""
        raise NotImplementedError

    def happened(self, note: Note) -> None:
        """See ``Owner``."""
        self.notes.append(note)

    def choked(self) -> None:
        """Nothing was written."""

    def eased(self) -> None:
        """Nothing was written."""

    def dropped(self, why: str) -> None:
        """A message that was too long to begin with."""

    def over(self, loss: Loss) -> None:
        """See ``Owner``."""


class Attempt(Beginning):
    """
    Waits until the peer has agreed to an association.

    ``made`` fires with it, read no further, or fails with ``RemoteError``; cancelling
    gives up.
    """

    def __init__(self) -> None:
        super().__init__()
        self.association: Association | None = None
        self._is_given_up = False
        self.made: Deferred[Association] = Deferred(self._give_up)

    def _give_up(self, _: object) -> None:
        self._is_given_up = True
        if self.association is not None:
            self.association.abort(Loss(Reason.TIMEOUT, "given up"))

    def happened(self, note: Note) -> None:
        super().happened(note)
        if note.word == COMM_UP and self.association is not None:
            self.association.read(False)
            self.made.callback(self.association)

    def over(self, loss: Loss) -> None:
        if not self.made.called and not self._is_given_up:
            self.made.errback(RemoteError(loss))


class FirstMessage(Beginning):
    """Waits for the first message of an association, and hands over both."""

    def __init__(
        self,
        association: Association,
        came: Callable[[tuple[bytes, int, int]], None],
        gone: Callable[[FirstMessage], None],
    ) -> None:
        super().__init__()
        self.association = association
        self._came, self._gone = came, gone
        association.owner = self
        association.read(True)

    def message(self, data: bytes, stream: int, ppid: int) -> None:
        self.association.read(False)
        self._gone(self)
        self._came((data, stream, ppid))

    def over(self, loss: Loss) -> None:
        self._gone(self)
