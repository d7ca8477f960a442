"""
What happens, as values.

The core neither logs nor counts: it says what happened, and observers (the log, the
metrics, the journal that REST shows, the offload engine) make of it what they will.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from l7mp.errors import Loss
from l7mp.interfaces import IStream, Note
from l7mp.model.config import Config


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""


@dataclass(frozen=True, slots=True)
class SessionEvent(Event):
    """Something that happened to the session called ``session``."""

    session: str


@dataclass(frozen=True, slots=True)
class Born(SessionEvent):
    """A listener emitted a session."""

    listener: str
    protocol: str


@dataclass(frozen=True, slots=True)
class Routed(SessionEvent):
    """A rule matched."""

    rulelist: str
    rule: str
    route: str


@dataclass(frozen=True, slots=True)
class AttemptFailed(SessionEvent):
    """A stage could not be connected this time."""

    origin: str
    loss: Loss


@dataclass(frozen=True, slots=True)
class StageConnected(SessionEvent):
    """A stage is connected to an endpoint of its cluster."""

    origin: str
    protocol: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class Connected(SessionEvent):
    """The ring is closed: every stage is there."""


@dataclass(frozen=True, slots=True)
class Piped(SessionEvent):
    """``source`` now writes to ``sink``."""

    source: IStream
    sink: IStream


@dataclass(frozen=True, slots=True)
class StageLost(SessionEvent):
    """An established stage went away."""

    origin: str
    loss: Loss


@dataclass(frozen=True, slots=True)
class StageRestored(SessionEvent):
    """A lost stage is back in the ring."""

    origin: str


@dataclass(frozen=True, slots=True)
class Noted(SessionEvent):
    """The stream of a stage said something about itself."""

    origin: str
    note: Note


@dataclass(frozen=True, slots=True)
class Refused(SessionEvent):
    """The session could not be routed or connected."""

    loss: Loss


@dataclass(frozen=True, slots=True)
class Ended(SessionEvent):
    """The session is over; what is under way is still delivered."""

    loss: Loss


@dataclass(frozen=True, slots=True)
class Destroyed(SessionEvent):
    """Every stream of the session is gone."""

    loss: Loss


@dataclass(frozen=True, slots=True)
class Forgotten(SessionEvent):
    """The session is no longer listed, not even for post-mortem."""


@dataclass(frozen=True, slots=True)
class Warned(Event):
    """Something that an operator should know about ``subject``."""

    subject: str
    message: str


@dataclass(frozen=True, slots=True)
class HandshakeFailed(Event):
    """Somebody came to a listener and could not shake hands; there is no session."""

    listener: str
    peer: str
    loss: Loss


@dataclass(frozen=True, slots=True)
class Configured(Event):
    """A new configuration is in effect."""

    config: Config


@dataclass(frozen=True, slots=True)
class Listening(Event):
    """A listener accepts sessions."""

    listener: str
    address: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoppedListening(Event):
    """A listener accepts nothing more."""

    listener: str


@dataclass(frozen=True, slots=True)
class Faulted(Event):
    """A bug of ours showed; it cost one session at most."""

    subject: str
    error: BaseException


Observer = Callable[[Event], None]
