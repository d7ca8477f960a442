"""Stdio: pipes a session to the standard output, and standard input to it."""

from __future__ import annotations

import sys

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.internet.stdio import StandardIO
from twisted.python.failure import Failure
from zope.interface import implementer

from l7mp.core.registry import Context, Protocol
from l7mp.errors import Loss
from l7mp.interfaces import ICloseable, IStream, Kind, Metadata
from l7mp.model.config import EndPoint
from l7mp.model.spec import REMOTE_WORDS, Spec
from l7mp.streams.stream import Stream


class StdioClusterSpec(Spec):
    """Write to standard output, read from standard input."""

    tolerates = REMOTE_WORDS


class _Console(TwistedProtocol):
    """Standard input, which all sessions share: each line goes to all of them."""

    def __init__(self) -> None:
        self.readers: list[StdioStream] = []
        self.ended = False

    def dataReceived(self, data: bytes) -> None:
        for reader in list(self.readers):
            reader.typed(data)

    def readConnectionLost(self) -> None:
        self.connectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = True


@implementer(ICloseable)
class _Terminal:
    """Standard input and output of the process, opened when first needed."""

    def __init__(self, context: Context) -> None:
        self.console = _Console()
        self._io: StandardIO | None = None
        try:
            self._io = StandardIO(self.console, reactor=context.reactor)
        except (OSError, ValueError):  # no standard input: output alone will do
            self.console.ended = True

    def write(self, data: bytes) -> None:
        """To standard output, at once."""
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def close(self) -> None:
        """Stop reading; the process's own descriptors stay open."""
        if self._io is not None:
            IPushProducer(self._io).pauseProducing()
            self._io.connectionLost(Failure(ConnectionDone()))


class StdioStream(Stream):
    """One session's view of the terminal."""

    kind = Kind.BYTES
    half_close = True

    def __init__(self, terminal: _Terminal) -> None:
        super().__init__()
        self._terminal = terminal
        terminal.console.readers.append(self)

    def typed(self, data: bytes) -> None:
        """Somebody typed; what a held session cannot take is not kept."""
        if self._reasons:
            self._drop("held")
        else:
            self._deliver(data)

    def write(self, data: bytes) -> None:
        self.messages_out += 1
        self.bytes_out += len(data)
        self._terminal.write(data)

    def end(self) -> None:
        """The terminal goes on, but this session has nothing to wait for."""
        self._read_ended()

    def abort(self, loss: Loss) -> None:
        if self in self._terminal.console.readers:
            self._terminal.console.readers.remove(self)
        self._lose(loss)


def connect(
    context: Context, spec: StdioClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """A view of the terminal for one session."""
    terminal = context.resources.get(("Stdio",), lambda: _Terminal(context))
    return succeed(StdioStream(terminal))


protocol = Protocol(
    name="Stdio",
    kind=Kind.BYTES,
    summary="Pipes the stream to the proxy's standard input and output.",
    cluster=StdioClusterSpec,
    connect=connect,
    virtual=True,
    balanced=False,
)
