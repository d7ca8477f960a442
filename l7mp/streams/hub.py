"""Rooms: what one member writes, all the others read."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.interfaces import IProducer, IPushProducer

from l7mp.errors import Loss, Reason
from l7mp.streams.queueing import QueueingStream


class Room:
    """
    The members of one broadcast domain; ``empty`` is called when the last leaves.

    If the room ``waits``, who is alone is not read until there is somebody to hear.
    """

    def __init__(self, empty: Callable[[], None], waits: bool = False) -> None:
        self.members: dict[Member, None] = {}
        """In order of arrival."""
        self.waits = waits
        self._empty = empty

    def join(self) -> Member:
        """A place in the room."""
        member = Member(self)
        self.members[member] = None
        if self.waits and len(self.members) == 2:
            for one in self.members:
                one.speak()
        return member

    def leave(self, member: Member) -> None:
        """One less; twice is once."""
        if member in self.members:
            del self.members[member]
            if not self.members:
                self._empty()
            elif self.waits and len(self.members) == 1:
                for one in self.members:
                    one.wait()

    @property
    def is_lonely(self) -> bool:
        """Whether who is here has to wait for somebody."""
        return self.waits and len(self.members) < 2


class Member(QueueingStream):
    """One session's place; a slow one loses its own messages, and nobody else's."""

    half_close = True

    def __init__(self, room: Room) -> None:
        super().__init__()
        self._room = room
        self._producer: IPushProducer | None = None

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self._producer = cast(IPushProducer, producer)
        if self._room.is_lonely:
            self.wait()

    def unregisterProducer(self) -> None:
        self._producer = None

    def wait(self) -> None:
        """There is nobody to hear what it says."""
        if self._producer is not None:
            self._producer.pauseProducing()

    def speak(self) -> None:
        """There is somebody now."""
        if self._producer is not None:
            self._producer.resumeProducing()

    def write(self, data: bytes) -> None:
        if self not in self._room.members:
            self._drop("closed")
            return
        self.messages_out += 1
        self.bytes_out += len(data)
        others = tuple(self._room.members)  # somebody may leave because of it
        for other in others:
            if other is not self:
                other.hear(data)
        if len(others) < 2:
            self._drop("alone")

    def hear(self, data: bytes) -> None:
        """Another member wrote."""
        self._arrived(data)

    def end(self) -> None:
        """Somebody who has nothing more to say leaves."""
        self._room.leave(self)
        self._read_ended()
        self._lose(Loss(Reason.FIN))

    def abort(self, loss: Loss) -> None:
        self._room.leave(self)
        self._discard_queue("aborted")
        self._lose(loss)
