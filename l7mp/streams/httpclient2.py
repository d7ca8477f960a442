"""
The client's side of an HTTP/2 connection (RFC 9113): calls beside each other.

Needs the extra ``http2``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from l7mp.errors import Loss, Reason
from l7mp.streams.http import Headers, encoded
from l7mp.streams.httpcall import REFUSED, Call
from l7mp.streams.httpclient2lane import Lane
from l7mp.wire.http2frames import Goaway, GoawaySieve
from l7mp.wire.httprequest import CONNECT, Request
from l7mp.wire.httpwebsocket import KEY

try:
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.errors import ErrorCodes
    from h2.events import (
        DataReceived,
        Event,
        InformationalResponseReceived,
        RemoteSettingsChanged,
        ResponseReceived,
        StreamEnded,
        StreamReset,
        TrailersReceived,
        WindowUpdated,
    )
    from h2.exceptions import ProtocolError
    from h2.settings import SettingCodes
except ImportError:  # the extra is not installed
    IS_AVAILABLE = False
else:
    IS_AVAILABLE = True

FRAME_TYPE, SETTINGS = 4, 4
"""Of a frame's first octets the one that says its type, and what the first must say."""

MAX_UNREAD = 1 << 20
"""Bytes of answers to a server that reads nothing; beyond, it means no good."""

MAX_STREAMS = 100
"""Calls on one connection, at most; a server may allow fewer."""


