"""Taking one byte value out of a message, so that it can end a frame: COBS and SLIP."""

from __future__ import annotations

import re

BLOCK = 254
"""The most bytes that one COBS code stands in front of."""

END, ESC = b"\xc0", b"\xdb"
"""SLIP's own bytes (RFC 1055)."""

_END_INSIDE, _ESC_INSIDE = b"\xdb\xdc", b"\xdb\xdd"
_BAD_ESCAPE = re.compile(rb"\xdb(?![\xdc\xdd])")


def cobs(message: bytes) -> bytes:
    """The same without zeros: each is replaced by the distance to the next."""
    stuffed = bytearray()
    for run in message.split(b"\0"):
        full, rest = divmod(len(run), BLOCK)
        for at in range(0, full * BLOCK, BLOCK):
            stuffed.append(BLOCK + 1)
            stuffed += run[at : at + BLOCK]
        stuffed.append(rest + 1)
        stuffed += run[full * BLOCK :]
    return bytes(stuffed)


def uncobs(stuffed: bytes) -> bytes | None:
    """The message again; None if a block is cut short."""
    message = bytearray()
    at, end = 0, len(stuffed)
    while at < end:
        code = stuffed[at]
        following = at + code
        if not code or following > end:
            return None
        message += stuffed[at + 1 : following]
        at = following
        if code <= BLOCK and at < end:
            message.append(0)
    return bytes(message)


def slip(message: bytes) -> bytes:
    """The same without END bytes."""
    return message.replace(ESC, _ESC_INSIDE).replace(END, _END_INSIDE)


def unslip(escaped: bytes) -> bytes | None:
    """The message again; None if an ESC stands before anything but its two letters."""
    if _BAD_ESCAPE.search(escaped):
        return None
    return escaped.replace(_END_INSIDE, END).replace(_ESC_INSIDE, ESC)
