"""A request that becomes a tunnel: CONNECT, or a change of protocol by Upgrade."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from l7mp.errors import Loss
from l7mp.interfaces import Metadata
from l7mp.streams.http import Carrier, Exchange, Headers
from l7mp.wire.httprequest import CONNECT
from l7mp.wire.httpwebsocket import accept_headers

SWITCHING = 101
"""Switching Protocols (RFC 9110, section 15.2.2)."""


class TunnelExchange(Exchange):
    """
    A tunnel, from the moment when the session is connected.

    What the destination describes decides: the head that opens a tunnel opens this
    one, any other is an ordinary response.  A destination that describes nothing is
    one that knows nothing of HTTP, and the tunnel is open as soon as data may flow.
    """

    half_close = True

    def __init__(self, carrier: Carrier, request: Metadata) -> None:
        super().__init__(carrier, request)
        self._is_open = self._is_described = self._write_ended = False

    def _open(self, status: int, headers: Headers) -> None:
        self._begun = self._is_open = True
        self._carrier = self._carrier.open_tunnel(status, headers)

    def _open_if_nobody_objects(self) -> None:
        if self._begun or self._is_described or self.is_over:
            return
        if self.request["tunnel"] == CONNECT:
            self._open(200, [])
        else:
            self._open(SWITCHING, accept_headers(self.request["headers"]))

    def _opens(self, status: Any) -> bool:
        if self.request["tunnel"] == CONNECT:
            return isinstance(status, int) and 200 <= status <= 299
        return bool(status == SWITCHING)

    def _resume(self) -> None:
        self._open_if_nobody_objects()
        super()._resume()

    def body_ended(self, trailers: Headers | None = None) -> None:
        super().body_ended(trailers)
        self._finish_if_done()

    def describe(self, facts: Metadata) -> None:
        """See ``Exchange``; once it is open nothing can be said any more."""
        about = facts.get("HTTP")
        if self._is_open or not isinstance(about, Mapping):
            return
        super().describe(facts)

    def _describe(self, status: Any, fields: Headers | None, now: bool) -> None:
        if self._opens(status):
            self._open(status, fields or [])
        else:
            self._is_described = True
            super()._describe(status, fields, now)

    def write(self, data: bytes) -> None:
        self._open_if_nobody_objects()
        if not self._is_open or self.is_over:
            super().write(data)
            return
        self.messages_out += 1
        self.bytes_out += len(data)
        self._carrier.send(data)

    def end(self) -> None:
        """End what comes out of the tunnel; what goes in does not end with it."""
        self._open_if_nobody_objects()
        if not self._is_open:
            super().end()
        elif not self._write_ended and not self.is_over:
            self._write_ended = True
            self._carrier.unregisterProducer()
            self._carrier.end_half()
            self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self._write_ended and self.read_ended and not self.is_over:
            self._quit(self._finish)

    def close(self, loss: Loss) -> None:
        if not self._is_open or self.is_over:
            super().close(loss)
            return
        self._closing = loss
        self._quit(self._finish)
        self._carrier.hurry()
