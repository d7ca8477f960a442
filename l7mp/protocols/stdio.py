"""Stdio: pipes a session to the standard output, and standard input to it."""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from l7mp.core.registry import Context, Protocol
from l7mp.errors import Loss
from l7mp.interfaces import ICloseable, IStream, Kind, Metadata
from l7mp.model.config import EndPoint
from l7mp.model.spec import REMOTE_WORDS, Spec
from l7mp.streams.commons import Commons, SharedStream
from l7mp.streams.pipes import own_end

STDIN, STDOUT = 0, 1


class StdioClusterSpec(Spec):
    """Write to standard output, read from standard input."""

    tolerates = REMOTE_WORDS


@implementer(ICloseable)
class _Terminal:
    """Standard input and output of the process, opened when first needed."""

    def __init__(self, context: Context) -> None:
        reactor = context.reactor
        self._is_terminal = os.isatty(STDIN)
        # Nobody waits at a terminal for what might still be typed.
        lingers = not self._is_terminal
        self._commons = Commons(reactor, reactor, _end(STDOUT, os.O_WRONLY), lingers)
        self._listen()

    def _listen(self) -> None:
        fd = _end(STDIN, os.O_RDONLY)
        if fd is not None:
            self._commons.read_from(fd, self._input_ended)

    def join(self) -> SharedStream:
        """A view of the terminal for one session."""
        if self._is_terminal and not self._commons.is_reading and os.isatty(STDIN):
            self._listen()  # an end that was typed is not the last word
        return self._commons.join()

    def _input_ended(self, _: Loss) -> None:
        """
        Pass on the end of what was read.

        Where nothing was there is none: a service that is started without an input
        still shows what its sessions say.
        """
        if self._commons.has_heard:
            for member in list(self._commons.members):
                member.input_ended()

    def close(self) -> None:
        """Let go; the process's own descriptors stay open."""
        self._commons.close()


def _end(fd: int, flags: int) -> int | None:
    """A descriptor of ours for one of the process's, None if it has been closed."""
    try:
        return own_end(fd, flags)
    except OSError:
        return None


def connect(
    context: Context, spec: StdioClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """A view of the terminal for one session."""
    terminal = context.resources.get(("Stdio",), lambda: _Terminal(context))
    return succeed(terminal.join())


protocol = Protocol(
    name="Stdio",
    kind=Kind.BYTES,
    summary="Pipes the stream to the proxy's standard input and output.",
    cluster=StdioClusterSpec,
    connect=connect,
    virtual=True,
    balanced=False,
)
