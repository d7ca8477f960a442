"""How a Logger shows what passes: as it is, or as a hex dump."""

from __future__ import annotations

PER_LINE = 16


def text(data: bytes, prefix: str) -> bytes:
    """The data as it is, after the prefix and a colon if there is one."""
    return f"{prefix}: ".encode() + data if prefix else data


def hexdump(data: bytes, prefix: str) -> bytes:
    """Offset, bytes in hexadecimal, and printable ASCII, sixteen bytes a line."""
    start = f"{prefix}: " if prefix else ""
    lines = []
    for offset in range(0, len(data), PER_LINE):
        piece = data[offset : offset + PER_LINE]
        codes = piece.hex(" ")
        shown = "".join(chr(b) if 32 <= b < 127 else "." for b in piece)
        lines.append(f"{start}{offset:08x}  {codes:<47}  |{shown}|\n")
    return "".join(lines).encode()
