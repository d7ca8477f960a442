"""Logger: an echo that also writes what passes to a file or standard output."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Literal

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from l7mp.core.registry import Context, Protocol
from l7mp.errors import LocalError
from l7mp.interfaces import ICloseable, IStream, Metadata
from l7mp.model.config import EndPoint
from l7mp.model.spec import REMOTE_WORDS, Spec
from l7mp.streams.pipes import own_end
from l7mp.streams.transform import TransformStream
from l7mp.wire.dump import hexdump, text

STDOUT = 1

UNLOGGED = "unlogged"
"""Under which word messages are counted that have passed without being written down."""


class LoggerClusterSpec(Spec):
    """Pass everything on, and write it down."""

    tolerates = REMOTE_WORDS

    log_file: str = "-"
    """Where to: a path, which is truncated when first used, or - for standard output."""
    log_prefix: str = ""
    """Written, with a colon, before each message."""
    log_format: Literal["text", "hex"] = "text"
    """The bytes as they are, or a hex dump."""


@implementer(ICloseable)
class _File:
    """
    One open file for all sessions of a cluster.

    Nobody waits for it: what passes is worth more than what is written down.  So a
    pipe that is full, like a disk that is, loses what does not fit.
    """

    def __init__(self, path: str) -> None:
        if path == "-":
            self._fd = own_end(STDOUT, os.O_WRONLY)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK
            self._fd = os.open(path, flags | os.O_CLOEXEC, 0o666)

    def write(self, data: bytes) -> bool:
        """Write through: somebody may be watching.  Whether all of it is written."""
        try:
            return os.write(self._fd, data) == len(data)
        except OSError:
            return False

    def close(self) -> None:
        """Sessions may outlive their cluster; what they say is not written down."""
        os.close(self._fd)
        self._fd = -1


class _Log:
    keeps_length = True

    def __init__(
        self, file: _File, show: Callable[[bytes, str], bytes], prefix: str
    ) -> None:
        self._file, self._show, self._prefix = file, show, prefix
        self.missed: Callable[[], None] | None = None

    def feed(self, data: bytes) -> Iterable[bytes]:
        if not self._file.write(self._show(data, self._prefix)) and self.missed:
            self.missed()
        return (data,)

    def end(self) -> Iterable[bytes]:
        return ()


class _LogStream(TransformStream):
    def __init__(self, log: _Log) -> None:
        super().__init__(log)
        log.missed = self._missed

    def _missed(self) -> None:
        self._drop(UNLOGGED)


def connect(
    context: Context, spec: LoggerClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """A logger for one session, writing to the cluster's file."""
    try:
        file = context.resources.get(context.owner, lambda: _File(spec.log_file))
    except OSError as error:
        why = error.strerror or str(error)
        raise LocalError(f"cannot open log_file {spec.log_file}: {why}") from error
    show = hexdump if spec.log_format == "hex" else text
    return succeed(_LogStream(_Log(file, show, spec.log_prefix)))


protocol = Protocol(
    name="Logger",
    kind=None,
    summary="Echoes, and writes what passes to a file or standard output.",
    cluster=LoggerClusterSpec,
    connect=connect,
    virtual=True,
    balanced=False,
)
