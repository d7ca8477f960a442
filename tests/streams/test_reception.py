"""What becomes of associations that come."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from l7mp.errors import Loss, Reason
from l7mp.interfaces import Note
from l7mp.streams.association_stream import AssociationStream, Manner
from l7mp.streams.census import Census
from l7mp.streams.lanes import Lane
from l7mp.streams.reception import Reception, metadata_of
from l7mp.testing import Memory
from tests.streams.links import ENDS, Bench

WORDS = "127.0.0.2:6000-127.0.0.1:5000"


class Hall:
    """A reception, an association that has come, and the sessions that were made."""

    def __init__(self, is_patient: bool = False, is_shared: bool = False) -> None:
        self.bench = Bench()
        self.sessions: list[tuple[Any, dict[str, Any], str]] = []
        self.turned: list[str] = []
        self.it = Reception(
            lambda *session: self.sessions.append(session),
            Manner(ppid=9),
            is_patient=is_patient,
            is_shared=is_shared,
            idle_timeout=7.0,
            census=Census(2, None),
            turned_away=self.turned.append,
        )
        self.it.welcome(self.bench.it)

    def came(self, data: bytes, stream: int, ppid: int) -> None:
        self.bench.it.received(data, stream, ppid, True)


def test_what_is_known() -> None:
    """Addresses, ports, streams, and the ports of an encapsulation if there is one."""
    known = metadata_of(ENDS)
    assert known["IP"] == {"src_addr": "127.0.0.2", "dst_addr": "127.0.0.1"}
    assert known["SCTP"] == {
        "src_port": 6000,
        "dst_port": 5000,
        "src_addrs": ["127.0.0.2"],
        "dst_addrs": ["127.0.0.1"],
        "streams": {"in": 16, "out": 16},
    }
    in_udp = metadata_of(replace(ENDS, udp=(9899, 40000)))
    about = in_udp["SCTP"]["encapsulation"]
    assert about == {"src_port": 40000, "dst_port": 9899}


def test_an_association_is_a_session() -> None:
    """At once, with a name that tells it apart."""
    hall = Hall()
    ((stream, _, words),) = hall.sessions
    assert isinstance(stream, AssociationStream)
    assert words == WORDS
    stream.write(b"data")
    assert hall.bench.link.sent == [(b"data", 0, 9, False)]


def test_patience() -> None:
    """The first message makes the session, and what happened before is told, too."""
    hall = Hall(is_patient=True)
    assert not hall.sessions
    hall.bench.it.owner.happened(Note("COMM_UP", "up", {}))
    hall.came(b"first", 3, 46)
    ((stream, metadata, _),) = hall.sessions
    assert (metadata["SCTP"]["stream"], metadata["SCTP"]["ppid"]) == (3, 46)
    heard: list[Note] = []
    stream.tell(heard.append)
    assert [note.word for note in heard] == ["COMM_UP"]
    sink = Memory()
    stream.deliver_to(sink)
    stream.release("sink")
    assert sink.written == [b"first"]
    hall.it.close()
    assert hall.bench.link.said == []


def test_patience_has_an_end() -> None:
    """Those who have said nothing go with the listener."""
    hall = Hall(is_patient=True)
    hall.it.close()
    assert hall.bench.link.said == ["abort"]


def test_streams_are_sessions() -> None:
    """Each with its number in metadata and name, and ended by silence."""
    hall = Hall(is_shared=True)
    hall.came(b"a", 1, 46)
    hall.came(b"b", 2, 47)
    assert [words for _, _, words in hall.sessions] == [f"{WORDS}-1", f"{WORDS}-2"]
    lane, metadata, _ = hall.sessions[1]
    assert isinstance(lane, Lane)
    assert (metadata["SCTP"]["stream"], metadata["SCTP"]["ppid"]) == (2, 47)
    assert lane.idle_timeout == 7.0


def test_a_stream_can_begin_again() -> None:
    """When its session has gone, the next message on it is another's first."""
    hall = Hall(is_shared=True)
    hall.came(b"a", 1, 46)
    hall.sessions[0][0].abort(Loss(Reason.IDLE))
    assert hall.bench.link.said == []
    hall.came(b"a", 1, 46)
    assert len(hall.sessions) == 2


def test_shared_associations_go_with_their_last_session() -> None:
    """Once the listener is gone; one without any goes at once."""
    hall, empty = Hall(is_shared=True), Hall(is_shared=True)
    hall.came(b"a", 1, 46)
    for one in (hall, empty):
        one.it.close()
    assert hall.bench.link.said == []
    assert empty.bench.link.said == ["shutdown"]
    hall.sessions[0][0].end()
    assert hall.bench.link.said == ["shutdown"]


def test_there_can_be_too_many() -> None:
    """One that finds no room is aborted; when another has gone there is room again."""
    hall, second, third, fourth = Hall(), Bench(), Bench(), Bench()
    hall.it.welcome(second.it)
    hall.it.welcome(third.it)
    assert third.link.said == ["abort"]
    assert hall.turned == ["max-associations"]
    second.it.ended()
    hall.it.welcome(fourth.it)
    assert fourth.link.said == []
    assert len(hall.sessions) == 3
