"""What waits to be sent, and who waits with it."""

from __future__ import annotations

from l7mp.streams.outbox import Outbox


class Producer:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


def test_the_producer_waits_while_anything_does() -> None:
    """It is paused once, by the first piece, and goes on when the last has left."""
    outbox, producer = Outbox(), Producer()
    outbox.register(producer)  # type: ignore[arg-type]  # enough of one
    outbox.put(b"one")
    outbox.put(b"two")
    assert producer.told == ["pause"]
    outbox.sent()
    outbox.settle()
    assert producer.told == ["pause"]
    outbox.sent()
    outbox.settle()
    outbox.settle()
    assert producer.told == ["pause", "resume"]


def test_who_comes_late_is_told_at_once() -> None:
    """A producer that is registered while something waits is paused."""
    outbox, producer = Outbox(), Producer()
    outbox.put(b"early")
    outbox.register(producer)  # type: ignore[arg-type]  # enough of one
    assert producer.told == ["pause"]
    outbox.unregister()
    outbox.put(b"later")
    outbox.clear()
    outbox.settle()
    assert producer.told == ["pause"]


def test_a_part_of_a_piece_can_leave() -> None:
    """What is left of it is next, and counts with the rest."""
    outbox = Outbox()
    outbox.put(b"abcd")
    outbox.put(b"ef")
    outbox.sent(3)
    assert outbox.pieces() == [b"d", b"ef"]
    assert (outbox.first(), outbox.size, len(outbox)) == (b"d", 3, 2)
    outbox.sent(1)
    outbox.sent(2)
    assert (outbox.size, len(outbox)) == (0, 0)


def test_the_oldest_is_pushed_out() -> None:
    """For a producer that does not wait there is a bound, of pieces and of bytes."""
    few, small = Outbox(max_pieces=2), Outbox(max_bytes=4)
    assert [few.put(data) for data in (b"1", b"2", b"3")] == [0, 0, 1]
    assert few.pieces() == [b"2", b"3"]
    assert [small.put(data) for data in (b"12", b"34", b"567")] == [0, 0, 2]
    assert (small.pieces(), small.size) == ([b"567"], 3)
    assert small.clear() == 1
