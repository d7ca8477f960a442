"""An association without a stack, and whoever it is for."""

from __future__ import annotations

import errno
import os

from twisted.internet.task import Clock

from l7mp.errors import Loss
from l7mp.interfaces import Note
from l7mp.streams.association import Association, Ends
from l7mp.wire.sctp import Sockaddr

ENDS = Ends(("127.0.0.1",), 5000, ("127.0.0.2",), 6000, 16, 16)


def error(code: int) -> OSError:
    """What a stack raises."""
    return OSError(code, os.strerror(code))


class FakeLink:
    """Remembers what it is told; ``codes`` are the errors of sending, first to last."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, int, int, bool]] = []
        self.codes: list[int] = []
        self.is_full = False
        self.watched: tuple[bool, bool] = (False, False)
        self.said: list[str] = []

    def send(self, data: bytes, stream: int, ppid: int, unordered: bool) -> None:
        if self.codes:
            raise error(self.codes.pop(0))
        if self.is_full:
            raise error(errno.EAGAIN)
        self.sent.append((data, stream, ppid, unordered))

    def watch(self, reading: bool, writing: bool) -> None:
        self.watched = (reading, writing)

    def shutdown(self) -> None:
        self.said.append("shutdown")

    def abort(self) -> None:
        self.said.append("abort")

    def close(self) -> None:
        self.said.append("close")

    def shown(self, address: Sockaddr) -> str:
        return address.host

    def ends(self) -> Ends:
        return ENDS


class Remembering:
    """An owner that remembers."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, int, int]] = []
        self.notes: list[Note] = []
        self.drops: list[str] = []
        self.pressure: list[str] = []
        self.losses: list[Loss] = []

    def message(self, data: bytes, stream: int, ppid: int) -> None:
        self.messages.append((data, stream, ppid))

    def happened(self, note: Note) -> None:
        self.notes.append(note)

    def choked(self) -> None:
        self.pressure.append("choked")

    def eased(self) -> None:
        self.pressure.append("eased")

    def dropped(self, why: str) -> None:
        self.drops.append(why)

    def over(self, loss: Loss) -> None:
        self.losses.append(loss)


class Bench:
    """An association between the two."""

    def __init__(self, streams_out: int = 16) -> None:
        self.clock, self.link, self.owner = Clock(), FakeLink(), Remembering()
        self.it = Association(self.link, self.clock, streams_out)
        self.it.owner = self.owner
