"""
The contracts between the parts of the proxy.

Only interfaces: no behaviour, and no imports from the rest of the package but the
vocabulary of errors.  Names are camelCase only where Twisted already chose the name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer, ITCPTransport
from zope.interface import Attribute, Interface

from l7mp.errors import Loss

Metadata = dict[str, Any]
"""What is known of a session, by JSON path: ``/IP/src_addr``, ``/HTTP/url/path``."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a stream says about itself, for the events of its session."""

    word: str
    """What happened, in the words of its protocol."""
    message: str
    """The same for people."""
    facts: Metadata
    """What else there is to know, as JSON values."""
    is_loud: bool = False
    """Whether operators should see it without asking."""


class Kind(Enum):
    """Whether a stream keeps the boundaries of what is written to it."""

    BYTES = "byte-stream"
    DATAGRAMS = "datagram-stream"


SINK = "sink"
"""The reason for which a stream that delivers to nobody is held."""


class IStream(IConsumer):
    """
    One two-way flow of data with one peer.

    The write half is Twisted's ``IConsumer``.  The read half is delivered to another
    stream and can be held for any number of reasons at once; a stream that delivers
    to nobody, like a newborn one, is held for want of a ``SINK``.

    A stream is newborn (held, nothing read), then flows, then is lost exactly once.
    What was read before the loss is delivered before the loss is reported.
    """

    kind: Kind = Attribute("Whether boundaries survive here.")
    half_close: bool = Attribute(
        "Whether end() leaves the other direction open; if not, it closes the stream."
    )

    lossy: bool = Attribute(
        "Whether what is written may be lost, doubled or overtaken on its way."
    )

    is_complete: bool = Attribute(
        "Whether the peer has said all that there is to say, as in a response: that it"
        " ends is nothing to make up for."
    )

    loss: Loss | None = Attribute("Why the stream is gone, None while it lives.")
    messages_in: int = Attribute("How many messages or chunks were read.")
    bytes_in: int = Attribute("How many bytes were read.")
    messages_out: int = Attribute("How many messages or chunks were written.")
    bytes_out: int = Attribute("How many bytes were written.")
    drops: dict[str, int] = Attribute("What reached nobody, counted by reason.")
    idle_timeout: float = Attribute(
        "Seconds of silence in both directions after which a session that begins with"
        " this stream ends; 0: never."
    )

    def deliver_to(sink: IStream, ended: Callable[[], None] | None = None) -> None:
        """
        From now on write what is read to ``sink``.

        ``ended`` is called, once, when the peer will send nothing more although the
        stream still lives; without it that is ``sink.end()``.
        """

    def hold(reason: object) -> None:
        """Stop delivering at least until ``reason`` is released; idempotent."""

    def release(reason: object) -> None:
        """``reason`` is no longer one to stop delivering; unknown ones are ignored."""

    def describe(facts: Metadata) -> None:
        """
        Metadata about what will be written next, ahead of it.

        It travels round the ring with the data until a stream understands it, as an
        HTTP listener does ``{"HTTP": {"status": 200, "headers": {…}}}``.
        """

    def tell(hear: Callable[[Note], None]) -> None:
        """Tell ``hear`` what happens to the stream, and first what has happened."""

    def established() -> None:
        """The session that began with this stream is connected."""

    def end() -> None:
        """Nothing more will be written: half-close where that exists."""

    def close(loss: Loss) -> None:
        """Deliver what was written, tell the peer why if it has a word for it, go."""

    def abort(loss: Loss) -> None:
        """Drop everything now."""

    def unsent() -> list[bytes]:
        """
        What was written but never left, once the stream is lost, in order.

        A session writes it to the stream that takes this one's place.
        """

    def when_lost() -> Deferred[Loss]:
        """A fresh Deferred that fires with a ``Loss``, a value, once it is gone."""


class IFlowTransport(ITCPTransport, IConsumer, IPushProducer):
    """What every stream transport of Twisted's really provides."""


class IKernelFlow(Interface):
    """What a stream also provides when the kernel could forward it for us."""

    def five_tuple() -> tuple[str, int, str, int, int]:
        """Peer address and port, own address and port, IP protocol number."""


class ICloseable(Interface):
    """Something that holds a resource until told otherwise."""

    def close() -> None:
        """Give the resource back; twice is once."""


class IListening(Interface):
    """What a protocol's ``listen`` returns."""

    def address() -> dict[str, Any]:
        """Where it is really bound: ``{"address": …, "port": …}`` or ``{"filename": …}``."""

    def stop() -> Deferred[None]:
        """Accept nothing more; what was accepted lives on."""
