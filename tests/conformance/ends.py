"""
The two ends of a conversation through the proxy, whatever they speak.

An end is a peer of another make than ours, on plain sockets that never block; it is
polled by the test that waits for it, in the reactor that the proxy runs in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from l7mp.interfaces import Kind


class End(Protocol):
    """One peer."""

    chunks: list[bytes]
    """What was heard: messages, or pieces of a stream."""

    @property
    def ended(self) -> bool:
        """Heard that nothing more will come, in good order."""

    @property
    def broken(self) -> bool:
        """Heard that the conversation broke off."""

    def poll(self) -> None:
        """Take what has come."""

    def say(self, data: bytes) -> None:
        """Send a message, or bytes."""

    def finish(self) -> None:
        """Nothing more will be said; what is answered is still heard."""

    def leave(self) -> None:
        """Close in good order."""

    def drop(self) -> None:
        """Break off."""

    def close(self) -> None:
        """Let go of everything; twice is once."""


def heard(end: End) -> bytes:
    """Everything that has come so far."""
    end.poll()
    return b"".join(end.chunks)


@dataclass(frozen=True)
class Traits:
    """What can be expected of the peers of a protocol."""

    kind: Kind
    limit: int | None = None
    """The longest message in bytes; None: longer than any test."""
    half_close: bool = True
    """Whether a peer can say its last word and still listen."""
    has_end: bool = True
    """Whether the other side hears that a peer has gone."""
    has_reset: bool = True
    """Whether that can be told apart from going in good order."""
    has_empty: bool = True
    """Whether an empty message can be told from the end."""
    one_at_a_time: str = ""
    """Why there cannot be several sessions at once."""


@dataclass(frozen=True)
class Front:
    """A row of the matrix: a protocol as clients of a listener know it."""

    name: str
    traits: Traits
    listener: Callable[[Path], dict[str, Any]]
    """What the listener is told, given a folder to put sockets into."""
    dial: Callable[[dict[str, Any], Path], End]
    """A client, given where the listener is bound."""
    network: bool = False
    """Whether it needs a network of its own."""


class Upstream(Protocol):
    """A server of a protocol."""

    cluster: dict[str, Any]
    """What a cluster is told."""
    endpoint: dict[str, Any] | None
    """Where the server is."""

    def accept(self) -> End | None:
        """The next client, if there is one."""

    def stop(self) -> None:
        """Be gone, with all clients."""

    def start(self) -> None:
        """Be back, at the same place."""


@dataclass(frozen=True)
class Back:
    """A column of the matrix: a protocol as servers behind a cluster know it."""

    name: str
    traits: Traits
    serve: Callable[[Path], Upstream]
    network: bool = False
    """Whether it needs a network of its own."""


Answer = Callable[[bytes], bytes | None]
"""What comes back for one message, None for nothing at all."""


@dataclass(frozen=True)
class Inner:
    """A column for a protocol that reaches nothing remote: what it answers itself."""

    name: str
    cluster: dict[str, Any]
    answer: Answer
    question: bytes = b"a question"
    matches: Callable[[bytes, bytes], bool] = field(
        default=lambda want, got: got == want
    )
    """Whether what came back is what was wanted."""
    fronts: frozenset[str] | None = None
    """The only listeners that it serves; None: all."""
    why_not: str = ""
    """Why it does not serve the others."""
    one_at_a_time: str = ""
    """Why there cannot be several sessions at once."""
    others: tuple[dict[str, Any], ...] = ()
    """Clusters that it stands on."""
