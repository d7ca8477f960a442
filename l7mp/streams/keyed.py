"""Flows of datagrams that are told apart by something else than their addresses."""

from __future__ import annotations

import socket
from collections.abc import Callable

from twisted.internet.interfaces import IReactorFDSet
from zope.interface import implementer_only

from l7mp.interfaces import IStream
from l7mp.streams.address import Sockaddr, shown
from l7mp.streams.datagram import Key, PeerFlow, SharedSocket
from l7mp.streams.udpsocket import ASKED, BUDGET, PKTINFO_SPACE, SIZE, drop_reason

KeyOf = Callable[[Sockaddr, bytes], "str | None"]
"""What tells a datagram's session apart: its peer, its content; None: nothing does."""

NO_KEY = "no-key"
"""The reason for which datagrams are dropped that have no key."""


def by_host(peer: Sockaddr, datagram: bytes) -> str | None:
    """All that comes from one address is one session."""
    return shown(peer[0])


@implementer_only(IStream)
class KeyedFlow(PeerFlow):
    """A flow whose peer may move, which the kernel would not notice."""


class KeyedSocket(SharedSocket):
    """
    A shared socket whose flows are known by keys.

    A flow answers where its latest datagram came from, so that it outlives a change
    of its peer's address (a NAT that forgot).  For the same reason nothing follows
    from an error that an address met; it is counted under the word for it.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        sock: socket.socket,
        emptied: Callable[[], None],
        key_of: KeyOf,
    ) -> None:
        super().__init__(reactor, sock, emptied)
        self._key_of = key_of

    def add(self, flow: PeerFlow) -> None:
        flow.ident = self._reading
        super().add(flow)

    def doRead(self) -> None:
        recvmsg, asked = self._sock.recvmsg, ASKED[self.family]
        for count in range(BUDGET):
            try:
                data, info, _, peer = recvmsg(SIZE, PKTINFO_SPACE)
            except BlockingIOError:
                if not count:
                    self._read_errors()  # what else would we have been called for?
                break
            except OSError:
                if not self._is_open:
                    return
                self._read_errors()
                continue
            self._sort(data, (peer, info[0][2][asked] if info else b""))
        else:
            self._read_errors()  # which otherwise wait for a moment of silence

    def _sort(self, data: bytes, key: Key) -> None:
        """Give a datagram to the flow that it belongs to."""
        ident = self._reading = self._key_of(key[0], data)
        if ident is None:
            self.drop(NO_KEY)
            return
        flow = self._flows.get(ident) or self._newcomer(key)
        if flow is not None:
            if flow.key != key:
                flow.asked_at(key)
            flow.received(data)

    def _met_by(self, peer: Sockaddr, error: OSError) -> None:
        self.drop(drop_reason(error))


def key_of_flow(flow: PeerFlow) -> str | None:
    """What tells ``flow`` apart, if it is not the addresses."""
    return flow.ident if isinstance(flow.ident, str) else None
