"""Rooms in which everybody hears everybody else."""

from __future__ import annotations

from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK
from l7mp.streams.hub import Member, Room
from l7mp.testing import Memory, check_stream


def joined(room: Room) -> tuple[Member, Memory]:
    member, sink = room.join(), Memory()
    member.deliver_to(sink)
    member.release(SINK)
    return member, sink


def test_members_keep_the_contract() -> None:
    """A place in a room is a stream."""

    def make() -> tuple[Member, object]:
        room = Room(lambda: None)
        return room.join(), room.join().write

    check_stream(make)  # type: ignore[arg-type]  # write of another member


def test_all_the_others_hear() -> None:
    """What one writes all read but the one itself."""
    room = Room(lambda: None)
    (one, heard), *others = [joined(room) for _ in range(3)]
    one.write(b"hello")
    assert [sink.written for _, sink in others] == [[b"hello"], [b"hello"]]
    assert heard.written == []


def test_words_to_nobody_are_counted() -> None:
    """Who is alone is heard by nobody, and that shows."""
    member, _ = joined(Room(lambda: None))
    member.write(b"hello?")
    assert member.drops == {"alone": 1}


def test_who_has_left_is_not_heard() -> None:
    """What it writes then reaches nobody, and is counted."""
    room = Room(lambda: None)
    (one, _), (_, sink) = joined(room), joined(room)
    one.end()
    one.write(b"by the way")
    assert sink.written == []
    assert one.drops == {"closed": 1}


def test_a_slow_member_holds_up_nobody() -> None:
    """What a held member cannot hear waits for it alone."""
    room = Room(lambda: None)
    (one, _), (slow, late), (_, quick) = [joined(room) for _ in range(3)]
    slow.hold("busy")
    one.write(b"news")
    assert (late.written, quick.written) == ([], [b"news"])
    slow.release("busy")
    assert late.written == [b"news"]


def test_the_last_one_empties_the_room() -> None:
    """A room that everybody has left is told of once."""
    emptied: list[int] = []
    room = Room(lambda: emptied.append(1))
    (one, _), (two, sink) = joined(room), joined(room)
    one.abort(Loss(Reason.RESET))
    assert not emptied
    two.end()
    two.abort(Loss(Reason.RESET))
    assert emptied == [1]
    assert two.loss == Loss(Reason.FIN)
    assert sink.ended
