"""An SCTP association (RFC 9260), whichever stack it lives in."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from l7mp.errors import Loss, Reason
from l7mp.interfaces import Note
from l7mp.streams.transport import FLUSH
from l7mp.wire import sctp
from l7mp.wire.sctp import Notification

MAX_MESSAGE = 1 << 20
"""Bytes of the longest message that is put together from its parts."""

_REASONS = {
    errno.ECONNREFUSED: Reason.REFUSED,
    errno.ETIMEDOUT: Reason.TIMEOUT,
    # Said by the stack when it gives up a peer that was there.
    errno.ECONNABORTED: Reason.TIMEOUT,
    errno.ECONNRESET: Reason.RESET,
    errno.EPIPE: Reason.RESET,
    errno.ENOTCONN: Reason.RESET,
    errno.ENOENT: Reason.RESET,
    errno.EHOSTUNREACH: Reason.UNREACHABLE,
    errno.ENETUNREACH: Reason.UNREACHABLE,
    errno.EADDRNOTAVAIL: Reason.UNREACHABLE,
}

WORDS = {
    sctp.COMM_UP: "the association is up",
    sctp.COMM_LOST: "the association is lost",
    sctp.RESTART: "the peer has restarted the association",
    sctp.SHUTDOWN_COMP: "the association is shut down",
    sctp.CANT_STR_ASSOC: "the association could not be made",
    sctp.SHUTDOWN_EVENT: "the peer shuts the association down",
    sctp.PARTIAL_DELIVERY: "the rest of a message will not come",
    "ADDR_AVAILABLE": "the peer can be reached at {}",
    "ADDR_UNREACHABLE": "the peer can no longer be reached at {}",
    "ADDR_REMOVED": "{} is no address of the peer any more",
    "ADDR_ADDED": "{} is an address of the peer, too",
    "ADDR_MADE_PRIM": "the peer is spoken to at {}",
    "ADDR_CONFIRMED": "{} was confirmed to be the peer's",
    "ADDR_POTENTIALLY_FAILED": "the peer may not be reached at {}",
}
"""What notifications mean, for people."""


_DETAILS = {
    errno.ECONNABORTED: "the peer does not answer",
    # libusrsctp's word for an association that is no more
    errno.ENOENT: "the association is gone",
}


def loss_of(error: OSError) -> Loss:
    """What an error of an association means."""
    code = error.errno or 0
    detail = _DETAILS.get(code) or os.strerror(code)
    return Loss(_REASONS.get(code, Reason.LOCAL), detail)


@dataclass(frozen=True)
class Ends:
    """From where to where an association leads."""

    own: tuple[str, ...]
    """Our addresses; the first is the one to show."""
    own_port: int
    peer: tuple[str, ...]
    """The peer's addresses, as far as they are known."""
    peer_port: int
    streams_in: int
    streams_out: int
    udp: tuple[int, int] | None = None
    """Our port and the peer's of the encapsulation, if there is one."""


class Link(Protocol):
    """An association as its stack knows it."""

    def send(self, data: bytes, stream: int, ppid: int, unordered: bool) -> None:
        """Take a message; raises ``OSError``, ``EAGAIN`` among them."""

    def watch(self, reading: bool, writing: bool) -> None:
        """Say when there is something to read, and when there is space to write."""

    def shutdown(self) -> None:
        """Send what waits, then SHUTDOWN."""

    def abort(self) -> None:
        """Send ABORT, and let go."""

    def close(self) -> None:
        """Let go: it is over."""

    def shown(self, address: sctp.Sockaddr) -> str:
        """An address of the peer, for people."""

    def ends(self) -> Ends:
        """From where to where it leads."""


class Owner(Protocol):
    """Whom an association is for."""

    def message(self, data: bytes, stream: int, ppid: int) -> None:
        """The peer sent this."""

    def happened(self, note: Note) -> None:
        """Something else than data came."""

    def choked(self) -> None:
        """There is no space for more until ``eased``."""

    def eased(self) -> None:
        """There is space again."""

    def dropped(self, why: str) -> None:
        """A message reached nobody."""

    def over(self, loss: Loss) -> None:
        """The association is no more; heard once."""


