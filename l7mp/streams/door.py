"""Where the new peers of one listener come in to a shared socket."""

from __future__ import annotations

from collections.abc import Callable

from l7mp.streams.address import Sockaddr
from l7mp.streams.datagram import Key, PeerFlow, Refused, SharedSocket

Make = Callable[[SharedSocket, Key, float, bool], PeerFlow]
"""Makes a flow: its socket and key, its idle time-out, whether it is patient."""


class Door:
    """
    Takes those peers that it ``admits`` and no door that was there before has taken.

    With ``peer``, the door of a singleton: there is one flow at a time, whichever of
    our addresses that peer asks, and whether it is there or not.
    """

    def __init__(
        self,
        shared: SharedSocket,
        accept: Callable[[PeerFlow], None],
        admits: Callable[[Sockaddr], bool],
        idle_timeout: float,
        peer: Sockaddr | None = None,
        make: Make = PeerFlow,
    ) -> None:
        self.peer = peer
        self._make = make
        self._shared, self._accept, self._admits = shared, accept, admits
        self._idle_timeout = idle_timeout
        self._only: PeerFlow | None = None
        shared.offer_to(self._take)

    def begin(self) -> None:
        """Make the flow of a singleton, unless there is one with that peer."""
        if self.peer is not None and self._lives() is None:
            key = (self.peer, self._shared.route_to(self.peer))
            if not self._shared.has(key):
                self._new(key)

    def close(self) -> None:
        """Let in nobody any more; who is inside stays."""
        self._shared.offer_no_more(self._take)

    def _take(self, key: Key) -> PeerFlow | Refused | None:
        if not self._admits(key[0]):
            return None
        flow = self._lives()
        if flow is None:
            return self._new(key)
        self._shared.move(flow, key)
        return flow

    def _lives(self) -> PeerFlow | None:
        """The flow of a singleton."""
        flow = self._only
        return flow if flow is not None and self._shared.knows(flow) else None

    def _new(self, key: Key) -> PeerFlow | Refused:
        is_singleton = self.peer is not None
        flow = self._make(self._shared, key, self._idle_timeout, is_singleton)
        if is_singleton:
            self._only = flow
        self._shared.add(flow)
        self._entered(flow)
        self._accept(flow)
        return flow

    def _entered(self, flow: PeerFlow) -> None:
        """The flow is there; whoever counts them has a say before it is accepted."""
