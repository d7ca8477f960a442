"""WebSocket connections without sockets: one side is ours, the other is bytes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from l7mp.errors import Loss
from l7mp.streams.websocket import Settings, WebSocketStream
from l7mp.streams.websocket_autobahn import ClientFactory, ServerFactory
from l7mp.wire.httpmeta import Target

OWN = IPv4Address("TCP", "192.0.2.1", 80)
PEER = IPv4Address("TCP", "192.0.2.2", 5000)
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

REQUEST = {
    "Host": "l7mp.example",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
    "Sec-WebSocket-Version": "13",
}


def head(line: str, headers: Mapping[str, str | None]) -> bytes:
    """A request or a response; headers that are None are left out."""
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([line, *lines, "", ""]).encode("latin-1")


def request(target: str = "/", **headers: str | None) -> bytes:
    """A client's handshake; underscores in names of headers stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return head(f"GET {target} HTTP/1.1", {**REQUEST, **named})


def frame(
    payload: bytes = b"",
    opcode: int = BINARY,
    *,
    masked: bool = True,
    first: int = 0x80,
) -> bytes:
    """A frame (RFC 6455, section 5.2), masked as a client's has to be."""
    size = len(payload)
    if size < 126:
        length = bytes([size | masked << 7])
    elif size < 1 << 16:
        length = bytes([126 | masked << 7]) + size.to_bytes(2, "big")
    else:
        length = bytes([127 | masked << 7]) + size.to_bytes(8, "big")
    mask = b"\1\2\3\4" if masked else b""
    if masked:
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return bytes([first | opcode]) + length + mask + payload


def close_frame(code: int, text: bytes = b"", *, masked: bool = True) -> bytes:
    return frame(code.to_bytes(2, "big") + text, CLOSE, masked=masked)


def frames(wire: bytes) -> list[tuple[int, bytes]]:
    """Opcodes and payloads of whole frames, masked or not."""
    found = []
    while wire:
        opcode, size, start = wire[0] & 15, wire[1] & 127, 2
        if size > 125:
            more = 2 if size == 126 else 8
            size, start = int.from_bytes(wire[2 : 2 + more], "big"), 2 + more
        mask = bytes(4)
        if wire[1] & 128:
            mask, start = wire[start : start + 4], start + 4
        payload = wire[start : start + size]
        found.append((opcode, bytes(b ^ mask[i % 4] for i, b in enumerate(payload))))
        wire = wire[start + size :]
    return found


class Wire(StringTransport):
    """A transport in memory with what Twisted's TCP transport has on top."""

    def __init__(self) -> None:
        super().__init__(OWN, PEER, lenient=True)
        self.aborted = False
        self.blocked = False
        """Whether the peer takes nothing, so that all must be kept."""
        self.dataBuffer = b""
        self.offset = self._tempDataLen = 0

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.blocked:
            self.dataBuffer += data

    def setTcpNoDelay(self, enabled: bool) -> None:
        assert enabled

    def abortConnection(self) -> None:
        self.aborted = True

    def unregisterProducer(self) -> None:
        self.producer = self.streaming = None

    @property
    def is_reading(self) -> bool:
        return self.producerState == "producing"

    def take(self) -> bytes:
        """What was written since the last time."""
        written: bytes = self.value()
        self.clear()
        return written


@dataclass
class Side:
    """Our side of one connection."""

    clock: Clock
    factory: Any
    masked: bool
    """Whether the peer's frames are."""
    wire: Wire = field(default_factory=Wire)
    streams: list[WebSocketStream] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)
    refused: list[Loss] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.link = self.factory.buildProtocol(PEER)

    @property
    def stream(self) -> WebSocketStream:
        return self.streams[0]

    def born(self, stream: WebSocketStream, about: Any = None) -> None:
        self.streams.append(stream)
        self.requests.append(about)
        stream.when_lost().addCallback(self.losses.append)

    def feed(self, data: bytes) -> None:
        """The peer sends ``data``, which is read whether we want to or not."""
        self.link.dataReceived(data)

    def message(self, payload: bytes, opcode: int = BINARY) -> None:
        self.feed(frame(payload, opcode, masked=self.masked))

    def closes(self, code: int, text: bytes = b"") -> None:
        self.feed(close_frame(code, text, masked=self.masked))

    def vanish(self, error: type[BaseException] = ConnectionDone) -> None:
        """The connection is lost."""
        self.wire.disconnected = True
        self.link.connectionLost(Failure(error()))

    def settle(self) -> None:
        """Do what Twisted does after having been told to close or to abort."""
        self.clock.advance(0)
        if self.wire.aborted:
            self.vanish(ConnectionAborted)
        elif self.wire.disconnecting:
            self.vanish()

    def said(self) -> list[tuple[int, bytes]]:
        """The frames that we have sent since the last time."""
        return frames(self.wire.take())


def server(
    settings: Settings = Settings(),  # noqa: B008  # which is frozen
    path: str | None = None,
    subprotocols: Sequence[str] | None = None,
    headers: Sequence[tuple[str, str]] = (),
) -> Side:
    """The server's side before its client has said anything."""
    clock = Clock()

    def ready(stream: WebSocketStream, about: Any) -> None:
        side.born(stream, about)

    factory = ServerFactory(clock, ready, settings, path, subprotocols, headers)
    side = Side(clock, factory, masked=True)
    side.link.makeConnection(side.wire)
    return side


def client(
    settings: Settings = Settings(),  # noqa: B008  # which is frozen
    headers: Sequence[tuple[str, str]] = (),
    subprotocols: Sequence[str] = (),
) -> Side:
    """The client's side, its request just sent."""
    clock = Clock()

    def ready(stream: WebSocketStream) -> None:
        side.born(stream)

    def refused(loss: Loss) -> None:
        side.refused.append(loss)

    target = Target("192.0.2.2", 5000, "/path")
    factory = ClientFactory(
        clock, target, ready, refused, headers, subprotocols, settings
    )
    side = Side(clock, factory, masked=False)
    side.link.makeConnection(side.wire)
    return side


def response(asked: bytes, **headers: str | None) -> bytes:
    """A server's answer to the handshake ``asked``."""
    key = asked.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
    accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest()).decode()
    usual = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": accept,
    }
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return head("HTTP/1.1 101 Switching Protocols", {**usual, **named})


DEFLATE = "permessage-deflate"


def served(settings: Settings = Settings(), then: bytes = b"") -> Side:  # noqa: B008
    """The server's side of an open connection, compressed if the settings allow it."""
    side = server(settings)
    extensions = DEFLATE if settings.deflate else None
    side.feed(request(Sec_WebSocket_Extensions=extensions) + then)
    side.wire.take()
    return side


def dialed(settings: Settings = Settings(), then: bytes = b"") -> Side:  # noqa: B008
    """The client's side of an open connection, compressed if the settings allow it."""
    side = client(settings)
    extensions = DEFLATE if settings.deflate else None
    answer = response(side.wire.take(), Sec_WebSocket_Extensions=extensions)
    side.feed(answer + then)
    return side
