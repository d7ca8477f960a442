"""Child processes, from their first byte to their exit status."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from l7mp.errors import Loss, Reason
from l7mp.streams.child import MAX_LINE, STDIN, STDOUT, Child
from tests.streams.loopback import turn, until


class Parent:
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.got = b""
        self.lines: list[str] = []
        self.ends: list[str] = []
        self.loss: Loss | None = None

    def heard(self, data: bytes) -> None:
        self.got += data

    def said(self, line: str) -> None:
        self.lines.append(line)

    def deaf(self) -> None:
        self.ends.append("deaf")

    def silent(self) -> None:
        self.ends.append("silent")

    def gone(self, loss: Loss) -> None:
        self.loss = loss


def run(script: str, grace: float = 5.0) -> tuple[Parent, Child]:
    parent: Parent = Parent()
    spawner: Any = reactor
    child = Child(spawner, "sh", grace, parent)
    spawner.spawnProcess(child, "/bin/sh", ["sh", "-c", script], os.environ)
    return parent, child


@pytest_twisted.ensureDeferred
async def test_what_it_says_is_heard() -> None:
    """Output and lines of errors come as they are, and the end of input ends it."""
    parent, child = run("cat; echo one >&2; printf two >&2")
    child.pipe(STDIN).write(b"hello")
    await until(lambda: parent.got == b"hello")
    child.finish()
    await until(lambda: parent.loss)
    assert parent.loss == Loss(Reason.FIN, "sh is done", 0)
    assert parent.lines == ["one", "two"]
    assert sorted(parent.ends) == ["deaf", "silent"]


@pytest.mark.parametrize(
    ("script", "loss"),
    [
        ("exit 3", Loss(Reason.EXIT, "sh exited with 3", 3)),
        ("kill -9 $$", Loss(Reason.EXIT, "sh was ended by SIGKILL", -9)),
    ],
)
@pytest_twisted.ensureDeferred
async def test_its_end_has_a_reason(script: str, loss: Loss) -> None:
    """The exit status, or the signal, is in the loss."""
    parent, _ = run(script)
    await until(lambda: parent.loss)
    assert parent.loss == loss


@pytest_twisted.ensureDeferred
async def test_long_lines_are_cut() -> None:
    """Of an endless line the beginning is shown, and no more is kept."""
    parent, _ = run(f"head -c {3 * MAX_LINE} /dev/zero | tr '\\0' x >&2; echo >&2")
    await until(lambda: parent.loss)
    assert parent.lines == ["x" * MAX_LINE]


@pytest_twisted.ensureDeferred
async def test_held_it_has_to_wait() -> None:
    """While nobody reads its output it can write no more than a pipe holds."""
    parent, child = run("head -c 1000000 /dev/zero")
    child.hold()
    await turn(20)
    assert parent.loss is None
    assert parent.got == b""
    child.release()
    await until(lambda: parent.loss)
    assert len(parent.got) == 1_000_000


@pytest_twisted.ensureDeferred
async def test_who_does_not_go_is_told_to() -> None:
    """Behind the end of its input comes SIGTERM, and behind that SIGKILL."""
    parent, child = run("exec sleep 60", grace=0.05)
    child.hold()
    child.wind_up()
    await until(lambda: parent.loss)
    assert parent.loss is not None
    assert parent.loss.code == -signal.SIGTERM
    parent, child = run("trap '' TERM; echo ready; exec sleep 60", grace=0.05)
    await until(lambda: parent.got)
    child.wind_up()
    await until(lambda: parent.loss)
    assert parent.loss is not None
    assert parent.loss.code == -signal.SIGKILL


@pytest_twisted.ensureDeferred
async def test_heirs_of_its_descriptors_are_not_waited_for() -> None:
    """A child of its own that keeps the pipes open does not keep us when it has to go."""
    parent, child = run("sleep 2 & echo ready", grace=0.05)
    await until(lambda: parent.got)
    await turn(5)
    assert parent.loss is None
    child.kill()
    child.hold()
    await until(lambda: parent.loss)
    assert child.pipe(STDOUT) is None
    child.hold()
    child.release()
    child.finish()


def test_before_it_was_started() -> None:
    """A child that never ran has no pipes."""
    assert Child(None, "sh", 1.0, Parent()).pipe(STDIN) is None  # type: ignore[arg-type]
