"""
What can go wrong, as values and exceptions, with a status hint for the edge.

Nothing here does I/O; every room may import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a stream or a session ended; the words of REST, log and metrics."""

    FIN = "fin"
    """The peer closed in good order."""
    RESET = "reset"
    """The peer dropped the connection (TCP RST and the like)."""
    REFUSED = "refused"
    """Nobody listens at the endpoint, or the peer declined the protocol."""
    UNREACHABLE = "unreachable"
    """The network or the name of the endpoint could not be reached."""
    TIMEOUT = "timeout"
    """An attempt or a handshake took too long."""
    IDLE = "idle"
    """Nothing was heard in either direction for the idle time-out."""
    PROTOCOL = "protocol-error"
    """The peer violated the protocol."""
    TLS = "tls"
    """The TLS handshake failed, or the peer broke its rules; see the detail."""
    EXIT = "exit"
    """A program ended with a status other than 0; the status is the code."""
    NO_ROUTE = "no-route"
    """No rule matched, or what it names is missing."""
    NO_CLUSTER = "no-cluster"
    """A stage of the route names a cluster that does not exist."""
    NO_ENDPOINT = "no-endpoint"
    """The cluster has no endpoint to choose."""
    DELETED = "deleted"
    """Somebody deleted the session, or what it ran through, over REST."""
    RECONFIGURED = "reconfigured"
    """A new configuration changed what the session ran through."""
    SHUTDOWN = "shutdown"
    """The proxy is going down."""
    LOCAL = "local-error"
    """A fault of ours or of this machine, see the detail."""


_STATUS = {
    Reason.NO_ROUTE: 404,
    Reason.NO_CLUSTER: 503,
    Reason.NO_ENDPOINT: 503,
    Reason.TIMEOUT: 504,
    Reason.SHUTDOWN: 503,
    Reason.DELETED: 503,
    Reason.RECONFIGURED: 503,
    Reason.LOCAL: 500,
}


@dataclass(frozen=True, slots=True)
class Loss:
    """Why something is gone: a reason and, for people, a detail."""

    reason: Reason
    detail: str = ""
    code: int | None = None
    """The number that the peer gave for it, in its protocol: a close code, a status."""

    @property
    def orderly(self) -> bool:
        """Whether what was under way should still be delivered."""
        return self.reason is not Reason.RESET

    @property
    def status(self) -> int:
        """The HTTP status that says so at the edge (RFC 9110, section 15)."""
        return _STATUS.get(self.reason, 502)

    def __str__(self) -> str:
        code = "" if self.code is None else f" {self.code}"
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.reason.value}{code}{detail}"


class LocalError(Exception):
    """Our own fault or a request that cannot be carried out; ``status`` is HTTP's."""

    status = 400


class NotStarted(LocalError):
    """A listener or a cluster cannot be what its declaration asks for."""

    def __init__(self, what: str, name: str, why: LocalError) -> None:
        super().__init__(f'{what} "{name}": {why}')
        self.what, self.name = what, name
        self.status = why.status


class RemoteError(Exception):
    """The peer's or the network's fault, told as a ``Loss``."""

    def __init__(self, loss: Loss) -> None:
        super().__init__(str(loss))
        self.loss = loss


class Hopeless(RemoteError):
    """The same where another attempt would not be any better; none is made."""
