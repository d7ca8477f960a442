"""Frames of WebSocket as they are sent (RFC 6455, section 5.2)."""

from __future__ import annotations

TEXT, BINARY = 1, 2
COMPRESSED = 4
"""The first reserved bit of a message's first frame (RFC 7692, section 6)."""

_FIN = 0x80
_MASKED = 0x80
_SHORT, _MEDIUM = 126, 1 << 16


def whole(opcode: int, payload: bytes, mask: bytes = b"", reserved: int = 0) -> bytes:
    """
    A message, or control, that is one frame.

    A client's has a ``mask`` of four octets that nobody can foresee (section 5.3).
    ``reserved`` are the three bits of extensions.
    """
    first = _FIN | reserved << 4 | opcode
    masked = _MASKED if mask else 0
    size = len(payload)
    if size < _SHORT:
        head = bytes((first, masked | size))
    elif size < _MEDIUM:
        head = bytes((first, masked | 126, size >> 8, size & 0xFF))
    else:
        head = bytes((first, masked | 127)) + size.to_bytes(8, "big")
    if not mask:
        return head + payload
    return head + mask + xored(payload, mask)


def xored(payload: bytes, mask: bytes) -> bytes:
    """``payload`` with the mask on, or off again."""
    size = len(payload)
    # Numbers of any length are xored by a machine, octets by an interpreter.
    pattern = int.from_bytes((mask * (size // 4 + 1))[:size], "little")
    return (int.from_bytes(payload, "little") ^ pattern).to_bytes(size, "little")
