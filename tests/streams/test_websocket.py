"""WebSocket connections as streams, without sockets."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import (
    ConnectionDone,
    ConnectionLost,
    TimeoutError,
)
from zope.interface.verify import verifyObject

from l7mp.errors import Loss, Reason
from l7mp.interfaces import IStream, Kind
from l7mp.streams.transport import FLUSH
from l7mp.streams.websocket import Settings
from tests.streams.loopback import Collector
from tests.streams.websockets import (
    BINARY,
    CLOSE,
    TEXT,
    Side,
    close_frame,
    dialed,
    frame,
    served,
)

SMALL = Settings(max_message=10)
ANSWER = Settings().answer

both = pytest.mark.parametrize("side_of", [served, dialed])
Opened = Callable[..., Side]


@both
def test_what_it_is(side_of: Opened) -> None:
    """It is a stream of datagrams that cannot be closed by half."""
    stream = side_of().stream
    assert verifyObject(IStream, stream)
    assert stream.kind is Kind.DATAGRAMS
    assert not stream.half_close


# -- the read half ------------------------------------------------------------------


@both
def test_a_newborn_does_not_read(side_of: Opened) -> None:
    """A newborn stream is held, and so nothing is read from its peer."""
    side = side_of()
    assert side.stream.is_held
    assert not side.wire.is_reading
    Collector(side.stream)
    assert side.wire.is_reading


@both
def test_messages_with_the_handshake(side_of: Opened) -> None:
    """Messages that arrive together with the handshake are delivered, in order."""
    masked = side_of is served
    early = frame(b"1", masked=masked) + frame(b"2", TEXT, masked=masked)
    side = side_of(then=early)
    sink = Collector(side.stream)
    side.message(b"3")
    assert sink.got == [b"1", b"2", b"3"]


@both
def test_backpressure(side_of: Opened) -> None:
    """A held stream stops its peer, and a released one lets it go on."""
    side = side_of()
    Collector(side.stream)
    side.stream.hold("slow")
    assert not side.wire.is_reading
    side.stream.release("slow")
    assert side.wire.is_reading


def test_nothing_of_one_read_is_lost() -> None:
    """However many messages one read brings, those behind a hold wait for the release."""
    messages = [str(number).encode() for number in range(10_000)]
    side = served(then=b"".join(map(frame, messages)))
    side.stream.hold("slow")
    sink = Collector(side.stream)
    assert sink.got == []
    assert side.stream.queued == 10_000
    side.stream.release("slow")
    assert sink.got == messages
    assert side.stream.drops == {}


def test_a_hold_from_within() -> None:
    """A sink that holds the stream while it is written to gets that message only."""
    side = served()
    sink = Collector(side.stream)
    keep = sink.got.append

    def write(data: bytes) -> None:
        keep(data)
        side.stream.hold("slow")

    sink.write = write  # type: ignore[method-assign]
    side.feed(frame(b"1") + frame(b"2") + frame(b"3"))
    assert sink.got == [b"1"]
    side.stream.release("slow")
    assert sink.got == [b"1", b"2"]
    assert not side.wire.is_reading


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=8), st.data())
def test_fragments_are_one_message(parts: list[bytes], data: st.DataObject) -> None:
    """A message in fragments, with pings between them, is delivered as one."""
    side = served()
    sink = Collector(side.stream)
    for number, part in enumerate(parts):
        is_last = number == len(parts) - 1
        opcode = 0 if number else BINARY
        side.feed(frame(part, opcode, first=0x80 if is_last else 0))
        if not is_last and data.draw(st.booleans()):
            side.feed(frame(b"?", 9))
    assert sink.got == [b"".join(parts)]


# -- the write half -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "heard", "opcode"),
    [
        (Settings(), TEXT, BINARY),
        (Settings(message_type="text"), BINARY, TEXT),
        (Settings(message_type="auto"), None, BINARY),
        (Settings(message_type="auto"), TEXT, TEXT),
        (Settings(message_type="auto"), BINARY, BINARY),
    ],
)
def test_types_of_messages(settings: Settings, heard: int | None, opcode: int) -> None:
    """Messages leave as binary, as text, or as the last one came in."""
    side = served(settings)
    Collector(side.stream)
    if heard is not None:
        side.message(b"?", heard)
    side.stream.write(b"!")
    assert side.said() == [(opcode, b"!")]


def test_what_is_no_text_goes_as_binary() -> None:
    """Octets that are no UTF-8 are sent in a binary message, or the peer had to fail."""
    side = served(Settings(message_type="text"))
    side.stream.write(b"\xff")
    assert side.said() == [(BINARY, b"\xff")]
    assert side.stream.drops == {}


def test_what_is_no_text_can_be_dropped() -> None:
    """For peers that take text only, other octets can be dropped, and are counted."""
    side = served(Settings(message_type="text", invalid_text="drop"))
    side.stream.write(b"\xff")
    side.stream.write(b"text")
    assert side.said() == [(TEXT, b"text")]
    assert side.stream.drops == {"not-text": 1}


@both
def test_sizes(side_of: Opened) -> None:
    """Messages of any size, the empty one too, leave with their boundaries."""
    side = side_of()
    messages = [b"", b"a" * 125, b"b" * 126, b"c" * 65_535, b"d" * 65_536]
    for message in messages:
        side.stream.write(message)
    assert side.said() == [(BINARY, message) for message in messages]
    assert side.stream.messages_out == 5


def test_too_long_to_be_sent() -> None:
    """A message beyond the limit is dropped and counted, and the next one is sent."""
    side = served(SMALL)
    side.stream.write(b"x" * 11)
    side.stream.write(b"x" * 10)
    assert side.said() == [(BINARY, b"x" * 10)]
    assert side.stream.drops == {"oversize": 1}


@both
def test_producers(side_of: Opened) -> None:
    """Who writes to the stream is paused by the transport below it."""
    side, producer = side_of(), object()
    side.stream.registerProducer(producer, True)  # type: ignore[arg-type]
    assert side.wire.producer is producer
    side.stream.unregisterProducer()
    assert side.wire.producer is None


def test_unsent() -> None:
    """What the transport still holds when the stream is lost was never sent."""
    side = served()
    side.stream.write(b"0")
    side.wire.blocked = True
    for message in (b"1", b"22", b"333"):
        side.stream.write(message)
    side.wire.dataBuffer = side.wire.dataBuffer[len(frame(b"1", masked=False)) + 1 :]
    side.vanish(ConnectionLost)
    assert side.stream.unsent() == [b"22", b"333"]
    side.wire.dataBuffer = b""
    assert side.stream.unsent() == []


def test_what_has_left_is_forgotten() -> None:
    """Only messages that the transport still holds are kept in memory."""
    side = served()
    for _ in range(100):
        side.stream.write(b"x" * 1000)
    assert len(side.stream._written) <= 1


# -- the end, ours --------------------------------------------------------------------


@both
def test_end(side_of: Opened) -> None:
    """end() closes with 1000; what comes until the peer has closed is delivered."""
    side = side_of()
    sink = Collector(side.stream)
    side.stream.end()
    side.stream.end()
    side.clock.advance(0)
    assert side.said() == [(CLOSE, (1000).to_bytes(2, "big"))]
    side.message(b"late")
    assert sink.got == [b"late"]
    assert side.losses == []
    side.closes(1000)
    assert side.losses == [Loss(Reason.FIN, "", 1000)]


@both
def test_end_and_close(side_of: Opened) -> None:
    """A close() in the turn of an end() says why in the only close frame."""
    side = side_of()
    side.stream.end()
    side.stream.close(Loss(Reason.SHUTDOWN))
    side.clock.advance(0)
    assert side.said() == [(CLOSE, (1001).to_bytes(2, "big") + b"shutdown")]


@both
def test_close(side_of: Opened) -> None:
    """close() says why after what was written, and hears nothing any more."""
    side = side_of()
    sink = Collector(side.stream)
    loss = Loss(Reason.NO_ROUTE, "no rule matches")
    side.stream.write(b"last")
    side.stream.close(loss)
    text = (1011).to_bytes(2, "big") + b"no-route: no rule matches"
    assert side.said() == [(BINARY, b"last"), (CLOSE, text)]
    side.message(b"late")
    assert sink.got == []
    assert side.stream.drops == {"closing": 1}
    assert side.losses == []
    side.closes(1011)
    assert side.losses == [loss]


def test_close_of_a_held_stream() -> None:
    """What waits for a sink when a stream is closed is counted, and holds up nothing."""
    side = served(then=frame(b"1") + frame(b"2"))
    side.stream.close(Loss(Reason.DELETED))
    assert side.stream.drops == {"closing": 2}
    assert side.wire.is_reading
    side.closes(1000)
    assert side.losses == [Loss(Reason.DELETED)]


def test_close_passes_on_the_code_of_a_peer() -> None:
    """A session that ends because of a close frame at its other end passes it on."""
    upstream, downstream = dialed(), served()
    upstream.closes(4001, b"enough")
    downstream.stream.end()
    downstream.stream.close(upstream.losses[0])
    assert downstream.said() == [(CLOSE, (4001).to_bytes(2, "big") + b"enough")]


@both
def test_writing_to_a_closed_stream(side_of: Opened) -> None:
    """What is written after the close is dropped and counted."""
    side = side_of()
    side.stream.close(Loss(Reason.FIN))
    side.said()
    side.stream.write(b"too late")
    assert side.said() == []
    assert side.stream.drops == {"closed": 1}


@both
def test_abort(side_of: Opened) -> None:
    """abort() drops the connection without a word; the stream is lost with that."""
    side = side_of()
    side.stream.abort(Loss(Reason.LOCAL, "why not"))
    assert side.wire.aborted
    assert side.said() == []
    side.settle()
    assert side.losses == [Loss(Reason.LOCAL, "why not")]
    assert not side.clock.getDelayedCalls()


@both
def test_a_reset_at_the_other_end(side_of: Opened) -> None:
    """That the other end was reset is told, if only in vain, and not for long."""
    side = side_of()
    side.stream.abort(Loss(Reason.RESET, "power cut"))
    assert side.said() == [(CLOSE, b"\x03\xf3reset: power cut")]  # 1011
    side.clock.advance(Settings().answer)
    assert side.wire.aborted
    side.settle()
    assert side.losses == [Loss(Reason.RESET, "power cut")]


@both
def test_a_reset_that_cannot_be_told(side_of: Opened) -> None:
    """A peer that takes nothing is dropped at once when the other end was reset."""
    side = side_of()
    side.wire.blocked = True
    side.stream.write(b"waits")
    side.stream.abort(Loss(Reason.RESET))
    assert side.wire.aborted


def test_abort_while_closing() -> None:
    """A close that takes too long for somebody can be cut short; its reason stays."""
    side = served()
    side.stream.close(Loss(Reason.DELETED))
    side.stream.abort(Loss(Reason.RESET))
    side.settle()
    assert side.losses == [Loss(Reason.DELETED)]


# -- the end, the peer's ----------------------------------------------------------------


@both
def test_a_peer_that_closes(side_of: Opened) -> None:
    """A close frame is answered with its code and is the end of the stream, at once."""
    side = side_of()
    side.closes(4000, b"bye")
    assert side.said() == [(CLOSE, (4000).to_bytes(2, "big") + b"bye")]
    assert side.losses == [Loss(Reason.FIN, "bye", 4000)]
    assert not side.wire.aborted


def test_a_close_without_a_code() -> None:
    """A close frame without a code is an orderly end, too, and answered by the same."""
    side = served()
    side.feed(frame(b"", CLOSE))
    assert side.said() == [(CLOSE, b"")]
    assert side.losses == [Loss(Reason.FIN, "", 1005)]


@both
def test_what_came_before_the_close(side_of: Opened) -> None:
    """What was read before the loss is delivered before the loss is reported."""
    side = side_of()
    side.message(b"1")
    side.closes(1001)
    side.settle()
    assert side.losses == []
    sink = Collector(side.stream)
    assert sink.got == [b"1"]
    assert side.losses == [Loss(Reason.FIN, "", 1001)]


@pytest.mark.parametrize("give_up", ["close", "abort"])
def test_nobody_wants_what_came_before_the_close(give_up: str) -> None:
    """If what waits is not wanted any more, the peer's close counts at once."""
    side = served(then=frame(b"1") + close_frame(1001))
    getattr(side.stream, give_up)(Loss(Reason.DELETED))
    assert side.losses == [Loss(Reason.FIN, "", 1001)]
    assert not side.wire.aborted


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionDone, Reason.RESET),
        (ConnectionLost, Reason.RESET),
        (TimeoutError, Reason.TIMEOUT),
    ],
)
@both
def test_a_peer_that_vanishes(
    side_of: Opened, error: type[BaseException], reason: Reason
) -> None:
    """A connection that goes without a close frame (1006) was reset, or timed out."""
    side = side_of()
    side.vanish(error)
    assert [loss.reason for loss in side.losses] == [reason]
    assert not side.clock.getDelayedCalls()


