"""
What every WebSocket connection does on top of autobahn's protocol, on either side.

autobahn frames, checks and answers.  Everything with a clock is done here, because its
timers run on a reactor of their own.  See ``websocket_autobahn`` for the two sides.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from l7mp.errors import Loss, Reason
from l7mp.streams.backlog import backlog
from l7mp.streams.heartbeat import Heartbeat
from l7mp.streams.transport import FLUSH, loss_of
from l7mp.streams.websocket import Settings, WebSocketStream
from l7mp.wire.closing import loss_of_close
from l7mp.wire.deflate import NAME, Agreement, Deflate, DeflateError
from l7mp.wire.wsframe import BINARY, COMPRESSED, TEXT, whole

MAX_HEAD = 64 << 10
"""Octets of a request or response head that are waited for."""

TOO_LONG = 1009

SHORT = 4096
"""Octets up to which we frame a message faster than autobahn does."""

MAX_PONGS = 1000
"""How many pongs may wait for a peer that asks, and does not read what it is told."""


class Silence:
    """autobahn has something to say about every frame, and we have nothing to add."""

    def _nothing(self, *args: object, **kwargs: object) -> None:
        pass

    trace = debug = info = warn = error = critical = failure = _nothing


class Inflation:
    """A ``Deflate`` as autobahn wants it to inflate; its own could not be bounded."""

    EXTENSION_NAME = NAME

    def __init__(self, deflate: Deflate) -> None:
        self.start_decompress_message = deflate.begin
        self.end_decompress_message = deflate.finish
        self._inflate = deflate.inflate

    def decompress_message_data(
        self, data: bytes, max_output_len: int | None = None
    ) -> bytes:
        return self._inflate(data)


class ConnectionLink:
    """
    What autobahn's protocols of both sides do differently here.

    Mixed into them: they call the camelCase methods.
    """

    log = Silence()
    stream: WebSocketStream | None = None
    octets_out = 0
    """Octets given to the transport, a running number."""

    # What autobahn and Twisted bring along.
    factory: Any
    transport: Any
    state: int
    STATE_CONNECTING: int
    STATE_OPEN: int
    STATE_CLOSED: int
    data: bytes
    message_is_binary: bool
    failedByMe: bool
    closedByMe: bool
    wasClean: bool
    localCloseReason: bytes | None
    remoteCloseCode: int | None
    remoteCloseReason: str | None
    consumeData: Callable[[], None]
    sendPing: Callable[[], None]
    sendPong: Callable[[bytes], None]
    sendFrame: Callable[..., None]
    _fail_connection: Callable[[int, str], None]

    _timer: IDelayedCall | None = None
    _waited = 0.0
    _heartbeat: Heartbeat | None = None
    _deflate: Deflate | None = None
    _perMessageCompress: Inflation | None
    _message: bytes | bytearray = b""
    _pongs = 0

    @property
    def settings(self) -> Settings:
        """What was chosen for this connection."""
        settings: Settings = self.factory.settings
        return settings

    @property
    def takes_messages(self) -> bool:
        """Whether messages can be sent."""
        return self.state == self.STATE_OPEN

    def backlog(self) -> int:
        """Octets that the transport holds because the peer is slow."""
        return backlog(self.transport)

    # -- coming up ------------------------------------------------------------

    def connectionMade(self) -> None:
        self._wait(self.settings.handshake)
        super().connectionMade()  # type: ignore[misc]

    def _compress(self, agreed: Agreement, *, is_server: bool) -> None:
        """Both sides have agreed to compress messages."""
        limit = self.settings.max_message
        self._deflate = Deflate(agreed, is_server=is_server, limit=limit)
        self._perMessageCompress = Inflation(self._deflate)

    def _born(self) -> WebSocketStream:
        """The handshake is done."""
        self._wait(None)
        settings, clock = self.settings, self.factory.reactor
        self.stream = WebSocketStream(self, clock, settings)
        if settings.ping_interval:
            self._heartbeat = Heartbeat(
                clock,
                settings.ping_interval,
                settings.ping_timeout,
                self.sendPing,
                self._silent,
            )
        return self.stream

    # -- receiving --------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        if self._heartbeat is not None:
            self._heartbeat.heard = True
        if self.state == self.STATE_CLOSED:
            return
        if self.state == self.STATE_CONNECTING and len(self.data) > MAX_HEAD:
            self._refuse_head()
            return
        self.data += data
        try:
            self.consumeData()
        except DeflateError as error:
            self._fail_connection(error.code, str(error))
        if self.failedByMe and self.stream is not None:
            why = (self.localCloseReason or b"").decode("utf-8", "replace")
            self.stream.gone(Loss(Reason.PROTOCOL, why))

    def _refuse_head(self) -> None:
        raise NotImplementedError

    def onMessageFrameData(self, payload: bytes) -> None:
        # autobahn keeps every piece; of crumbs that is many times what they hold.
        if self.failedByMe:
            return
        if not self._message:
            self._message = payload
        elif isinstance(self._message, bytearray):
            self._message += payload
        else:
            self._message = bytearray(self._message) + payload

    def onMessageEnd(self) -> None:
        message, self._message = bytes(self._message), b""
        if self.stream is None or self.failedByMe:
            return
        limit = self.settings.max_message
        if len(message) > limit:  # autobahn's limit has room for what deflate adds
            self._fail_connection(
                TOO_LONG, f"the message is longer than {limit} octets"
            )
        else:
            self.stream.received(message, not self.message_is_binary)

    def onCloseFrame(self, code: int | None, reasonRaw: bytes | None) -> bool | None:
        skip: bool | None = super().onCloseFrame(code, reasonRaw)  # type: ignore[misc]
        if self.stream is not None and not self.failedByMe:
            loss = loss_of_close(self.remoteCloseCode, self.remoteCloseReason)
            self.stream.gone(loss)
        return skip

    def onPing(self, payload: bytes) -> None:
        # Not all pings need an answer of their own (RFC 6455, section 5.5.3).
        self._pongs = self._pongs + 1 if self.backlog() else 0
        if self.takes_messages and self._pongs < MAX_PONGS:
            self.sendPong(payload)

    def _silent(self) -> None:
        """No sign of life in time; a peer that we do not listen to cannot give one."""
        assert self.stream is not None, "heartbeats begin with the stream"
        if not self.stream.is_deaf:
            seconds = self.settings.ping_timeout
            what = f"no answer to a ping within {seconds:g} s"
            self.stream.gone(Loss(Reason.TIMEOUT, what))
            self.hang_up()

    # -- sending ----------------------------------------------------------------

    def send(self, data: bytes, *, is_text: bool) -> None:
        """Send a message."""
        opcode, reserved = TEXT if is_text else BINARY, 0
        deflate = self._deflate
        if deflate is not None and deflate.compresses:
            data, reserved = deflate.compress(data), COMPRESSED
        if len(data) > SHORT:
            self.sendFrame(opcode, data, rsv=reserved)
        else:
            mask = b"" if self.factory.isServer else os.urandom(4)
            self.sendData(whole(opcode, data, mask, reserved))

    def say_close(self, code: int, text: bytes) -> None:
        """Begin the closing handshake, unless it has begun."""
        self.sendCloseFrame(code, text or None)

    def sendData(
        self, data: bytes, sync: bool = False, chopsize: int | None = None
    ) -> None:
        self.octets_out += len(data)
        self.transport.write(data)

    def sendCloseFrame(
        self,
        code: int | None = None,
        reasonUtf8: bytes | None = None,
        isReply: bool = False,
    ) -> None:
        if self.takes_messages:
            self._stop_heartbeat()
            self._wait(self.settings.answer)
        super().sendCloseFrame(code, reasonUtf8, isReply)  # type: ignore[misc]

    # -- going down -------------------------------------------------------------

    def hang_up(self) -> None:
        """Drop the connection now."""
        self.transport.abortConnection()

    def _closeConnection(self, abort: bool = False) -> None:
        # autobahn's server resets a connection whose peer has answered its close.
        if abort and not self.wasClean:
            self.transport.abortConnection()
        else:
            self.transport.loseConnection()

    def _wait(self, seconds: float | None) -> None:
        """Give up after so many seconds, or not at all."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer, self._waited = None, 0.0
        if seconds is not None:
            self._timer = self.factory.reactor.callLater(seconds, self._late, seconds)

    def _late(self, seconds: float) -> None:
        self._waited += seconds
        if self._may_take_longer():
            self._timer = self.factory.reactor.callLater(seconds, self._late, seconds)
            return
        if self.stream is not None:
            self.stream.gone(Loss(Reason.FIN, "no answer to the close frame"))
        self.hang_up()

    def _may_take_longer(self) -> bool:
        """Whether it is not, or not yet, the peer's fault that a close takes long."""
        if self.stream is None:
            return False
        if self.stream.loss is None and self.stream.is_deaf:
            return True
        return self.backlog() > 0 and self._waited < FLUSH

    def _stop_heartbeat(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.stop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._wait(None)
        self._stop_heartbeat()
        super().connectionLost(reason)  # type: ignore[misc]
        if self.stream is not None:
            self.stream.gone(self._loss_of(reason))

    def _loss_of(self, reason: Failure) -> Loss:
        """What it means that the connection went without a close frame (code 1006)."""
        if reason.check(ConnectionDone):
            done = Reason.FIN if self.closedByMe else Reason.RESET
            return Loss(done, "the peer closed without a close frame")
        return loss_of(reason)
