"""Taking the farewell out of a stream of HTTP/2 frames (RFC 9113, section 6.8)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_HEAD = 9
_GOAWAY = 7
_BODY = 8
"""What a GOAWAY frame has at least: the last stream and the code."""


@dataclass(frozen=True, slots=True)
class Goaway:
    """The server takes no more streams; those up to ``last`` it still serves."""

    last: int
    code: int


class GoawaySieve:
    """
    Passes on frames as they come, in any pieces, all but GOAWAY.

    A parser that takes GOAWAY for the end of the connection would not hear the answers
    to requests under way.
    """

    def __init__(self) -> None:
        self._head = b""
        """The beginning of a frame of which it is not known yet what it is."""
        self._left = 0
        """How much of a frame is still to come."""
        self._body: bytearray | None = None
        """The beginning of a GOAWAY frame, None in any other."""
        self._found: list[Goaway] = []

    def feed(self, data: bytes) -> tuple[bytes, list[Goaway]]:
        """What is to be passed on, and the farewells that were in between."""
        passed: list[bytes] = []
        at = 0
        while at < len(data):
            if not self._left:
                at += self._begin(data, at, passed)
            piece = data[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            self._take(piece, passed)
        found, self._found = self._found, []
        return b"".join(passed), found

    def _begin(self, data: bytes, at: int, passed: list[bytes]) -> int:
        """Read the head of a frame; how many bytes of it were there."""
        piece = data[at : at + _HEAD - len(self._head)]
        self._head += piece
        if len(self._head) == _HEAD:
            head, self._head = self._head, b""
            self._left = int.from_bytes(head[:3], "big")
            if head[3] == _GOAWAY:
                self._body = bytearray()
            else:
                passed.append(head)
        return len(piece)

    def _take(self, piece: bytes, passed: list[bytes]) -> None:
        body = self._body
        if body is None:
            passed.append(piece)
            return
        body += piece[: _BODY - len(body)]
        if not self._left:
            self._body = None
            last, code = struct.unpack(">II", bytes(body).ljust(_BODY, b"\0"))
            self._found.append(Goaway(last & 0x7FFFFFFF, code))
