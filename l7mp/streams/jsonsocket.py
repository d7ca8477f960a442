"""
Both sides of JSONSocket's handshake, over any stream.

Where messages can get lost, a client repeats its header until it is answered, and a
server answers every copy as it did the first.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import IStream, Kind
from l7mp.streams.handshake import read_header
from l7mp.streams.repeating import Repeating
from l7mp.streams.screened import Screened
from l7mp.wire.jsonsocket import (
    BAD_REQUEST,
    Accepted,
    HeaderSplitter,
    Rejected,
    decode_request,
    decode_response,
    encode_response,
    is_response,
)

HANDSHAKE = 10.0
"""Seconds that a client has to send its header."""

REPEAT = 0.5
"""Seconds until a header that was not answered is sent again."""

EARLY_MESSAGES = 256
EARLY_BYTES = 1 << 20
"""How much data may come before the answer behind which it was sent."""

REQUEST_TIMEOUT = 408

Verdict = Accepted | Rejected


class _Judge:
    """Judges headers that are one message, or come in pieces with data behind."""

    def __init__(
        self, decode: Callable[[bytes], Verdict | None], stream: IStream
    ) -> None:
        self._decode = decode
        self._splitter = HeaderSplitter() if stream.kind is Kind.BYTES else None
        self.raw = b""
        """The header as it came."""

    def __call__(self, piece: bytes) -> Verdict | None:
        rest = b""
        if self._splitter is not None:
            parted = self._splitter.feed(piece)
            if parted is None:
                return None
            piece, rest = parted
        self.raw = piece
        verdict = self._decode(piece)
        return replace(verdict, rest=rest) if isinstance(verdict, Accepted) else verdict


def _pieces(rest: bytes) -> tuple[bytes, ...]:
    return (rest,) if rest else ()


# -- the server's side ---------------------------------------------------------


class Served(Screened):
    """A client whose header was good; it is answered when the session is connected."""

    def __init__(
        self, inner: IStream, clock: IReactorTime, raw: bytes, verdict: Accepted
    ) -> None:
        copy = raw if inner.lossy else None
        super().__init__(inner, clock, copy, _pieces(verdict.rest))
        self.header: dict[str, Any] = verdict.header
        self._answered = b""

    def _answer(self, status: int, message: str) -> None:
        if not self._answered:
            self._answered = encode_response(status, message)
            self.inner.write(self._answered)

    def came(self) -> None:
        """The answer got lost, or was late: say it again."""
        self.inner.write(self._answered)

    def established(self) -> None:
        self._answer(200, "OK")
        self.inner.established()

    def close(self, loss: Loss) -> None:
        self._answer(loss.status, str(loss))
        self.inner.close(loss)

    def abort(self, loss: Loss) -> None:
        if self._answered:
            self.inner.abort(loss)
        else:  # nothing is under way but the answer, which is still owed
            self.close(loss)


async def hear(stream: IStream, clock: IReactorTime, seconds: float) -> Served | None:
    """
    The client that sent a good header; any other is told why not, and sent away.

    It has so many ``seconds`` for its header; 0 is all the time it likes. Where messages
    may get lost, nothing is said to who has said nothing.
    """
    judge = _Judge(decode_request, stream)
    reading: Deferred[Verdict] = read_header(stream, judge)
    if seconds:
        reading.addTimeout(seconds, clock)
    verdict: Verdict
    try:
        verdict = await reading
    except RemoteError as error:
        verdict = Rejected(BAD_REQUEST, str(error))
    except TimeoutError:
        verdict = Rejected(REQUEST_TIMEOUT, f"no header came in {seconds:g} s")
    if isinstance(verdict, Accepted):
        return Served(stream, clock, judge.raw, verdict)
    if verdict.status != REQUEST_TIMEOUT or not stream.lossy:
        # Who has said nothing may not be there yet, and would take our answer for one
        # to what it is going to say.
        stream.write(encode_response(verdict.status, verdict.message))
    stream.close(Loss(Reason.PROTOCOL, verdict.message))
    return None


# -- the client's side ---------------------------------------------------------


class _Overtakers:
    """Data that came before the answer that it was sent behind, in order."""

    def __init__(self, stream: IStream, judge: _Judge) -> None:
        self._stream, self._judge = stream, judge
        self.messages: deque[bytes] = deque()
        self._bytes = 0

    def __call__(self, data: bytes) -> Verdict | None:
        if is_response(data):
            return self._judge(data)
        self.messages.append(data)
        self._bytes += len(data)
        while len(self.messages) > EARLY_MESSAGES or self._bytes > EARLY_BYTES:
            self._bytes -= len(self.messages.popleft())
            drops = self._stream.drops
            drops["overflow"] = drops.get("overflow", 0) + 1
        return None


async def ask(
    stream: IStream,
    header: bytes,
    clock: IReactorTime,
    repeat_after: float,
    seconds: float | None,
) -> IStream:
    """
    The stream of a server that took ``header``; it describes what it answered.

    Where the transport is lossy the header is repeated, first ``repeat_after`` seconds
    later, and what comes before the answer and is none is kept as data. Raises
    ``RemoteError`` if the server refuses, cannot be understood, or has not answered
    after so many ``seconds``; 0 or None wait for ever.
    """
    judge = _Judge(decode_response, stream)
    early = _Overtakers(stream, judge)
    reading: Deferred[Verdict] = read_header(stream, early if stream.lossy else judge)
    pause = repeat_after if stream.lossy else 0
    saying = Repeating(stream, header, pause, clock)
    if seconds:
        reading.addTimeout(seconds, clock)
    try:
        verdict = await reading
    except TimeoutError as error:
        what = f"no answer to the header came in {seconds:g} s"
        if early.messages:
            what += f", though {len(early.messages)} messages that are none did"
        raise RemoteError(Loss(Reason.TIMEOUT, what)) from error
    finally:
        saying.stop()
    if isinstance(verdict, Rejected):
        what = f"JSONSocket status {verdict.status}: {json.dumps(verdict.message)}"
        raise RemoteError(Loss(Reason.REFUSED, what))
    copy = judge.raw if stream.lossy else None
    rest = (*early.messages, *_pieces(verdict.rest))
    return Screened(stream, clock, copy, rest, {"JSONSocket": verdict.header})
