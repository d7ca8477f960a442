"""
The server's side of an HTTP/1.1 connection (RFC 9112), one exchange after the other.

A request is looked at only when the response to the one before has left, so a client
that sends requests and reads no responses costs no more than one that does neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h11
from twisted.internet.interfaces import IProducer

from l7mp.errors import Loss, Reason
from l7mp.interfaces import Metadata
from l7mp.streams.http import (
    Carrier,
    Exchange,
    Headers,
    error_response,
    phrase_of,
    with_origin,
)
from l7mp.streams.httpengine import (
    MAX_HEAD,
    USUAL,
    Engine,
    Patience,
    Serve,
    Settings,
)
from l7mp.streams.httpraw import RawTunnel
from l7mp.streams.httptunnel import SWITCHING
from l7mp.streams.transport import FLUSH, LINGER
from l7mp.wire.httpmeta import request_metadata
from l7mp.wire.httprequest import CONNECT, has_body, upgrade_of

MAX_DISCARD = 256 << 10
"""
Bytes of a request that are dropped after its response, at most.

If more are to come it is cheaper for both sides to begin a new connection.
"""

_SILENT = frozenset({h11.MUST_CLOSE, h11.CLOSED})
"""States of a client that has nothing more to say; some send an empty line."""

_READABLE = frozenset({h11.IDLE, h11.SEND_BODY, h11.ERROR}) | _SILENT
"""States of a client whose data need not wait for our response."""


class HTTP1(Engine):
    """A ``Carrier`` for the exchange of the moment."""

    def __init__(
        self,
        transport: Any,
        clock: Any,
        serve: Serve,
        settings: Settings = USUAL,
        switch: Callable[[Engine], None] = lambda _: None,
    ) -> None:
        """``switch`` hears what speaks on the connection when we do no more."""
        super().__init__(transport, clock, serve, settings)
        self._switch = switch
        self._patience: Patience | None = None
        self._wire = h11.Connection(h11.SERVER, MAX_HEAD)
        self._exchange: Exchange | None = None
        self._discarded = 0
        self._advancing = self._is_chunked = False
        self._set_timer(self._settings.head_timeout, self._too_late)

    # -- what the protocol says -----------------------------------------------------

    def heard(self, data: bytes) -> None:
        if self._wire.their_state is h11.MUST_CLOSE:
            return
        if self._exchange is None and self._is_idle():
            data = data.lstrip(b"\r\n")  # between requests (RFC 9112, section 2.2)
            if not data:
                return
            self._set_timer(self._settings.head_timeout, self._too_late)
        self._wire.receive_data(data)
        self._advance()

    def client_ended(self) -> None:
        self._wire.receive_data(b"")
        self._advance()

    def broken(self, loss: Loss) -> None:
        if self._patience is not None:
            self._patience.stop()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.gone(loss)

    def retire(self) -> None:
        self._stopping = True
        if self._exchange is None:
            self._leave()

    # -- requests ---------------------------------------------------------------------

    def _is_idle(self) -> bool:
        return self._wire.their_state is h11.IDLE and not self._wire.trailing_data[0]

    def _advance(self) -> None:
        """Act on what was received, as far as the exchange takes it."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._is_open() and self._act(self._wire.next_event()):
                pass
        except h11.RemoteProtocolError as error:
            self._malformed(error)
        finally:
            self._advancing = False
        self._regulate()

    def _is_open(self) -> bool:
        """Whether there is somebody for what comes next."""
        if self._leaving or self._wire.their_state in _SILENT:
            return False
        return self._exchange is None or self._exchange.wants_data

    def _act(self, event: Any) -> bool:
        """Hand on an event; false if there will be no other for now."""
        if isinstance(event, h11.Request):
            self._requested(event)
        elif isinstance(event, h11.Data):
            self._body(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            self._request_ended(list(event.headers))
        elif isinstance(event, h11.ConnectionClosed) and self._exchange is None:
            self._leave()
        return isinstance(event, (h11.Request, h11.Data, h11.EndOfMessage))

    def _requested(self, request: h11.Request) -> None:
        self._set_timer(None)
        self._discarded = 0
        about = request_metadata(
            request.method.decode("ascii"),
            request.target.decode("latin-1"),
            request.http_version.decode("ascii"),
            list(request.headers),
        )
        about["body"] = has_body(about["headers"])
        if tunnel := self._tunnel(about):
            about["tunnel"] = tunnel
            self._wire.next_event()  # the end of a request without a body
        exchange = self._exchange = self._exchange_of(self, about)
        if not about["version"].startswith("1."):
            exchange.refuse(505, "HTTP/1.1 is spoken here", last=True)
        elif {"transfer-encoding", "content-length"} <= about["headers"].keys():
            # Others may end it elsewhere (RFC 9112, section 6.3).
            exchange.refuse(400, "the body has both a length and chunks", last=True)
        else:
            if about["body"]:
                self._patience = Patience(
                    exchange, self._settings.body_timeout, self._clock.callLater
                )
            self._admit(exchange)

    def _tunnel(self, about: Metadata) -> str:
        """What tunnel a request asks for and may have, if any."""
        if about["body"] or about["version"] not in {"1.0", "1.1"}:
            return ""
        if about["method"] == "CONNECT":  # which socat and ncat say in HTTP/1.0
            return CONNECT if self._settings.tunnel else ""
        if about["version"] == "1.0":  # whose Upgrade is ignored (RFC 9110, 7.8)
            return ""
        return upgrade_of(about["headers"]) if self._settings.upgrade else ""

    def _body(self, data: bytes) -> None:
        exchange = self._exchange
        if self._patience is not None:
            self._patience.heard = True
        if exchange is None or exchange.is_over:
            self._discarded += len(data)
        if exchange is not None:
            exchange.body(data)
        elif self._discarded > MAX_DISCARD:
            self._leave()

    def _request_ended(self, trailers: Headers) -> None:
        if self._exchange is not None:
            self._exchange.body_ended(trailers)
        else:
            self._next()

    def _regulate(self) -> None:
        """
        Read what there is a use for; what comes too early stays in the kernel.

        With a complete request nothing is expected, but then a client that goes is
        noticed.
        """
        if self._lost or self._eof:
            return
        exchange, theirs = self._exchange, self._wire.their_state
        held = exchange is not None and not exchange.wants_data
        early = theirs not in _READABLE and self._wire.trailing_data[0]
        if not self._leaving and (early or (held and theirs is h11.SEND_BODY)):
            self._transport.pauseProducing()
        else:
            self._transport.resumeProducing()

    def _malformed(self, error: h11.RemoteProtocolError) -> None:
        exchange, status = self._exchange, error.error_status_hint
        if exchange is not None:
            loss = Loss(Reason.PROTOCOL, str(error))
            if self._eof:
                loss = Loss(Reason.RESET, "the client left amid its request")
            exchange.fail(status, loss)
        elif self._wire.our_state is h11.IDLE:
            self._answer(status, str(error))
        else:
            self._leave()

    def _answer(self, status: int, detail: str) -> None:
        """An error that concerns no exchange, and the end of the connection."""
        headers, body = error_response(status, detail)
        self.begin(status, [*headers, (b"connection", b"close")])
        self.send(body)
        self._write(self._wire.send(h11.EndOfMessage()))
        self._leave()

    def _too_late(self) -> None:
        if self._is_idle():
            self._leave()
        else:
            limit = self._settings.head_timeout
            self._answer(408, f"no request within {limit:g} s")

    # -- Carrier ------------------------------------------------------------------------

    def pause(self) -> None:
        """See ``Carrier``."""
        if not self._advancing:
            self._regulate()

    def resume(self) -> None:
        """See ``Carrier``."""
        if self._wire.they_are_waiting_for_100_continue:
            head = h11.InformationalResponse(
                status_code=100, headers=[], reason=b"Continue"
            )
            self._write(self._wire.send(head))
        self._advance()

    def inform(self, status: int, headers: Headers) -> None:
        """See ``Carrier``; clients of HTTP/1.0 know no interim responses."""
        if self._wire.their_http_version == b"1.1" and not self._lost:
            head = h11.InformationalResponse(
                status_code=status, headers=headers, reason=phrase_of(status).encode()
            )
            self._write(self._wire.send(head))

    def open_tunnel(self, status: int, headers: Headers) -> Carrier:
        """See ``Carrier``."""
        exchange, self._exchange = self._exchange, None
        assert exchange is not None, "a tunnel for nobody"
        reason = phrase_of(status).encode()
        if status == SWITCHING:
            token = exchange.request["tunnel"].encode("latin-1")
            own = [(b"connection", b"upgrade"), (b"upgrade", token)]
            self._write(
                self._wire.send(
                    h11.InformationalResponse(
                        status_code=status, headers=[*own, *headers], reason=reason
                    )
                )
            )
        else:
            head = h11.Response(status_code=status, headers=headers, reason=reason)
            self._write(self._wire.send(head))
        early, lost = self._wire.trailing_data[0], self._lost
        self.forget()
        raw = RawTunnel(self._transport, self._clock, exchange, early, self._eof)
        if lost:
            raw.forget()
        self._switch(raw)
        return raw

    def end_half(self) -> None:
        """See ``Carrier``: only what carries an open tunnel is asked."""
        raise NotImplementedError

    def begin(self, status: int, headers: Headers) -> None:
        """See ``Carrier``."""
        headers = with_origin(headers, self._clock.seconds())
        if self._is_last():
            named = [header for header in headers if header[0] != b"connection"]
            headers = [*named, (b"connection", b"close")]
        head = h11.Response(
            status_code=status, headers=headers, reason=phrase_of(status).encode()
        )
        self._write(self._wire.send(head))
        self._is_chunked = self._wire.their_http_version == b"1.1" and all(
            name != b"content-length" for name, _ in headers
        )

    def _is_last(self) -> bool:
        """
        Whether this response ends the connection for a reason that h11 does not see.

        A client that was never told to go on may send the body or not (RFC 9110,
        section 10.1.1): where its next request would begin, nobody knows.
        """
        return (
            self._stopping
            or self._wire.their_state is h11.ERROR
            or self._wire.they_are_waiting_for_100_continue
        )

    def send(self, data: bytes) -> None:
        """See ``Carrier``."""
        pieces = self._wire.send_with_data_passthrough(h11.Data(data=data))
        if not self._lost:
            self._transport.writeSequence(pieces)

    def finish(self, trailers: Headers) -> None:
        """See ``Carrier``; only chunks can have something behind them."""
        chunked = self._is_chunked
        end = h11.EndOfMessage(headers=trailers if chunked else [])
        self._write(self._wire.send(end))
        self._when_left(self._next)

    def cut(self) -> None:
        """See ``Carrier``."""
        self._wire.send_failed()
        if self._wire.their_http_version == b"1.0":
            # There, a connection that is closed in order ends a response in order.
            self._when_left(self._transport.abortConnection)
        else:
            self._when_left(self._leave)

    def _when_left(self, then: Callable[[], None]) -> None:
        exchange = self._exchange

        if self._patience is not None:
            self._patience.stop()
            self._patience = None

        def drained() -> None:
            self._exchange = None
            if exchange is not None:
                exchange.gone(Loss(Reason.FIN))
            then()

        self._when_drained(drained)
        self._advance()  # what is left of the request goes nowhere

    def drop(self) -> None:
        """See ``Carrier``."""
        self._leaving = True
        self._set_timer(None)
        if not self._lost:
            self._transport.abortConnection()

    def hurry(self) -> None:
        """See ``Carrier``."""
        if not self._lost and not self._leaving:
            self._set_timer(FLUSH, self._transport.abortConnection)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """See ``Carrier``."""
        if not self._lost:
            self._transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """See ``Carrier``."""
        if not self._lost:
            self._transport.unregisterProducer()

    # -- between exchanges ------------------------------------------------------------

    def _next(self) -> None:
        """The response has left: the next request, or goodbye."""
        ours, theirs = self._wire.our_state, self._wire.their_state
        if self._stopping or ours is not h11.DONE or theirs is h11.ERROR:
            self._leave()
        elif theirs is h11.DONE:
            self._wire.start_next_cycle()
            early = self._wire.trailing_data[0]
            limits = self._settings
            limit = limits.head_timeout if early else limits.keep_alive
            self._set_timer(limit, self._too_late)
            self._advance()
        elif self._discarded > MAX_DISCARD:
            self._leave()
        else:
            self._set_timer(LINGER, self._leave)
            self._advance()
