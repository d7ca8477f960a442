"""
Many sessions on one association: each stream of SCTP is one of them.

SCTP delivers its streams independently of each other, and so can the sessions be that
share an association, as far as its one window lets them: a session that is held keeps
some messages, and then holds up all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import cast

from twisted.internet.interfaces import IProducer, IPushProducer

from l7mp.errors import Loss, Reason
from l7mp.interfaces import Kind, Metadata, Note
from l7mp.streams.association import Association
from l7mp.streams.association_stream import Manner
from l7mp.streams.stream import Stream
from l7mp.wire.sctp import COMM_UP

ROOM = 1 << 20
"""Bytes that wait for a held session before all of its association are held."""

EACH = 128
"""Bytes that a message which waits costs beside its own."""

Opens = Callable[["Lane", int], None]
"""Takes the session of a stream on which a first message came, with its identifier."""


class Lane(Stream):
    """One stream of an association as the stream of a session."""

    kind = Kind.DATAGRAMS
    half_close = False

    def __init__(self, lanes: Lanes, number: int, manner: Manner) -> None:
        super().__init__()
        self.number = number
        """Of the stream."""
        self._lanes, self._manner = lanes, manner
        self._ppid = manner.ppid or 0
        self._said: int | None = None
        self._queue: deque[tuple[bytes, int]] = deque()
        self._waiting_bytes = 0
        self._is_draining = False
        self._late: Loss | None = None
        self._producer: IPushProducer | None = None

    # -- the read half ------------------------------------------------------

    def received(self, data: bytes, ppid: int) -> None:
        """The peer sent this."""
        if self.loss is not None:
            self._drop("closed")
        elif self._reasons or self._queue:
            self._queue.append((data, ppid))
            self._waiting_bytes += len(data) + EACH
            if self._waiting_bytes > ROOM:
                self._lanes.hold(self)
        else:
            self._hand_on(data, ppid)

    def _hand_on(self, data: bytes, ppid: int) -> None:
        if ppid != self._said:
            self._said = ppid
            if self._sink is not None:
                self._sink.describe({"SCTP": {"stream": self.number, "ppid": ppid}})
        self._deliver(data)

    def _resume(self) -> None:
        if self._is_draining:
            return
        self._is_draining = True
        try:
            while self._queue and not self._reasons:
                data, ppid = self._queue.popleft()
                self._waiting_bytes -= len(data) + EACH
                self._hand_on(data, ppid)
        finally:
            self._is_draining = False
        if not self._queue:
            self._lanes.release(self)
            if self._late is not None:
                self._lose(self._late)

    # -- the write half -----------------------------------------------------

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self._producer = cast(IPushProducer, producer)
        if self._lanes.is_full:
            self._producer.pauseProducing()

    def unregisterProducer(self) -> None:
        self._producer = None

    def press(self, is_full: bool) -> None:
        """The association has no space, or has space again."""
        if self._producer is not None:
            if is_full:
                self._producer.pauseProducing()
            else:
                self._producer.resumeProducing()

    def describe(self, facts: Metadata) -> None:
        wanted = Manner().with_facts(facts)
        if self._manner.ppid is None and wanted.ppid is not None:
            self._ppid = wanted.ppid

    def write(self, data: bytes) -> None:
        if self.loss is not None or self._late is not None:
            self._drop("closed")
        elif not data:
            self._drop("empty")
        elif self._lanes.send(self, data, self._ppid, self._manner.unordered):
            self.messages_out += 1
            self.bytes_out += len(data)

    def dropped(self, why: str) -> None:
        """A message reached nobody."""
        self._drop(why)

    def happened(self, note: Note) -> None:
        """Something befell the association."""
        self._note(note)

    # -- the end --------------------------------------------------------------

    def over(self, loss: Loss) -> None:
        """The association is no more."""
        if self._queue and loss.orderly:
            self._late = self._late or loss
        else:
            self._leave(loss)

    def end(self) -> None:
        self._leave(Loss(Reason.FIN))

    def abort(self, loss: Loss) -> None:
        self._leave(loss)

    def _leave(self, loss: Loss) -> None:
        if self._queue:
            self._drop("aborted", len(self._queue))
            self._queue.clear()
        self._lanes.forget(self)
        self._lose(loss)


class Lanes:
    """
    The owner of an association whose streams are sessions.

    ``opens`` is called for a first message on a stream; without it what comes on a
    stream of no session is dropped.  ``emptied`` is called when the last session is
    gone, ``over`` when the association is.
    """

    def __init__(
        self,
        association: Association,
        manner: Manner,
        opens: Opens | None,
        emptied: Callable[[Lanes], None],
        ended: Callable[[Lanes], None],
    ) -> None:
        self.association, self._manner = association, manner
        self._opens, self._emptied, self._ended = opens, emptied, ended
        self.lanes: dict[int, Lane] = {}
        self._holding: set[Lane] = set()
        self._speaking: Lane | None = None
        self._notes: list[Note] = []
        """What every session is told that begins later."""
        association.owner = self
        association.read(True)

    @property
    def is_full(self) -> bool:
        """Whether what is sent has to wait."""
        return self.association.is_full

    # -- sessions -----------------------------------------------------------------

    def open(self, number: int | None, manner: Manner) -> Lane | None:
        """A session on a stream, or on any that is free; None if it is not."""
        if number is None:
            free = (n for n in range(self.association.streams_out))
            number = next((n for n in free if n not in self.lanes), None)
        if number is None or number in self.lanes:
            return None
        if number >= self.association.streams_out:
            return None
        lane = self.lanes[number] = Lane(self, number, manner)
        for note in self._notes:
            lane.happened(note)
        return lane

    def hold(self, lane: Lane) -> None:
        """A session is held and has no room for more."""
        self._holding.add(lane)
        self.association.read(False)

    def release(self, lane: Lane) -> None:
        """A session has room again."""
        self._holding.discard(lane)
        if not self._holding:
            self.association.read(True)

    def forget(self, lane: Lane) -> None:
        """A session is gone; twice is once."""
        if self.lanes.get(lane.number) is lane:
            del self.lanes[lane.number]
            self.release(lane)
            if not self.lanes:
                self._emptied(self)

    def send(self, lane: Lane, data: bytes, ppid: int, unordered: bool) -> bool:
        """Send a message of a session; whether it was taken."""
        self._speaking = lane
        taken = self.association.send(data, lane.number, ppid, unordered)
        self._speaking = None
        return taken

    # -- for the association ----------------------------------------------------------

    def message(self, data: bytes, stream: int, ppid: int) -> None:
        """See ``Owner``."""
        lane = self.lanes.get(stream) or self._newcomer(stream, ppid)
        if lane is None:
            self.dropped("stray")
        else:
            lane.received(data, ppid)

    def _newcomer(self, stream: int, ppid: int) -> Lane | None:
        if self._opens is None:
            return None
        lane = self.open(stream, self._manner)
        if lane is not None:
            self._opens(lane, ppid)
        return lane

    def happened(self, note: Note) -> None:
        """See ``Owner``."""
        if note.word == COMM_UP:
            self._notes.append(note)
        for lane in list(self.lanes.values()):
            lane.happened(note)

    def choked(self) -> None:
        """See ``Owner``."""
        for lane in list(self.lanes.values()):
            lane.press(True)

    def eased(self) -> None:
        """See ``Owner``."""
        for lane in list(self.lanes.values()):
            lane.press(False)

    def dropped(self, why: str) -> None:
        """See ``Owner``; told to whoever speaks, or else to any session."""
        lane = self._speaking or next(iter(self.lanes.values()), None)
        if lane is not None:
            lane.dropped(why)

    def over(self, loss: Loss) -> None:
        """See ``Owner``."""
        self._ended(self)
        for lane in list(self.lanes.values()):
            lane.over(loss)
