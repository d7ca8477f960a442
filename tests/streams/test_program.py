"""Programs as streams of messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from l7mp.core.ring import Pipe
from l7mp.errors import LocalError, Loss, Reason
from l7mp.interfaces import Note
from l7mp.streams.process import Program
from l7mp.streams.program import How, ProgramStream
from l7mp.testing import Memory
from l7mp.wire.framing import codec
from tests.streams.loopback import turn, until

FIN = Loss(Reason.FIN)

FILTER = """
while read -r word; do
    case "$word" in
    crash) exit 7;;
    sleep) exec sleep 60;;
    close) exec sleep 60 0<&-;;
    shout) echo shouted >&2;;
    silence) continue;;
    esac
    echo "re $word"
done
"""
CAT = ("/bin/cat",)
ANSWER = ("/bin/sh", "-c", FILTER)


def fails(*_: object) -> None:
    """There is no way to run anything."""
    raise LocalError("no more processes")


class Run:
    """A program between a writer and a memory."""

    def __init__(
        self, command: tuple[str, ...], framing: str = "lines", **how: Any
    ) -> None:
        program = Program(command=command)
        made = How(program=program, framing=codec(framing, 1 << 16), **how)
        self.stream = ProgramStream(reactor, made)
        self.source, self.sink = Memory(), Memory()
        self.notes: list[Note] = []
        self.stream.tell(self.notes.append)
        Pipe(self.source, self.stream, self.stream.end).open()
        Pipe(self.stream, self.sink, self.sink.end).open()

    async def gives(self, *messages: bytes) -> None:
        await until(lambda: len(self.sink.written) >= len(messages))
        assert self.sink.written == list(messages)

    async def loss(self) -> Loss:
        loss: Loss = await until(lambda: self.stream.loss)
        return loss


@pytest_twisted.ensureDeferred
async def test_messages_pass_through() -> None:
    """Whatever the bytes, what the program writes is what it was given."""
    run = Run(CAT, "u32be")
    messages = (b"one", b"", b"\0\n\xff" * 1000)
    run.source.inject(*messages)
    await run.gives(*messages)
    run.source.hang_up()
    assert await run.loss() == Loss(Reason.FIN, "", 0)
    assert run.sink.ended
    assert (run.stream.messages_in, run.stream.messages_out) == (3, 3)


@pytest_twisted.ensureDeferred
async def test_pressure() -> None:
    """A sink that takes nothing makes the writer wait, through the program."""
    run = Run(CAT, "u16be")
    run.stream.hold("busy")
    for _ in range(100):
        run.source.inject(b"x" * 10_000)
        await turn()
    assert run.source.is_held
    waiting = len(run.source.pending)
    assert waiting > 50
    run.stream.release("busy")
    await until(lambda: len(run.sink.written) == 100)
    assert run.stream.drops == {}
    run.stream.abort(FIN)
    await run.loss()


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_framed_is_dropped() -> None:
    """It is counted, and the program does not see it."""
    run = Run(CAT)
    run.source.inject(b"a\nb", b"x" * 70_000, b"fine")
    await run.gives(b"fine")
    assert run.stream.drops == {"unframeable": 1, "oversize": 1}
    run.stream.close(FIN)
    assert await run.loss() == FIN


@pytest_twisted.ensureDeferred
async def test_exit_status() -> None:
    """A program that fails ends the stream, with its status."""
    run = Run(ANSWER)
    run.source.inject(b"one")
    await run.gives(b"re one")
    run.source.inject(b"crash")
    loss = await run.loss()
    assert (loss.reason, loss.code) == (Reason.EXIT, 7)
    run.source.inject(b"late")
    assert run.stream.drops == {"closed": 1}


@pytest_twisted.ensureDeferred
async def test_restart() -> None:
    """Where asked for it runs again, and what is written meanwhile waits."""
    run = Run(ANSWER, restarts=True)
    run.source.inject(b"one")
    await run.gives(b"re one")
    run.source.inject(b"crash")
    await until(lambda: run.notes)
    run.source.inject(b"two")
    await run.gives(b"re one", b"re two")
    assert [note.word for note in run.notes] == ["RESTARTED"]
    assert run.stream.drops == {}
    run.stream.abort(FIN)
    await run.loss()


@pytest_twisted.ensureDeferred
async def test_a_useless_program_is_not_restarted() -> None:
    """One that gave nothing since it was started would fail for ever."""
    run = Run(ANSWER, restarts=True)
    run.source.inject(b"crash")
    assert (await run.loss()).code == 7


@pytest_twisted.ensureDeferred
async def test_a_restart_may_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the program cannot be run again the stream is lost, for the first reason."""
    run = Run(ANSWER, restarts=True)
    run.source.inject(b"one")
    await run.gives(b"re one")

    monkeypatch.setattr("l7mp.streams.processstream.launch", fails)
    run.source.inject(b"crash")
    assert (await run.loss()).code == 7
    run.stream.unregisterProducer()
    run.stream.close(FIN)


