"""One program for many sessions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import Clock

from l7mp.errors import LocalError, Loss, Reason
from l7mp.streams.process import Child, Program
from l7mp.streams.sharedprogram import SharedProgram
from tests.streams.loopback import Collector, until


class World:
    """A program, and the lines of its standard error."""

    def __init__(self, *command: str, **more: Any) -> None:
        self.said: list[str] = []
        program = Program(command=command, **more)
        self.it = SharedProgram(reactor, Clock(), program, 5.0, self.said.append)
        self.children: list[Child] = []

    def join(self) -> tuple[Any, Collector]:
        stream, child = self.it.join()
        self.children.append(child)
        return stream, Collector(stream)

    def close(self) -> None:
        self.it.close()
        for child in self.children:
            child.kill()


@pytest.fixture
def made() -> Iterator[list[World]]:
    """Worlds that go in the end."""
    worlds: list[World] = []
    yield worlds
    for world in worlds:
        world.close()


def world_of(made: list[World], *command: str, **more: Any) -> World:
    made.append(World(*command, **more))
    return made[-1]


@pytest_twisted.ensureDeferred
async def test_all_share_one_run(made: list[World]) -> None:
    """What any session writes is read by one program, and its answer goes to all."""
    world = world_of(made, "cat")
    (one, heard), (_, too) = world.join(), world.join()
    assert world.children[0] is world.children[1]
    one.write(b"hello")
    await until(lambda: heard.got == too.got == [b"hello"])
    one.abort(Loss(Reason.DELETED))
    assert world.children[0].is_running


@pytest_twisted.ensureDeferred
async def test_its_end_is_theirs(made: list[World]) -> None:
    """With its status, after what it has said; the next session has another run."""
    world = world_of(made, "sh", "-c", "read x; echo $x; echo why >&2; exit $x")
    for status, reason in ((0, Reason.FIN), (3, Reason.EXIT)):
        (one, heard), (two, _) = world.join(), world.join()
        one.write(b"%d\n" % status)
        await until(lambda: one.loss and two.loss)  # noqa: B023
        assert one.loss == two.loss
        assert (one.loss.reason, one.loss.code) == (reason, status)
        assert heard.got == [b"%d\n" % status]
    assert world.said == ["sh: why"] * 2


@pytest_twisted.ensureDeferred
async def test_one_that_ends_with_nobody_there(made: list[World]) -> None:
    """It is run again for whoever comes next."""
    world = world_of(made, "sh", "-c", "echo hello; read x", errors="drop")
    stream, heard = world.join()
    await until(lambda: heard.got)
    stream.write(b"\n")
    stream.abort(Loss(Reason.DELETED))
    await until(lambda: not world.children[0].is_running)
    _, again = world.join()
    await until(lambda: again.got == [b"hello\n"])


@pytest_twisted.ensureDeferred
async def test_output_that_nobody_has_stayed_for(made: list[World]) -> None:
    """It is open no longer when the next run begins."""
    world = world_of(made, "sh", "-c", "head -c 99999 /dev/zero & exec sleep 0.1")
    stream, heard = world.join()
    await until(lambda: heard.got)
    stream.hold("full")
    await until(lambda: not world.children[0].is_running)
    stream.abort(Loss(Reason.DELETED))
    first = world.it._runs[0].commons
    assert first.is_reading
    world.join()
    assert not first.is_reading


@pytest_twisted.ensureDeferred
async def test_it_goes_when_it_is_closed(made: list[World]) -> None:
    """Whoever still listens is told, and the program is made to go."""
    world = world_of(made, "sh", "-c", "echo ready; exec sleep 99")
    stream, heard = world.join()
    await until(lambda: heard.got)
    world.it.close()
    assert stream.loss == Loss(Reason.DELETED, "the program was taken away")
    await until(lambda: not world.children[0].is_running)


def test_what_cannot_be_run_is_told(made: list[World]) -> None:
    """To each session that would have it."""
    world = world_of(made, "nosuchprogram")
    for _ in range(2):
        with pytest.raises(LocalError, match="no such program"):
            world.join()
