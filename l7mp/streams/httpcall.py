"""
A request to an HTTP server and its response as one stream, whatever carries them.

What is written is the body of the request; what is read is that of the response, whose
head travels ahead of it as ``/HTTP/status`` and ``/HTTP/headers``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProducer
from twisted.python.failure import Failure

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import IStream, Kind, Metadata
from l7mp.streams.http import Headers, encoded
from l7mp.streams.stream import Stream
from l7mp.streams.timer import Timer
from l7mp.streams.transport import FLUSH, LINGER
from l7mp.wire.httprequest import (
    CONNECT,
    Request,
    response_facts,
    trailer_facts,
    trailers_of,
)

EXPECT_TIME = 1.0
"""Seconds to wait for 100 Continue from a server that may not know of it."""

RESPONSE_TIME = 60.0
"""Seconds that a server has to begin its response to a complete request."""

ONCE, REFUSED = 1, 10
"""
How often a call is carried again, at most.

A server that drops an idle connection may do so at the very moment of a request; one
that takes only so many requests on a connection may refuse one again and again.
"""

_COMPLETE = frozenset({Reason.FIN, Reason.IDLE, Reason.DELETED})
"""Ends of a session after which what was sent is as complete as it will ever be."""


class Line(Protocol):
    """What a call asks of the connection that carries it."""

    def pause(self) -> None:
        """Bring nothing more of the response for now."""

    def resume(self) -> None:
        """Bring the response."""

    def send(self, data: bytes) -> None:
        """Send a piece of the body, or of what goes through the tunnel."""

    def finish(self, trailers: Headers) -> None:
        """Complete the request; leave an open tunnel."""

    def end_half(self) -> None:
        """Tell the server that nothing more comes through the tunnel."""

    def drop(self) -> None:
        """Give up at once; the call is heard of no more."""

    def part(self) -> None:
        """Give up the response; what was sent may still arrive."""

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Twisted's, for the body of the request."""

    def unregisterProducer(self) -> None:
        """See ``registerProducer``."""


@dataclass(frozen=True, slots=True)
class Calling:
    """What calls have in common."""

    clock: Any
    again: Callable[[Call], Deferred[IStream]]
    """Carries a call once more, on a connection that is new."""
    timeout: float = RESPONSE_TIME
    """Seconds for a response to begin; 0: any number."""
    spent: Callable[[], None] = lambda: None
    """Hears that no other call can take the place of this one."""


