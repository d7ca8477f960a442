"""Messages on top of streams of bytes."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from l7mp.core.ring import Pipe
from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK, IStream, Kind, Note
from l7mp.streams.framed import KEEP, Framed, framed
from l7mp.testing import Memory, check_stream
from tests.core.support import same

FIN = Loss(Reason.FIN)


def made(name: str = "u8") -> tuple[Memory, Framed, Memory]:
    """A stream of bytes, the same framed, and who reads it."""
    inner, sink = Memory(Kind.BYTES), Memory()
    stream = framed(inner, name)
    stream.deliver_to(sink)
    return inner, stream, sink


def flowing(name: str = "u8") -> tuple[Memory, Framed, Memory]:
    inner, stream, sink = made(name)
    stream.release(SINK)
    return inner, stream, sink


def test_it_keeps_the_contract() -> None:
    """A framed stream is a stream, of messages."""

    def make() -> tuple[IStream, Callable[[bytes], None]]:
        inner = Memory(Kind.BYTES)
        stream = framed(inner, "u8")
        return stream, lambda data: inner.inject(bytes([len(data)]) + data)

    check_stream(make)
    assert framed(Memory(Kind.BYTES), "u8").kind is Kind.DATAGRAMS


def test_messages_both_ways() -> None:
    """What is written goes out in frames, what is in frames is delivered."""
    inner, stream, sink = flowing()
    stream.write(b"one")
    stream.write(b"")
    inner.inject(b"\x02ab\x01c\x03d", b"ef\0")
    assert inner.written == [b"\x03one", b"\x00"]
    assert sink.written == [b"ab", b"c", b"def", b""]
    assert (stream.messages_in, stream.bytes_in) == (4, 6)
    assert (stream.messages_out, stream.bytes_out) == (2, 3)


def test_a_newborn_reads_nothing() -> None:
    """The inner stream is held as long as the outer one is."""
    inner, stream, _ = made()
    held = [inner.is_held]
    stream.release(SINK)
    held.append(inner.is_held)
    stream.hold("me")
    held.append(inner.is_held)
    assert held == [True, False, True]


def test_held_in_the_middle_of_a_chunk() -> None:
    """What one chunk had more waits its turn, and then reading goes on."""
    inner, stream, sink = flowing()
    sink.window = 2
    Pipe(stream, sink, stream.end)
    stream.release(SINK)
    inner.inject(b"\x01a\x01b\x01c\x01d\x01e")
    seen = []
    for _ in range(3):
        seen.append((list(sink.written), inner.is_held))
        sink.drain()
    assert seen == [([b"a", b"b"], True), ([b"c", b"d"], True), ([b"e"], False)]


def test_pressure_and_words_pass_through() -> None:
    """What a framing does not change reaches the inner stream, and comes from it."""
    inner, stream, sink = made()
    source = Memory()
    pipe = Pipe(source, stream, stream.end)
    producers: list[object] = [inner.producer]
    pipe.close()
    assert [*producers, inner.producer] == [pipe, None]
    stream.describe({"a": 1})
    stream.established()
    stream.end()
    assert (inner.facts, inner.is_established, inner.ended) == ([{"a": 1}], True, True)
    heard: list[Note] = []
    stream.tell(heard.append)
    note = Note("WORD", "a word", {})
    inner._note(note)
    assert heard == [note]
    stream.pass_on({"b": 2})
    assert sink.facts == [{"b": 2}]


def test_it_is_as_complete_as_what_is_inside() -> None:
    """A response in frames is no less a response."""
    inner, stream, _ = made()
    assert not stream.is_complete
    inner.is_complete = True
    assert stream.is_complete


def test_lengths_are_those_of_no_frames() -> None:
    """A Content-Length that was said of messages, or of frames, is not passed on."""
    inner, stream, sink = made()
    head = {"HTTP": {"status": 200, "headers": {"Content-Length": "9", "a": "b"}}}
    stream.describe(head)
    stream.pass_on(head)
    shown = {"HTTP": {"status": 200, "headers": {"a": "b"}}}
    assert inner.facts == sink.facts == [shown]


def test_it_says_nothing_to_nobody() -> None:
    """Metadata that comes before there is a sink is not passed on."""
    framed(Memory(Kind.BYTES), "u8").pass_on({"a": 1})


def test_it_looks_like_what_is_inside() -> None:
    """Half-close, idle time-out and drops are those of the inner stream."""
    inner = Memory(Kind.BYTES)
    inner.half_close, inner.idle_timeout = False, 7.0
    inner.drops["closing"] = 1
    stream = framed(inner, "u8")
    assert (stream.half_close, stream.idle_timeout) == (False, 7.0)
    assert stream.drops == {"closing": 1}


def test_what_cannot_be_framed_is_counted() -> None:
    """A message that would not come out the same is dropped by name."""
    inner, stream, _ = flowing("lines")
    stream.write(b"a\nb")
    stream.write(b"x" * (1 << 20) + b"y")
    stream.write(b"fine")
    assert inner.written == [b"fine\n"]
    assert stream.drops == {"unframeable": 1, "oversize": 1}
    assert stream.messages_out == 1


def test_malformed_frames_are_counted() -> None:
    """Where the next frame can be found, a bad one is only counted."""
    inner, stream, sink = flowing("slip")
    inner.inject(b"\xdbx\xc0good\xc0")
    assert sink.written == [b"good"]
    assert stream.drops == {"malformed": 1}


def test_a_violation_ends_the_stream() -> None:
    """A frame that is too long is the peer's fault; what came before is delivered."""
    inner, sink = Memory(Kind.BYTES), Memory()
    stream = framed(inner, "netstring", max_message=5)
    stream.deliver_to(sink)
    stream.release(SINK)
    inner.inject(b"2:ok,6:toolong,")
    assert sink.written == [b"ok"]
    assert stream.loss is not None
    assert stream.loss.reason is Reason.PROTOCOL
    assert "over 5" in stream.loss.detail
    assert inner.closed == stream.loss