@implementer(IPushProducer)
class Client2:
    """Many calls on one connection."""

    def __init__(
        self, transport: Any, clock: Any, rested: Callable[[Client2], None]
    ) -> None:
        """``rested`` hears that it carries no call any more, or can carry another."""
        self._transport, self._rested = transport, rested
        self._lanes: dict[int, Lane] = {}
        self._ready: deque[Lane] = deque()
        self._sieve = GoawaySieve()
        self._is_closing = self._is_congested = self._sending = self._lost = False
        self._is_greeted = False
        self._unread = 0
        self._first = b""
        self._waiting: list[Call] = []
        """Calls that depend on settings of the server's which are not known yet."""
        self._wire = H2Connection(H2Configuration(client_side=True))
        self._wire.initiate_connection()
        self._wire.update_settings({SettingCodes.ENABLE_PUSH: 0})
        # One stalled call must not use up the window of all.
        window = MAX_STREAMS * self._wire.local_settings.initial_window_size
        self._wire.increment_flow_control_window(window)
        transport.registerProducer(self, True)
        self._flush()

    # -- what the pool says -----------------------------------------------------------

    @property
    def is_fit(self) -> bool:
        """Whether another call may be carried."""
        if self._is_closing or self._lost:
            return False
        allowed = self._wire.remote_settings.max_concurrent_streams
        return len(self._lanes) < min(MAX_STREAMS, allowed)

    @property
    def is_idle(self) -> bool:
        """Whether it carries no call."""
        return not self._lanes

    def begin(self, call: Call) -> None:
        """Carry a call."""
        request = call.request
        if request.is_upgrade and not self._is_greeted:
            self._waiting.append(call)
            return
        if (
            request.is_upgrade
            and not self._wire.remote_settings.enable_connect_protocol
        ):
            call.gone(Loss(Reason.REFUSED, "the server upgrades nothing over HTTP/2"))
            return
        number = self._wire.get_next_available_stream_id()
        ends = not (request.has_body or request.tunnel)
        self._wire.send_headers(number, _fields(request), end_stream=ends)
        lane = self._lanes[number] = Lane(self, number, call)
        lane.ends = lane.request_ended = ends
        self._flush()
        call.carry(lane)

    def leave(self) -> None:
        """Nobody needs the connection any more."""
        self._is_closing = True
        if not self._lost:
            self._transport.unregisterProducer()
            with suppress(ProtocolError):
                self._wire.close_connection()
            self._transport.write(self._wire.data_to_send())
            self._transport.loseConnection()

    # -- what the connection says ----------------------------------------------------

    def received(self, data: bytes) -> None:
        """The server sent ``data``."""
        if not self._is_greeted and not self._greets(data):
            self._break(Loss(Reason.PROTOCOL, "the server does not speak HTTP/2"))
            return
        passed, farewells = self._sieve.feed(data)
        try:
            events = self._wire.receive_data(passed)
        except ProtocolError as error:
            self._flush()
            self._break(Loss(Reason.PROTOCOL, str(error)))
            return
        for event in events:
            self._act(event)
        for farewell in farewells:
            self._dismissed(farewell)
        self._pump()

    def _greets(self, data: bytes) -> bool:
        """Whether a server that begins so may speak HTTP/2 (RFC 9113, section 3.4)."""
        self._first = (self._first + data)[:FRAME_TYPE]
        return len(self._first) < FRAME_TYPE or self._first[-1] == SETTINGS

    def _act(self, event: Event) -> None:
        number = getattr(event, "stream_id", None) or 0
        lane = self._lanes.get(number)
        if isinstance(event, WindowUpdated | RemoteSettingsChanged):
            if not isinstance(event, WindowUpdated):
                self._greeted()
            for one in [lane] if lane else list(self._lanes.values()):
                self._queue(one)
        elif lane is not None:
            _pass_on(event, lane)
        elif isinstance(event, DataReceived):
            self._acknowledge(number, event.flow_controlled_length)

    def _greeted(self) -> None:
        self._is_greeted = True
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            if not call.is_over:
                self.begin(call)

    def _dismissed(self, farewell: Goaway) -> None:
        """The server takes no more calls; what it did not take is made elsewhere."""
        self._is_closing = True
        loss = Loss(Reason.RESET, f"the server said goodbye, code {farewell.code}")
        for number, lane in list(self._lanes.items()):
            if number > farewell.last:
                self._lanes.pop(number)
                lane.call.gone(loss, tries=REFUSED)
        self._rest()

    def peer_ended(self) -> None:
        """The server will send nothing more, which no server means to be half."""
        self._break(Loss(Reason.RESET, "the server left"))

    def flushed(self) -> None:
        """Our end has left."""

    def lost(self, loss: Loss) -> None:
        """The connection is no more."""
        self._lost = True
        self._end(Loss(Reason.RESET, loss.detail or "the connection is gone"))

    def _break(self, loss: Loss) -> None:
        self._is_closing = True
        if not self._lost:
            self._transport.unregisterProducer()
            self._transport.abortConnection()
        self._end(loss)

    def _end(self, loss: Loss) -> None:
        """Tell every call, after what came for it."""
        self._is_closing = True
        lanes, self._lanes = self._lanes, {}
        waiting, self._waiting = self._waiting, []
        for lane in lanes.values():
            lane.arrived(lane.lost, loss, lane.tries)
        for call in waiting:
            call.gone(loss)

    # -- for the lanes --------------------------------------------------------------------

    def taken(self, lane: Lane, charged: int) -> None:
        """A call took data: the server may send as much again."""
        self._acknowledge(lane.number, charged)
        self._flush()

    def _acknowledge(self, number: int, charged: int) -> None:
        if charged and not self._lost:
            with suppress(ProtocolError):
                self._wire.acknowledge_received_data(charged, number)

    def ready(self, lane: Lane) -> None:
        """A lane has something to send."""
        self._queue(lane)
        self._pump()

    def checked(self, lane: Lane) -> None:
        """Something has ended; the lane goes when both directions have."""
        is_left = lane.call.is_tunnel and lane.call.is_over
        if lane.request_ended and (lane.response_ended or is_left):
            self.cancel(lane)
            if lane.call.is_tunnel:
                lane.call.gone(Loss(Reason.FIN))

    def forget(self, lane: Lane) -> None:
        """The stream is no more."""
        if self._lanes.pop(lane.number, None) is not None:
            lane.outbox.clear()
            self._rest()

    def cancel(self, lane: Lane) -> None:
        """Reset a stream whose call was given up."""
        ended = lane.request_ended and lane.response_ended
        if lane.number in self._lanes and not self._lost and not ended:
            with suppress(ProtocolError):
                self._wire.reset_stream(lane.number, ErrorCodes.CANCEL)
            self._flush()
        self.forget(lane)

    def _rest(self) -> None:
        if self._lanes or not self._is_closing:
            self._rested(self)
        else:
            self.leave()

    # -- sending ----------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """Twisted's: the transport takes nothing for now."""
        self._is_congested = True

    def resumeProducing(self) -> None:
        """Twisted's: it takes data again."""
        self._is_congested = False
        self._pump()

    def stopProducing(self) -> None:
        """Twisted's: the connection is lost, of which we hear otherwise."""

    def _queue(self, lane: Lane) -> None:
        if (lane.outbox or lane.ends) and lane not in self._ready:
            self._ready.append(lane)

    def _pump(self) -> None:
        """Send what windows and the transport take, a frame of each lane in turn."""
        if self._sending or self._lost:
            return
        self._sending = True
        while self._ready and not self._is_congested:
            lane = self._ready.popleft()
            if self._lanes.get(lane.number) is lane and self._send(lane):
                self._queue(lane)
            self._flush()
        self._sending = False
        self._flush()

    def _send(self, lane: Lane) -> bool:
        """One frame of a lane; whether it may send another."""
        try:
            return self._send_frame(lane)
        except ProtocolError:  # it was reset, of which we read in a moment
            lane.outbox.clear()
            return False

    def _send_frame(self, lane: Lane) -> bool:
        box, number = lane.outbox, lane.number
        if box:
            window = self._wire.local_flow_control_window(number)
            size = min(len(box), window, self._wire.max_outbound_frame_size)
            if size <= 0:
                return False
            self._wire.send_data(number, bytes(box[:size]))
            del box[:size]
        if box:
            return True
        if lane.ends and not lane.request_ended:
            lane.request_ended = True
            if lane.last_fields:
                self._wire.send_headers(number, lane.last_fields, end_stream=True)
            else:
                self._wire.end_stream(number)
            self._flush()
            self.checked(lane)
        else:
            lane.emptied()
        return False

    def _flush(self) -> None:
        data = self._wire.data_to_send()
        if not data or self._lost:
            return
        self._transport.write(data)
        self._unread = self._unread + len(data) if self._is_congested else 0
        if self._unread > MAX_UNREAD:
            self._break(Loss(Reason.PROTOCOL, "the server asks and never listens"))


