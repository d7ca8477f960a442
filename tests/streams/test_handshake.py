"""Reading a header first, and going on as if it had not been read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from zope.interface import implementer

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import SINK, IFlowTransport, IKernelFlow
from l7mp.streams.handshake import Continued, read_header
from l7mp.testing import Memory, check_stream


def line() -> Callable[[bytes], bytes | None]:
    """Judges a header that ends with a new line."""
    pieces: list[bytes] = []

    def judge(piece: bytes) -> bytes | None:
        pieces.append(piece)
        return b"".join(pieces) if piece.endswith(b"\n") else None

    return judge


def failure_of(waiting: Deferred[bytes]) -> BaseException:
    found: list[BaseException] = []
    caught = waiting.addBoth(lambda failure: found.append(failure.value))
    assert caught.called
    (error,) = found
    return error


def test_a_header_may_come_in_pieces() -> None:
    """The header is there with its last piece, and the stream is held again."""
    stream = Memory()
    got: list[bytes] = []
    read_header(stream, line()).addCallback(got.append)
    stream.inject(b"a", b"b")
    assert got == []
    stream.inject(b"c\n", b"data")
    assert got == [b"abc\n"]
    assert stream.is_held
    sink = Memory()
    stream.deliver_to(sink)
    stream.release(SINK)
    assert sink.written == [b"data"]


def test_a_peer_that_ends_has_no_header() -> None:
    """The end of the data before the header is complete is a failure."""
    stream = Memory()
    reading = read_header(stream, line())
    stream.inject(b"a")
    stream.hang_up()
    error = failure_of(reading)
    assert isinstance(error, RemoteError)
    assert error.loss.reason is Reason.FIN


def test_a_lost_peer_has_no_header() -> None:
    """The loss of the stream is the failure."""
    stream = Memory()
    reading = read_header(stream, line())
    stream.vanish(Reason.RESET)
    error = failure_of(reading)
    assert isinstance(error, RemoteError)
    assert error.loss == Loss(Reason.RESET)


def test_who_gives_up_leaves_the_stream_held() -> None:
    """A cancelled reading reads nothing more."""
    stream = Memory()
    reading = read_header(stream, line())
    reading.cancel()
    assert isinstance(failure_of(reading), CancelledError)
    assert stream.is_held


def test_the_rest_comes_first() -> None:
    """What was read behind a header is delivered before everything else."""
    inner, sink = Memory(), Memory()
    stream = Continued(inner, [b"rest"])
    stream.deliver_to(sink)
    inner.inject(b"more")
    stream.release(SINK)
    assert sink.written == [b"rest", b"more"]


def test_the_rest_waits_for_every_reason() -> None:
    """What was read behind a header is held as the stream is."""
    inner, sink = Memory(), Memory()
    stream = Continued(inner, [b"rest"])
    stream.deliver_to(sink)
    stream.hold("full")
    stream.release(SINK)
    assert sink.written == []
    stream.release("full")
    assert sink.written == [b"rest"]


def test_a_full_sink_gets_no_more() -> None:
    """A sink that asks for a pause in the midst of the rest gets the others later."""
    inner, sink = Memory(), Memory()
    stream = Continued(inner, [b"a", b"b"])

    def write(data: bytes) -> None:
        sink.written.append(data)
        stream.hold("full")

    sink.write = write  # type: ignore[method-assign]
    stream.deliver_to(sink)
    inner.inject(b"c")
    stream.release(SINK)
    assert sink.written == [b"a"]
    stream.release("full")
    stream.release("full")
    assert sink.written == [b"a", b"b", b"c"]


def test_the_rest_comes_before_the_loss() -> None:
    """Who is lost before the rest was delivered still delivers it, held or not."""
    inner, sink = Memory(), Memory()
    stream = Continued(inner, [b"a", b"b"])
    stream.deliver_to(sink)
    heard: list[list[bytes]] = []
    stream.when_lost().addCallback(lambda _: heard.append(list(sink.written)))
    inner.vanish()
    assert heard == [[b"a", b"b"]]
    assert stream.drops == {}


def test_an_end_that_nobody_was_there_to_hear() -> None:
    """A peer may have nothing to say behind its header, long before there is a sink."""
    inner, sink = Memory(), Memory()
    read_header(inner, line())
    inner.inject(b"header\n")
    stream = Continued(inner, [b"a", b"b"])
    inner.hang_up()
    stream.deliver_to(sink)
    assert not sink.ended
    stream.release(SINK)
    assert (sink.written, sink.ended) == ([b"a", b"b"], True)


def test_the_rest_of_a_stream_that_nobody_had_is_counted() -> None:
    """Without a sink the rest reaches nobody."""
    inner = Memory()
    inner.drops["aborted"] = 1
    stream = Continued(inner, [b"a", b"b"])
    inner.vanish()
    assert stream.drops == {"aborted": 3}


def test_facts_come_first() -> None:
    """What the header said goes ahead of the data, once, to a sink that flows."""
    inner, sink = Memory(), Memory()
    stream = Continued(inner, facts={"X": 1})
    stream.deliver_to(sink)
    assert sink.facts == []
    stream.release(SINK)
    stream.hold("full")
    stream.release("full")
    assert sink.facts == [{"X": 1}]


@implementer(IKernelFlow)
class KernelMemory(Memory):
    """A stream that the kernel could forward."""

    def five_tuple(self) -> tuple[str, int, str, int, int]:
        raise NotImplementedError


def test_the_kernel_may_forward_what_has_no_rest() -> None:
    """It can be what the inner stream can be, once nothing else is to be delivered."""
    inner = KernelMemory()
    found: list[Any] = [
        IKernelFlow(Continued(inner), None),
        IKernelFlow(Continued(inner, [b"rest"]), None),
        IKernelFlow(Continued(Memory()), None),
        IFlowTransport(Continued(inner), None),
    ]
    assert found == [inner, None, None, None]


def test_it_writes_to_its_peer() -> None:
    """What is written goes to the peer of the inner stream, and is counted there."""
    inner = Memory()
    stream = Continued(inner)
    stream.write(b"data")
    assert (inner.written, stream.messages_out) == ([b"data"], 1)


@pytest.mark.parametrize("rest", [b"", b"rest"])
def test_it_keeps_the_contract(rest: bytes) -> None:
    """A continued stream is a stream, and its rest the first thing it reads."""

    def make() -> tuple[Continued, Callable[[bytes], None]]:
        inner = Memory()
        stream = Continued(inner, [rest] if rest else [])
        if rest:
            sink = Memory()
            stream.deliver_to(sink)
            stream.release(SINK)
            stream.hold(SINK)
            assert sink.written == [rest]
        return stream, inner.inject

    check_stream(make)
