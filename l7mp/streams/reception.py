"""What becomes of the associations that come to a listener."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from l7mp.errors import Loss, Reason
from l7mp.interfaces import IStream, Metadata
from l7mp.streams.address import host_port
from l7mp.streams.association import Association, Ends
from l7mp.streams.association_stream import (
    AssociationStream,
    Beginning,
    FirstMessage,
    Manner,
)
from l7mp.streams.capped import source_of
from l7mp.streams.census import Census
from l7mp.streams.lanes import Lane, Lanes

Accept = Callable[[IStream, Metadata, str], None]
"""Takes a session: its stream, what is known of it, and the words that tell it apart."""


def metadata_of(ends: Ends) -> Metadata:
    """What is known of an association that a peer has made."""
    about: Metadata = {
        "src_port": ends.peer_port,
        "dst_port": ends.own_port,
        "src_addrs": list(ends.peer),
        "dst_addrs": list(ends.own),
        "streams": {"in": ends.streams_in, "out": ends.streams_out},
    }
    if ends.udp is not None:
        about["encapsulation"] = {"src_port": ends.udp[1], "dst_port": ends.udp[0]}
    return {"IP": {"src_addr": ends.peer[0], "dst_addr": ends.own[0]}, "SCTP": about}


class Reception:
    """Makes sessions of the associations that come to a listener."""

    def __init__(
        self,
        accept: Accept,
        manner: Manner,
        *,
        is_patient: bool,
        is_shared: bool,
        idle_timeout: float,
        census: Census[Association],
        turned_away: Callable[[str], None],
    ) -> None:
        """
        A patient one waits for the first message of an association; a shared one makes
        a session of each stream, which silence ends after ``idle_timeout``.

        ``census`` says how many associations there may be; ``turned_away`` hears which
        limit one was too many for.
        """
        self._census, self._turned_away = census, turned_away
        self._accept, self._manner, self._idle_timeout = accept, manner, idle_timeout
        self._is_patient, self._is_shared = is_patient, is_shared
        self._silent: set[FirstMessage] = set()
        self._shared: set[Lanes] = set()
        self._is_closed = False

    def welcome(self, association: Association) -> None:
        """A peer has made an association."""
        ends = association.ends()
        if not self._admits(association, ends.peer[0]):
            return
        if self._is_shared:
            self._share(association, ends)
        elif self._is_patient:
            self._wait(association, ends)
        else:
            self._begin(association, ends, None)

    def _admits(self, association: Association, peer: str) -> bool:
        source = source_of((peer,))
        why = self._census.full(source)
        if why is None:
            self._census.add(source, association)
            association.afterwards = partial(self._census.remove, source, association)
            return True
        self._turned_away(why.replace("sessions", "associations"))
        association.owner = Beginning()
        association.abort(Loss(Reason.REFUSED, "too many associations"))
        return False

    def _wait(self, association: Association, ends: Ends) -> None:

        def came(first: tuple[bytes, int, int]) -> None:
            stream = self._begin(association, ends, first)
            for note in waiting.notes:
                stream.happened(note)

        waiting = FirstMessage(association, came, self._silent.discard)
        self._silent.add(waiting)

    def _begin(
        self,
        association: Association,
        ends: Ends,
        first: tuple[bytes, int, int] | None,
    ) -> AssociationStream:
        metadata = metadata_of(ends)
        if first is not None:
            metadata["SCTP"].update(stream=first[1], ppid=first[2])
        stream = AssociationStream(association, self._manner, first)
        self._accept(stream, metadata, _words(ends))
        return stream

    def _share(self, association: Association, ends: Ends) -> None:
        def opens(lane: Lane, ppid: int) -> None:
            metadata = metadata_of(ends)
            metadata["SCTP"].update(stream=lane.number, ppid=ppid)
            lane.idle_timeout = self._idle_timeout
            self._accept(lane, metadata, f"{_words(ends)}-{lane.number}")

        def emptied(lanes: Lanes) -> None:
            if self._is_closed:
                association.finish(Loss(Reason.SHUTDOWN))

        manner, ended = self._manner, self._shared.discard
        self._shared.add(Lanes(association, manner, opens, emptied, ended))

    def close(self) -> None:
        """Be rid of those that have not said a word."""
        self._is_closed = True
        for waiting in list(self._silent):
            waiting.association.abort(Loss(Reason.SHUTDOWN))
        for lanes in list(self._shared):
            if not lanes.lanes:
                lanes.association.finish(Loss(Reason.SHUTDOWN))


def _words(ends: Ends) -> str:
    """What tells an association apart."""
    peer, own = ends.peer[0], ends.own[0]
    return f"{host_port(peer, ends.peer_port)}-{host_port(own, ends.own_port)}"
