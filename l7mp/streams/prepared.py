"""TCP sockets of which something is asked before Twisted gets them."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectBindError, ConnectError, getConnectError
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorFDSet,
    IStreamClientEndpoint,
    IWriteDescriptor,
)
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from l7mp.model.sockets import SocketOptions
from l7mp.streams import sockopts
from l7mp.streams.address import V4, V6, Numeric, resolve
from l7mp.streams.outgoing import MIXED, TRANSPARENT, Place

_UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK})


def listening_socket(
    interface: str, port: int, backlog: int, options: SocketOptions
) -> socket.socket:
    """
    A socket with these options that listens.

    Raises ``OSError`` if it cannot be bound, ``LocalError`` that names an option.
    """
    sock = _tcp_socket(V6 if ":" in interface else V4)
    try:
        sockopts.prepare(sock, options)
        sock.bind((interface, port))
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _tcp_socket(family: int) -> socket.socket:
    """As Twisted makes them: ports of connections that ended can be had again."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock


@implementer(IStreamClientEndpoint)
class PreparedEndpoint:
    """Connects from a socket with options, from the first place where one can be had."""

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int,
        options: SocketOptions | None,
        places: Sequence[Place],
    ) -> None:
        self._reactor, self._host, self._port = reactor, host, port
        self._options, self._places = options, places

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        last: ConnectError = ConnectError(string="no address to connect to")
        for remote in await resolve(self._reactor, self._host, self._port):
            for place in self._places:
                try:
                    sock = self._socket(remote, place)
                    await _Connecting(self._reactor, sock).to(remote)
                except ConnectError as error:
                    last = error
                else:
                    return self._adopted(sock, factory)
        raise last

    def _socket(self, remote: Numeric, place: Place) -> socket.socket:
        """A socket that is bound; raises ``ConnectBindError`` or ``LocalError``."""
        if not place.suits(remote):
            what = f"cannot connect from {place} to {remote.sockaddr[0]}: {MIXED}"
            raise ConnectBindError(string=what)
        sock = _tcp_socket(remote.family)
        try:
            if place.is_foreign:
                sockopts.prepare(sock, TRANSPARENT)
            sockopts.prepare(sock, self._options)
            where = place.sockaddr(remote.family)
            if where is not None:
                sock.bind(where)
        except OSError as error:
            sock.close()
            what = f"cannot connect from {place}: {error.strerror or error}"
            raise ConnectBindError(error.errno, what) from error
        except BaseException:
            sock.close()
            raise
        return sock

    def _adopted(self, sock: socket.socket, factory: IProtocolFactory) -> IProtocol:
        """Give a connection to Twisted, which keeps a copy of the descriptor."""
        noting = _Noting(factory)
        with sock:
            self._reactor.adoptStreamConnection(sock.fileno(), sock.family, noting)
        if noting.made is None:
            raise ConnectError(string="nobody wanted the connection")
        return noting.made


class _Noting(Factory):
    """Makes what another factory makes, once, and remembers it."""

    noisy = False

    def __init__(self, inside: IProtocolFactory) -> None:
        self._inside = inside
        self.made: IProtocol | None = None

    def buildProtocol(self, addr: Any) -> Any:
        self.made = self._inside.buildProtocol(addr)
        return self.made


@implementer(IWriteDescriptor)
class _Connecting:
    """Waits until a socket is connected."""

    def __init__(self, reactor: IReactorFDSet, sock: socket.socket) -> None:
        self._reactor, self._sock = reactor, sock
        self._done: Deferred[None] = Deferred(self._cancelled)

    def to(self, remote: Numeric) -> Deferred[None]:
        """
        Connect; fails with a ``ConnectError``.

        The socket is closed on failure, and when this is cancelled.
        """
        code = self._sock.connect_ex(remote.sockaddr)
        if code in _UNDER_WAY:
            self._reactor.addWriter(self)
        else:
            self._finish(code)
        return self._done

    def fileno(self) -> int:
        return self._sock.fileno()

    def logPrefix(self) -> str:
        """What the reactor's log says where we fail."""
        return type(self).__name__

    def doWrite(self) -> None:
        self._reactor.removeWriter(self)
        self._finish(self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def connectionLost(self, reason: Failure) -> None:
        """The reactor gives up on a socket with an error, which is told here."""
        if self._sock.fileno() >= 0:
            self.doWrite()

    def _finish(self, code: int) -> None:
        if code:
            self._sock.close()
            error = getConnectError((code, os.strerror(code)))
            self._done.errback(cast(ConnectError, error))
        else:
            self._done.callback(None)

    def _cancelled(self, _: object) -> None:
        self._reactor.removeWriter(self)
        self._sock.close()
