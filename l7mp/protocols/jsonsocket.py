"""JSONSocket: a JSON header each way in front of any other protocol."""

from __future__ import annotations

from typing import Any, Self

from pydantic import AliasChoices, ConfigDict, Field, ValidationInfo, model_validator
from twisted.internet.defer import CancelledError, Deferred

from l7mp.core.idle import IdleWatch
from l7mp.core.registry import Accept, Context, Protocol
from l7mp.errors import Loss, Reason
from l7mp.interfaces import IListening, IStream, Kind, Metadata
from l7mp.model.base import Declared, Items
from l7mp.model.config import EndPoint
from l7mp.model.explain import complaint
from l7mp.model.framing import Format, Framing, framing_of
from l7mp.model.hops import framable, is_framed
from l7mp.model.spec import (
    REMOTE_WORDS,
    ClusterSpec,
    KindOf,
    ListenerSpec,
    Spec,
    Vocabulary,
)
from l7mp.model.types import Seconds
from l7mp.streams.framed import framed
from l7mp.streams.jsonsocket import HANDSHAKE, REPEAT, ask, hear
from l7mp.wire.jsonsocket import Rule, build_header, encode_request

NO_HEADER = "no-header"
"""The reason for which clients without a good header are counted."""

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


class _OverTransport(Spec):
    """What both sides say of what carries them."""

    tolerates = REMOTE_WORDS

    framing: Format | Framing | None = None
    """
    How headers and messages are told apart, where the transport carries a stream of
    bytes. Without it the header is the JSON object at its start, and what follows is
    bytes without boundaries.
    """
    idle_timeout: Seconds | None = None
    """
    Seconds without a message in either direction after which the stream ends, and
    nothing is said about it; 0: never. The transport's own if missing.
    """

    def carries(self, kind_of: KindOf) -> str | None:
        """Messages stay apart if the transport, or a framing, keeps them so."""
        if is_framed(framing_of(self.framing)):
            return Kind.DATAGRAMS.value
        return kind_of(_transport(self))

    @model_validator(mode="after")
    def _frames_bytes(self, info: ValidationInfo) -> Self:
        words = info.context
        if is_framed(framing_of(self.framing)) and isinstance(words, Vocabulary):
            transport = _transport(self)
            if not framable(words.flow_of(transport)):
                what = f"{transport.protocol} carries messages that are apart already"
                raise complaint(what, "leave the framing out")
        return self


def _transport(spec: Any) -> Spec:
    transport: Spec = spec.transport
    return transport


def _with_messages(stream: IStream, spec: _OverTransport) -> IStream:
    """The transport's stream, with the framing that it is told."""
    framing = framing_of(spec.framing)
    if framing is None or not is_framed(framing):
        return stream
    return framed(stream, framing.format, framing.max_message)


class JSONSocketListenerSpec(_OverTransport):
    """Expect a header from every client of the transport, and answer it."""

    transport: ListenerSpec = Field(validation_alias=_BOTH)
    """The listener that carries it."""
    header_timeout: Seconds = HANDSHAKE
    """Seconds that a client has to send its header; 0: all the time it likes."""


class JSONSocketClusterSpec(_OverTransport):
    """Send a header first, and expect an answer."""

    transport: ClusterSpec = Field(validation_alias=_BOTH)
    """The cluster that carries it."""
    header: Items[HeaderRule] = ()
    """How the header is made, in order."""
    response_timeout: Seconds | None = None
    """
    Seconds to wait for the answer to the header; 0, or none: as long as the attempt
    to connect may take by the retry policy of the route.
    """
    repeat_after: Seconds = REPEAT
    """
    Seconds after which a header that was not answered is sent again, where the
    transport may lose it; each pause is twice the one before, up to 2 s. 0: never.
    """


def listen(
    context: Context, spec: JSONSocketListenerSpec, accept: Accept
) -> Deferred[IListening]:
    """Listen on the transport, and shake hands with whoever comes."""

    async def shake(stream: IStream, metadata: Metadata) -> None:
        served = await hear(
            _with_messages(stream, spec), context.reactor, spec.header_timeout
        )
        if served is None:
            _count(context)
            return
        if spec.idle_timeout is not None:
            served.idle_timeout = spec.idle_timeout
        accept(served, {**metadata, "JSONSocket": served.header}, "")

    def accepted(stream: IStream, metadata: Metadata, words: str) -> None:
        shaking = Deferred.fromCoroutine(shake(stream, metadata))
        shaking.addErrback(lambda _: stream.abort(Loss(Reason.LOCAL)))

    return context.listen(spec.transport, accepted)


def _count(context: Context) -> None:
    """What came to the listener was no header, or none came."""
    drops = context.drops()
    drops[NO_HEADER] = drops.get(NO_HEADER, 0) + 1


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
            rules = (step for rule in spec.header for step in rule.steps())
            header = encode_request(build_header(metadata, rules))
            limits = (spec.repeat_after, spec.response_timeout)
            framed_stream = _with_messages(stream, spec)
            made = await ask(framed_stream, header, context.reactor, *limits)
        except (Exception, CancelledError):
            stream.abort(Loss(Reason.REFUSED))
            raise
        if spec.idle_timeout:
            _watch(context, made, spec.idle_timeout)
        return made

    return Deferred.fromCoroutine(go())


class _Traffic:
    """What moves on a stream, for whoever waits for it to stop."""

    def __init__(self, stream: IStream) -> None:
        self._stream = stream

    @property
    def traffic(self) -> int:
        """A number that changes when data moves in either direction."""
        return self._stream.messages_in + self._stream.messages_out


def _watch(context: Context, stream: IStream, seconds: float) -> None:
    """End ``stream`` when nothing moved for so long."""
    idle = context.resources.get(
        ("JSONSocket", "idle"), lambda: IdleWatch(context.reactor)
    )
    traffic, loss = (
        _Traffic(stream),
        Loss(Reason.IDLE, f"nothing moved for {seconds:g} s"),
    )
    idle.watch(traffic, seconds, lambda: stream.close(loss))
    stream.when_lost().addCallback(lambda _: idle.forget(traffic))


protocol = Protocol(
    name="JSONSocket",
    kind=Kind.DATAGRAMS,
    summary="Messages behind a JSON header, over any other protocol.",
    listener=JSONSocketListenerSpec,
    listen=listen,
    cluster=JSONSocketClusterSpec,
    connect=connect,
    prepare=lambda context, spec: context.prepare(spec.transport),
)