class Call(Stream):
    """One request and its response."""

    kind = Kind.BYTES
    half_close = True

    def __init__(
        self, request: Request, calling: Calling, opened: Deferred[None] | None = None
    ) -> None:
        """``opened`` fires when a tunnel is there, of which nobody else is told."""
        super().__init__()
        self.request = request
        self._calling, self._opened = calling, opened
        self._line: Line | None = None
        self._producer: IProducer | None = None
        self._blocked = bool(request.tunnel) or request.expects
        """Whether the server has to say something before the body is sent."""
        self._early: list[bytes] = []
        """What was written before there was somebody to carry it."""
        self._left = request.length
        self._trailers: Headers = []
        self._write_ended = not (request.has_body or request.tunnel)
        self._tunnelling = self._answered = self._complete = False
        self._tries = 0
        """How often it was carried again."""
        self.is_over = False
        """Nothing is read or written any more."""
        self._closing: Loss | None = None
        self._timer = Timer(calling.clock)
        self._dialing: Deferred[IStream] | None = None
        """Another connection, in place of one that was no good."""

    # -- for whoever carries it -----------------------------------------------------

    def carry(self, line: Line) -> None:
        """``line`` has sent the head of the request."""
        self._line = line
        if self.request.tunnel:
            self._await_response()
            return
        if self.request.expects and self._blocked:
            self._timer.set(EXPECT_TIME, self._unblock)
            return
        self._unblock()
        self._send_early(line)
        if self._write_ended:
            line.finish(self._trailers)
            self._await_response()

    def _send_early(self, line: Line) -> None:
        for data in self._early:
            line.send(data)
        self._early.clear()

    @property
    def wants_data(self) -> bool:
        """Whether anything that comes may be told."""
        return not self.is_held or self.is_over or self._awaits_tunnel

    @property
    def is_complete(self) -> bool:  # type: ignore[override]
        """Whether there is a whole response, to which nothing can be added."""
        return self._complete

    @property
    def is_tunnel(self) -> bool:
        """Whether its tunnel is open."""
        return self._tunnelling

    @property
    def _awaits_tunnel(self) -> bool:
        return self._opened is not None

    def inform(self, status: int, headers: Headers) -> None:
        """An interim response came."""
        if status == 100:
            self._timer.cancel()
            self._unblock()
        elif not self._awaits_tunnel:
            self._tell(response_facts(status, headers))

    def head(self, status: int, headers: Headers) -> None:
        """The head of the response came; it does not open a tunnel."""
        self._answered = True
        self._calling.spent()
        self._timer.cancel()
        self._early.clear()
        if self._awaits_tunnel:
            self._refused(status)
        else:
            self._tell(response_facts(status, headers))

    def opened(self, status: int, headers: Headers, line: Line) -> None:
        """The tunnel is open, and carried by ``line`` from now on."""
        self._answered = self._tunnelling = True
        self._calling.spent()
        self._line = line
        self._timer.cancel()
        waiting, self._opened = self._opened, None
        if waiting is None:
            self._tell(response_facts(status, headers))
        self._unblock()
        self._send_early(line)
        if self._write_ended:
            line.end_half()
        if waiting is not None:
            if self.is_held:
                line.pause()
            waiting.callback(None)

    def body(self, data: bytes) -> None:
        """Some of the response, or of what comes through the tunnel."""
        if self.is_over:
            self._drop("closing", len(data))
        else:
            self._deliver(data)

    def body_ended(self) -> None:
        """Nothing more comes through the tunnel."""
        if not self.is_over:
            self._read_ended()

    def completed(self, trailers: Headers | None = None) -> None:
        """The response is complete."""
        self._complete = True
        if self.is_over:
            self._done(self._closing or Loss(Reason.FIN))
            return
        if trailers:
            self._tell(trailer_facts(trailers))
        self._read_ended()
        if self._write_ended:
            self._done(Loss(Reason.FIN))

    def gone(self, loss: Loss, *, tries: int = 0) -> None:
        """
        The connection is no more.

        ``tries`` is how often that is reason enough to use another: ``ONCE`` if the
        server may not have heard of the request, ``REFUSED`` if it has not.
        """
        self._line = None
        if self._complete:
            loss = Loss(Reason.FIN)
        elif self._may_try_again(tries):
            self._try_again()
            return
        self._done(self._closing or loss)

    def _try_again(self) -> None:
        self._tries += 1
        self._timer.cancel()
        self._block()
        dialing = self._dialing = self._calling.again(self)
        dialing.addErrback(self._never_again)

    def _never_again(self, failure: Failure) -> None:
        if not self.is_over:
            self.gone(Loss(Reason.RESET, failure.getErrorMessage()))

    def may_repeat(self) -> bool:
        """Whether a request that may have reached the server can be sent twice."""
        return self.request.is_idempotent

    def _may_try_again(self, tries: int) -> bool:
        touched = self._answered or self.bytes_out or self.is_over
        return self._tries < tries and not touched

    def _tell(self, facts: Metadata) -> None:
        if self._sink is not None and not self.is_over:
            self._sink.describe(facts)

    def _refused(self, status: int) -> None:
        waiting, self._opened = self._opened, None
        loss = Loss(Reason.REFUSED, f"the proxy answered CONNECT with {status}")
        self.abort(loss)
        if waiting is not None:
            waiting.errback(RemoteError(loss))

    # -- the read half ------------------------------------------------------

    def _pause(self) -> None:
        if self._line is not None and not self.is_over:
            self._line.pause()

    def _resume(self) -> None:
        if self._line is not None and not self.is_over:
            self._line.resume()

    # -- the write half -----------------------------------------------------

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self._producer = producer
        if self._blocked:
            self._block()
        elif self._line is not None and not self._write_ended:
            self._line.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None and self._line is not None and not self._blocked:
            self._line.unregisterProducer()

    def _block(self) -> None:
        self._blocked = True
        if self._producer is not None:
            self._producer.pauseProducing()  # type: ignore[attr-defined]

    def _unblock(self) -> None:
        """The server wants the body, or never says whether it does."""
        if not self._blocked:
            return
        self._timer.cancel()
        self._blocked = False
        producer = self._producer
        if self._line is not None and producer is not None and not self._write_ended:
            self._line.registerProducer(producer, True)
        if producer is not None:
            producer.resumeProducing()  # type: ignore[attr-defined]

    def describe(self, facts: Metadata) -> None:
        """Take the fields that come behind the body of a request."""
        trailers = trailers_of(facts)
        if trailers is not None:
            self._trailers = encoded(trailers)

    def write(self, data: bytes) -> None:
        if self._write_ended or self.is_over:
            self._drop("closing", len(data))
            return
        if self._left is not None:
            if len(data) > self._left:
                self._drop("content-length", len(data) - self._left)
                data = data[: self._left]
            self._left -= len(data)
        if not self.messages_out:
            self._calling.spent()
        self.messages_out += 1
        self.bytes_out += len(data)
        if self._line is None or (self.request.tunnel and not self._tunnelling):
            self._early.append(data)
        else:
            self._line.send(data)

    def end(self) -> None:
        """The request is complete."""
        if self._write_ended or self.is_over:
            return
        self._write_ended = True
        if self._complete and self.request.strict:
            # The client has its response, and what it still says goes nowhere: this
            # is not the end of its request.
            self.abort(Loss(Reason.FIN))
        elif self._left:
            self.abort(Loss(Reason.PROTOCOL, "less than the Content-Length came"))
        elif self._line is not None:
            self._end(self._line)

    def _end(self, line: Line) -> None:
        if self.request.tunnel:
            if self._tunnelling:
                self.unregisterProducer()
                line.end_half()
            return
        self.unregisterProducer()
        self._timer.cancel()
        line.finish(self._trailers)
        if self._complete:
            self._done(Loss(Reason.FIN))
        else:
            self._await_response()

    def _await_response(self) -> None:
        if self._calling.timeout and not self._answered:
            self._timer.set(self._calling.timeout, self._too_late)

    def _too_late(self) -> None:
        limit = self._calling.timeout
        waiting, self._opened = self._opened, None
        loss = Loss(Reason.TIMEOUT, f"no response came within {limit:g} s")
        self.abort(loss)
        if waiting is not None:
            waiting.errback(RemoteError(loss))

    # -- the end ------------------------------------------------------------------

    def close(self, loss: Loss) -> None:
        """
        Send what was written, and go; a response that is not there soon is given up.

        A body whose end has not come must not look complete, unless it is that of a
        session that has no other way to end.
        """
        if self.loss is not None or self.is_over:
            return
        line = self._line
        whole = not self.request.strict and loss.reason in _COMPLETE
        if line is None or self._complete or not (self._tunnelling or whole):
            self.abort(loss)
            return
        self._closing = loss
        if self._tunnelling:
            self.unregisterProducer()
            self.is_over = True
            line.finish([])
        else:
            self.end()
            self.is_over = True
        if self.loss is None:
            line.resume()
            self._timer.set(FLUSH if self._tunnelling else LINGER, self._part)

    def _part(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.part()
        self._done(self._closing or Loss(Reason.FIN))

    def abort(self, loss: Loss) -> None:
        if self.loss is not None:
            return
        line = self._line
        if line is not None:
            self.unregisterProducer()
            self._line = None
            line.drop()
        self._done(self._closing or loss)
        if self._dialing is not None:
            self._dialing.cancel()

    def _done(self, loss: Loss) -> None:
        self._timer.cancel()
        self.is_over = True
        self._line = None
        if self._early:
            self._drop("aborted", len(self._early))
            self._early.clear()
        waiting, self._opened = self._opened, None
        self._lose(loss)
        if waiting is not None:
            waiting.errback(RemoteError(loss))


def opens_tunnel(request: Request, status: int) -> bool:
    """Whether a server that answers ``request`` so has opened a tunnel."""
    if request.tunnel == CONNECT:
        return 200 <= status <= 299
    return bool(request.tunnel) and status == 101