def test_after_a_violation_nothing_counts() -> None:
    """What still comes while the stream closes is dropped, by bytes."""
    inner, stream, _ = flowing("netstring")
    stream._inner = Memory()  # that takes its time to close
    inner.inject(b"x", b"2:ok,")
    assert stream.drops == {"closing": 5}


def test_a_violation_waits_for_what_came_before() -> None:
    """A held stream is lost when its messages have been delivered, or dropped."""
    inner, stream, sink = flowing("netstring")
    stream.hold("me")
    inner._reasons.clear()  # a chunk that was under way already
    inner.inject(b"2:ok,x")
    assert stream.loss is None
    stream.release("me")
    assert sink.written == [b"ok"]
    assert stream.loss is not None


def test_closed_in_the_middle() -> None:
    """A stream that is closed or aborted drops, and counts, what nobody took."""
    for close, why in ((Framed.close, "closing"), (Framed.abort, "aborted")):
        inner, stream, _ = flowing("netstring")
        stream.hold("me")
        inner._reasons.clear()
        inner.inject(b"2:ok,1:a,x")
        close(stream, FIN)
        assert stream.drops == {why: 2}
        assert stream.loss is not None
        assert stream.loss.reason is Reason.PROTOCOL


def test_close_is_told_to_the_peer() -> None:
    """Closing in order is left to the inner stream, and heard of when it is done."""
    inner, stream, _ = flowing()
    stream.close(FIN)
    assert inner.closed == FIN
    assert stream.loss == FIN


def test_the_end_completes_or_cuts_the_last_message() -> None:
    """A last line is a message; half a frame is none, and is counted."""
    inner, stream, sink = flowing("lines")
    inner.inject(b"one\ntwo")
    inner.hang_up()
    assert sink.written == [b"one", b"two"]
    assert sink.ended
    assert stream.loss is None
    inner, stream, sink = flowing()
    inner.inject(b"\x09one")
    inner.hang_up()
    assert (sink.written, sink.ended) == ([], True)
    assert stream.drops == {"truncated": 1}


def test_a_loss_in_order_completes_the_last_message() -> None:
    """A peer that goes in peace has said all; of one that is reset nobody knows."""
    for reason, last in ((Reason.FIN, [b"one"]), (Reason.RESET, [])):
        inner, stream, sink = flowing("lines")
        inner.inject(b"one")
        inner.vanish(reason)
        assert sink.written == last
        assert stream.loss == Loss(reason)


def test_whole_messages_are_unsent() -> None:
    """A message of which a part was sent counts as unsent, those before it do not."""
    inner, stream, _ = flowing()
    for message in (b"one", b"two", b"three"):
        stream.write(message)
    for left, unsent in (
        ([], []),
        ([b"three"], [b"three"]),
        ([b"\x05three"], [b"three"]),
        ([b"o", b"\x05three"], [b"two", b"three"]),
        ([b"\x03one\x03two\x05three"], [b"one", b"two", b"three"]),
    ):
        inner.kept = left
        assert stream.unsent() == unsent


def test_memory_of_the_sent_is_bounded() -> None:
    """What was sent long ago is forgotten; the last message never is."""
    _, stream, _ = flowing("u32be")
    for _ in range(100):
        stream.write(b"x" * 4000)
        assert sum(map(len, (m for _, m in stream._sent))) <= KEEP + 4000
    stream.write(b"y" * (KEEP + 1))
    stream.write(b"z" * (KEEP + 1))
    assert [message[:1] for _, message in stream._sent] == [b"z"]


def test_a_transform_inside() -> None:
    """One that closes hands on what waits, as long as somebody reads it."""
    transform, sink = same(), Memory()
    stream = framed(transform, "u8")
    stream.deliver_to(sink)
    stream.release(SINK)
    stream.write(b"x")
    stream.close(FIN)
    assert sink.written == [b"x"]
    assert stream.loss == FIN


@given(
    st.lists(st.binary(max_size=5), max_size=12),
    st.lists(st.integers(1, 9), max_size=12),
    st.lists(st.booleans(), max_size=20),
)
def test_holding_changes_nothing(
    messages: list[bytes], cuts: list[int], holds: list[bool]
) -> None:
    """However bytes are cut and the stream is held, every message is delivered once."""
    inner, stream, sink = flowing("u16be")
    frames = b"".join(len(one).to_bytes(2, "big") + one for one in messages)
    for number in range(max(len(cuts), len(holds)) + 1):
        size = cuts[number] if number < len(cuts) else len(frames)
        piece, frames = frames[:size], frames[size:]
        if number < len(holds) and holds[number]:
            stream.hold("busy")
        before = len(sink.written)
        inner.inject(piece)
        assert not (stream.is_held and len(sink.written) > before)
        if number < len(holds) and not holds[number]:
            stream.release("busy")
    inner.inject(frames)
    stream.release("busy")
    inner.hang_up()
    assert sink.written == messages
    assert sink.ended
    assert stream.drops == {}
