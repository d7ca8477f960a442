"""Sync: sessions whose metadata agree meet."""

from __future__ import annotations

from l7mp.errors import Loss, Reason
from l7mp.protocols import sync
from tests.protocols.one import One


def test_sessions_with_the_same_value_meet() -> None:
    """A room is what the query finds; others hear nothing."""
    one = One(sync)
    sessions = [
        one.connect({"room": room}, query="/room") for room in ("a", "a", "b", ["a"])
    ]
    sessions[0][0].write(b"hello")
    assert [sink.written for _, sink in sessions] == [[], [b"hello"], [], []]


def test_those_without_a_value_meet_too() -> None:
    """Sessions whose metadata lack the query's value share a room."""
    one = One(sync)
    first, _ = one.connect({}, query="/room")
    _, heard = one.connect({"other": 1}, query="/room")
    first.write(b"hello")
    assert heard.written == [b"hello"]


def test_an_empty_room_is_forgotten() -> None:
    """When all have left, whoever comes finds a new room."""
    one = One(sync)
    stream, _ = one.connect({"room": 1}, query="/room")
    rooms: dict[str, object] = one.context.resources.get(one.context.owner, dict)
    assert list(rooms) == ["1"]
    stream.abort(Loss(Reason.RESET))
    assert rooms == {}
    one.connect({"room": 1}, query="/room")
    assert list(rooms) == ["1"]
