"""JSONSocket: a JSON header each way in front of any other protocol."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pydantic import AliasChoices, ConfigDict, Field
from twisted.internet.defer import CancelledError, Deferred, TimeoutError

from l7mp.core.registry import Accept, Context, Protocol
from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import IListening, IStream, Kind, Metadata
from l7mp.model.base import Declared, Items
from l7mp.model.config import EndPoint
from l7mp.model.spec import REMOTE_WORDS, ClusterSpec, ListenerSpec, Spec
from l7mp.streams.handshake import Continued, read_header
from l7mp.wire.jsonsocket import (
    BAD_REQUEST,
    Accepted,
    HeaderSplitter,
    Rejected,
    Rule,
    build_header,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)

HANDSHAKE = 10.0
"""Seconds that a client has to send its header."""

REQUEST_TIMEOUT = 408

_BOTH = AliasChoices("transport", "transport_spec")


class HeaderPath(Declared):
    """Copies metadata of the session into the header."""

    model_config = ConfigDict(populate_by_name=True)

    from_: str = Field(alias="from")
    """JSON path of what to copy from the metadata; left out if missing."""
    to: str = "/"
    """JSON path of where to put it in the header."""


class HeaderSet(Declared):
    """Sets a value in the header."""

    key: str
    """JSON path in the header."""
    value: Any
    """Any JSON value."""


class HeaderRule(Declared):
    """One step in making the header: ``path`` copies, ``set`` sets."""

    path: HeaderPath | str | None = None
    set: HeaderSet | None = None

    def steps(self) -> list[Rule]:
        """In the words of the codec."""
        rules = []
        if isinstance(self.path, str):
            rules.append(Rule("/", self.path))
        elif self.path is not None:
            rules.append(Rule(self.path.to, self.path.from_))
        if self.set is not None:
            rules.append(Rule(self.set.key, value=self.set.value))
        return rules


class JSONSocketListenerSpec(Spec):
    """Expect a header from every client of the transport, and answer it."""

    tolerates = REMOTE_WORDS

    transport: ListenerSpec = Field(validation_alias=_BOTH)
    """The listener that carries it."""


class JSONSocketClusterSpec(Spec):
    """Send a header first, and expect an answer."""

    tolerates = REMOTE_WORDS

    transport: ClusterSpec = Field(validation_alias=_BOTH)
    """The cluster that carries it."""
    header: Items[HeaderRule] = ()
    """How the header is made, in order."""


Verdict = Accepted | Rejected


def _judge(
    decode: Callable[[bytes], Verdict | None], kind: Kind
) -> Callable[[bytes], Verdict | None]:
    """Judges headers that are one message, or come in pieces with data behind."""
    if kind is Kind.DATAGRAMS:
        return decode
    splitter = HeaderSplitter()

    def judge(piece: bytes) -> Verdict | None:
        parted = splitter.feed(piece)
        if parted is None:
            return None
        verdict = decode(parted[0])
        if isinstance(verdict, Accepted):
            return replace(verdict, rest=parted[1])
        return verdict

    return judge


class _Server(Continued):
    """A client whose header was good; it is answered when the session is connected."""

    _answered = False

    def _answer(self, status: int, message: str) -> None:
        if not self._answered:
            self._answered = True
            self.inner.write(encode_response(status, message))

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


def listen(
    context: Context, spec: JSONSocketListenerSpec, accept: Accept
) -> Deferred[IListening]:
    """Listen on the transport, and shake hands with whoever comes."""

    async def shake(stream: IStream, metadata: Metadata) -> None:
        reading: Deferred[Verdict] = read_header(
            stream, _judge(decode_request, stream.kind)
        )
        reading.addTimeout(HANDSHAKE, context.reactor)
        verdict: Verdict
        try:
            verdict = await reading
        except RemoteError as error:
            verdict = Rejected(BAD_REQUEST, str(error))
        except TimeoutError:
            verdict = Rejected(REQUEST_TIMEOUT, f"no header came in {HANDSHAKE:g} s")
        if isinstance(verdict, Rejected):
            stream.write(encode_response(verdict.status, verdict.message))
            stream.close(Loss(Reason.PROTOCOL, verdict.message))
        else:
            server = _Server(stream, verdict.rest)
            accept(server, {**metadata, "JSONSocket": verdict.header}, "")

    def accepted(stream: IStream, metadata: Metadata, words: str) -> None:
        shaking = Deferred.fromCoroutine(shake(stream, metadata))
        shaking.addErrback(lambda _: stream.abort(Loss(Reason.LOCAL)))

    return context.listen(spec.transport, accepted)


def connect(
    context: Context,
    spec: JSONSocketClusterSpec,
    endpoint: EndPoint,
    metadata: Metadata,
) -> Deferred[IStream]:
    """Connect the transport, and shake hands."""

    async def go() -> IStream:
        stream = await context.connect(spec.transport, endpoint, metadata)
        try:
            return await _shake(stream, spec, metadata)
        except (Exception, CancelledError):
            stream.abort(Loss(Reason.REFUSED))
            raise

    return Deferred.fromCoroutine(go())


async def _shake(
    stream: IStream, spec: JSONSocketClusterSpec, metadata: Metadata
) -> IStream:
    rules = (step for rule in spec.header for step in rule.steps())
    stream.write(encode_request(build_header(metadata, rules)))
    verdict: Verdict = await read_header(stream, _judge(decode_response, stream.kind))
    if isinstance(verdict, Rejected):
        what = f"JSONSocket status {verdict.status}: {json.dumps(verdict.message)}"
        raise RemoteError(Loss(Reason.REFUSED, what))
    return Continued(stream, verdict.rest) if verdict.rest else stream


protocol = Protocol(
    name="JSONSocket",
    kind=Kind.DATAGRAMS,
    summary="Messages behind a JSON header, over any other protocol.",
    listener=JSONSocketListenerSpec,
    listen=listen,
    cluster=JSONSocketClusterSpec,
    connect=connect,
)
