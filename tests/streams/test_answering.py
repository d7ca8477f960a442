"""One program for many sessions."""

from __future__ import annotations

from typing import Any

import pytest_twisted
from twisted.internet import reactor

from l7mp.core.ring import Pipe
from l7mp.errors import Loss, Reason
from l7mp.interfaces import Note
from l7mp.streams.answering import AnsweringProgram, Asker
from l7mp.streams.process import Program
from l7mp.streams.program import How
from l7mp.testing import Memory
from l7mp.wire.framing import codec
from tests.streams.loopback import turn, until

FIN = Loss(Reason.FIN)

ANSWER = """
while read -r word; do
    case "$word" in
    crash) exit 7;;
    twice) echo extra;;
    shout) echo shouted >&2;;
    hang) exec sleep 60;;
    esac
    echo "re $word"
done
"""


class Session:
    """A writer, its part in the program, and a reader."""

    def __init__(self, shared: AnsweringProgram) -> None:
        self.stream: Asker = shared.join()
        self.source, self.sink = Memory(), Memory()
        self.notes: list[Note] = []
        self.stream.tell(self.notes.append)
        Pipe(self.source, self.stream, self.stream.end).open()
        Pipe(self.stream, self.sink, self.sink.end).open()

    async def hears(self, *answers: bytes) -> None:
        await until(lambda: len(self.sink.written) >= len(answers))
        assert self.sink.written == list(answers)


def started(
    number: int, script: str = ANSWER, framing: str = "lines", **how: Any
) -> tuple[AnsweringProgram, list[Session]]:
    told: dict[str, Any] = {"answers_within": 10.0, "grace": 0.2, **how}
    program = Program(command=("/bin/sh", "-c", script))
    made = How(program=program, framing=codec(framing, 1 << 16), **told)
    shared = AnsweringProgram(reactor, made)
    return shared, [Session(shared) for _ in range(number)]


async def ended(shared: AnsweringProgram) -> Loss:
    loss: Loss = await until(lambda: shared.loss)
    return loss


@pytest_twisted.ensureDeferred
async def test_answers_find_who_has_asked() -> None:
    """Everybody hears the answers to what was asked, in order, and nothing else."""
    shared, sessions = started(3)
    for number in range(20):
        for n, session in enumerate(sessions):
            session.source.inject(b"%d %d" % (n, number))
    for n, session in enumerate(sessions):
        await session.hears(*(b"re %d %d" % (n, number) for number in range(20)))
    shared.close()
    assert await ended(shared) == Loss(Reason.DELETED)
    assert [session.stream.loss for session in sessions] == [Loss(Reason.DELETED)] * 3


@pytest_twisted.ensureDeferred
async def test_the_end_waits_for_the_answers() -> None:
    """A session that asks nothing more leaves when it has heard all; others stay."""
    shared, (one, two) = started(2)
    one.source.inject(b"last")
    one.source.hang_up()
    await until(lambda: one.stream.loss)
    assert one.stream.loss == FIN
    assert one.sink.written == [b"re last"]
    assert one.sink.ended
    one.stream.write(b"later")
    assert one.stream.drops == {"closed": 1}
    two.source.inject(b"hi")
    await two.hears(b"re hi")
    two.source.hang_up()
    assert two.stream.loss == FIN
    assert shared.loss is None
    shared.close()
    await ended(shared)


@pytest_twisted.ensureDeferred
async def test_answers_of_who_has_left_are_nobody_elses() -> None:
    """A session that is gone leaves its place in the order."""
    shared, (one, two) = started(2)
    one.source.inject(b"mine")
    two.source.inject(b"yours")
    one.stream.abort(Loss(Reason.RESET))
    await two.hears(b"re yours")
    assert one.sink.written == []
    shared.close()
    await ended(shared)


@pytest_twisted.ensureDeferred
async def test_what_is_not_asked_is_not_answered() -> None:
    """A message that does not fit the framing is counted, and costs nobody an answer."""
    shared, (one, two) = started(2)
    one.source.inject(b"a\nb")
    two.source.inject(b"yours")
    await two.hears(b"re yours")
    assert one.stream.drops == {"unanswered": 1}
    shared.close()
    await ended(shared)


@pytest_twisted.ensureDeferred
async def test_a_slow_session_holds_up_nobody() -> None:
    """What a held session cannot take waits for it alone."""
    shared, (one, two) = started(2)
    one.stream.hold("busy")
    one.source.inject(b"1")
    two.source.inject(b"2")
    await two.hears(b"re 2")
    assert one.sink.written == []
    one.stream.release("busy")
    await one.hears(b"re 1")
    shared.close()
    await ended(shared)


@pytest_twisted.ensureDeferred
async def test_a_full_program_makes_all_wait() -> None:
    """Nobody is read while the program does not read, and everybody afterwards."""
    shared, (one, two) = started(2, "sleep 0.3; cat", "u16be")
    while not shared.is_full:
        one.source.inject(b"x" * 30_000)
        await turn()
    three = Session(shared)
    held = [it.source.is_held for it in (one, two, three)]
    await until(lambda: not shared.is_full)
    assert held == [True] * 3
    assert not three.source.is_held
    three.stream.unregisterProducer()
    shared.pauseProducing()
    assert not three.source.is_held
    shared.close()
    await ended(shared)


@pytest_twisted.ensureDeferred
async def test_a_restart() -> None:
    """What was asked of a program that fails is counted; the next answers on."""
    shared, (one, two) = started(2, restarts=True)
    one.source.inject(b"1")
    await one.hears(b"re 1")
    one.source.inject(b"crash")
    two.source.inject(b"with it")
    await until(lambda: two.notes)
    assert [it.stream.drops for it in (one, two)] == [{"unanswered": 1}] * 2
    two.source.inject(b"2")
    await two.hears(b"re 2")
    shared.close()
    await ended(shared)


@pytest_twisted.ensureDeferred
async def test_the_end_of_the_program_is_everybodys() -> None:
    """Without a restart all sessions end with its status."""
    shared, sessions = started(2)
    sessions[0].source.inject(b"crash")
    assert (await ended(shared)).code == 7
    assert [session.stream.loss for session in sessions] == [shared.loss] * 2


@pytest_twisted.ensureDeferred
async def test_an_answer_to_nobody() -> None:
    """A program that loses count cannot be trusted any more."""
    shared, (one,) = started(1)
    one.source.inject(b"twice")
    loss = await ended(shared)
    assert loss == Loss(Reason.PROTOCOL, "the program has answered nobody")
    assert one.sink.written == [b"extra"]


@pytest_twisted.ensureDeferred
async def test_everybody_hears_its_errors() -> None:
    """What it says on standard error is in the events of all that are there."""
    shared, sessions = started(2)
    sessions[0].source.inject(b"shout")
    await until(lambda: all(session.notes for session in sessions))
    assert sessions[1].notes[0].message == "sh: shouted"
    shared.describe({})
    shared.stopProducing()
    shared.close()
    await ended(shared)
