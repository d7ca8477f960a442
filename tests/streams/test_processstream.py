"""Programs as byte streams."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import Clock

from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK, Note
from l7mp.streams.process import Program
from l7mp.streams.processstream import VERDICT, ProcessStream
from l7mp.streams.transport import LINGER
from l7mp.testing import Memory
from tests.streams.loopback import Collector, turn, until
from tests.streams.test_outbox import Producer
from tests.streams.test_process import is_alive

KILL_AFTER = 5.0


class Runs:
    """Streams that are gone in the end, in a time that the test turns."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._made: list[ProcessStream] = []

    def __call__(self, script: str, **more: Any) -> ProcessStream:
        program = Program(command=("sh", "-c", script), **more)
        made = ProcessStream(reactor, self.clock, program, {}, KILL_AFTER)
        self._made.append(made)
        return made

    def close(self) -> None:
        for stream in self._made:
            stream.abort(Loss(Reason.DELETED))
            stream.child.kill()


@pytest.fixture
def run() -> Iterator[Runs]:
    made = Runs()
    yield made
    made.close()


def is_lost(stream: ProcessStream) -> bool:
    return stream.loss is not None


@pytest_twisted.ensureDeferred
async def test_an_end_leaves_the_answer_its_way(run: Runs) -> None:
    """A program that reads to the end can still answer, and status 0 is a FIN."""
    stream = run("sort")
    heard = Collector(stream)
    stream.write(b"b\n")
    stream.write(b"a\n")
    stream.end()
    await until(lambda: is_lost(stream))
    assert b"".join(heard.got) == b"a\nb\n"
    assert heard.ended
    assert stream.loss == Loss(Reason.FIN, "", 0)
    assert not stream.child.is_running


@pytest_twisted.ensureDeferred
async def test_a_failure_is_told_with_its_status(run: Runs) -> None:
    """After everything that it has said; its end is not mistaken for a good one."""
    stream = run("echo sorry; exit 3")
    heard = Collector(stream)
    await until(lambda: is_lost(stream))
    assert heard.got == [b"sorry\n"]
    assert not heard.ended
    assert stream.loss == Loss(Reason.EXIT, "sh exited with status 3", 3)


@pytest_twisted.ensureDeferred
async def test_one_that_closes_its_output_lives_on(run: Runs, tmp_path: Path) -> None:
    """The end of its output is told when no status comes with it."""
    stream = run(f"exec >&-; cat >{tmp_path / 'f'}")
    heard = Collector(stream)
    await until(run.clock.getDelayedCalls)
    run.clock.advance(VERDICT)
    assert heard.ended
    assert not is_lost(stream)
    stream.write(b"still read")
    stream.end()
    await until(lambda: is_lost(stream))
    assert (tmp_path / "f").read_bytes() == b"still read"
    assert stream.loss == Loss(Reason.FIN, "", 0)


@pytest_twisted.ensureDeferred
async def test_one_that_reads_no_more_is_still_heard(run: Runs) -> None:
    """What is written to it after that is counted, and its producer is let go."""
    stream = run("exec <&-; echo closed; sleep 0.05; echo done")
    producer = Producer()
    stream.registerProducer(producer, True)  # type: ignore[arg-type]
    heard = Collector(stream)
    await until(lambda: heard.got)
    stream.write(b"lost")
    run.clock.advance(0)
    stream.write(b"more")
    assert stream.drops["closed"] >= 4
    await until(lambda: is_lost(stream))
    assert b"".join(heard.got) == b"closed\ndone\n"
    stream.unregisterProducer()


@pytest_twisted.ensureDeferred
async def test_pressure_goes_both_ways(run: Runs) -> None:
    """A program that is not read waits, and so does who writes to it."""
    stream = run("cat")
    producer = Producer()
    stream.registerProducer(producer, True)  # type: ignore[arg-type]
    sink = Memory()
    stream.deliver_to(sink)
    sent = 0
    while sent < 4 << 20:
        stream.write(bytes(1 << 16))
        sent += 1 << 16
    assert producer.told == ["pause"]
    await turn(20)
    assert sink.written == []
    stream.end()
    stream.release(SINK)
    await until(lambda: is_lost(stream))
    assert stream.bytes_in == sent
    assert producer.told == ["pause", "resume"]
    assert stream.drops == {}


@pytest_twisted.ensureDeferred
async def test_lines_of_standard_error_are_notes(run: Runs) -> None:
    """Operators see them, also those that come last of all."""
    stream = run("echo one >&2; echo data; echo two >&2; exit 1")
    heard: list[Note] = []
    stream.tell(heard.append)
    Collector(stream)
    await until(lambda: is_lost(stream))
    assert [note.message for note in heard] == ["sh: one", "sh: two"]
    assert {(note.word, note.is_loud) for note in heard} == {("STDERR", True)}
    assert heard[0].facts == {"line": "one"}


