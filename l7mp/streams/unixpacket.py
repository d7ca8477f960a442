"""Connections of Unix sockets that keep messages: the type SOCK_SEQPACKET."""

from __future__ import annotations

import socket

from twisted.internet.interfaces import IReactorFDSet, IReactorTime

from l7mp.streams.descriptor import MessageDescriptor
from l7mp.streams.unixsocket import CREDENTIALS_SPACE, make_room, tell_credentials


class PacketStream(MessageDescriptor):
    """One connection; empty messages are messages, too."""

    def __init__(
        self, reactor: IReactorFDSet, clock: IReactorTime, sock: socket.socket
    ) -> None:
        super().__init__(reactor, clock, sock)
        make_room(sock)
        # An empty message and the end look the same, but only the former has a sender.
        tell_credentials(sock)

    def _receive(self) -> bytes | None:
        space = self._room()
        size, sender, flags, _ = self._sock.recvmsg_into((space,), CREDENTIALS_SPACE)
        if not size and not sender:
            raise EOFError
        if flags & socket.MSG_CTRUNC:
            self._drop("descriptors")
        if flags & socket.MSG_TRUNC:
            self._drop("oversize")
            return None
        return space[:size]
