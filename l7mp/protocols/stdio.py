"""Stdio: pipes a session to the standard output, and standard input to it."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IHalfCloseableProtocol
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


@implementer(IHalfCloseableProtocol)
class _Console(TwistedProtocol):
    """Standard input, which all sessions share: each line goes to all of them."""

    def __init__(self) -> None:
        self.readers: list[StdioStream] = []
        self.ended = False
        """Whether output has to find its own way."""

    def dataReceived(self, data: bytes) -> None:
        for reader in list(self.readers):
            reader.typed(data)

    def readConnectionLost(self) -> None:
        """Nobody types any more; what the sessions say is still shown."""

    def writeConnectionLost(self) -> None:
        """Nobody looks any more; what is typed still counts."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = True


@implementer(ICloseable)
class _Terminal:
    """Standard input and output of the process, opened when first needed."""

    def __init__(self, context: Context) -> None:
        self.console = _Console()
        self._io: Any = None
        try:
            self._io = StandardIO(self.console, reactor=context.reactor)
        except (OSError, ValueError):  # no standard input: output alone will do
            self.console.ended = True

    def write(self, data: bytes) -> None:
        """To standard output, which need not be ready for it; a broken one is none."""
        if not self.console.ended:
            self._io.write(data)  # the descriptor does not block: somebody has to wait
        else:
            with suppress(OSError):
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()

    def close(self) -> None:
        """Stop reading, flush; the process's own descriptors stay open."""
        if self._io is not None:
            self._io.pauseProducing()
            self._io.loseConnection()


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
        self._leave()
        self._read_ended()

    def _leave(self) -> None:
        if self in self._terminal.console.readers:
            self._terminal.console.readers.remove(self)

    def abort(self, loss: Loss) -> None:
        self._leave()
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
