"""A flow of datagrams to one address, answered by anybody."""

from __future__ import annotations

import socket

from twisted.internet.interfaces import IReactorFDSet, IReactorTime, IReadDescriptor
from zope.interface import implementer_only

from l7mp.interfaces import IStream
from l7mp.model.udp import LINGER
from l7mp.streams.address import Sockaddr
from l7mp.streams.connected import ConnectedFlow


@implementer_only(IStream, IReadDescriptor)
class OpenFlow(ConnectedFlow):
    """
    What a cluster sends to a group, or to everybody, and what anybody answers.

    Its socket is bound but not connected, so whoever knows its port can be heard; the
    kernel could not forward that for us.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IReactorTime,
        sock: socket.socket,
        peer: Sockaddr,
        linger: float = LINGER,
    ) -> None:
        super().__init__(reactor, clock, sock, linger, peer)
        sendto = sock.sendto
        self._send = lambda data: sendto(data, peer)
