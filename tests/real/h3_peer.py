"""
HTTP/3 by aioquic, as a process that tells what happens in lines of JSON.

    python -m tests.real.h3_peer server CERTIFICATE        # with its key in the file
    python -m tests.real.h3_peer client PORT AUTHORITY SIZE
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections import defaultdict
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, QuicEvent

Headers = list[tuple[bytes, bytes]]


def tell(event: str, **facts: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


class Peer(QuicConnectionProtocol):
    """Gathers messages, by stream, until they end."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.http: H3Connection | None = None
        self.headers: dict[int, Headers] = {}
        self.bodies: dict[int, bytes] = defaultdict(bytes)

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ProtocolNegotiated):
            self.http = H3Connection(self._quic)
        if self.http is not None:
            for one in self.http.handle_event(event):
                self.heard(one)

    def heard(self, event: H3Event) -> None:
        if not isinstance(event, HeadersReceived | DataReceived):
            return
        if isinstance(event, HeadersReceived):
            self.headers[event.stream_id] = event.headers
        else:
            self.bodies[event.stream_id] += event.data
        if event.stream_ended:
            self.complete(event.stream_id)

    def complete(self, stream: int) -> None:
        raise NotImplementedError

    def say(self, stream: int, headers: Headers, body: bytes) -> None:
        assert self.http is not None
        self.http.send_headers(stream, headers)
        self.http.send_data(stream, body, end_stream=True)
        self.transmit()


class Server(Peer):
    """Answers with what it was sent, twice."""

    def complete(self, stream: int) -> None:
        asked = dict(self.headers[stream])
        body = self.bodies[stream]
        path = asked[b":path"].decode()
        tell("request", path=path, size=len(body), sha256=digest(body))
        self.say(stream, [(b":status", b"200"), (b"x-path", path.encode())], body * 2)


class Client(Peer):
    """Asks once."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def complete(self, stream: int) -> None:
        self.done.set_result(stream)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def serving(certificate: str) -> None:
    configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
    configuration.load_cert_chain(certificate, certificate)
    server = await serve(
        "127.0.0.1", 0, configuration=configuration, create_protocol=Server
    )
    transport: Any = server._transport
    tell("listening", port=transport.get_extra_info("sockname")[1])
    await asyncio.Event().wait()


async def asking(port: int, authority: str, size: int) -> None:
    configuration = QuicConfiguration(
        alpn_protocols=H3_ALPN, server_name="localhost", cafile=authority
    )
    body = os.urandom(size)
    dialing: Any = connect(
        "127.0.0.1", port, configuration=configuration, create_protocol=Client
    )
    async with dialing as client:
        stream = client._quic.get_next_available_stream_id()
        headers = [
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", b"localhost"),
            (b":path", b"/through?a=tunnel"),
        ]
        client.say(stream, headers, body)
        answered = await asyncio.wait_for(client.done, 20)
        heard = dict(client.headers[answered])
        tell(
            "response",
            status=int(heard[b":status"]),
            path=heard[b"x-path"].decode(),
            size=len(client.bodies[answered]),
            same=client.bodies[answered] == body * 2,
            sha256=digest(body),
        )


if __name__ == "__main__":
    role, *rest = sys.argv[1:]
    if role == "server":
        asyncio.run(serving(rest[0]))
    else:
        asyncio.run(asking(int(rest[0]), rest[1], int(rest[2])))
