"""
The server's side of an HTTP/2 connection (RFC 9113): exchanges beside each other.

What a stream may send is bounded by its window, and what waits for a client by rounds:
no round of responses begins before the one before has left, and in a round every
stream has its turn.  Needs the extra ``http2``.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from l7mp.errors import Loss, Reason
from l7mp.interfaces import Metadata
from l7mp.streams.http import Headers, with_origin
from l7mp.streams.http2lane import Lane
from l7mp.streams.httpengine import USUAL, Engine, Serve, Settings
from l7mp.wire.httpmeta import request_metadata
from l7mp.wire.httprequest import CONNECT

try:
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.errors import ErrorCodes
    from h2.events import (
        ConnectionTerminated,
        DataReceived,
        Event,
        RequestReceived,
        StreamEnded,
        StreamReset,
        TrailersReceived,
    )
    from h2.exceptions import ProtocolError
    from h2.settings import SettingCodes
except ImportError:  # the extra is not installed
    IS_AVAILABLE = False
else:
    IS_AVAILABLE = True

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client begins with (RFC 9113, section 3.4)."""

ROUND = 256 << 10
"""Bytes of responses that are given to the transport at once, at most."""

MAX_BACKLOG = 4 * ROUND
"""Bytes that may wait in the transport; beyond, a client provokes and never reads."""

RESETS = 200
"""Streams that a client may reset at once, and then again every minute."""


