"""Faults, signs of life and the last words of a WebSocket connection."""

from __future__ import annotations

import os
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.errors import Loss, Reason
from l7mp.streams.websocket import Settings
from l7mp.streams.websocket_link import MAX_PONGS
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


# -- what a peer could make us keep -------------------------------------------------------


@both
def test_a_message_of_crumbs(side_of: Opened) -> None:
    """A message in fragments of two octets takes about the memory that it has octets."""
    side = side_of(Settings(max_message=1 << 20))
    sink = Collector(side.stream)
    masked = side.masked
    crumbs = frame(b"xy", 0, masked=masked, first=0) * 500
    side.feed(frame(b"", masked=masked, first=0))
    tracemalloc.start()
    try:
        for _ in range(10):
            side.feed(crumbs)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * 10_000
    side.feed(frame(b"", 0, masked=masked))
    assert sink.got == [b"xy" * 5_000]


@both
def test_fragments_of_nothing(side_of: Opened) -> None:
    """Fragments without a single octet, however many, are kept nowhere."""
    side = side_of()
    sink = Collector(side.stream)
    masked = side.masked
    side.feed(frame(b"", masked=masked, first=0))
    side.feed(frame(b"", 0, masked=masked, first=0) * 1000)
    assert not side.link.frame_data
    assert not side.link.message_data
    side.feed(frame(b"end", 0, masked=masked))
    assert sink.got == [b"end"]


@both
def test_pings_of_a_peer_that_does_not_read(side_of: Opened) -> None:
    """A peer that pings and reads nothing cannot make us keep pongs without end."""
    side = side_of()
    side.wire.blocked = True
    side.feed(frame(b"?" * 125, PING, masked=side.masked) * (MAX_PONGS + 500))
    assert len(side.said()) == MAX_PONGS
    side.wire.blocked, side.wire.dataBuffer = False, b""
    side.feed(frame(b"again", PING, masked=side.masked))
    assert side.said() == [(PONG, b"again")]


# -- compression --------------------------------------------------------------------------

COMPRESSED = 0xC0
HELLO = bytes.fromhex("f248cdc9c90700")  # RFC 7692, section 7.2.3.1
SMALL_AND_COMPRESSED = Settings(max_message=10, deflate=True)


def deflated(message: bytes) -> bytes:
    """The payload of a compressed message, of a peer that remembers nothing."""
    compressor = zlib.compressobj(wbits=-15)
    data = compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return data[:-4]


@both
def test_compressed_messages(side_of: Opened) -> None:
    """Messages are compressed in both directions, and may come without it."""
    side = side_of(SMALL_AND_COMPRESSED)
    sink = Collector(side.stream)
    masked = side.masked
    side.feed(frame(HELLO, TEXT, masked=masked, first=COMPRESSED))
    side.feed(frame(HELLO[:3], first=0x40, masked=masked))
    side.feed(frame(HELLO[3:], 0, masked=masked))
    side.feed(frame(b"plain", masked=masked))
    assert sink.got == [b"Hello", b"Hello", b"plain"]
    side.stream.write(b"aaaaaaaaaa")
    wire = side.wire.take()
    assert wire[0] == COMPRESSED | 2
    [(_, payload)] = frames(wire)
    assert zlib.decompressobj(-15).decompress(payload) == b"aaaaaaaaaa"


@both
@pytest.mark.parametrize(
    ("payload", "first", "code"),
    [
        (deflated(b"x" * 11), COMPRESSED, 1009),
        (deflated(bytes(1 << 20)), COMPRESSED, 1009),
        (b"x" * 11, 0x80, 1009),
        (b"\xff\xff", COMPRESSED, 1007),
        (HELLO[:3], COMPRESSED, 1007),
        (HELLO, 0x90, 1002),
    ],
)
def test_faults_of_a_peer_that_compresses(
    side_of: Opened, payload: bytes, first: int, code: int
) -> None:
    """What cannot be inflated, or would be too long, is refused by the code for it."""
    side = side_of(SMALL_AND_COMPRESSED)
    sink = Collector(side.stream)
    masked = side.masked
    side.feed(
        frame(payload, first=first, masked=masked) + frame(b"more", masked=masked)
    )
    assert code_of(side.said()) == code
    assert [loss.reason for loss in side.losses] == [Reason.PROTOCOL]
    side.feed(frame(HELLO, first=COMPRESSED, masked=masked))
    assert sink.got == []


@both
def test_text_is_checked_when_it_is_inflated(side_of: Opened) -> None:
    """Text that is no UTF-8 is refused, whatever it looks like on the wire."""
    side = side_of(SMALL_AND_COMPRESSED)
    masked = side.masked
    side.feed(frame(deflated(b"\xff"), TEXT, first=COMPRESSED, masked=masked))
    assert code_of(side.said()) == 1007


@both
def test_the_longest_message_that_cannot_be_compressed(side_of: Opened) -> None:
    """A message as long as the limit passes, though it is longer on the wire."""
    size = 1 << 16
    side = side_of(Settings(max_message=size, deflate=True))
    sink = Collector(side.stream)
    message = os.urandom(size)
    payload = deflated(message)
    assert len(payload) > size
    side.feed(frame(payload, first=COMPRESSED, masked=side.masked))
    assert sink.got == [message]
    side.stream.write(message)
    [(_, payload)] = side.said()
    assert len(payload) > size
    assert side.losses == []


@given(st.binary(max_size=300))
def test_noise_that_may_be_compressed(noise: bytes) -> None:
    """Whatever octets a peer sends as a compressed message, it is at worst lost."""
    for side in (served(SMALL_AND_COMPRESSED), dialed(SMALL_AND_COMPRESSED)):
        Collector(side.stream)
        side.feed(frame(noise, first=COMPRESSED, masked=side.masked) + noise)
        side.vanish()
        assert len(side.losses) == 1


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


@both
def test_a_slow_message_is_a_sign(side_of: Opened) -> None:
    """A message that takes minutes, a few octets at a time, keeps its peer alive."""
    side = side_of(WATCHFUL)
    sink = Collector(side.stream)
    masked = side.masked
    parts = [b"x" * 30, b"y" * 30, b"z" * 30]
    wire = (
        frame(parts[0], first=0, masked=masked)
        + frame(parts[1], 0, first=0, masked=masked)
        + frame(parts[2], 0, masked=masked)
    )
    for octet in wire:
        side.clock.pump([1, 1])
        side.feed(bytes([octet]))
    assert sink.got == [b"".join(parts)]
    assert side.losses == []
    side.clock.pump([1] * 20)
    assert [loss.reason for loss in side.losses] == [Reason.TIMEOUT]


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
