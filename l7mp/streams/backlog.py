"""What a transport of Twisted's was given and has not sent."""

from __future__ import annotations

from typing import Any


def unsent(transport: Any) -> list[bytes]:
    """The data itself, in order; of TLS, what was to be encrypted."""
    own = getattr(transport, "unsent", None)
    if own is not None:
        found: list[bytes] = own()
        return found
    # Twisted has no public word for what a lost connection did not send.
    left = bytes(transport.dataBuffer[transport.offset :])
    pieces = (left, *transport._tempDataBuffer)  # noqa: SLF001
    return [piece for piece in pieces if piece]


def backlog(transport: Any) -> int:
    """How many octets that is."""
    own = getattr(transport, "backlog", None)
    if own is not None:
        count: int = own()
        return count
    waiting: int = len(transport.dataBuffer) - transport.offset
    return waiting + transport._tempDataLen  # type: ignore[no-any-return]  # noqa: SLF001
