"""Sessions on the streams of one association."""

from __future__ import annotations

import errno
from typing import Any

from l7mp.errors import Loss, Reason
from l7mp.interfaces import Note
from l7mp.streams.association_stream import Manner
from l7mp.streams.lanes import EACH, ROOM, Lane, Lanes
from l7mp.testing import Memory
from tests.streams.links import Bench, error

FIN = Loss(Reason.FIN)


class Road:
    """The lanes of an association, and what was said of them."""

    def __init__(self, streams: int = 4, is_open: bool = True, **manner: Any) -> None:
        self.bench = Bench(streams)
        self.opened: list[tuple[Lane, int]] = []
        self.said: list[str] = []
        self.it = Lanes(
            self.bench.it,
            Manner(**manner),
            self._opens if is_open else None,
            lambda _: self.said.append("emptied"),
            lambda _: self.said.append("ended"),
        )

    def _opens(self, lane: Lane, ppid: int) -> None:
        self.opened.append((lane, ppid))

    def came(self, data: bytes, stream: int, ppid: int = 0) -> None:
        self.bench.it.received(data, stream, ppid, True)

    def flowing(self, number: int) -> tuple[Lane, Memory]:
        """A session of ours and what it delivers to."""
        lane, sink = self.it.open(number, Manner()), Memory()
        assert lane is not None
        lane.deliver_to(sink)
        lane.release("sink")
        return lane, sink


def test_a_first_message_opens_a_lane() -> None:
    """Each stream has a session of its own; nothing of it is lost, and it is told how."""
    road = Road()
    road.bench.owner = road.it  # type: ignore[assignment]
    road.it.happened(Note("COMM_UP", "up", {}))
    road.came(b"a1", 1, 46)
    road.came(b"b1", 2, 47)
    road.came(b"a2", 1, 48)
    assert [(lane.number, ppid) for lane, ppid in road.opened] == [(1, 46), (2, 47)]
    first, sink = road.opened[0][0], Memory()
    heard: list[Note] = []
    first.tell(heard.append)
    assert [note.word for note in heard] == ["COMM_UP"]
    first.deliver_to(sink)
    first.release("sink")
    road.came(b"a3", 1, 48)
    assert sink.written == [b"a1", b"a2", b"a3"]
    assert sink.facts == [
        {"SCTP": {"stream": 1, "ppid": 46}},
        {"SCTP": {"stream": 1, "ppid": 48}},
    ]


def test_lanes_speak_on_their_streams() -> None:
    """Whatever is described; the identifier follows it unless it is laid down."""
    road = Road()
    lane, _ = road.flowing(2)
    lane.write(b"1")
    lane.describe({"SCTP": {"stream": 3, "ppid": 46}})
    lane.write(b"2")
    fixed = road.it.open(3, Manner(ppid=9, unordered=True))
    assert fixed is not None
    fixed.describe({"SCTP": {"ppid": 46}})
    fixed.write(b"3")
    assert road.bench.link.sent == [
        (b"1", 2, 0, False),
        (b"2", 2, 46, False),
        (b"3", 3, 9, True),
    ]
    assert (lane.messages_out, lane.bytes_out) == (2, 2)


def test_any_free_stream() -> None:
    """The lowest, as many as the peer takes; one that is in use is not free."""
    road = Road(streams=2)
    numbers = [lane.number for _ in range(2) if (lane := road.it.open(None, Manner()))]
    assert numbers == [0, 1]
    assert road.it.open(None, Manner()) is None
    assert road.it.open(1, Manner()) is None
    assert road.it.open(7, Manner()) is None


def test_a_held_lane_keeps_some() -> None:
    """Others go on meanwhile; when there is no more room all of them wait."""
    road = Road()
    slow, sink = road.flowing(1)
    _, other = road.flowing(2)
    slow.hold("why")
    road.came(bytes(ROOM - EACH), 1)
    assert road.bench.it._is_reading
    road.came(b"o", 2)
    assert other.written == [b"o"]
    road.came(b"x", 1)
    assert not road.bench.it.is_reading
    slow.release("why")
    assert [len(data) for data in sink.written] == [ROOM - EACH, 1]
    assert road.bench.link.watched == (True, False)


