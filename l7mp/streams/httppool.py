"""The connections to one HTTP server: those in use, and those kept for the next call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from l7mp.interfaces import ICloseable, IFlowTransport, IStream
from l7mp.streams.endpoint import factory_of
from l7mp.streams.httpcall import Call
from l7mp.streams.httpclient1 import Client1
from l7mp.streams.httpclient2 import Client2
from l7mp.streams.httpraw import RawTunnel
from l7mp.streams.transport import loss_of

KEEP_ALIVE = 60.0
"""Seconds for which a connection without a call is kept."""

MAX_IDLE = 32
"""How many of them are kept for one server."""

Client = Client1 | Client2


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long, and how many, connections are kept."""

    keep_alive: float = KEEP_ALIVE
    """Seconds; 0: every call has a connection of its own."""
    max_idle: int = MAX_IDLE


@implementer(IHalfCloseableProtocol)
class ClientConnection(Protocol):
    """One connection to a server."""

    def __init__(self, pool: Pool, ready: Callable[[Client], None]) -> None:
        self._pool, self._ready = pool, ready

    def connectionMade(self) -> None:
        transport = cast(IFlowTransport, self.transport)
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        pool, made = self._pool, self._made()
        self.client = made
        self.engine: Client | RawTunnel = made
        pool.connections.add(self)
        self._ready(made)

    def _made(self) -> Client:
        pool = self._pool
        if pool.agree(getattr(self.transport, "negotiatedProtocol", None)) == 2:
            return Client2(self.transport, pool.clock, pool.rested)
        return Client1(self.transport, pool.clock, pool.rested, self._switch)

    def _switch(self, engine: RawTunnel) -> None:
        self.engine = engine

    def dataReceived(self, data: bytes) -> None:
        self.engine.received(data)

    def readConnectionLost(self) -> None:
        self._pool.unfit(self.client)
        self.engine.peer_ended()

    def writeConnectionLost(self) -> None:
        self.engine.flushed()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._pool.connections.discard(self)
        self._pool.unfit(self.client)
        self.engine.lost(loss_of(reason))


class _Dial:
    """A connection that is being made, and the calls that wait for it."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Call, Deferred[IStream]]] = []
        self.connecting: Deferred[Any] | None = None
        self.is_over = False

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody waits."""
        return not self.waiting

    def cancel(self, made: Deferred[IStream]) -> None:
        """One of them waits no more; the last one gives up."""
        left = [one for one in self.waiting if one[1] is not made]
        if len(left) == len(self.waiting):
            return
        self.waiting[:] = left
        if not left and not self.is_over and self.connecting is not None:
            self.is_over = True
            self.connecting.cancel()


