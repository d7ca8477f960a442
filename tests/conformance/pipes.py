"""Ends at the other side of FIFOs."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from l7mp.interfaces import Kind
from tests.conformance.ends import Back, End, Front, Traits, Upstream

_ONE = "a FIFO has one conversation at a time"


class PipeEnd:
    """Reads one FIFO and writes another."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads, self._writes = reads, writes
        self._unsaid = bytearray()
        self._finishing = self._leaving = False
        self.chunks: list[bytes] = []
        self.ended = self.broken = False
        self.met = False
        """Whether anybody has been at the other end of what is read."""

    def poll(self) -> None:
        self._flush()
        while self._reads >= 0 and not self.ended:
            try:
                data = os.read(self._reads, 1 << 16)
            except BlockingIOError:
                self.met = True
                return
            if not data:
                self.ended = self.met
                if self.ended and self._leaving:
                    self.close()
                return
            self.met = True
            self.chunks.append(data)

    def say(self, data: bytes) -> None:
        self._unsaid += data
        self._flush()

    def _flush(self) -> None:
        while self._unsaid and self._writes >= 0:
            try:
                del self._unsaid[: os.write(self._writes, self._unsaid)]
            except BlockingIOError:
                return
            except BrokenPipeError:
                self._unsaid.clear()
        if self._finishing:
            self._writes = _closed(self._writes)

    def finish(self) -> None:
        self._finishing = True
        self._flush()

    def leave(self) -> None:
        """Whoever stops to read while somebody writes breaks off."""
        self._leaving = True
        self.finish()

    def drop(self) -> None:
        self.close()

    def close(self) -> None:
        self._reads, self._writes = _closed(self._reads), _closed(self._writes)


def _closed(number: int) -> int:
    if number >= 0:
        os.close(number)
    return -1


def _dial(address: dict[str, Any], folder: Path) -> End:
    reads = os.open(folder / "answers", os.O_RDONLY | os.O_NONBLOCK)
    writes = os.open(folder / "questions", os.O_WRONLY | os.O_NONBLOCK)
    return PipeEnd(reads, writes)


def _listener(folder: Path) -> dict[str, Any]:
    return {
        "protocol": "PIPE",
        "input": str(folder / "questions"),
        "output": str(folder / "answers"),
        "create": True,
    }


class _Server:
    """Waits at two FIFOs for whoever opens them."""

    def __init__(self, folder: Path) -> None:
        self._questions, self._answers = folder / "asked", folder / "answered"
        os.mkfifo(self._questions)
        os.mkfifo(self._answers)
        self.cluster: dict[str, Any] = {
            "protocol": "PIPE",
            "input": str(self._answers),
            "output": str(self._questions),
        }
        self.endpoint: dict[str, Any] | None = None
        self._end: PipeEnd | None = None
        self.start()

    def start(self) -> None:
        self._reads = os.open(self._questions, os.O_RDONLY | os.O_NONBLOCK)

    def accept(self) -> End | None:
        if self._reads < 0:
            return None
        try:
            writes = os.open(self._answers, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return None
        self._end = PipeEnd(self._reads, writes)
        self._reads = -1
        return self._end

    def stop(self) -> None:
        self._reads = _closed(self._reads)
        if self._end is not None:
            self._end.close()


def _serve(folder: Path) -> Upstream:
    return _Server(folder)


PIPES = Traits(Kind.BYTES, has_reset=False, one_at_a_time=_ONE)

FRONTS = (Front("PIPE", PIPES, _listener, _dial),)
BACKS = (Back("PIPE", PIPES, _serve),)
