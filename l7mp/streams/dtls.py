"""DTLS 1.2 (RFC 6347) over flows of datagrams: TLS that keeps boundaries."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import SINK, IStream, Metadata
from l7mp.streams.queueing import QueueingStream
from l7mp.streams.tls_context import MTU, ClientTLS, Cookies, NoProtocol, ServerTLS
from l7mp.streams.tls_peer import Judge, facts_of
from l7mp.streams.tls_words import tls_loss
from l7mp.wire.dtls import MAX_CONTENT, datagrams

MAX_GREETING = 1 << 12
"""
Octets of a greeting that is looked at; it has to be in one datagram.

OpenSSL leaves what is very long in its buffer, in front of the next greeting.
"""

End = tuple[SSL.Connection, Judge]


class DTLSFlow(QueueingStream):
    """
    A flow of datagrams that are encrypted in another one, which is ours.

    ``ready`` hears when the handshake is done, ``failed`` why it is not.
    """

    lossy = True

    def __init__(
        self,
        inner: IStream,
        clock: IReactorTime,
        end: End,
        ready: Callable[[DTLSFlow], None],
        failed: Callable[[Loss], None],
        *,
        is_server: bool,
        limit: float = 0,
        linger: float = 0,
    ) -> None:
        """
        A handshake may take ``limit`` seconds, 0 for any.

        ``linger`` is how many seconds of silence stand for the end of late answers.
        """
        super().__init__()
        self._inner, self._clock = inner, clock
        self._connection, self._judge = end
        self._ready, self._failed, self._is_server = ready, failed, is_server
        self._linger = linger
        self.half_close = linger > 0
        self.idle_timeout = inner.idle_timeout
        self.drops = inner.drops
        self.tls_facts: Metadata = {}
        """What metadata says of this connection."""
        self._is_established = self._is_over = False
        self._timer: IDelayedCall | None = None
        self._limit: IDelayedCall | None = None
        if limit:
            self._limit = clock.callLater(limit, self._late, limit)
        inner.deliver_to(cast(IStream, _Inlet(self)), _nothing)
        inner.when_lost().addCallback(self._inner_lost)

    def begin(self) -> None:
        """Shake hands."""
        self._shake_hands()
        self._inner.release(SINK)

    # -- the handshake ----------------------------------------------------------------

    def _shake_hands(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            self._flush()
            self._wait_for_answer()
        except NoProtocol as error:
            self._fail(Loss(Reason.TLS, str(error)))
        except SSL.Error as error:
            problem = self._judge.problem
            self._fail(Loss(Reason.TLS, problem) if problem else tls_loss(error))
        else:
            self._flush()
            self._stop_waiting()
            self._is_established = True
            self.tls_facts = facts_of(self._connection, self._is_server)
            self._ready(self)

    def _wait_for_answer(self) -> None:
        """Send the last flight again if no answer comes (section 4.2.4)."""
        seconds = self._connection.DTLSv1_get_timeout()
        self._set_timer(seconds, self._again)

    def _again(self) -> None:
        self._timer = None
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error:
            self._fail(Loss(Reason.TIMEOUT, "no answer in the handshake"))
            return
        self._flush()
        self._wait_for_answer()

    def _late(self, seconds: float) -> None:
        self._limit = None
        what = f"the handshake took over {seconds:g} s"
        self._fail(Loss(Reason.TIMEOUT, what))

    def _set_timer(self, seconds: float | None, act: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if seconds is not None:
            self._timer = self._clock.callLater(seconds, act)

    def _stop_waiting(self) -> None:
        self._set_timer(None, _nothing)
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _fail(self, loss: Loss) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._stop_waiting()
        self._flush()
        self._inner.close(loss)
        self._tell(loss)

    def _tell(self, loss: Loss) -> None:
        """Whoever waits for the handshake, or has the stream, learns of the loss."""
        if self._is_established:
            self._lose(loss)
        else:
            self._failed(loss)

    # -- the read half ------------------------------------------------------------------

    def received(self, datagram: bytes) -> None:
        """The inner flow has read this."""
        if self._is_over:
            self._drop("closing")
            return
        if not datagram:
            return  # it carries no record
        self._connection.bio_write(datagram)
        if not self._is_established:
            self._shake_hands()
        if self._is_established:
            self._read()

    def _read(self) -> None:
        recv, arrived = self._connection.recv, self._arrived
        while not self._is_over:
            try:
                data = recv(MAX_CONTENT)
            except SSL.WantReadError:
                break
            except SSL.ZeroReturnError:
                self._read_ended()
                self._say_goodbye(Loss(Reason.FIN))
            except SSL.Error as error:
                self._fail(tls_loss(error))
            else:
                if self._timer is not None:
                    self._set_timer(self._linger, self._waited)
                arrived(data)
        self._flush()

    def _inner_lost(self, loss: Loss) -> None:
        if not self._is_over:
            self._is_over = True
            self._stop_waiting()
            self._tell(loss)

    # -- the write half -----------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self._is_over or not data:
            self._drop("closed" if data else "empty")
        elif len(data) > MAX_CONTENT:
            self._drop("oversize")
        else:
            self._send(data)

    def _send(self, data: bytes) -> None:
        try:
            self._connection.send(data)
        except SSL.Error as error:
            self._fail(tls_loss(error))
            return
        self.messages_out += 1
        self.bytes_out += len(data)
        self._flush()

    def _flush(self) -> None:
        """Give the inner flow what OpenSSL has for it."""
        with suppress(SSL.WantReadError):
            while True:
                for datagram in datagrams(self._connection.bio_read(1 << 16), MTU):
                    self._inner.write(datagram)

    # -- the end --------------------------------------------------------------------------

    def end(self) -> None:
        if self._is_over or self._timer is not None:
            return
        if self._linger:
            self._set_timer(self._linger, self._waited)
        else:
            self._say_goodbye(Loss(Reason.FIN))

    def _waited(self) -> None:
        self._timer = None
        self._read_ended()
        self._say_goodbye(Loss(Reason.FIN))

    def close(self, loss: Loss) -> None:
        self._discard_queue("closing")
        self._say_goodbye(loss)
        self._lose(loss)

    def abort(self, loss: Loss) -> None:
        self._discard_queue("aborted")
        self._leave()
        self._inner.abort(loss)
        self._lose(loss)

    def _say_goodbye(self, loss: Loss) -> None:
        if self._is_over:
            return
        with suppress(SSL.Error):  # of a broken connection, which cannot say so
            self._connection.shutdown()
        self._flush()
        self._leave()
        self._inner.close(loss)
        self._lose(loss)

    def _leave(self) -> None:
        self._is_over = True
        self._stop_waiting()


class _Inlet:
    """What the inner flow delivers to."""

    def __init__(self, flow: DTLSFlow) -> None:
        self.write: Callable[[bytes], None] = flow.received


def _nothing() -> None:
    pass


# -- the sides ----------------------------------------------------------------------------


class DTLSServer:
    """
    Shakes hands with those who prove that they are where they say (section 4.2.1).

    Before that nothing is kept of a peer: a cookie does not cost anything, and a flow
    that has got one is forgotten.
    """

    def __init__(
        self,
        clock: IReactorTime,
        secure: Callable[[Cookies], ServerTLS],
        ready: Callable[[DTLSFlow, Any], None],
        failed: Callable[[str, Loss], None],
    ) -> None:
        """``ready`` hears of a stream and the flow in which it is."""
        self._clock, self._ready, self._failed = clock, ready, failed
        self._secret = secrets.token_bytes(32)
        self._security = secure(self)
        self._listening: End | None = None
        self._peer = b""

    def arrived(self, flow: Any) -> None:
        """A peer has come, from which nothing was read yet."""
        flow.deliver_to(cast(IStream, _Doorstep(self, flow)), _nothing)
        flow.release(SINK)

    def greet(self, flow: Any, datagram: bytes) -> None:
        """The first that a peer says: a greeting, with or without a cookie."""
        if not 0 < len(datagram) <= MAX_GREETING:
            flow.abort(Loss(Reason.TLS, "no greeting of DTLS"))
            return
        end = self._listening = self._listening or self._security.connection()
        connection = end[0]
        host, port = flow.five_tuple()[:2]
        self._peer = f"{host} {port}".encode()
        try:
            connection.bio_write(datagram)
            connection.DTLSv1_listen()
        except SSL.WantReadError:
            self._send_cookie(flow, connection)
            flow.abort(Loss(Reason.FIN, "it was given a cookie"))
        except SSL.Error:
            self._listening = None
            flow.abort(Loss(Reason.TLS, "no greeting of DTLS"))
        else:
            self._listening = None
            self._begin(flow, end, f"{host}:{port}")

    def _send_cookie(self, flow: Any, connection: SSL.Connection) -> None:
        with suppress(SSL.WantReadError):
            flow.write(connection.bio_read(MTU))

    def _begin(self, flow: Any, end: End, who: str) -> None:
        flow.believe()
        made = DTLSFlow(
            flow,
            self._clock,
            end,
            lambda stream: self._ready(stream, flow),
            lambda loss: self._failed(who, loss),
            is_server=True,
            limit=self._security.tls.handshake_timeout,
        )
        made.begin()

    def cookie(self, _: SSL.Connection) -> bytes:
        """For the peer that is greeted, and good for nobody else."""
        return hmac.digest(self._secret, self._peer, "sha256")

    def is_cookie(self, connection: SSL.Connection, said: bytes) -> bool:
        """Whether it is that of the peer that is greeted."""
        return hmac.compare_digest(said, self.cookie(connection))


class _Doorstep:
    """Where the first datagram of a flow goes."""

    def __init__(self, server: DTLSServer, flow: Any) -> None:
        self._server, self._flow = server, flow

    def write(self, data: bytes) -> None:
        self._server.greet(self._flow, data)


def connect_flow(
    clock: IReactorTime, security: ClientTLS, flow: IStream, host: str, linger: float
) -> Deferred[IStream]:
    """
    DTLS with ``host`` over a newborn flow of datagrams.

    Fails with ``RemoteError``; cancelling drops the flow.
    """
    given_up = False

    def give_up(_: object) -> None:
        nonlocal given_up
        given_up = True
        flow.abort(Loss(Reason.DELETED, "the attempt was given up"))

    made: Deferred[IStream] = Deferred(give_up)

    def failed(loss: Loss) -> None:
        if not given_up:
            made.errback(RemoteError(loss))

    try:
        end = security.connection(host)
    except ValueError as error:
        flow.abort(Loss(Reason.UNREACHABLE, str(error)))
        what = f'no host can be called "{host}": {error}'
        made.errback(RemoteError(Loss(Reason.UNREACHABLE, what)))
        return made
    DTLSFlow(
        flow, clock, end, made.callback, failed, is_server=False, linger=linger
    ).begin()
    return made
