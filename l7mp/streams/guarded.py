"""Flows that cannot be made to flood somebody whose address a stranger has used."""

from __future__ import annotations

from zope.interface import implementer_only

from l7mp.interfaces import IStream
from l7mp.streams.capped import WatchedFlow
from l7mp.streams.datagram import Key, PeerFlow, SharedSocket

AMPLIFICATION = "amplification"
"""The reason for which answers are dropped that would be too much."""


@implementer_only(IStream)
class GuardedFlow(PeerFlow):
    """
    A flow that answers with at most ``factor`` times the bytes that it received.

    That ends when the peer speaks again after something was sent to it, from the same
    address, unless it ``never`` ends.  It counts everything, so all has to pass here.
    """

    def __init__(
        self,
        shared: SharedSocket,
        key: Key,
        idle_timeout: float,
        is_patient: bool,
        factor: float,
        never: bool,
    ) -> None:
        super().__init__(shared, key, idle_timeout, is_patient)
        self._factor, self._never = factor, never
        self._credit = 0.0
        self._has_answered = self._is_believed = False

    def asked_at(self, key: Key) -> None:
        if key[0] != self.key[0]:
            self._credit = 0.0
            self._has_answered = self._is_believed = False
        super().asked_at(key)

    def believe(self) -> None:
        self._is_believed = not self._never

    def received(self, data: bytes) -> None:
        if not self._is_believed:
            self._credit += self._factor * len(data)
            self._is_believed = self._has_answered and not self._never
        super().received(data)

    def write(self, data: bytes) -> None:
        if not self._is_believed:
            if len(data) > self._credit:
                self._drop(AMPLIFICATION)
                return
            self._credit -= len(data)
            self._has_answered = True
        super().write(data)


class WatchedGuardedFlow(WatchedFlow, GuardedFlow):
    """A guarded flow that says when its peer is heard."""
