"""Sync: sessions whose metadata agree meet."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from l7mp.core.ring import Pipe
from l7mp.errors import Loss, Reason, RemoteError
from l7mp.protocols import sync
from l7mp.testing import Memory
from tests.protocols.one import One
from tests.protocols.real import LOOPBACK, Conn, Real, real
from tests.streams.loopback import turn, until


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


def test_rooms_and_members_are_bounded() -> None:
    """Who does not fit is refused, with the reason; who leaves makes room."""
    one = One(sync)
    bounds = {"query": "/room", "max_members": 2, "max_rooms": 2}
    first, _ = one.connect({"room": "a"}, **bounds)
    one.connect({"room": "a"}, **bounds)
    one.connect({"room": "b"}, **bounds)
    with pytest.raises(RemoteError, match="refused: there are 2 in the room already"):
        one.connect({"room": "a"}, **bounds)
    with pytest.raises(RemoteError, match="refused: there are 2 rooms already"):
        one.connect({"room": "c"}, **bounds)
    first.abort(Loss(Reason.RESET))
    one.connect({"room": "a"}, **bounds)


def test_a_rendezvous() -> None:
    """Where told so, who is alone is not read until somebody comes, and again later."""
    one = One(sync)
    held = []
    source = Memory()
    first, _ = one.connect({"room": "a"}, query="/room", alone="wait")
    Pipe(source, first, first.end).open()
    held.append(source.is_held)
    source.inject(b"hello?")
    second, heard = one.connect({"room": "a"}, query="/room", alone="wait")
    held.append(source.is_held)
    second.abort(Loss(Reason.RESET))
    held.append(source.is_held)
    assert held == [True, False, True]
    assert heard.written == [b"hello?"]
    assert first.drops == {}


@pytest_twisted.ensureDeferred
async def test_many_members_some_of_them_slow() -> None:
    """Over real sockets: everybody hears everybody, whoever is slow or leaves."""
    async with real() as world:
        bound = await world.route(
            {"protocol": "TCP", "port": 1, "address": LOOPBACK},
            {"protocol": "Sync", "query": "/none"},
        )
        members = [world.dial((LOOPBACK, bound["port"])) for _ in range(100)]
        await until(lambda: len(world.proxy.sessions) == 100)
        await until(
            lambda: all(
                one.status == "CONNECTED" for one in world.proxy.sessions.values()
            )
        )
        speaker, slow, quitter, *others = members
        quitter.drop()
        await until(lambda: len(world.proxy.sessions) == 99)
        await talk_past(world, speaker, others)
        assert len(world.proxy.sessions) == 99
        assert not slow.got


async def talk_past(world: Real, speaker: Conn, others: list[Conn]) -> None:
    """Say so much that a slow member has to lose some, and let the others hear it all."""
    sessions: list[Any] = list(world.proxy.sessions.values())
    while not any(one.stages[1].stream.drops for one in sessions):
        speaker.push(b"x" * 65536)
        for other in others:
            while other.pull():
                other.got = b""
        await turn()
