"""Transforms as streams."""

from __future__ import annotations

from collections.abc import Iterable

from l7mp.core.ring import Pipe
from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK
from l7mp.streams.transform import TransformStream
from l7mp.testing import Memory, check_stream
from l7mp.wire.encap import Decap
from l7mp.wire.transform import Identity

FIN = Loss(Reason.FIN)


class Twice:
    """Everything twice, and a last word."""

    def feed(self, data: bytes) -> Iterable[bytes]:
        return (data, data)

    def end(self) -> Iterable[bytes]:
        return (b"bye",)


def test_it_keeps_the_contract() -> None:
    """A transform is a stream."""

    def make() -> tuple[TransformStream, object]:
        stream = TransformStream(Identity())
        return stream, stream.write

    check_stream(make)  # type: ignore[arg-type]  # write is bound to its stream


def wired() -> tuple[TransformStream, Memory]:
    stream, sink = TransformStream(Twice()), Memory()
    stream.deliver_to(sink)
    return stream, sink


def test_what_goes_in_comes_out_changed() -> None:
    """The transform says what is delivered, its last words included."""
    stream, sink = wired()
    stream.release(SINK)
    stream.write(b"x")
    stream.end()
    assert sink.written == [b"x", b"x", b"bye"]
    assert sink.ended
    assert (stream.bytes_out, stream.bytes_in) == (1, 5)


def test_pressure_goes_the_other_way() -> None:
    """A held transform pauses who writes to it, and resumes it when it has drained."""
    source, (stream, sink) = Memory(), wired()
    Pipe(source, stream, stream.end).open()
    source.inject(b"1")
    held = [source.is_held]
    stream.release(SINK)
    held.append(source.is_held)
    assert sink.written == [b"1", b"1"]
    stream.hold("full")
    held.append(source.is_held)
    assert held == [True, False, True]


def test_metadata_passes() -> None:
    """What is said about the data goes on with it."""
    stream, sink = wired()
    stream.describe({"HTTP": {"status": 200}})
    assert sink.facts == [{"HTTP": {"status": 200}}]


def test_closing_hands_on_what_waits() -> None:
    """What was written before a close reaches the sink, held or not."""
    stream, sink = wired()
    stream.write(b"x")
    stream.close(FIN)
    assert sink.written == [b"x", b"x", b"bye"]
    assert stream.loss == FIN
    assert stream.drops == {}


def test_without_a_sink_the_rest_is_counted() -> None:
    """What a closed transform can give to nobody shows in its drops."""
    stream = TransformStream(Identity())
    stream.write(b"x")
    stream.close(FIN)
    assert stream.drops == {"closed": 1}


def test_a_sink_that_is_lost_gets_nothing() -> None:
    """What a closing transform has for a dead sink is counted."""
    stream, sink = wired()
    stream.write(b"x")
    sink.vanish()
    stream.close(FIN)
    assert sink.written == []
    assert stream.drops == {"closed": 3}


def test_what_comes_too_late_is_counted() -> None:
    """A lost transform delivers nothing more."""
    stream, sink = wired()
    stream.release(SINK)
    stream.abort(FIN)
    stream.write(b"late")
    assert sink.written == []
    assert stream.drops == {"closed": 1}


def test_what_the_transform_drops_is_counted() -> None:
    """What a transform can make nothing of shows in the drops of the stream."""
    stream = TransformStream(Decap())
    stream.write(b"nonsense")
    stream.write(b"more of it")
    assert stream.drops == {"transform": 2}


def test_an_announced_length_travels_only_where_it_holds() -> None:
    """What a transform may change in length takes the Content-Length along no more."""
    facts = {"HTTP": {"headers": {"content-length": "3", "x": "1"}}}
    for transform, kept in (
        (Identity(), facts),
        (Decap(), {"HTTP": {"headers": {"x": "1"}}}),
    ):
        stream, sink = TransformStream(transform), Memory()
        stream.deliver_to(sink)
        stream.describe(facts)
        assert sink.facts == [kept]
