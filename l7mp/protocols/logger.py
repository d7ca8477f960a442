"""Logger: an echo that also writes what passes to a file or standard output."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import IO, Literal

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from l7mp.core.registry import Context, Protocol
from l7mp.errors import LocalError
from l7mp.interfaces import ICloseable, IStream, Metadata
from l7mp.model.config import EndPoint
from l7mp.model.spec import REMOTE_WORDS, Spec
from l7mp.streams.transform import TransformStream
from l7mp.wire.dump import hexdump, text


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
    """One open file for all sessions of a cluster."""

    def __init__(self, path: str) -> None:
        self._own = path != "-"
        self._file: IO[bytes] = open(path, "wb") if self._own else sys.stdout.buffer  # noqa: SIM115  # open as long as the cluster

    def write(self, data: bytes) -> None:
        """Write through: somebody may be watching."""
        self._file.write(data)
        self._file.flush()

    def close(self) -> None:
        """Close what is ours to close; what a full disk did not take is lost."""
        if self._own:
            with suppress(OSError):
                self._file.close()


class _Log:
    def __init__(
        self, file: _File, show: Callable[[bytes, str], bytes], prefix: str
    ) -> None:
        self._file, self._show, self._prefix = file, show, prefix
        self._broken = False

    def feed(self, data: bytes) -> Iterable[bytes]:
        if not self._broken:
            try:
                self._file.write(self._show(data, self._prefix))
            except (OSError, ValueError):
                self._broken = True  # a full disk must not end the traffic
        return (data,)

    def end(self) -> Iterable[bytes]:
        return ()


def connect(
    context: Context, spec: LoggerClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """A logger for one session, writing to the cluster's file."""
    try:
        file = context.resources.get(context.owner, lambda: _File(spec.log_file))
    except OSError as error:
        raise LocalError(f"cannot open log_file {spec.log_file}: {error}") from error
    show = hexdump if spec.log_format == "hex" else text
    return succeed(TransformStream(_Log(file, show, spec.log_prefix)))


protocol = Protocol(
    name="Logger",
    kind=None,
    summary="Echoes, and writes what passes to a file or standard output.",
    cluster=LoggerClusterSpec,
    connect=connect,
    virtual=True,
    balanced=False,
)
