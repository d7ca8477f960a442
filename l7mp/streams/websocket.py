"""
WebSocket connections (RFC 6455) as streams of messages.

``l7mp.wire.closing`` says what close codes mean as losses, and which ones we say.  A
stream is lost as soon as the peer has said that it closes; what then remains of the
connection goes in the background.  One that ends of itself goes by closing handshake,
for which the peer has ``Settings.answer`` seconds, more while it still takes what was
written, and as long as it likes while we do not listen.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from twisted.internet.interfaces import IDelayedCall, IProducer, IReactorTime

from l7mp.errors import Loss, Reason
from l7mp.streams.queueing import QueueingStream
from l7mp.wire.closing import close_of_loss

MessageType = Literal["binary", "text", "auto"]
InvalidText = Literal["binary", "drop"]

MAX_MESSAGE = 16 << 20

ONE_READ = 1 << 17
"""Octets that may still come when reading was paused: twice what Twisted reads."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What can be chosen for a connection, on either side."""

    message_type: MessageType = "binary"
    """What is sent: auto is as what was received last, at first binary."""
    invalid_text: InvalidText = "binary"
    """How a message goes that is no text (UTF-8) where text is to be sent, if at all."""
    max_message: int = MAX_MESSAGE
    """Octets of the longest message, in both directions, when it is not compressed."""
    deflate: bool = False
    """Whether messages may be compressed."""
    deflate_context: bool = True
    """Whether compression may remember the messages before."""
    ping_interval: float = 0
    """Seconds after which the peer is asked for a sign of life; 0: never."""
    ping_timeout: float = 0
    """Seconds that it has for one, which is anything it sends; 0: any time."""
    handshake: float = 30.0
    """Seconds that the opening handshake may take."""
    answer: float = 5.0
    """Seconds that the peer has to answer a close frame."""


class Link(Protocol):
    """What a stream needs of a WebSocket connection."""

    octets_out: int
    """Octets given to the transport, a running number."""

    @property
    def transport(self) -> Any:
        """Twisted's transport under the connection."""

    @property
    def takes_messages(self) -> bool:
        """Whether messages can be sent."""

    def backlog(self) -> int:
        """Octets that the transport still holds because the peer is slow."""

    def send(self, data: bytes, *, is_text: bool) -> None:
        """Send a message."""

    def say_close(self, code: int, text: bytes) -> None:
        """Begin the closing handshake, unless it has begun."""

    def hang_up(self) -> None:
        """Drop the connection now."""


class WebSocketStream(QueueingStream):
    """One WebSocket connection, of either side."""

    def __init__(self, link: Link, clock: IReactorTime, settings: Settings) -> None:
        super().__init__(ONE_READ, settings.max_message + ONE_READ)
        self._link, self._clock = link, clock
        self._max_message = settings.max_message
        self._auto = settings.message_type == "auto"
        self._text = settings.message_type == "text"
        self._drops_invalid = settings.invalid_text == "drop"
        self._written: deque[tuple[int, bytes]] = deque()
        self._closing: Loss | None = None
        self._goodbye: IDelayedCall | None = None
        self._over = False
        link.transport.pauseProducing()

    @property
    def transport(self) -> Any:
        """Twisted's transport under the connection."""
        return self._link.transport

    @property
    def is_deaf(self) -> bool:
        """Whether the peer is not heard because we do not listen."""
        return self.is_held and self._closing is None and not self._over

    # -- the read half ------------------------------------------------------

    def _pause(self) -> None:
        if self._closing is None and not self._over:
            self.transport.pauseProducing()

    def _resume_reading(self) -> None:
        self.transport.resumeProducing()

    def received(self, payload: bytes, is_text: bool) -> None:
        """The peer sent a message."""
        if self._auto:
            self._text = is_text
        if self._over or self._closing is not None:
            self._drop("closing")
        else:
            self._arrived(payload)

    # -- the write half -----------------------------------------------------

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self.transport.unregisterProducer()

    def write(self, data: bytes) -> None:
        if not self._link.takes_messages:
            self._drop("closed")
            return
        if len(data) > self._max_message:
            self._drop("oversize")
            return
        # What is no text must not go as such: the peer would have to fail on it (1007).
        is_text = self._text and _is_utf8(data)
        if self._text and self._drops_invalid and not is_text:
            self._drop("not-text")
            return
        self.messages_out += 1
        self.bytes_out += len(data)
        self._link.send(data, is_text=is_text)
        self._written.append((self._link.octets_out, data))
        left = self._link.octets_out - self._link.backlog()
        while self._written and self._written[0][0] <= left:
            self._written.popleft()

    def end(self) -> None:
        """Begin to close; what the peer sends until it answers is still delivered."""
        if self._closing is None and self._goodbye is None and not self._over:
            # A close() in the same turn knows better why, and there is one frame only.
            loss = Loss(Reason.FIN)
            self._goodbye = self._clock.callLater(0, self._say_goodbye, loss)

    def close(self, loss: Loss) -> None:
        if self._close(loss, "closing"):
            self.unregisterProducer()
            self._say_goodbye(loss)
            self.transport.resumeProducing()

    def abort(self, loss: Loss) -> None:
        if loss.reason is Reason.RESET and self._can_be_told:
            self.close(loss)  # in a close frame, which TCP has not
            return
        self._close(loss, "aborted")
        if not self._over:
            self._link.hang_up()

    @property
    def _can_be_told(self) -> bool:
        """Whether a close frame would leave at once."""
        open_ = self._closing is None and not self._over and self._link.takes_messages
        return open_ and not self._link.backlog()

    def _close(self, loss: Loss, why: str) -> bool:
        """Deliver nothing any more; whether there is still something to close."""
        first = self._closing is None and self.loss is None
        self._closing = self._closing or loss
        self._discard_queue(why)
        if self._over:
            self._lose(loss)
        return first and not self._over

    def _say_goodbye(self, loss: Loss) -> None:
        self._spare_goodbye()
        self._link.say_close(*close_of_loss(loss))

    def _spare_goodbye(self) -> None:
        if self._goodbye is not None and self._goodbye.active():
            self._goodbye.cancel()

    def unsent(self) -> list[bytes]:
        gone = self._link.octets_out - self._link.backlog()
        return [data for end, data in self._written if end > gone]

    # -- the end --------------------------------------------------------------

    def gone(self, loss: Loss) -> None:
        """There is nothing more to read or to write; the first reason counts."""
        if not self._over:
            self._over = True
            self._spare_goodbye()
            self.transport.resumeProducing()  # to hear the very end of the connection
            self._lose(self._closing or loss)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