@pytest_twisted.ensureDeferred
async def test_closing_gives_it_time(run: Runs, tmp_path: Path) -> None:
    """It may finish what it does with what was written; what it says is counted."""
    stream = run(f"cat >{tmp_path / 'f'}; echo too late")
    stream.write(bytes(1 << 20))
    stream.close(Loss(Reason.IDLE))
    stream.close(Loss(Reason.DELETED))
    await until(lambda: is_lost(stream))
    assert (tmp_path / "f").stat().st_size == 1 << 20
    assert stream.loss == Loss(Reason.IDLE)
    assert stream.drops == {"closing": 9}


@pytest_twisted.ensureDeferred
async def test_closing_makes_it_go_in_the_end(run: Runs) -> None:
    """First by the end of its input, then by a signal, then by another."""
    stream = run("trap '' TERM; echo ready; while :; do sleep 99; done")
    heard = Collector(stream)
    await until(lambda: heard.got)
    stream.close(Loss(Reason.IDLE))
    run.clock.advance(LINGER)
    await turn(5)
    assert not is_lost(stream)
    run.clock.advance(KILL_AFTER)
    await until(lambda: is_lost(stream))
    assert stream.loss == Loss(Reason.IDLE)


@pytest_twisted.ensureDeferred
async def test_closing_after_the_end_of_its_input(run: Runs) -> None:
    """It has been told that nothing more comes, and is given the same time."""
    stream = run("cat; sleep 99")
    stream.end()
    stream.close(Loss(Reason.IDLE))
    assert stream.child.is_running
    run.clock.advance(LINGER)
    await until(lambda: is_lost(stream))
    assert stream.loss == Loss(Reason.IDLE)


@pytest_twisted.ensureDeferred
async def test_closing_one_whose_children_go_on(run: Runs) -> None:
    """When the program has gone and others have its output, that is the end."""
    stream = run("sleep 99 & echo $!; exit 0")
    heard = Collector(stream)
    await until(lambda: heard.got)
    await until(lambda: not stream.child.is_running)
    assert not is_lost(stream)
    stream.close(Loss(Reason.IDLE))
    assert stream.loss == Loss(Reason.IDLE)
    os.kill(int(heard.got[0]), 9)


@pytest_twisted.ensureDeferred
async def test_aborting_is_at_once(run: Runs) -> None:
    """The stream is lost, and the program goes behind its back."""
    stream = run("sleep 99 & echo $!; wait")
    heard = Collector(stream)
    await until(lambda: heard.got)
    stream.abort(Loss(Reason.RESET))
    assert stream.loss == Loss(Reason.RESET)
    await until(lambda: not stream.child.is_running)
    await until(lambda: not is_alive(int(heard.got[0])))


@pytest_twisted.ensureDeferred
async def test_what_it_did_not_read_is_kept(run: Runs) -> None:
    """A program that fails leaves to its successor what did not fit into its pipe."""
    stream = run("sleep 0.05; exit 1")
    Collector(stream)
    for _ in range(4):
        stream.write(bytes(1 << 16))
    await until(lambda: is_lost(stream))
    left = sum(map(len, stream.unsent()))
    assert left + stream.drops.get("closed", 0) == 3 << 16


@pytest_twisted.ensureDeferred
async def test_a_terminal_has_an_end_of_its_own(run: Runs) -> None:
    """What is typed is echoed, and the end is typed, too, also in mid-line."""
    for typed in (b"hello\n", b"hello"):
        stream = run("cat", pty=True)
        heard = Collector(stream)
        stream.write(typed)
        await until(lambda: b"hello" in b"".join(heard.got))  # noqa: B023
        stream.write(b"")
        stream.end()
        stream.end()
        await until(lambda: is_lost(stream))  # noqa: B023
        assert b"".join(heard.got).count(b"hello") == 2
        assert stream.loss == Loss(Reason.FIN, "", 0)


@pytest_twisted.ensureDeferred
async def test_a_terminal_is_hung_up(run: Runs) -> None:
    """An interactive shell does not mind being asked, but hears that its line is dead."""
    program = Program(command=("bash", "--norc", "-i"), pty=True)
    stream = ProcessStream(reactor, run.clock, program, {}, KILL_AFTER)
    heard = Collector(stream)
    await until(lambda: heard.got)
    stream.close(Loss(Reason.DELETED))
    run.clock.advance(LINGER)
    await until(lambda: is_lost(stream))
    assert stream.loss == Loss(Reason.DELETED)
    assert not stream.child.is_running