@implementer(ICloseable)
class Pool:
    """Carries calls to one server."""

    def __init__(
        self,
        clock: Any,
        endpoint: IStreamClientEndpoint,
        version: int = 1,
        keeping: Keeping | None = None,
    ) -> None:
        """``version`` is 1, 2, or 0 for what TLS agrees upon."""
        self.clock, self._version = clock, version
        self._shares = version != 1
        """Whether the next connection may carry more than one call."""
        self._endpoint, self._keeping = endpoint, keeping or Keeping()
        self.connections: set[ClientConnection] = set()
        self._idle: dict[Client, IDelayedCall] = {}
        """Those that carry nothing, in the order of time, and when they go."""
        self._busy: set[Client2] = set()
        """Those that carry something, and could carry more."""
        self._dials: set[_Dial] = set()
        self._dial: _Dial | None = None
        """The one that others may wait for, too."""
        self._is_closed = False

    # -- calls ------------------------------------------------------------------------

    def carry(self, call: Call) -> Deferred[IStream]:
        """Find or make a connection that carries a call; can be cancelled."""
        client = self._take()
        if client is not None:
            self._begin(client, call)
            return succeed(cast(IStream, call))
        return self._wait(call)

    def again(self, call: Call) -> Deferred[IStream]:
        """
        Carry a call whose connection was no good: on a new one, or among others on one
        of HTTP/2.
        """
        every = (*self._busy, *self._idle)
        shared = (one for one in every if isinstance(one, Client2) and one.is_fit)
        client = next(shared, None)
        if client is None:
            return self._wait(call)
        timer = self._idle.pop(client, None)
        if timer is not None:
            timer.cancel()
        self._begin(client, call)
        return succeed(cast(IStream, call))

    def _begin(self, client: Client, call: Call) -> None:
        try:
            client.begin(call)
        except Exception:
            if not isinstance(client, Client2) or client.is_idle:
                client.leave()
            raise
        if isinstance(client, Client2):
            self._busy.add(client)

    def _take(self) -> Client | None:
        """One that is there: the one that was used last is the most alive."""
        for busy in list(self._busy):
            if busy.is_fit:
                return busy
        while self._idle:
            client, timer = self._idle.popitem()
            timer.cancel()
            if client.is_fit:
                return client
        return None

    # -- making connections -----------------------------------------------------------

    def _wait(self, call: Call) -> Deferred[IStream]:
        made: Deferred[IStream] = Deferred(self._cancel)
        self._dial_for([(call, made)])
        return made

    def _cancel(self, made: Deferred[IStream]) -> None:
        for dial in list(self._dials):
            dial.cancel(made)

    def _dial_for(self, waiting: list[tuple[Call, Deferred[IStream]]]) -> None:
        dial = self._dial
        if dial is not None and not dial.is_over:
            dial.waiting += waiting
            return
        dial = _Dial()
        dial.waiting += waiting
        self._dials.add(dial)
        if self._shares:
            self._dial = dial
        self._connect(dial)

    def _connect(self, dial: _Dial) -> None:
        factory = factory_of(
            lambda: ClientConnection(self, lambda client: self._ready(dial, client))
        )
        dial.connecting = self._endpoint.connect(factory)
        dial.connecting.addErrback(lambda failure: self._failed(dial, failure))

    def _ready(self, dial: _Dial, client: Client) -> None:
        if dial.is_abandoned:
            client.leave()
        dial.is_over = True
        while dial.waiting:  # one may cancel another
            call, made = dial.waiting.pop(0)
            if client.is_fit:
                self._hand_over(client, call, made)
            else:
                self._dial_for([(call, made)])
        self._dials.discard(dial)

    def _failed(self, dial: _Dial, failure: Failure) -> None:
        if dial.is_abandoned:
            failure.trap(CancelledError, Exception)
        dial.is_over = True
        while dial.waiting:
            dial.waiting.pop(0)[1].errback(failure)
        self._dials.discard(dial)

    def _hand_over(self, client: Client, call: Call, made: Deferred[IStream]) -> None:
        try:
            self._begin(client, call)
        except Exception:  # noqa: BLE001  # of one call, of which the others know nothing
            made.errback(Failure())
        else:
            made.callback(call)

    def agree(self, said: bytes | None) -> int:
        """The version of a new connection, where TLS ``said`` something or nothing."""
        version = self._version or (2 if said == b"h2" else 1)
        self._shares = version == 2
        return version

    # -- keeping connections ----------------------------------------------------------

    def rested(self, client: Client) -> None:
        """A connection could carry another call."""
        if isinstance(client, Client2):
            if not client.is_idle:
                return
            self._busy.discard(client)
        if self._is_closed or not client.is_fit or not self._keeping.keep_alive:
            client.leave()
            return

        def expired() -> None:
            self._idle.pop(client, None)
            client.leave()

        if client not in self._idle:
            seconds = self._keeping.keep_alive
            self._idle[client] = self.clock.callLater(seconds, expired)
        while len(self._idle) > self._keeping.max_idle:
            oldest = next(iter(self._idle))
            self._idle.pop(oldest).cancel()
            oldest.leave()

    def unfit(self, client: Client) -> None:
        """A connection is no more, or soon will be."""
        timer = self._idle.pop(client, None)
        if timer is not None:
            timer.cancel()
        if isinstance(client, Client2):
            self._busy.discard(client)

    @property
    def idle(self) -> int:
        """How many connections carry nothing."""
        return len(self._idle)

    def close(self) -> None:
        """Keep no connection; those in use go when their calls are over."""
        self._is_closed = True
        while self._idle:
            client, timer = self._idle.popitem()
            timer.cancel()
            client.leave()
