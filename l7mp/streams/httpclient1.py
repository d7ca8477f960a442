"""The client's side of an HTTP/1.1 connection (RFC 9112), one call after the other."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from secrets import token_bytes
from typing import Any

import h11
from twisted.internet.interfaces import IDelayedCall, IProducer

from l7mp.errors import Loss, Reason
from l7mp.streams.http import Headers, encoded
from l7mp.streams.httpcall import ONCE, Call, opens_tunnel
from l7mp.streams.httpengine import MAX_HEAD
from l7mp.streams.httpraw import RawTunnel
from l7mp.streams.transport import FLUSH
from l7mp.wire.httprequest import Request
from l7mp.wire.httpwebsocket import KEY, PROTOCOL

INTERIM = 100
SWITCHING = 101


class Client1:
    """A ``Line`` for the call of the moment; between calls it waits in a pool."""

    def __init__(
        self,
        transport: Any,
        clock: Any,
        rested: Callable[[Client1], None],
        switch: Callable[[RawTunnel], None],
    ) -> None:
        """
        ``rested`` hears that it could carry another call, ``switch`` what speaks on the
        connection when we do no more.
        """
        self._transport, self._clock = transport, clock
        self._rested, self._switch = rested, switch
        self._wire = h11.Connection(h11.CLIENT, MAX_HEAD)
        self._call: Call | None = None
        self._used = self._heard = self._responded = False
        self._doubtful = False
        """Whether others might end the response elsewhere (RFC 9112, section 6.3)."""
        self._eof = self._advancing = self._chunked = False
        self._loss: Loss | None = None
        self._parting: IDelayedCall | None = None

    # -- what the pool says -----------------------------------------------------------

    def begin(self, call: Call) -> None:
        """Carry a call."""
        request = call.request
        head = h11.Request(
            method=request.method, target=request.target, headers=_headers(request)
        )
        self._write(self._wire.send(head))
        self._call, self._heard, self._responded = call, False, False
        self._chunked = request.has_body and request.length is None
        if request.tunnel:
            self._write(self._wire.send(h11.EndOfMessage()))
        self._transport.resumeProducing()
        if not call.wants_data:
            self._transport.pauseProducing()
        call.carry(self)

    def leave(self) -> None:
        """Nobody needs the connection any more."""
        if self._loss is None:
            self._transport.abortConnection()

    # -- what the connection says ----------------------------------------------------

    def received(self, data: bytes) -> None:
        """The server sent ``data``."""
        if self._parting is not None:
            return
        if self._call is None:  # nobody asked: such a server is not to be trusted
            self._transport.abortConnection()
            return
        self._heard = True
        self._wire.receive_data(data)
        self._advance()

    def peer_ended(self) -> None:
        """The server will send nothing more."""
        self._eof = True
        if self._call is None:
            self._transport.loseConnection()
            return
        self._wire.receive_data(b"")
        self._advance()

    def flushed(self) -> None:
        """Our end has left."""

    def lost(self, loss: Loss) -> None:
        """The connection is no more."""
        self._loss = loss
        if self._parting is not None and self._parting.active():
            self._parting.cancel()
        if self._call is not None and not self._eof and loss.reason is Reason.FIN:
            self._eof = True  # the orderly end of TLS has no halves
            self._wire.receive_data(b"")
        self._advance()

    @property
    def is_fit(self) -> bool:
        """Whether another call may be carried."""
        return self._call is None and not self._eof and self._loss is None

    # -- the response -----------------------------------------------------------------

    def _advance(self) -> None:
        """Hand on what was received, as far as the call takes it."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._call is not None and self._call.wants_data:
                if not self._act(self._call, self._wire.next_event()):
                    break
        except h11.RemoteProtocolError as error:
            self._malformed(error)
        finally:
            self._advancing = False
        call = self._call
        if call is not None and self._loss is not None and call.wants_data:
            self._broken(self._loss)

    def _act(self, call: Call, event: Any) -> bool:
        """Hand on an event; false if there will be no other for now."""
        if isinstance(event, h11.Data):
            call.body(bytes(event.data))
        elif isinstance(event, h11.InformationalResponse):
            return self._informed(call, event.status_code, list(event.headers))
        elif isinstance(event, h11.Response):
            return self._answered(call, event.status_code, list(event.headers))
        elif isinstance(event, h11.EndOfMessage):
            self._complete(call, list(event.headers))
            return False
        return isinstance(event, h11.Data)

    def _informed(self, call: Call, status: int, headers: Headers) -> bool:
        if status != SWITCHING:
            call.inform(status, headers)
            return True
        self._open(call, status, headers)
        return False

    def _answered(self, call: Call, status: int, headers: Headers) -> bool:
        if opens_tunnel(call.request, status):
            self._open(call, status, headers)
            return False
        self._responded = True
        named = {name for name, _ in headers}
        self._doubtful = {b"transfer-encoding", b"content-length"} <= named
        call.head(status, headers)
        return True

    def _open(self, call: Call, status: int, headers: Headers) -> None:
        self._call = None
        early = self._wire.trailing_data[0]
        raw = RawTunnel(self._transport, self._clock, call, early, self._eof)
        self._switch(raw)
        call.opened(status, headers, raw)
        if self._loss is not None:
            raw.lost(self._loss)
        else:
            raw.resume()

    def _complete(self, call: Call, trailers: Headers) -> None:
        if self._wire.our_state is not h11.SEND_BODY:
            self._rest()
        call.completed(trailers)

    def _rest(self) -> None:
        """The call is over: wait for the next, or leave after anything dubious."""
        self._call = None
        if self._loss is not None:
            return
        wire = self._wire
        both = (wire.our_state, wire.their_state)
        over = wire.trailing_data[0] or self._eof or self._doubtful
        if both == (h11.DONE, h11.DONE) and not over:
            self._wire.start_next_cycle()
            self._used = True
            self._transport.resumeProducing()
            self._rested(self)
        else:
            self._transport.resumeProducing()
            self._transport.loseConnection()

    def _malformed(self, error: h11.RemoteProtocolError) -> None:
        if not self._eof:
            loss = Loss(Reason.PROTOCOL, str(error))
        elif not self._responded:
            loss = Loss(Reason.RESET, "the server left without a response")
        else:
            loss = Loss(Reason.PROTOCOL, "the server left amid its response")
        self.leave()
        self._broken(loss)

    def _broken(self, loss: Loss) -> None:
        call, self._call = self._call, None
        if call is not None:
            unheard = self._used and not self._heard and call.may_repeat()
            call.gone(loss, tries=ONCE if unheard else 0)

    # -- Line ---------------------------------------------------------------------------

    def pause(self) -> None:
        """See ``Line``."""
        if self._loss is None and not self._eof:
            self._transport.pauseProducing()

    def resume(self) -> None:
        """See ``Line``."""
        self._advance()
        call = self._call
        if call is not None and call.wants_data and self._loss is None:
            self._transport.resumeProducing()

    def send(self, data: bytes) -> None:
        """See ``Line``."""
        pieces = self._wire.send_with_data_passthrough(h11.Data(data=data))
        if self._loss is None:
            self._transport.writeSequence(pieces)

    def finish(self, trailers: Headers) -> None:
        """See ``Line``; only chunks can have something behind them."""
        end = h11.EndOfMessage(headers=trailers if self._chunked else [])
        self._write(self._wire.send(end))
        if self._wire.their_state not in (h11.SEND_RESPONSE, h11.SEND_BODY, h11.IDLE):
            self._rest()

    def end_half(self) -> None:
        """See ``Line``: only what carries an open tunnel is asked."""
        raise NotImplementedError

    def drop(self) -> None:
        """See ``Line``."""
        self._call = None
        self.leave()

    def part(self) -> None:
        """See ``Line``."""
        self._call = None
        if self._loss is None:
            self._transport.resumeProducing()
            self._transport.loseConnection()
            self._parting = self._clock.callLater(
                FLUSH, self._transport.abortConnection
            )

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """See ``Line``."""
        if self._loss is None:
            self._transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """See ``Line``."""
        if self._loss is None:
            self._transport.unregisterProducer()

    def _write(self, data: bytes | None) -> None:
        if data and self._loss is None:
            self._transport.write(data)


def _headers(request: Request) -> Headers:
    own = [("host", request.authority)]
    connection = []
    if request.is_upgrade:
        connection.append("upgrade")
        own.append(("upgrade", request.tunnel))
        if request.tunnel == PROTOCOL and all(n != KEY for n, _ in request.headers):
            # A client of HTTP/2 needs none (RFC 8441, section 5).
            own.append((KEY, b64encode(token_bytes(16)).decode()))
    if request.trailers:
        connection.append("te")
        own.append(("te", "trailers"))
    if connection:
        own.append(("connection", ", ".join(connection)))
    if request.length is not None:
        own.append(("content-length", str(request.length)))
    elif request.has_body:
        own.append(("transfer-encoding", "chunked"))
    if request.expects:
        own.append(("expect", "100-continue"))
    return encoded([*own, *request.headers])
