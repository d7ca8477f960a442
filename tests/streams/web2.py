"""A client of HTTP/2 for the server in ``web``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

from tests.streams.loopback import until
from tests.streams.web import Reply, Web

Fields = list[tuple[str, str]]


class Client2:
    """Somebody who speaks HTTP/2 by h2, over a plain socket."""

    def __init__(self, host: Web, *, reads: bool = True, **more: Any) -> None:
        self.tcp = host.client(**more)
        self.wire = H2Connection(H2Configuration(header_encoding="utf-8"))
        self.wire.initiate_connection()
        self.reads = reads
        """Whether it lets the server send more for what it got."""
        self.replies: dict[int, Reply] = defaultdict(Reply)
        self.reset: dict[int, int] = {}
        self.goodbye: int | None = None
        self.push()

    def push(self) -> None:
        """Send what there is to send."""
        self.tcp.send(self.wire.data_to_send())

    def pull(self) -> None:
        """Take in what has come."""
        got, self.tcp.got = self.tcp.pull(), b""
        if self.goodbye is None:
            for event in self.wire.receive_data(got):
                self.hear(event)
        self.push()

    def hear(self, event: Any) -> None:
        """Note one event."""
        if isinstance(event, ConnectionTerminated):
            self.goodbye = int(event.error_code or 0)
            return
        number = getattr(event, "stream_id", 0) or 0
        reply = self.replies[number]
        if isinstance(event, InformationalResponseReceived):
            fields = {str(name): str(value) for name, value in event.headers}
            reply.informed.append(int(fields[":status"]))
        elif isinstance(event, ResponseReceived):
            fields = {str(name): str(value) for name, value in event.headers}
            reply.status, reply.headers = int(fields.pop(":status")), fields
        elif isinstance(event, TrailersReceived):
            reply.trailers = {str(name): str(value) for name, value in event.headers}
        elif isinstance(event, DataReceived):
            reply.body += event.data
            if self.reads:
                self.wire.acknowledge_received_data(
                    event.flow_controlled_length, number
                )
        elif isinstance(event, StreamEnded):
            reply.complete = True
        elif isinstance(event, StreamReset):
            self.reset[number] = int(event.error_code)

    def request(
        self,
        method: str = "GET",
        *more: tuple[str, str],
        path: str = "/",
        end: bool = True,
    ) -> int:
        """Begin a stream; its number."""
        number = self.wire.get_next_available_stream_id()
        own = [(":method", method), (":authority", "x"), (":scheme", "http")]
        path_too = [(":path", path)] if method != "CONNECT" else []
        if method == "CONNECT":
            own.pop()
        self.wire.send_headers(number, [*own, *path_too, *more], end_stream=end)
        self.push()
        return number

    def data(self, number: int, data: bytes, *, end: bool = False) -> None:
        """Send some of the body of a request."""
        self.wire.send_data(number, data, end_stream=end)
        self.push()

    async def sees(self, ready: Callable[[], Any]) -> Any:
        """Run until ``ready``."""

        def pulled() -> Any:
            self.pull()
            return ready()

        return await until(pulled)

    async def reply(self, number: int) -> Reply:
        """The complete response of a stream."""
        await self.sees(
            lambda: number in self.replies and self.replies[number].complete
        )
        return self.replies[number]
