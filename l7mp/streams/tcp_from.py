"""Connecting over TCP as a specification asks: from where, and with which socket."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from zope.interface import implementer

from l7mp.interfaces import Metadata
from l7mp.model.sockets import SocketOptions, SourceBind
from l7mp.streams.address import resolve
from l7mp.streams.endpoint import tcp_endpoint
from l7mp.streams.outgoing import places
from l7mp.streams.prepared import PreparedEndpoint


def tcp_from(
    reactor: Any,
    where: tuple[str, int],
    bind: SourceBind | None,
    options: SocketOptions | None,
    metadata: Metadata,
) -> IStreamClientEndpoint:
    """
    The host and port ``where``, for one session.

    ``metadata`` says whose port or address ``bind`` may want to preserve.
    """
    if options is None and (bind is None or not bind.preserve):
        return tcp_endpoint(reactor, *where, bind)
    return _Asked(reactor, where, bind, options, metadata)


@implementer(IStreamClientEndpoint)
class _Asked:
    """An endpoint of which more is asked than Twisted does by itself."""

    def __init__(
        self,
        reactor: Any,
        where: tuple[str, int],
        bind: SourceBind | None,
        options: SocketOptions | None,
        metadata: Metadata,
    ) -> None:
        self._reactor, self._where, self._bind = reactor, where, bind
        self._options, self._metadata = options, metadata

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        bind, local = self._bind, None
        if bind is not None and bind.address is not None:
            local = (await resolve(self._reactor, bind.address))[0]
        sources = list(places(bind, local, self._metadata))
        to = PreparedEndpoint(self._reactor, *self._where, self._options, sources)
        return await to.connect(factory)
