"""What a program says beside its data."""

from __future__ import annotations

from twisted.internet.task import Clock

from l7mp.streams.murmur import MAX_LINE, MAX_LINES, PERIOD, Murmur


def murmur() -> tuple[Murmur, list[str], Clock]:
    said: list[str] = []
    clock = Clock()
    return Murmur(clock, said.append), said, clock


def test_lines_are_put_together() -> None:
    """A line is told when it is whole, and the last one at the end."""
    it, said, _ = murmur()
    it.feed(b"on")
    it.feed(b"e\ntwo\r\nthr")
    assert said == ["one", "two"]
    it.feed(b"ee")
    it.end()
    it.end()
    assert said == ["one", "two", "three"]


def test_lines_are_harmless() -> None:
    """What a terminal would obey is not passed on, and what is too long is cut."""
    it, said, _ = murmur()
    it.feed(b"\x1b[2Jtab\there\xff\n")
    it.feed(b"x" * 5000)
    it.feed(b"x" * 5000)
    it.end()
    assert said == ["�[2Jtab\there\\xff", "x" * MAX_LINE + "…"]


def test_too_many_lines_are_counted() -> None:
    """In each period only so many are told, then how many more there were."""
    it, said, clock = murmur()
    it.feed(b"line\n" * (MAX_LINES + 5))
    assert said == ["line"] * MAX_LINES
    clock.advance(PERIOD)
    it.feed(b"next\n")
    assert said[MAX_LINES:] == ["… and 5 more lines", "next"]
    it.feed(b"line\n" * MAX_LINES)
    it.end()
    assert said[-1] == "… and 1 more lines"
