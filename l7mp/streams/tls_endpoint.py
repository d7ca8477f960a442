"""Listening and connecting with TLS: a factory and an endpoint around others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.streams.endpoint import factory_of
from l7mp.streams.tls import TLSTransport
from l7mp.streams.tls_context import ClientTLS, ServerTLS

Failed = Callable[[str, Loss], None]
"""Hears who could not shake hands, and why."""


class TLSFactory(Factory):
    """Makes what the factory inside makes, once clients have shaken hands."""

    noisy = False

    def __init__(
        self, clock: Any, security: ServerTLS, inside: IProtocolFactory, failed: Failed
    ) -> None:
        self._clock, self._security = clock, security
        self._inside, self._told = inside, failed
        self._shaking: set[TLSTransport] = set()

    def doStart(self) -> None:
        super().doStart()
        self._inside.doStart()

    def doStop(self) -> None:
        """Part with those that have not shaken hands yet."""
        for one in list(self._shaking):
            one.abortConnection()
        self._inside.doStop()
        super().doStop()

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        def build() -> IProtocol | None:
            self._shaking.discard(made)
            return self._inside.buildProtocol(cast(IAddress, addr))

        def failed(one: TLSTransport, loss: Loss) -> None:
            self._shaking.discard(one)
            self._told(_shown(addr), loss)

        limit = self._security.tls.handshake_timeout
        end = self._security.connection()
        made = TLSTransport(self._clock, end, build, failed, limit)
        self._shaking.add(made)
        return made


def _shown(address: Any) -> str:
    host = getattr(address, "host", None)
    return f"{host}:{address.port}" if host else "a client"


@implementer(IStreamClientEndpoint)
class TLSEndpoint:
    """Connects by way of another endpoint, and shakes hands."""

    def __init__(
        self, clock: Any, security: ClientTLS, inside: IStreamClientEndpoint, host: str
    ) -> None:
        """``host`` is whom to expect there, unless ``security`` names somebody."""
        self._clock, self._security = clock, security
        self._inside, self._host = inside, host

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Fires with the protocol when it is connected; can be cancelled at any time.

        Fails with ``RemoteError`` if the handshake does.
        """
        return _Attempt(self._clock, protocolFactory).begin(
            self._security, self._inside, self._host
        )


class _Attempt:
    def __init__(self, clock: Any, factory: IProtocolFactory) -> None:
        self._clock, self._factory = clock, factory
        self._made: Deferred[IProtocol] = Deferred(lambda _: self._cancel())
        self._transport: TLSTransport | None = None
        self._over = False

    def begin(
        self, security: ClientTLS, inside: IStreamClientEndpoint, host: str
    ) -> Deferred[IProtocol]:
        try:
            self._end = security.connection(host)
        except ValueError as error:
            what = f'no host can be called "{host}": {error}'
            self._made.errback(RemoteError(Loss(Reason.UNREACHABLE, what)))
            return self._made
        self._connecting = inside.connect(factory_of(self._wrap))
        self._connecting.addCallbacks(lambda _: None, self._no_connection)
        return self._made

    def _wrap(self) -> Protocol:
        self._transport = TLSTransport(
            self._clock, self._end, self._build, self._no_handshake, is_server=False
        )
        return self._transport

    def _build(self) -> IProtocol | None:
        if self._over:
            return None
        made = self._factory.buildProtocol(cast(IAddress, None))
        # The protocol hears of its connection first, as with any endpoint.
        self._clock.callLater(0, self._arrived, made)
        return made

    def _arrived(self, made: IProtocol | None) -> None:
        if not self._over:
            self._over = True
            if made is None:
                loss = Loss(Reason.LOCAL, "nobody wants the connection")
                self._made.errback(RemoteError(loss))
            else:
                self._made.callback(made)

    def _no_handshake(self, _: TLSTransport, loss: Loss) -> None:
        if not self._over:
            self._over = True
            self._made.errback(RemoteError(loss))

    def _no_connection(self, failure: Any) -> None:
        if not self._over:
            self._over = True
            self._made.errback(failure)

    def _cancel(self) -> None:
        self._over = True
        self._connecting.cancel()
        if self._transport is not None and self._transport.connected:
            self._transport.abortConnection()
