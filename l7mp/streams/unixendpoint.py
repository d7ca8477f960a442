"""Connections of Unix sockets of the stream type, for Twisted's protocols."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from zope.interface import implementer

from l7mp.streams.unixsocket import dial


def adopt(reactor: Any, sock: socket.socket, factory: IProtocolFactory) -> IProtocol:
    """
    A protocol of ``factory`` that speaks through a connected socket.

    Twisted takes a copy of the descriptor; this one is closed.
    """
    with sock:
        made = reactor.adoptStreamConnection(sock.fileno(), socket.AF_UNIX, factory)
        protocol: IProtocol = made.protocol
        return protocol


@implementer(IStreamClientEndpoint)
class UnixEndpoint:
    """Where to connect to: a path, or an abstract name that begins with @."""

    def __init__(self, reactor: Any, name: str) -> None:
        self._reactor, self._name = reactor, name

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        sock = await dial(self._reactor, socket.SOCK_STREAM, self._name)
        return adopt(self._reactor, sock, factory)
