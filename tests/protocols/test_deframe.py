"""Deframe: frames into messages."""

from __future__ import annotations

from l7mp.core.ring import Pipe
from l7mp.errors import Loss, Reason
from l7mp.protocols import deframe
from l7mp.testing import Memory
from tests.protocols.one import One


def test_messages_are_found() -> None:
    """However the bytes are cut, the messages come out; bad ones are counted."""
    stream, sink = One(deframe).connect(framing="json-lines")
    for piece in (b'{"a":', b" 1}\n\n[2", b"]\nnot JSON\n3"):
        stream.write(piece)
    stream.end()
    assert sink.written == [b'{"a": 1}', b"[2]", b"3"]
    assert sink.ended
    assert stream.drops == {"malformed": 1}


def test_a_violation_ends_the_stream() -> None:
    """Where the next frame cannot be found the stage is lost, after what came before."""
    stream, sink = One(deframe).connect(framing={"format": "u8", "max_message": 3})
    stream.write(b"\x02ok\x09")
    assert sink.written == [b"ok"]
    assert stream.loss is not None
    assert stream.loss == Loss(
        Reason.PROTOCOL, "the peer sent a frame of 9 bytes, over 3"
    )
    stream.write(b"\x02ok")
    assert stream.drops == {"closed": 1}


def test_no_message_is_pushed_out() -> None:
    """What one chunk has more than the next stage takes waits, all of it."""
    stream, sink = One(deframe).connect(framing="u8")
    source = Memory()
    Pipe(source, stream, stream.end).open()
    stream.hold("busy")
    assert source.is_held
    stream.write(b"\0" * 10_000)
    stream.release("busy")
    assert len(sink.written) == 10_000
    assert stream.drops == {}