class Association:
    """
    Messages to and from a peer, on numbered streams.

    Newborn it does not read.  There is no half-close in SCTP: ``finish`` sends what
    waits and shuts down, and what the peer still sends then reaches nobody.
    """

    owner: Owner

    def __init__(self, link: Link, clock: IReactorTime, streams_out: int) -> None:
        self._link, self._clock = link, clock
        self.streams_out = streams_out
        self.loss: Loss | None = None
        self._queue: deque[tuple[bytes, int, int, bool]] = deque()
        self._parts: list[bytes] = []
        self._size = 0
        self._is_reading = self._is_shutting = False
        self._closing: Loss | None = None
        self._fate: Loss | None = None
        self._timer: IDelayedCall | None = None
        self._doom: IDelayedCall | None = None
        self.afterwards: Callable[[], None] | None = None
        """Called when it is over, after the owner."""

    def ends(self) -> Ends:
        """From where to where it leads."""
        return self._link.ends()

    # -- reading --------------------------------------------------------------

    @property
    def is_reading(self) -> bool:
        """Whether the link may hand over what comes."""
        return self._is_reading and self.loss is None

    def read(self, on: bool) -> None:
        """Begin or cease to read; meanwhile the window closes and the peer waits."""
        if self.loss is None and self._closing is None and on != self._is_reading:
            self._is_reading = on
            self._watch()

    def _watch(self) -> None:
        self._link.watch(self._is_reading, bool(self._queue))

    def received(self, data: bytes, stream: int, ppid: int, is_whole: bool) -> None:
        """A message, or a part of one, came."""
        if is_whole and not self._parts:
            self._arrived(data, stream, ppid)
            return
        self._size += len(data)
        if self._size <= MAX_MESSAGE:
            self._parts.append(data)
        else:
            self._parts = [b""]  # no more than the knowledge that there was one
        if is_whole:
            message, size = b"".join(self._parts), self._size
            self._parts, self._size = [], 0
            if size <= MAX_MESSAGE:
                self._arrived(message, stream, ppid)
            else:
                self.owner.dropped("oversize")

    def _arrived(self, data: bytes, stream: int, ppid: int) -> None:
        if self._closing is None:
            self.owner.message(data, stream, ppid)
        else:
            self.owner.dropped("closing")

    def notified(self, found: Notification | None) -> None:
        """The stack says something."""
        if found is None:
            return
        self._mind(found)
        facts: dict[str, Any] = dict(found.facts)
        message = WORDS[found.word]
        if found.address is not None:
            facts["address"] = self._link.shown(found.address)
            message = message.format(facts["address"])
        if "error" in facts:
            message = f"{message}: {facts['error']}"
        self.owner.happened(Note(found.word, message, facts))
        if found.word == sctp.SHUTDOWN_COMP:
            self.ended()  # of which not every stack tells in another way

    def _mind(self, found: Notification) -> None:
        if found.word == sctp.PARTIAL_DELIVERY:
            if self._parts:
                self._parts, self._size = [], 0
                self.owner.dropped("cut-off")
        elif found.word == sctp.COMM_LOST:
            self._fate = Loss(Reason.RESET, found.facts.get("error", ""))
        elif found.word in (sctp.COMM_UP, sctp.RESTART):
            self.streams_out = found.facts["streams"]["out"]

    def ended(self) -> None:
        """Nothing more can be read."""
        self._over(self._fate or Loss(Reason.FIN))

    def failed(self, error: OSError) -> None:
        """The stack has an error for us, which is the end."""
        loss = loss_of(error)
        if self._fate is not None and loss.reason is Reason.RESET:
            loss = Loss(Reason.RESET, self._fate.detail or loss.detail)
        self._over(loss)

    # -- writing --------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether messages may be sent."""
        return self.loss is None and self._closing is None

    @property
    def is_full(self) -> bool:
        """Whether what is sent has to wait."""
        return bool(self._queue)

    def send(self, data: bytes, stream: int, ppid: int, unordered: bool) -> bool:
        """Send a message, later if there is no space now; whether it was taken."""
        if self._queue:
            self._queue.append((data, stream, ppid, unordered))
            return True
        try:
            self._link.send(data, stream, ppid, unordered)
        except OSError as error:
            return self._not_sent((data, stream, ppid, unordered), error)
        return True

    def _not_sent(self, message: tuple[bytes, int, int, bool], error: OSError) -> bool:
        if error.errno == errno.EMSGSIZE:
            self.owner.dropped("oversize")
            return False
        self._queue.append(message)
        self.owner.choked()  # until there is space, or the end is heard
        self._blocked(error)
        return True

    def _blocked(self, error: OSError) -> None:
        """
        Sending failed: wait for space, or for the end.

        A peer that shuts down may have sent something before, so that end has to be
        read; other errors are told now, though not in the middle of a write.
        """
        if error.errno == errno.EAGAIN:
            self._watch()
        elif error.errno != errno.EPIPE and self._doom is None:
            self._doom = self._clock.callLater(0, self.failed, error)

    def writable(self) -> None:
        """There may be space now."""
        queue = self._queue
        while queue:
            try:
                self._link.send(*queue[0])
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    self._blocked(error)
                    return
                self.owner.dropped("oversize")
            queue.popleft()
        self._watch()
        if self._closing is not None:
            self._shut()
        else:
            self.owner.eased()

    def unsent(self) -> list[bytes]:
        """What was taken but never handed to the stack."""
        return [data for data, *_ in self._queue]

    # -- the end --------------------------------------------------------------

    def finish(self, loss: Loss) -> None:
        """Deliver what was taken, then shut down."""
        if self.loss is not None or self._closing is not None:
            return
        self._closing = loss
        self._is_reading = True
        self._timer = self._clock.callLater(FLUSH, self.abort, loss)
        self._watch()
        if not self._queue:
            self._shut()

    def _shut(self) -> None:
        if not self._is_shutting:
            self._is_shutting = True
            self._link.shutdown()

    def abort(self, loss: Loss) -> None:
        """Drop everything and tell the peer."""
        if self.loss is None:
            self._end(self._closing or loss, self._link.abort)

    def _over(self, loss: Loss) -> None:
        if self.loss is None:
            self._end(self._closing or loss, self._link.close)

    def _end(self, loss: Loss, let_go: Any) -> None:
        self.loss = loss
        for call in (self._timer, self._doom):
            if call is not None and call.active():
                call.cancel()
        let_go()
        self.owner.over(loss)
        if self.afterwards is not None:
            self.afterwards()