def test_messages_of_hardly_anything_fill_the_room_too() -> None:
    """Each costs more than its bytes, so that many small ones are no way around it."""
    road = Road()
    slow, _ = road.flowing(1)
    slow.hold("why")
    for _ in range(ROOM // EACH):
        road.came(b"x", 1)
    assert not road.bench.it.is_reading


def test_a_lane_that_goes_holds_up_nobody() -> None:
    """What it had is counted, and the others are read again."""
    road = Road()
    slow, _ = road.flowing(1)
    slow.hold("why")
    road.came(bytes(ROOM + 1), 1)
    slow.abort(FIN)
    assert slow.drops == {"aborted": 1}
    assert road.bench.it.is_reading
    slow.received(b"late", 0)
    assert slow.drops == {"aborted": 1, "closed": 1}
    assert road.said == ["emptied"]
    slow.abort(FIN)
    assert road.said == ["emptied"]


def test_what_a_sink_does_while_it_is_written_to() -> None:
    """A lane that is held after each message loses nothing and doubles nothing."""
    road = Road()
    opened, sink = road.it.open(1, Manner()), Memory(window=1)
    assert opened is not None
    lane: Lane = opened

    class Holder:
        def pauseProducing(self) -> None:
            lane.hold(self)
            lane.release(self)

    sink.registerProducer(Holder(), True)  # type: ignore[arg-type]
    lane.deliver_to(sink)
    for data in (b"1", b"2", b"3"):
        road.came(data, 1)
    lane.release("sink")
    assert sink.written == [b"1", b"2", b"3"]


def test_pressure_is_everybody_s() -> None:
    """There is one buffer: all producers pause, and those who come later, too."""
    road = Road()
    calls: list[str] = []

    class Producer:
        def __init__(self, name: str) -> None:
            self.name = name

        def pauseProducing(self) -> None:
            calls.append(f"{self.name} pauses")

        def resumeProducing(self) -> None:
            calls.append(f"{self.name} resumes")

    lanes = [road.it.open(None, Manner()) for _ in range(4)]
    a, b, c, d = (lane for lane in lanes if lane is not None)
    a.registerProducer(Producer("a"), True)  # type: ignore[arg-type]
    b.registerProducer(Producer("b"), True)  # type: ignore[arg-type]
    d.registerProducer(Producer("d"), True)  # type: ignore[arg-type]
    d.unregisterProducer()
    road.bench.link.is_full = True
    a.write(b"data")
    c.registerProducer(Producer("c"), True)  # type: ignore[arg-type]
    road.bench.link.is_full = False
    road.bench.it.writable()
    assert calls == [
        "a pauses", "b pauses", "c pauses", "a resumes", "b resumes", "c resumes",
    ]  # fmt: skip


def test_what_cannot_be_sent_is_the_speaker_s() -> None:
    """Nothing, too much and too late are counted where they were written."""
    road = Road()
    lane, other = road.it.open(1, Manner()), road.it.open(2, Manner())
    assert lane is not None
    assert other is not None
    other.write(b"")
    road.bench.link.codes = [errno.EMSGSIZE]
    other.write(b"long")
    other.end()
    other.write(b"late")
    assert other.drops == {"empty": 1, "oversize": 1, "closed": 1}
    assert lane.drops == {}
    assert other.loss == FIN


def test_strays_are_counted() -> None:
    """What comes on a stream of no session, where none may begin."""
    road = Road(is_open=False)
    lane, _ = road.flowing(1)
    road.came(b"stray", 2)
    assert lane.drops == {"stray": 1}
    lane.abort(FIN)
    road.came(b"stray", 2)  # there is nobody left to tell
    full = Road(streams=1)
    full.came(b"beyond", 3)
    assert not full.opened


def test_the_end_of_the_association_is_everybody_s() -> None:
    """Each session hears why, when it has had what came before."""
    road = Road()
    fast, _ = road.flowing(1)
    slow, sink = road.flowing(2)
    slow.hold("why")
    road.came(b"last", 2)
    road.bench.it.ended()
    losses = [fast.loss, slow.loss]
    slow.write(b"late")
    assert slow.drops == {"closed": 1}
    slow.release("why")
    assert sink.written == [b"last"]
    assert [*losses, slow.loss] == [FIN, None, FIN]
    assert road.said[0] == "ended"


def test_a_reset_waits_for_nobody() -> None:
    """What was to be delivered is counted."""
    road = Road()
    slow, _ = road.flowing(2)
    slow.hold("why")
    road.came(b"last", 2)
    road.bench.it.failed(error(errno.ECONNRESET))
    assert slow.loss is not None
    assert slow.loss.reason is Reason.RESET
    assert slow.drops == {"aborted": 1}
