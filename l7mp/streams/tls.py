"""
TLS between a transport of Twisted's and a protocol that knows nothing of it.

Twisted's own wrapper tells a protocol of its connection before the handshake, knows
no half-close and not what was never sent; so this is one of ours, on the same OpenSSL.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IReactorTime,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.streams.backlog import backlog
from l7mp.streams.timer import Timer
from l7mp.streams.tls_context import NoProtocol
from l7mp.streams.tls_peer import Judge, facts_of
from l7mp.streams.tls_words import tls_loss
from l7mp.streams.transport import LINGER, loss_of

RECORD = 1 << 14
"""Octets that one record can carry (RFC 8446, section 5.1)."""

NEVER = 1 << 62
"""The octet with which data leaves that comes too late to leave."""

SELDOM = 64
"""
How many reads there may be before what OpenSSL has to say about them is sent.

It is due with what we write next (RFC 8446, section 4.6.3), but not kept for ever.
"""

MANY = 16
"""How many records may be remembered before it is asked which of them have left."""

TIDY = 1.0
"""Seconds after which what has left is forgotten in any case."""

CUT = Loss(Reason.TLS, "the peer hung up without saying so: the end may be missing")


@implementer(IHalfCloseableProtocol)
class TLSTransport(Protocol):
    """
    A protocol to the transport below, a transport to the protocol above.

    The protocol above is made when the handshake is done.  What this has no word for
    is the transport's below (``getPeer``, ``registerProducer``, ``setTcpNoDelay``).
    """

    def __init__(
        self,
        clock: IReactorTime,
        end: tuple[SSL.Connection, Judge],
        build: Callable[[], IProtocol | None],
        failed: Callable[[TLSTransport, Loss], None],
        limit: float = 0,
        is_server: bool = True,
    ) -> None:
        """
        ``end`` is the new end of a connection; ``build`` makes the protocol above.

        ``failed`` hears if the handshake fails or takes over ``limit`` seconds.
        """
        self._clock, self._build, self._failed = clock, build, failed
        self._connection, self._judge = end
        self._limit, self._is_server = limit, is_server
        self.above: IProtocol | None = None
        self._timer = Timer(clock)
        self._paused = self._behind = False
        self._fin = False  # of the transport below
        self._peer_ended = self._ended = False  # by alerts
        self._fate: Loss | None = None
        self._reads = self._octets_out = 0
        self._raw: Any = None
        self._tidying: IDelayedCall | None = None
        self._written: deque[tuple[int, Any]] = deque()
        self.tls_facts: dict[str, Any] = {}
        """What metadata says of this connection."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """The application protocol that both sides agreed upon, if any."""
        return self._connection.get_alpn_proto_negotiated() or None

    # -- the handshake ----------------------------------------------------------------

    def connectionMade(self) -> None:
        self._raw = self.transport
        if self._limit:
            self._timer.set(self._limit, self._late)
        self._shake_hands()

    def _late(self) -> None:
        what = f"the handshake took over {self._limit:g} s"
        self._fail(Loss(Reason.TIMEOUT, what))

    def _shake_hands(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            self._flush()
        except NoProtocol as error:
            self._fail(Loss(Reason.TLS, str(error)))
        except SSL.Error as error:
            problem = self._judge.problem
            self._fail(Loss(Reason.TLS, problem) if problem else tls_loss(error))
        else:
            self._flush()
            self._timer.cancel()
            self.tls_facts = facts_of(self._connection, self._is_server)
            self._established()

    def _established(self) -> None:
        above = self._build()
        if above is None:
            self._raw.abortConnection()
            return
        self.above = above
        above.makeConnection(self)  # type: ignore[arg-type]  # all of a transport
        self._read()

    def _fail(self, loss: Loss) -> None:
        """
        Let the peer read why, if there is an alert, and go.

        To close at once might destroy the alert, see ``transport.LINGER``.
        """
        if self._fate is not None:
            return
        self._fate = loss
        self._flush()
        self._timer.set(LINGER, self._raw.abortConnection)
        self._raw.unregisterProducer()
        if self._fin:
            self._raw.loseConnection()
        else:
            self._raw.resumeProducing()
            self._raw.loseWriteConnection()
        if self.above is None:
            self._failed(self, loss)

    # -- the read half ------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        if self._fate is not None or self._peer_ended:
            return
        self._connection.bio_write(data)
        if self.above is None:
            self._shake_hands()
        else:
            self._read()

    def _read(self) -> None:
        """Hand on what can be decrypted, as long as it is wanted."""
        connection, above = self._connection, self.above
        while not self._paused and not self._peer_ended and self._fate is None:
            try:
                data = connection.recv(RECORD)
            except SSL.WantReadError:
                self._behind = False
                break
            except SSL.ZeroReturnError:
                self._hear_end()
            except SSL.Error as error:
                self._fail(tls_loss(error, established=True))
            else:
                above.dataReceived(data)  # type: ignore[union-attr]
        else:
            self._behind = self._paused
        self._reads += 1
        if self._reads % SELDOM == 0:
            self._flush()
        if self._fin and not self._behind and not self._peer_ended:
            self._fail(CUT)

    def _hear_end(self) -> None:
        self._peer_ended = True
        above: Any = self.above
        if IHalfCloseableProtocol.providedBy(above):
            above.readConnectionLost()
        else:
            self.loseConnection()

    def pauseProducing(self) -> None:
        self._paused = True
        self._raw.pauseProducing()

    def resumeProducing(self) -> None:
        self._paused = False
        if not self._fin:
            self._raw.resumeProducing()
        if self._behind:
            self._clock.callLater(0, self._catch_up)

    def _catch_up(self) -> None:
        if self._behind and self.connected:
            self._read()

    def stopProducing(self) -> None:
        self.loseConnection()

    # -- the write half -----------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self._fate is not None and not self._ended:
            self._written.append((NEVER, data))  # whoever comes next may send it
            return
        if self._ended or not self.connected:
            return
        if len(data) <= RECORD:
            self._send(data)
            return
        whole = memoryview(data)
        for start in range(0, len(data), RECORD):
            self._send(whole[start : start + RECORD])

    def _send(self, data: Any) -> None:
        if not data:
            return
        try:
            self._connection.send(data)
        except SSL.Error as error:
            self._fail(tls_loss(error, established=True))
            return
        self._flush()
        written = self._written
        written.append((self._octets_out, data))
        if len(written) > MANY:
            self._forget_gone()
        if self._tidying is None:
            self._tidying = self._clock.callLater(TIDY, self._tidy)

    def _forget_gone(self) -> None:
        written = self._written
        gone = self._octets_out - backlog(self._raw)
        while written and written[0][0] <= gone:
            written.popleft()

    def _tidy(self) -> None:
        """Keep nothing that has left, though nothing more is written."""
        self._tidying = None
        self._forget_gone()
        if self._written:
            self._tidying = self._clock.callLater(TIDY, self._tidy)

    def writeSequence(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def _flush(self) -> None:
        """Give the transport below what OpenSSL has for it."""
        size = RECORD * 2
        while True:
            try:
                data = self._connection.bio_read(size)
            except SSL.WantReadError:
                return
            self._octets_out += len(data)
            self._raw.write(data)
            if len(data) < size:
                return

    def unsent(self) -> list[bytes]:
        """
        What was written and is in no record that left as a whole, in order.

        A peer can make nothing of a part of a record.
        """
        gone = self._octets_out - backlog(self._raw)
        return [bytes(data) for end, data in self._written if end > gone]

    def backlog(self) -> int:
        """How many octets that is."""
        gone = self._octets_out - backlog(self._raw)
        return sum(len(data) for end, data in self._written if end > gone)

    # -- the end --------------------------------------------------------------------------

    def _say_end(self) -> None:
        """Nothing more will be written (close_notify; RFC 8446, section 6.1)."""
        if self._ended or self._fate is not None:
            return
        self._ended = True
        with suppress(SSL.Error):  # of a broken connection, which cannot say so
            self._connection.shutdown()
        self._flush()

    def loseWriteConnection(self) -> None:
        self._say_end()
        self._raw.loseWriteConnection()

    def loseConnection(self) -> None:
        self._say_end()
        self._raw.loseConnection()

    def abortConnection(self) -> None:
        self._raw.abortConnection()

    def readConnectionLost(self) -> None:
        self._fin = True
        if self._fate is not None:
            self._raw.loseConnection()
        elif self.above is None:
            self._fail(Loss(Reason.TLS, "the peer hung up during the handshake"))
        elif not self._behind and not self._peer_ended:
            self._fail(CUT)

    def writeConnectionLost(self) -> None:
        above: Any = self.above
        if self._fate is None and IHalfCloseableProtocol.providedBy(above):
            above.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._timer.cancel()
        if self._tidying is not None:
            self._tidying.cancel()
            self._tidying = None
        loss = self._fate
        if self.above is None:
            if loss is None:
                self._fate = loss_of(reason)
                self._failed(self, self._fate)
            return
        done = reason.check(ConnectionDone) is not None
        if loss is None and done and not (self._ended or self._peer_ended):
            loss = CUT
        above = self.above
        above.connectionLost(Failure(RemoteError(loss)) if loss else reason)
