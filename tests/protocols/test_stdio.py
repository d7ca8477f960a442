"""Stdio: sessions at the terminal of the process."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
import pytest_twisted
from twisted.internet import reactor

from l7mp.errors import Loss, Reason
from l7mp.protocols import stdio
from tests.conf.running import ROOT, eventually
from tests.protocols.one import One
from tests.protocols.real import Conn
from tests.streams.loopback import turn, until
from tests.streams.test_pipes import pull

FIN = Loss(Reason.FIN)


@pytest.fixture
def typing() -> Iterator[list[int]]:
    """The end, which may be taken away, of a pipe whose other end is standard input."""
    kept, (ours, theirs) = os.dup(0), os.pipe()
    os.dup2(ours, 0)
    os.close(ours)
    left = [theirs]
    yield left
    os.dup2(kept, 0)
    os.close(kept)
    for fd in left:
        os.close(fd)


@pytest_twisted.ensureDeferred
async def test_it_pipes_to_the_terminal(
    typing: list[int], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """What a session writes is shown, and what is typed goes to every session."""
    one = One(stdio, reactor)
    sessions = [one.connect() for _ in range(2)]
    sessions[0][0].write(b"hello")
    assert capfdbinary.readouterr().out == b"hello"
    os.write(typing[0], b"typed\n")
    await until(lambda: all(sink.written == [b"typed\n"] for _, sink in sessions))
    for stream, _ in sessions:
        stream.abort(FIN)
    one.context.resources.close()


@pytest_twisted.ensureDeferred
async def test_the_end_of_input_is_passed_on(typing: list[int]) -> None:
    """To those who heard it; who comes later has no input."""
    one = One(stdio, reactor)
    stream, sink = one.connect()
    os.write(typing[0], b"typed\n")
    os.close(typing.pop())
    await until(lambda: sink.ended)
    assert sink.written == [b"typed\n"]
    late, silence = one.connect()
    await turn(3)
    assert not silence.ended
    for each in (stream, late):
        each.abort(FIN)
    one.context.resources.close()


@pytest_twisted.ensureDeferred
async def test_no_input_is_no_end(
    typing: list[int], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """A service without an input still shows what its sessions say."""
    one = One(stdio, reactor)
    os.close(typing.pop())
    stream, sink = one.connect()
    await turn(5)
    stream.write(b"shown")
    assert [sink.ended, stream.end(), sink.ended] == [False, None, True]
    assert stream.loss == FIN
    assert capfdbinary.readouterr().out == b"shown"
    one.context.resources.close()


@pytest_twisted.ensureDeferred
async def test_closed_descriptors_are_none(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    """A process that was started with neither has sessions, whose data is counted."""
    kept = [os.dup(fd) for fd in (0, 1)]
    one = One(stdio, reactor)
    try:
        os.close(0)
        os.close(1)
        stream, sink = one.connect()
    finally:
        for fd in (0, 1):
            os.dup2(kept[fd], fd)
            os.close(kept[fd])
    stream.write(b"lost")
    stream.end()
    assert stream.drops == {"closed": 4}
    assert sink.ended
    one.context.resources.close()


@pytest_twisted.ensureDeferred
async def test_an_end_that_was_typed_is_not_the_last_word() -> None:
    """At a terminal control-D ends the sessions that are there, and others may come."""
    master, slave = pty.openpty()
    kept = os.dup(0)
    os.dup2(slave, 0)
    one = One(stdio, reactor)
    try:
        first, sink = one.connect()
        os.write(master, b"hello\n\x04")
        await until(lambda: sink.ended)
        assert sink.written == [b"hello\n"]
        second, other = one.connect()
        os.write(master, b"again\n")
        await until(lambda: other.written == [b"again\n"])
        second.end()
        assert other.ended
        first.abort(FIN)
        one.context.resources.close()
    finally:
        os.dup2(kept, 0)
        for fd in (kept, master, slave):
            os.close(fd)


# -- in a process of its own -------------------------------------------------------


class Proxy:
    """A proxy whose standard input and output are its one client's."""

    def __init__(self, folder: Path, stdin: int | IO[bytes], stdout: int) -> None:
        self.socket = folder / "s"
        config = folder / "l7mp.json"
        listener = f'{{"protocol": "UnixDomainSocket", "filename": "{self.socket}"}}'
        config.write_text(
            '{"listeners": [{"name": "l", "spec": '
            + listener
            + ', "rules": [{"action":'
            ' {"route": {"destination": {"spec": {"protocol": "Stdio"}}}}}]}]}'
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "l7mp", "-c", str(config), "-l", "silent"],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    async def client(self) -> Conn:
        """Somebody whose session it is."""
        eventually(self.socket.exists)
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(self.socket))
        return Conn(sock)

    async def stop(self) -> bytes:
        """Ask it to stop, and say what it complained about."""
        self.process.terminate()
        await until(lambda: self.process.poll() is not None)
        assert self.process.stderr is not None
        with self.process.stderr:
            return self.process.stderr.read()


@pytest_twisted.ensureDeferred
async def test_a_file_is_sent_and_an_answer_piped_on(tmp_path: Path) -> None:
    """Through ``l7mp <file | program`` goes every byte, both ways, slow or not."""
    question, answer = os.urandom(3 << 20), os.urandom(3 << 20)
    (tmp_path / "question").write_bytes(question)
    reader, writer = os.pipe()
    with (tmp_path / "question").open("rb") as file:
        proxy = Proxy(tmp_path, file, writer)
    os.close(writer)
    os.set_blocking(reader, False)
    client = await proxy.client()
    sent = 0

    await turn(20)
    assert await client.reads_all() == question
    shown = bytearray()

    def shows_all() -> bool:
        nonlocal sent
        sent += client.push(answer[sent : sent + 65536])
        shown.extend(pull(reader))
        return len(shown) == len(answer)

    await until(shows_all, 30)
    assert shown == answer
    client.finish()
    client.sock.close()
    assert await proxy.stop() == b""
    os.close(reader)


@pytest_twisted.ensureDeferred
async def test_an_output_that_nobody_reads(tmp_path: Path) -> None:
    """A client waits while nobody reads; and goes on, when nobody ever will."""
    reader, writer = os.pipe()
    proxy = Proxy(tmp_path, subprocess.DEVNULL, writer)
    os.close(writer)
    client = await proxy.client()
    total = 0

    def is_full() -> bool:
        nonlocal total
        pushed = client.push(bytes(65536))
        total += pushed
        return not pushed and total > 1 << 17

    await until(is_full)
    await turn(50)
    assert client.push(bytes(1)) in (0, 1)
    assert total < 8 << 20
    os.close(reader)
    await until(lambda: client.push(bytes(65536)))
    client.finish()
    await client.reads_all()
    client.sock.close()
    assert await proxy.stop() == b""
