"""The handshake of WebSocket, where frames pass but only heads are looked at."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha1

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

PROTOCOL = "websocket"
KEY = "sec-websocket-key"
ACCEPT = "sec-websocket-accept"


def accept_of(key: str) -> str:
    """What answers a client's key (RFC 6455, section 4.2.2)."""
    octets = key.encode("latin-1", "replace") + _GUID
    return b64encode(sha1(octets, usedforsecurity=False).digest()).decode()


def accept_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """The headers that accept a client's handshake; none if it is of another kind."""
    key = headers.get(KEY)
    return [] if key is None else [(ACCEPT.encode(), accept_of(key).encode())]
