"""Stdio: sessions at the terminal of the process."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import pytest_twisted
from twisted.internet import reactor

from l7mp.errors import Loss, Reason
from l7mp.protocols import stdio
from l7mp.protocols.stdio import StdioStream
from l7mp.testing import check_stream
from tests.protocols.one import One
from tests.streams.loopback import until


@pytest.fixture
def typing() -> Iterator[int]:
    """The end of a pipe whose other end is standard input."""
    kept, (ours, theirs) = os.dup(0), os.pipe()
    os.dup2(ours, 0)
    os.close(ours)
    yield theirs
    os.dup2(kept, 0)
    os.close(kept)
    os.close(theirs)


@pytest_twisted.ensureDeferred
async def test_it_pipes_to_the_terminal(
    typing: int, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """What a session writes is shown, and what is typed goes to every session."""
    one = One(stdio, reactor)
    sessions = [one.connect() for _ in range(2)]
    shown = b""

    def has_shown() -> bool:
        nonlocal shown
        shown += capfdbinary.readouterr().out
        return shown == b"hello"

    sessions[0][0].write(b"hello")
    await until(has_shown)
    os.write(typing, b"typed\n")
    await until(lambda: all(sink.written == [b"typed\n"] for _, sink in sessions))
    one.context.resources.close()


class Terminal:
    """A terminal that remembers what it shows."""

    def __init__(self) -> None:
        self.console = stdio._Console()
        self.shown: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.shown.append(data)


def test_a_session_that_ended_hears_no_more() -> None:
    """What is typed goes only to sessions that still live; the end ends both sides."""
    terminal = Terminal()
    stream = StdioStream(terminal)  # type: ignore[arg-type]  # enough of one
    ends: list[int] = []
    stream.deliver_to(stream, lambda: ends.append(1))
    stream.release("sink")
    stream.end()
    terminal.console.dataReceived(b"late")
    assert ends == [1]
    assert terminal.shown == []
    stream.abort(Loss(Reason.FIN))
    assert stream.loss == Loss(Reason.FIN)


def test_what_a_held_session_misses_is_counted() -> None:
    """Nobody can be kept from typing: what a session cannot take shows in its drops."""
    terminal = Terminal()
    stream = StdioStream(terminal)  # type: ignore[arg-type]  # enough of one
    terminal.console.dataReceived(b"early")
    assert stream.drops == {"held": 1}


def test_being_lost_is_told_once() -> None:
    """A session's view of the terminal ends as every stream does."""
    with pytest.raises(AssertionError, match="what came early was lost"):
        check_stream(lambda: (s := StdioStream(Terminal()), s.typed))  # type: ignore[arg-type]