class HTTP2(Engine):
    """Many exchanges on one connection."""

    def __init__(
        self, transport: Any, clock: Any, serve: Serve, settings: Settings = USUAL
    ) -> None:
        super().__init__(transport, clock, serve, settings)
        self._lanes: dict[int, Lane] = {}
        self._turns: deque[Lane] = deque()
        """Who has something to send, in the order of turns."""
        self._done: list[Lane] = []
        """Whose last frame is in the transport."""
        self._turning = self._draining = False
        self._budget = ROUND
        self._backlog = 0
        self._resets, self._reset_time = float(RESETS), clock.seconds()
        self._newest = 0
        self._wire = H2Connection(H2Configuration(client_side=False))
        self._wire.initiate_connection()
        if settings.upgrade:
            self._wire.update_settings({SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
        # One stalled stream must not use up the window of all.
        ours = self._wire.local_settings
        window = ours.max_concurrent_streams * ours.initial_window_size
        self._wire.increment_flow_control_window(window)
        self._set_timer(settings.head_timeout, self._bow_out)

    # -- what the protocol says -----------------------------------------------------

    def heard(self, data: bytes) -> None:
        try:
            events = self._wire.receive_data(data)
        except ProtocolError as error:
            self._give_up(Loss(Reason.PROTOCOL, str(error)))
            return
        for event in events:
            if not self._leaving:
                self._act(event)
        self._turn()

    def _act(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._requested(event)
        elif isinstance(event, DataReceived):
            self._body(event)
        elif isinstance(event, TrailersReceived | StreamEnded):
            self._ended(event)
        elif isinstance(event, StreamReset):
            self._reset(event)
        elif isinstance(event, ConnectionTerminated):
            self.client_ended()  # and h2 says nothing more either

    def client_ended(self) -> None:
        # A client that can widen no window any more does not mean to stay.
        self.broken(Loss(Reason.RESET, "the client left"))
        self._leave()

    def broken(self, loss: Loss) -> None:
        lanes, self._lanes = self._lanes, {}
        for lane in lanes.values():
            lane.over(loss)

    def retire(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._write(_goaway(self._newest))
        self._turn()

    def _bow_out(self) -> None:
        if not self._lanes:
            self.retire()

    def _give_up(self, loss: Loss) -> None:
        """The client cannot be talked with."""
        self._flush()
        self.broken(loss)
        self._leave()

    # -- requests -----------------------------------------------------------------------

    def _requested(self, event: RequestReceived) -> None:
        number = event.stream_id
        if self._stopping:
            with suppress(ProtocolError):
                self._wire.reset_stream(number, ErrorCodes.REFUSED_STREAM)
            return
        self._newest = number
        about = _request(event.headers)
        about["body"] = event.stream_ended is None
        self._ask_for_tunnel(about)
        expects = about["headers"].get("expect", "").lower() == "100-continue"
        lane = self._lanes[number] = Lane(self, number, expects)
        lane.exchange = exchange = self._exchange_of(lane, about)
        self._set_timer(None)
        lane.watch(self._settings.body_timeout)
        self._admit(exchange)

    def _ask_for_tunnel(self, about: Metadata) -> None:
        """CONNECT, or what RFC 8441 makes of Upgrade, where there may be any."""
        protocol = about.pop("protocol", "")
        if about["method"] != "CONNECT" or not about["body"]:
            return
        if not protocol and self._settings.tunnel:
            about.update(tunnel=CONNECT, body=False)
        elif protocol and self._settings.upgrade:
            about.update(method="GET", tunnel=protocol, body=False)

    def _body(self, event: DataReceived) -> None:
        lane = self._lanes.get(event.stream_id)
        if lane is not None:
            lane.data(event.data, event.flow_controlled_length)
        else:
            self._acknowledge(event.stream_id, event.flow_controlled_length)

    def _ended(self, event: TrailersReceived | StreamEnded) -> None:
        lane = self._lanes.get(event.stream_id)
        if lane is None:
            return
        if isinstance(event, TrailersReceived):
            lane.trailers = list(event.headers)
        else:
            lane.ended()

    def _reset(self, event: StreamReset) -> None:
        """The client gave up; one that makes a habit of it is shown the door."""
        self._forget(event.stream_id, Loss(Reason.RESET, "the client reset it"))
        now = self._clock.seconds()
        since, self._reset_time = max(0.0, now - self._reset_time), now
        self._resets = min(RESETS, self._resets + since * RESETS / 60) - 1
        if self._resets < 0:
            self._wire.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            self._give_up(Loss(Reason.PROTOCOL, "too many streams were reset"))

    def _forget(self, number: int, loss: Loss) -> None:
        lane = self._lanes.pop(number, None)
        if lane is not None:
            lane.outbox.clear()
            lane.last = None
            lane.over(loss)

    # -- for the lanes --------------------------------------------------------------------

    def later(self, seconds: float, act: Callable[[], object]) -> IDelayedCall | None:
        if self._lost:
            return None
        call: IDelayedCall = self._clock.callLater(seconds, act)
        return call

    def taken(self, lane: Lane, charged: int) -> None:
        self._acknowledge(lane.number, charged)
        self._flush()

    def _acknowledge(self, number: int, charged: int) -> None:
        if charged and not self._leaving:
            with suppress(ProtocolError):
                self._wire.acknowledge_received_data(charged, number)

    def _tell(self, lane: Lane, tell: Callable[..., None], *what: Any) -> bool:
        """
        Make a frame, unless h2 knows already that the client reset the stream.

        It may: all that was received is read before any of it is acted upon.
        """
        if self._lanes.get(lane.number) is not lane or self._leaving:
            return False
        try:
            tell(lane.number, *what)
        except ProtocolError:
            self._forget(lane.number, Loss(Reason.RESET, "the client reset it"))
            return False
        return True

    def inform(self, lane: Lane, status: int, headers: Headers) -> None:
        head = [(b":status", b"%d" % status), *headers]
        self._tell(lane, self._wire.send_headers, head)
        self._flush()

    def begin(self, lane: Lane, status: int, headers: Headers) -> None:
        every = with_origin(headers, self._clock.seconds())
        sent = [header for header in every if header[0] != b"connection"]
        head = [(b":status", b"%d" % status), *sent]
        self._tell(lane, self._wire.send_headers, head)
        self._flush()

    def ready(self, lane: Lane) -> None:
        if lane not in self._turns:
            self._turns.append(lane)
        self._turn()

    def end_half(self, lane: Lane) -> None:
        if lane.last_fields:
            self._tell(lane, self._send_trailers, lane.last_fields)
        else:
            self._tell(lane, self._wire.end_stream)

    def _send_trailers(self, number: int, trailers: Headers) -> None:
        self._wire.send_headers(number, trailers, end_stream=True)

    def end(self, lane: Lane) -> None:
        if not lane.is_half_ended:
            self.end_half(lane)
        if not lane.request_ended:
            self._tell(lane, self._wire.reset_stream, ErrorCodes.NO_ERROR)

    def reset(self, lane: Lane) -> None:
        self._tell(lane, self._wire.reset_stream, ErrorCodes.INTERNAL_ERROR)

    def drop(self, lane: Lane) -> None:
        lane.stays = False
        if lane not in self._done:
            self.reset(lane)
            self._flush()
        self._forget(lane.number, Loss(Reason.RESET, "dropped"))
        self._rest()

    # -- rounds of sending ------------------------------------------------------------

    def _turn(self) -> None:
        """Give every lane its turn until nobody can send, or the round is full."""
        if self._turning or self._leaving:
            return
        self._turning = True
        stuck = 0
        while self._turns and self._budget > 0 and stuck < len(self._turns):
            lane = self._turns.popleft()
            stuck = 0 if self._send(lane) else stuck + 1
            if lane.outbox and lane not in self._turns:
                self._turns.append(lane)
        self._turning = False
        self._flush()
        self._rest()

    def _send(self, lane: Lane) -> bool:
        """One frame of a lane; false if the client's window is shut."""
        box = lane.outbox
        if self._lanes.get(lane.number) is not lane:
            box.clear()
        size = min(len(box), self._window(lane))
        if size and self._tell(lane, self._wire.send_data, bytes(box[:size])):
            del box[:size]
            self._budget -= size
        if box:
            return size > 0
        last, lane.last = lane.last, None
        if last is not None:
            last(lane)
            if not lane.stays:
                self._done.append(lane)
        lane.emptied()
        return True

    def _window(self, lane: Lane) -> int:
        """How much may be sent for a lane now."""
        try:
            window = self._wire.local_flow_control_window(lane.number)
        except ProtocolError:
            return 1  # enough to find out why
        return max(0, min(window, self._wire.max_outbound_frame_size))

    def _flush(self) -> None:
        """Hand the frames to the transport, and hear when they have left."""
        data = self._wire.data_to_send()
        self._backlog += len(data)
        self._write(data)
        if self._backlog > MAX_BACKLOG and not self._lost:
            self._transport.abortConnection()
        elif (self._backlog or self._done) and not (self._draining or self._leaving):
            self._draining = True
            self._when_drained(self._drained)

    def _drained(self) -> None:
        self._draining = False
        self._budget, self._backlog = ROUND, 0
        done, self._done = self._done, []
        for lane in done:
            self._forget(lane.number, Loss(Reason.FIN))
        self._turn()

    def _rest(self) -> None:
        """With no exchange left, leave or wait for the next."""
        if self._lanes or self._draining or self._leaving:
            return
        if self._stopping:
            self._leave()
        elif self._timer is None:
            self._set_timer(self._settings.keep_alive, self._bow_out)


def _request(headers: Any) -> dict[str, Any]:
    """What metadata has under ``/HTTP``, from the fields of a request."""
    said = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in headers
    ]
    pseudo = {name: value for name, value in said if name.startswith(":")}
    named = [(name, value) for name, value in said if not name.startswith(":")]
    authority = pseudo.get(":authority")
    if authority is not None and all(name != "host" for name, _ in named):
        named.insert(0, ("host", authority))
    target = pseudo.get(":path") or authority or ""
    about = request_metadata(pseudo[":method"], target, "2.0", named)
    if ":protocol" in pseudo:
        path = request_metadata("GET", target, "2.0", ())
        about.update(url=path["url"], protocol=pseudo[":protocol"].lower())
    return about


def _goaway(newest: int) -> bytes:
    """
    A frame that announces our end while streams are served (RFC 9113, section 6.8).

    h2 would send nothing more after one of its own.
    """
    kind, flags, stream = 7, 0, 0
    length = struct.pack(">I", 8)[1:]
    return length + struct.pack(">BBIII", kind, flags, stream, newest, 0)
