"""A network of the test's own, where well-known ports are free."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

PATIENCE = 15.0
"""Seconds until something that must happen has happened."""


def until(check: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """What ``check`` says, as soon as it is true."""
    end = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.02)


CLONE_NEWNET = 0x40000000


def _enter(namespace: IO[str]) -> None:
    """Python knows setns(2) since 3.12 only."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace.fileno(), CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot enter a network namespace")


class Network:
    """A network namespace with loopback alone, and the processes in it."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._files: list[IO[bytes]] = []
        self._keeper = subprocess.Popen(
            ["unshare", "-n", "sh", "-c", "ip link set lo up && echo up && exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._keeper.stdout is not None
        if self._keeper.stdout.readline() != b"up\n":
            raise OSError("no network namespace could be made")
        self._enter = ["nsenter", f"--net=/proc/{self._keeper.pid}/ns/net", "--"]

    @staticmethod
    def why_not() -> str:
        """Why there can be none here; empty if there can."""
        missing = [
            tool for tool in ("unshare", "nsenter", "ip") if not shutil.which(tool)
        ]
        if missing:
            return f"{', '.join(missing)} (util-linux, iproute2) not installed"
        return "" if os.geteuid() == 0 else "making a network namespace needs root"

    def run(self, script: str) -> str:
        """The output of a shell script, which must succeed."""
        done = subprocess.run(
            [*self._enter, "bash", "-c", script],
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, (script, done)
        return done.stdout.decode()

    @property
    def process_id(self) -> int:
        """A process that is in it."""
        return self._keeper.pid

    def link(self, name: str, other: Network, other_name: str) -> None:
        """A cable to another network, with an interface at either end."""
        there = f"peer name {other_name} netns {other.process_id}"
        self.run(f"ip link add {name} type veth {there} && ip link set {name} up")
        other.run(f"ip link set {other_name} up")

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets that this thread makes meanwhile are in this network."""
        with (
            Path("/proc/thread-self/ns/net").open() as home,
            Path(f"/proc/{self.process_id}/ns/net").open() as here,
        ):
            _enter(here)
            try:
                yield
            finally:
                _enter(home)

    def start(self, command: Sequence[str], **options: Any) -> Running:
        """A process, ended with the network."""
        running = Running([*self._enter, *command], **options)
        self._processes.append(running.process)
        return running

    def close(self) -> None:
        """End everything that was started here."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()
        self._keeper.communicate()


class Running:
    """A process whose output goes to files and whose input can be typed."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="l7mp-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        with self._open("out") as out, self._open("err") as err:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=out, stderr=err, **options
            )

    def _open(self, name: str) -> IO[bytes]:
        return (self._folder / name).open("wb")

    @property
    def output(self) -> bytes:
        """What it wrote to standard output so far."""
        return (self._folder / "out").read_bytes()

    @property
    def errors(self) -> bytes:
        """What it wrote to standard error so far."""
        return (self._folder / "err").read_bytes()

    def type(self, line: bytes) -> None:
        """Write to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def end(self) -> int:
        """Ask it to end, and say how it did."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)
