"""What a connection does once it is a tunnel, moment by moment."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from l7mp.errors import Loss, Reason
from l7mp.streams.httpraw import RawTunnel
from l7mp.streams.transport import FLUSH

FIN = Loss(Reason.FIN)


class Ends:
    """The transport and the stream at once; notes what happens to either."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.wants_data = True
        self.got = b""

    def body(self, data: bytes) -> None:
        self.got += data

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.said.append(name)


def tunnel(early: bytes = b"", *, eof: bool = False) -> tuple[RawTunnel, Ends, Clock]:
    ends, clock = Ends(), Clock()
    return RawTunnel(ends, clock, ends, early, eof), ends, clock


def test_what_came_early_waits() -> None:
    """Bytes that came with the head are told first, and not before they are wanted."""
    raw, ends, _ = tunnel(b"one ")
    ends.wants_data = False
    raw.received(b"two ")
    raw.resume()
    assert ends.got == b""
    ends.wants_data = True
    raw.received(b"three")
    raw.resume()
    assert ends.got == b"one two three"
    assert ends.said == ["resumeProducing"]


def test_an_end_comes_after_what_was_before_it() -> None:
    """The end and the loss of the connection wait until everything was told."""
    raw, ends, _ = tunnel(b"early", eof=True)
    ends.wants_data = False
    raw.lost(FIN)
    assert ends.said == []
    ends.wants_data = True
    raw.resume()
    assert (ends.got, ends.said) == (b"early", ["body_ended", "gone"])


def test_both_ends_close_the_connection() -> None:
    """When each side has said that it is done, the connection is closed."""
    raw, ends, _ = tunnel()
    raw.end_half()
    raw.peer_ended()
    assert ends.said == ["loseWriteConnection", "body_ended", "loseConnection"]
    raw, ends, _ = tunnel()
    raw.peer_ended()
    raw.end_half()
    assert ends.said == ["body_ended", "loseConnection"]


def test_a_half_that_has_ended_does_not_hurry_the_other() -> None:
    """That our end has left is no reason to wait no longer for the peer's."""
    raw, _, clock = tunnel()
    raw.end_half()
    raw.flushed()
    assert clock.getDelayedCalls() == []


def test_a_connection_that_is_gone_is_left_alone() -> None:
    """Nothing is asked of a transport that is no more."""
    raw, ends, clock = tunnel()
    raw.lost(FIN)
    assert ends.said == ["gone"]
    raw.pause()
    raw.resume()
    raw.send(b"x")
    raw.end_half()
    raw.finish([])
    raw.drop()
    raw.hurry()
    raw.registerProducer(None, True)  # type: ignore[arg-type]
    raw.unregisterProducer()
    assert ends.said == ["gone"]
    assert clock.getDelayedCalls() == []


def test_a_peer_that_does_not_read_is_not_waited_for_for_ever() -> None:
    """Who is told to hurry and does not is dropped."""
    raw, ends, clock = tunnel()
    raw.hurry()
    clock.advance(FLUSH)
    assert ends.said == ["abortConnection"]


def test_it_is_past_all_heads() -> None:
    """A tunnel has begun, and nothing is said of it any more."""
    raw, ends, _ = tunnel()
    raw.inform(103, [])
    raw.begin(200, [])
    raw.retire()
    assert raw.open_tunnel(200, []) is raw
    raw.part()
    assert ends.said == ["abortConnection"]