@both
def test_a_peer_that_hangs_up_on_a_close(side_of: Opened) -> None:
    """Who just closes the connection when we close has ended in good order."""
    side = side_of()
    side.stream.end()
    side.clock.advance(0)
    side.vanish()
    assert [loss.reason for loss in side.losses] == [Reason.FIN]


@both
def test_no_answer_to_a_close(side_of: Opened) -> None:
    """A peer that does not answer a close frame in time is not waited for."""
    side = side_of()
    Collector(side.stream)
    side.stream.end()
    side.clock.pump([0, ANSWER - 1])
    assert side.losses == []
    side.clock.advance(1)
    assert side.losses == [Loss(Reason.FIN, "no answer to the close frame")]
    assert side.wire.aborted
    side.settle()
    assert not side.clock.getDelayedCalls()


@both
def test_a_slow_reader_may_answer_late(side_of: Opened) -> None:
    """While the peer still takes what was written its answer is waited for, in bounds."""
    side = side_of()
    side.wire.dataBuffer = b"much"
    side.stream.close(Loss(Reason.DELETED))
    side.clock.pump([ANSWER] * (int(FLUSH / ANSWER) - 1))
    assert not side.wire.aborted
    side.clock.advance(ANSWER)
    assert side.wire.aborted


def test_a_deaf_stream_does_not_blame_its_peer() -> None:
    """While we do not listen the answer to our close cannot be late."""
    side = served()
    Collector(side.stream)
    side.stream.hold("slow")
    side.stream.end()
    side.clock.pump([0] + [ANSWER] * 20)
    assert side.losses == []
    side.stream.release("slow")
    side.closes(1000)
    assert side.losses == [Loss(Reason.FIN, "", 1000)]
