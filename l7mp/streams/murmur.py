"""What a program says beside its data: lines, not too many of them."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

MAX_LINE = 1000
"""Bytes of one line that are shown."""

MAX_LINES = 20
"""Lines that are shown in one period; the others are counted."""

PERIOD = 1.0
"""Seconds."""


class Murmur:
    """Tells ``say`` of each line, and of how many there were too many."""

    def __init__(self, clock: IReactorTime, say: Callable[[str], None]) -> None:
        self._clock, self._say = clock, say
        self._rest = b""
        self._since, self._count, self._left_out = -PERIOD, 0, 0

    def feed(self, data: bytes) -> None:
        """It said this."""
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        self._rest = rest[: MAX_LINE + 1]

    def end(self) -> None:
        """It will say nothing more."""
        if self._rest:
            self._line(self._rest)
            self._rest = b""
        self._sum_up()

    def _line(self, line: bytes) -> None:
        now = self._clock.seconds()
        if now - self._since >= PERIOD:
            self._sum_up()
            self._since, self._count = now, 0
        if self._count < MAX_LINES:
            self._count += 1
            self._say(_shown(line))
        else:
            self._left_out += 1

    def _sum_up(self) -> None:
        if self._left_out:
            self._say(f"… and {self._left_out} more lines")
            self._left_out = 0


def _shown(line: bytes) -> str:
    text = line[:MAX_LINE].decode("utf-8", "backslashreplace").rstrip("\r")
    clean = "".join(c if c.isprintable() or c == "\t" else "�" for c in text)
    return clean + "…" if len(line) > MAX_LINE else clean
