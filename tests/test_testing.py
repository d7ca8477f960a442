"""The tools with which others test their protocols."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK, Kind
from l7mp.testing import Memory, check_stream


def test_memory_is_a_stream() -> None:
    """The stream of nothing keeps the contract itself."""

    def make() -> tuple[Memory, Callable[[bytes], None]]:
        memory = Memory()
        return memory, memory.inject

    check_stream(make)


def test_memory_remembers() -> None:
    """What is done to a memory can be looked up."""
    memory = Memory(Kind.BYTES)
    memory.write(b"data")
    memory.describe({"a": 1})
    memory.established()
    memory.end()
    memory.close(Loss(Reason.FIN))
    assert memory.written == [b"data"]
    assert memory.facts == [{"a": 1}]
    assert (memory.is_established, memory.ended) == (True, True)
    assert memory.closed == memory.loss == Loss(Reason.FIN)


class Hasty(Memory):
    """Delivers although it is held."""

    def inject(self, *data: bytes) -> None:
        for one in data:
            self._deliver(one)


class Forgetful(Memory):
    """Keeps nothing that comes early."""

    def inject(self, *data: bytes) -> None:
        if not self.is_held:
            super().inject(*data)


class Simple(Memory):
    """Has one reason to be held, whatever it is told."""

    def release(self, reason: object) -> None:
        self._reasons.clear()
        self._resume()


class Immortal(Memory):
    """Is never lost."""

    def abort(self, loss: Loss) -> None:
        pass

    close = abort


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (Hasty, "before it was released"),
        (Forgetful, "what came early was lost"),
        (Simple, "although a reason was left"),
        (Immortal, "lost 0 times"),
    ],
)
def test_a_broken_promise_is_named(broken: type[Memory], promise: str) -> None:
    """Each kind of faulty stream fails the check, and the failure says why."""

    def make() -> tuple[Memory, Callable[[bytes], None]]:
        memory = broken()
        return memory, memory.inject

    with pytest.raises(AssertionError, match=promise):
        check_stream(make)


def test_a_full_memory_pauses_its_producer() -> None:
    """A memory with a window pushes back until it is drained."""
    said: list[str] = []

    class Producer:
        def pauseProducing(self) -> None:
            said.append("pause")

        def resumeProducing(self) -> None:
            said.append("resume")

    memory = Memory(window=2)
    memory.registerProducer(Producer(), True)  # type: ignore[arg-type]  # enough of one
    memory.write(b"1")
    memory.write(b"2")
    memory.drain()
    assert said == ["pause", "resume"]
    memory.release(SINK)
