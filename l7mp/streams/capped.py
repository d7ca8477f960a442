"""A door that lets in only so many, and is fair to those who come."""

from __future__ import annotations

import socket
from collections.abc import Callable

from zope.interface import implementer_only

from l7mp.errors import Loss, Reason
from l7mp.interfaces import IStream
from l7mp.streams.address import MAPPED, Sockaddr, shown
from l7mp.streams.census import Census
from l7mp.streams.datagram import REFUSED, Key, PeerFlow, Refused, SharedSocket
from l7mp.streams.door import Door, Make

_NETWORK = 8
"""Bytes of an IPv6 address that name a network; within it a host may use any."""


@implementer_only(IStream)
class WatchedFlow(PeerFlow):
    """A flow that says when its peer is heard, so that we have to hear all of it."""

    heard: Callable[[PeerFlow], None]

    def received(self, data: bytes) -> None:
        self.heard(self)
        super().received(data)


def source_of(peer: Sockaddr) -> str | bytes:
    """Whom to count ``peer`` with: an IPv4 address, or a /64 network of IPv6."""
    host: str = peer[0]
    if ":" not in host or host.startswith(MAPPED):
        return shown(host)
    plain = host.partition("%")[0]
    return socket.inet_pton(socket.AF_INET6, plain)[:_NETWORK]


class CappedDoor(Door):
    """
    A door with limits to how many may be inside.

    Who finds no room is refused, which is counted by reason; or, with ``replaces``,
    the flow that was silent for longest may have to go (see ``Census``), for which
    flows must be ``WatchedFlow``s.
    """

    def __init__(
        self,
        shared: SharedSocket,
        accept: Callable[[PeerFlow], None],
        admits: Callable[[Sockaddr], bool],
        idle_timeout: float,
        census: Census[PeerFlow],
        replaces: bool,
        make: Make,
        turned_away: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``turned_away`` hears why somebody was refused."""
        self._census, self._replaces = census, replaces
        self._turned_away = turned_away
        super().__init__(shared, accept, admits, idle_timeout, make=make)

    def _new(self, key: Key) -> PeerFlow | Refused:
        source = source_of(key[0])
        full = self._census.full(source)
        if full is not None:
            victim = self._census.victim(source) if self._replaces else None
            if victim is None:
                self._shared.drop(full)
                self._turned_away(full)
                return REFUSED
            what = f"{full}: of those who have most it was silent for longest"
            victim.abort(Loss(Reason.IDLE, what))
        return super()._new(key)

    def _entered(self, flow: PeerFlow) -> None:
        source, census = source_of(flow.key[0]), self._census
        census.add(source, flow)
        flow.when_lost().addCallback(lambda _: census.remove(source, flow))
        if isinstance(flow, WatchedFlow):
            flow.heard = lambda flow: census.heard(source, flow)
