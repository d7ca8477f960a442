"""Faults, signs of life and the last words of a WebSocket connection."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.errors import Loss, Reason
from l7mp.streams.websocket import Settings
from tests.streams.loopback import Collector
from tests.streams.websockets import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    Side,
    close_frame,
    dialed,
    frame,
    frames,
    served,
)

SMALL = Settings(max_message=10)
WATCHFUL = Settings(ping_interval=10, ping_timeout=3)
ANSWER = Settings().answer

both = pytest.mark.parametrize("side_of", [served, dialed])
Opened = Callable[..., Side]


def code_of(said: list[tuple[int, bytes]]) -> int:
    """The code of the only frame, which is a close."""
    [(opcode, payload)] = said
    assert opcode == CLOSE
    return int.from_bytes(payload[:2], "big")


# -- faults -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(b"x" * 11), 1009),
        (frame(b"x" * 6, first=0) + frame(b"x" * 5, 0), 1009),
        (b"\x82\xff" + (1 << 62).to_bytes(8, "big") + bytes(4), 1009),
        (frame(b"\xff", TEXT), 1007),
        (frame(b"\xc3", TEXT), 1007),
        (frame(b"x", masked=False), 1002),
        (frame(b"x", 3), 1002),
        (frame(b"x", first=0xC0), 1002),
        (frame(b"x", 0), 1002),
        (frame(b"x", PING, first=0), 1002),
        (close_frame(1005), 1002),
        (close_frame(999), 1002),
        (close_frame(1000, b"\xff"), 1007),
    ],
)
def test_faults_of_the_peer(data: bytes, code: int) -> None:
    """A peer that breaks the protocol is told how (RFC 6455, section 7.4.1), and lost."""
    side = served(SMALL)
    sink = Collector(side.stream)
    side.feed(data)
    assert code_of(side.said()) == code
    assert [loss.reason for loss in side.losses] == [Reason.PROTOCOL]
    assert side.losses[0].detail
    side.feed(frame(b"too late"))
    assert sink.got == []


def test_a_message_of_the_greatest_length() -> None:
    """A message as long as the limit is delivered."""
    side = served(SMALL)
    sink = Collector(side.stream)
    side.feed(frame(b"x" * 10))
    assert sink.got == [b"x" * 10]


@both
def test_a_fault_and_no_end(side_of: Opened) -> None:
    """A faulty peer that does not answer the close is dropped after its time."""
    side = side_of()
    side.feed(frame(b"x", 3, masked=side.masked))
    side.clock.advance(ANSWER - 1)
    assert side.wire.is_reading
    side.clock.advance(1)
    assert side.wire.aborted
    side.settle()
    assert not side.clock.getDelayedCalls()


@given(st.binary(max_size=300))
def test_noise(noise: bytes) -> None:
    """Whatever octets a peer sends, it is at worst lost, and no timer stays behind."""
    for side in (served(SMALL), dialed(SMALL)):
        Collector(side.stream)
        side.feed(noise)
        side.vanish()
        assert len(side.losses) == 1
        assert not side.clock.getDelayedCalls()


# -- signs of life ------------------------------------------------------------------------


@both
def test_pings_are_answered(side_of: Opened) -> None:
    """A ping is answered by a pong with the same payload, and is no message."""
    side = side_of()
    sink = Collector(side.stream)
    side.feed(frame(b"are you there?", PING, masked=side.masked))
    assert side.said() == [(PONG, b"are you there?")]
    assert sink.got == []


@both
def test_a_peer_without_a_sign_of_life(side_of: Opened) -> None:
    """A peer that does not answer a ping in time is lost, and dropped at once."""
    side = side_of(WATCHFUL)
    Collector(side.stream)
    side.clock.advance(10)
    assert side.said() == [(PING, b"")]
    side.clock.advance(3)
    assert side.losses == [Loss(Reason.TIMEOUT, "no answer to a ping within 3 s")]
    assert side.wire.aborted
    side.settle()
    assert not side.clock.getDelayedCalls()


@pytest.mark.parametrize(
    "sign", [frame(b"", PONG), frame(b"any"), frame(b"the beginning of")[:5]]
)
def test_signs_of_life(sign: bytes) -> None:
    """Any octet counts as a sign of life: a pong, a message, a part of one."""
    side = served(WATCHFUL)
    Collector(side.stream)
    side.clock.advance(10)
    side.feed(sign)
    side.clock.advance(3)
    assert side.losses == []
    side.clock.advance(10)
    assert side.said() == [(PING, b"")] * 2


def test_a_held_peer_cannot_give_a_sign() -> None:
    """A peer that we do not listen to is not taken for dead."""
    side = served(WATCHFUL)
    side.clock.pump([1] * 100)
    assert side.losses == []


def test_no_pings_unless_asked_for() -> None:
    """Without an interval there are no pings and no timer."""
    assert not served().clock.getDelayedCalls()


@both
def test_the_heart_stops_with_the_close(side_of: Opened) -> None:
    """A connection that closes is not asked for signs of life."""
    side = side_of(Settings(ping_interval=1, ping_timeout=1, answer=100))
    Collector(side.stream)
    side.stream.close(Loss(Reason.FIN))
    side.said()
    side.clock.pump([1] * 10)
    assert side.said() == []


# -- last words -----------------------------------------------------------------------------


def test_a_server_closes_the_connection() -> None:
    """When both have closed, the server hangs up first, and in order, not by reset."""
    side = served()
    side.stream.close(Loss(Reason.DELETED))
    side.closes(1000)
    assert side.wire.disconnecting
    assert not side.wire.aborted


def test_a_client_leaves_that_to_the_server() -> None:
    """A client waits for the server to hang up, but not for ever (section 7.1.1)."""
    side = dialed()
    side.closes(1000)
    assert not side.wire.disconnecting
    side.clock.advance(ANSWER)
    assert side.wire.aborted
    side.settle()
    assert not side.clock.getDelayedCalls()


@both
def test_a_lost_stream_still_hears_the_end(side_of: Opened) -> None:
    """Holding a stream that is lost does not keep its connection from ending."""
    side = side_of()
    Collector(side.stream)
    side.closes(1000)
    side.stream.hold("nobody")
    assert side.wire.is_reading


@both
def test_data_after_the_close(side_of: Opened) -> None:
    """What a peer sends after its close frame is nothing (RFC 6455, section 1.4)."""
    side = side_of()
    sink = Collector(side.stream)
    masked = side.masked
    both = close_frame(1000, masked=masked) + frame(b"late", masked=masked)
    side.feed(both)
    side.message(b"later")
    assert sink.got == []


@both
def test_one_close_frame(side_of: Opened) -> None:
    """When both begin to close at once, each sends one close frame."""
    side = side_of()
    side.stream.close(Loss(Reason.DELETED))
    side.closes(1001)
    side.stream.close(Loss(Reason.SHUTDOWN))
    assert [opcode for opcode, _ in frames(side.wire.take())] == [CLOSE]
