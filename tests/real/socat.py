"""
socat, with messages on its standard input and output, and what it says it can do.

Its descriptors 0 and 1 are one end of a pair of sockets.  With packets in it, each
that we send is one read of socat's and so one datagram of its other side, and each
datagram that comes there is one packet for us: boundaries are seen, not inferred.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.real.whole import until

MISSING = "" if shutil.which("socat") else "socat is not installed"

READY = (b" N listening ", b" N receiving ", b"starting data transfer loop")
"""What it says, with -dd, when peers may come."""


# -- what it can do ---------------------------------------------------------------


class Words:
    """The types of addresses that the socat of this machine knows, and other names."""

    def __init__(self, told: str) -> None:
        lines = told.partition("address-head:\n")[2].partition("\n   opts:")[0].lower()
        self.types = set(re.findall(r"^ +([\w-]+)\S*\s+groups=", lines, re.M))
        self.aliases: dict[str, str] = dict(
            re.findall(r"^ +([\w-]+)\s+is an alias name for ([\w-]+)$", lines, re.M)
        )

    def named_in(self, addresses: Iterable[str]) -> set[str]:
        """The types of addresses, which may be one to read from and one to write to."""
        halves = (half for address in addresses for half in address.split("!!"))
        names = (re.split("[:,]", half)[0].lower() for half in halves)
        return {self.aliases.get(name, name) for name in names}

    def why_not(self, addresses: Iterable[str]) -> str:
        """Why these cannot be tried here; empty if they can."""
        missing = ", ".join(sorted(self.named_in(addresses) - self.types))
        return MISSING or (missing and f"the socat of this machine has no {missing}")


@cache
def words() -> Words:
    """Those of this machine, asked once."""
    if MISSING:
        return Words("")
    return Words(subprocess.check_output(["socat", "-hhh"], text=True))


class Row(Protocol):
    """Something to try."""

    @property
    def id(self) -> str:
        """What to call it."""

    @property
    def addresses(self) -> list[str]:
        """Every address in it."""


def rows(table: Iterable[Row]) -> list[Any]:
    """Parameters for a test; what this machine's socat cannot do is skipped."""
    return [
        pytest.param(
            row,
            id=row.id,
            marks=pytest.mark.skipif(
                bool(words().why_not(row.addresses)),
                reason=words().why_not(row.addresses) or "never",
            ),
        )
        for row in table
    ]


# -- running it ---------------------------------------------------------------------


class Socat:
    """One that runs, and whose standard input and output are ours."""

    def __init__(
        self, words: Sequence[str], kind: int, errors: Path, pass_fds: Sequence[int]
    ) -> None:
        self._errors = errors
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, kind)
        self.sock.setblocking(False)
        self._is_stream = kind == socket.SOCK_STREAM
        self.ended = False
        with theirs, errors.open("wb") as log:
            self.process = subprocess.Popen(
                ["socat", "-dd", *words],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=log,
                pass_fds=pass_fds,
                start_new_session=True,  # what it starts is ended with it
            )

    @property
    def errors(self) -> bytes:
        """What it said about itself."""
        return self._errors.read_bytes()

    async def is_ready(self) -> None:
        """Wait until peers may come."""

        def is_so() -> bool:
            assert self.process.poll() is None, self.errors.decode()
            return any(words in self.errors for words in READY)

        await until(is_so)

    def send(self, *messages: bytes) -> None:
        """Have it read these."""
        for message in messages:
            assert self.sock.send(message) == len(message)

    def finish(self) -> None:
        """There is nothing more to say."""
        self.sock.shutdown(socket.SHUT_WR)

    def _pull(self) -> bytes | None:
        try:
            data = self.sock.recv(1 << 16)
        except BlockingIOError:
            return None
        self.ended = self.ended or not data
        return data

    async def hears(self, *messages: bytes, among: bool = False) -> None:
        """
        Wait until it has written these, in this order, and nothing else.

        Of a stream only the bytes count.  ``among`` others, and in any order, where
        more than we can say something.
        """
        heard: list[bytes] = []

        def is_enough() -> bool:
            data = self._pull()
            if data:
                heard.append(data)
            assert not self.ended, (heard, self.errors.decode())
            if among:
                place: bytes | list[bytes] = (
                    b"".join(heard) if self._is_stream else heard
                )
                return all(message in place for message in messages)
            if self._is_stream:
                return len(b"".join(heard)) >= len(b"".join(messages))
            return len(heard) >= len(messages)

        try:
            await until(is_enough)
        except AssertionError:
            raise AssertionError((heard, self.errors.decode())) from None
        if self._is_stream and not among:
            heard, messages = [b"".join(heard)], (b"".join(messages),)
        assert among or heard == list(messages), heard

    async def ends(self) -> None:
        """Wait until it has nothing more to write."""
        await until(lambda: self._pull() == b"")

    def close(self) -> None:
        """End it, and what it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):  # it may wait for its peer's goodbye
            self.process.wait(5)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.sock.close()


@contextmanager
def socat(
    *words: str, messages: bool = False, pass_fds: Sequence[int] = ()
) -> Iterator[Socat]:
    """One that is ended in the end."""
    kind = socket.SOCK_SEQPACKET if messages else socket.SOCK_STREAM
    with tempfile.TemporaryDirectory(prefix="l7mp-") as folder:
        running = Socat(words, kind, Path(folder) / "errors", pass_fds)
        try:
            yield running
        finally:
            running.close()
