"""Rooms: what one member writes, all the others read."""

from __future__ import annotations

from collections.abc import Callable

from l7mp.errors import Loss, Reason
from l7mp.streams.queueing import QueueingStream


class Room:
    """The members of one broadcast domain; ``empty`` is called when the last leaves."""

    def __init__(self, empty: Callable[[], None]) -> None:
        self.members: list[Member] = []
        self._empty = empty

    def join(self) -> Member:
        """A place in the room."""
        member = Member(self)
        self.members.append(member)
        return member

    def leave(self, member: Member) -> None:
        """One less; twice is once."""
        if member in self.members:
            self.members.remove(member)
            if not self.members:
                self._empty()


class Member(QueueingStream):
    """One session's place; a slow one loses its own messages, and nobody else's."""

    half_close = True

    def __init__(self, room: Room) -> None:
        super().__init__()
        self._room = room

    def write(self, data: bytes) -> None:
        self.messages_out += 1
        self.bytes_out += len(data)
        others = [other for other in self._room.members if other is not self]
        for other in others:
            other.hear(data)
        if not others:
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