def _pass_on(event: Event, lane: Lane) -> None:
    """Give a lane what is meant for its call."""
    if isinstance(event, DataReceived):
        lane.arrived(lane.data, event.data, event.flow_controlled_length)
    elif isinstance(event, ResponseReceived):
        lane.arrived(lane.head, *_head(event.headers))
    elif isinstance(event, InformationalResponseReceived):
        lane.arrived(lane.inform, *_head(event.headers))
    elif isinstance(event, TrailersReceived):
        lane.arrived(lane.trailers, _octets(event.headers))
    elif isinstance(event, StreamEnded):
        lane.arrived(lane.ended)
    elif isinstance(event, StreamReset):
        code = int(event.error_code or 0)
        loss = Loss(Reason.RESET, f"the server reset the stream with code {code}")
        refused = code == int(ErrorCodes.REFUSED_STREAM)
        lane.arrived(lane.lost, loss, REFUSED if refused else 0)


def _octets(fields: Any) -> Headers:
    return [(bytes(name), bytes(value)) for name, value in fields]


def _head(fields: Any) -> tuple[int, Headers]:
    """The status and the headers of a response."""
    headers = _octets(fields)
    status = next(value for name, value in headers if name == b":status")
    return int(status), [one for one in headers if not one[0].startswith(b":")]


def _fields(request: Request) -> Headers:
    extended = request.is_upgrade
    pseudo = [(":method", "CONNECT" if extended else request.method)]
    pseudo.append((":authority", request.authority))
    if request.tunnel != CONNECT:
        pseudo += [(":scheme", request.scheme), (":path", request.target)]
    if extended:
        pseudo.append((":protocol", request.tunnel))
    if request.trailers:
        pseudo.append(("te", "trailers"))
    if request.length is not None:
        pseudo.append(("content-length", str(request.length)))
    if request.expects:
        pseudo.append(("expect", "100-continue"))
    headers = [(name.lower(), value) for name, value in request.headers]
    return encoded([*pseudo, *(one for one in headers if one[0] != KEY)])