@pytest_twisted.ensureDeferred
async def test_answers_are_due() -> None:
    """One answer for each message, within the time, or the program has failed."""
    run = Run(ANSWER, answers_within=0.3)
    run.source.inject(b"one", b"two")
    await run.gives(b"re one", b"re two")
    run.source.inject(b"silence", b"sleep")
    loss = await run.loss()
    assert loss == Loss(Reason.TIMEOUT, "the program gave no answer in 0.3 s")
    assert run.stream.drops == {"unanswered": 2}


@pytest_twisted.ensureDeferred
async def test_errors_are_noted() -> None:
    """Lines on standard error are in the session's events."""
    run = Run(ANSWER)
    run.source.inject(b"shout")
    await run.gives(b"re shout")
    await until(lambda: run.notes)
    assert run.notes == [Note("STDERR", "sh: shouted", {"line": "shouted"}, True)]
    run.stream.abort(FIN)
    await run.loss()


@pytest_twisted.ensureDeferred
async def test_a_program_that_breaks_the_framing() -> None:
    """It is killed, and what it wrote before counts; frames of no sense are counted."""
    run = Run(("/bin/sh", "-c", "printf 2:ok,rubbish; exec sleep 60"), "netstring")
    loss = await run.loss()
    assert loss.reason is Reason.PROTOCOL
    assert run.sink.written == [b"ok"]
    run = Run(("/bin/echo", "no JSON"), "json-lines")
    await run.loss()
    assert run.stream.drops == {"malformed": 1}


@pytest_twisted.ensureDeferred
async def test_a_program_that_stops_reading() -> None:
    """What it will not read is dropped and counted, and holds up nobody."""
    run = Run(ANSWER)
    run.source.inject(b"close")
    process: Any = run.stream._run._inner
    await until(lambda: process._outlet is None)
    assert not run.source.is_held
    run.source.inject(b"more")
    assert run.stream.drops == {"closed": len(b"more\n")}
    run.stream.unregisterProducer()
    run.stream.registerProducer(Pipe(run.source, Memory(), lambda: None), True)
    run.stream.abort(FIN)
    assert await run.loss() == FIN


@pytest_twisted.ensureDeferred
async def test_its_last_words_wait() -> None:
    """What a program wrote before its end is delivered, however late, and then it ends."""
    for leave in (None, ProgramStream.close, ProgramStream.abort):
        await leaves(Run(("/bin/echo", "bye")), leave)


async def leaves(run: Run, leave: Any) -> None:
    run.stream.hold("busy")
    run.stream._run.release(run.stream)
    await until(lambda: run.stream._late_loss)
    if leave is None:
        run.stream.release("busy")
        assert run.sink.written == [b"bye"]
    else:
        leave(run.stream, FIN)
        assert sum(run.stream.drops.values()) == 1
    assert run.stream.loss is not None
    assert run.stream.loss.reason is Reason.FIN


@pytest_twisted.ensureDeferred
async def test_closing_gives_time() -> None:
    """A program may do what it has to at the end of its input; nobody hears of it."""
    mark = Path("/tmp") / f"l7mp-program-{id(object())}"
    script = f"cat >/dev/null; echo done; touch {mark}"
    run = Run(("/bin/sh", "-c", script), grace=10)
    run.stream.close(FIN)
    run.stream.close(FIN)
    assert await run.loss() == FIN
    assert mark.exists()
    mark.unlink()
    assert run.sink.written == []
    assert run.stream.drops == {"closing": 5}


def test_what_cannot_be_run() -> None:
    """The error names the program."""
    with pytest.raises(
        LocalError, match="cannot run /no/such: there is no such program"
    ):
        Run(("/no/such",))
