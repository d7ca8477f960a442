"""
socat with files, FIFOs, terminals and programs at its other end.

Of these types l7mp sees what they are behind: socat is the program of a session, or
opens the FIFOs of a listener.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from tests.real.socat import MISSING, rows, socat
from tests.real.whole import until, whole

ensure = pytest_twisted.ensureDeferred
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

SHOUT = "EXEC:sed -u y/abc/ABC/"
TCP = {"protocol": "TCP", "port": 1, "address": "127.0.0.1"}
QUEUE = "/l7mp-{name},unlink-close"
"""A queue of messages (mq_overview(7))."""
HEARD, SAID = "{folder}/heard", "{folder}/said"
"""A file to read, and one to write."""


@dataclass(frozen=True)
class Program:
    """A socat that is run for a session: its two addresses, and what comes of it."""

    here: str
    there: str
    answer: bytes
    """What a session hears that says ``abc``."""
    file: bytes | None = None
    """What is then in the file that it writes."""

    pty: bool = False
    """Whether it wants a terminal, on which there is more to see than the answer."""

    @property
    def addresses(self) -> list[str]:
        return [self.here, self.there]

    @property
    def id(self) -> str:
        ends = f"{self.here}!!{self.there}".split("!!")
        return " ".join(end.partition(":")[0] for end in ends)


PROGRAMS = [
    Program("STDIO", SHOUT, b"ABC\n"),
    Program("STDIN!!STDOUT", SHOUT, b"ABC\n"),
    Program("STDIN!!STDERR", SHOUT, b"ABC\n"),
    Program("FD:0!!FD:1", SHOUT, b"ABC\n"),
    Program("-", SHOUT + ",pty,raw,echo=0", b"ABC\n"),
    Program("-", "SYSTEM:read said; echo $said $said", b"abc abc\n"),
    Program("-", "SHELL:read said; echo $said $said", b"abc abc\n"),
    Program("-", "PIPE", b"abc\n"),
    Program("-", "SOCKETPAIR", b"abc\n"),
    Program("READLINE", SHOUT, b"ABC\r\n", pty=True),
    Program("-", f"POSIXMQ-BIDIRECTIONAL:{QUEUE}", b"abc\n"),
    Program("-", f"POSIXMQ-READ:{QUEUE}!!POSIXMQ-SEND:{QUEUE}", b"abc\n"),
    Program("-", f"POSIXMQ-READ:{QUEUE}!!POSIXMQ-WRITE:{QUEUE}", b"abc\n"),
    Program("-", f"OPEN:{HEARD},rdonly!!CREATE:{SAID}", b"heard\n", b"abc\n"),
    Program("-", f"GOPEN:{HEARD},rdonly!!GOPEN:{SAID},append", b"heard\n", b"said\nabc\n"),
    Program("-", f"OPEN:{HEARD},rdonly!!OPEN:{SAID},wronly,append", b"heard\n", b"said\nabc\n"),
]  # fmt: skip

READS, WRITES = "{folder}/back", "{folder}/there"

FIFOS = [
    f"PIPE:{READS},rdonly!!PIPE:{WRITES},wronly",
    f"OPEN:{READS},rdonly!!OPEN:{WRITES},wronly",
    f"GOPEN:{READS},rdonly!!GOPEN:{WRITES},wronly",
    f"OPEN:{READS},rdonly!!CREATE:{WRITES}",
]
"""How socat opens two FIFOs."""

TERMINAL = "PTY,link={folder}/tty,rawer"

ADDRESSES = [
    *(one for program in PROGRAMS for one in (program.here, program.there)),
    *FIFOS,
    TERMINAL,
]
"""Everything in these tables."""


def command(*addresses: str, folder: Path, pty: bool = False) -> dict[str, Any]:
    """A cluster that runs socat; STDERR is heard as STDOUT is."""
    said = [address.format(folder=folder, name=os.getpid()) for address in addresses]
    run = {"protocol": "STDIO-fork", "command": ["socat", *said], "stderr": "merge"}
    return {**run, "pty": pty}


@pytest.mark.parametrize("program", rows(PROGRAMS))
@ensure
async def test_a_program_of_a_session(program: Program, tmp_path: Path) -> None:
    """What a session says gets there, and what comes from there it hears."""
    (tmp_path / "heard").write_bytes(b"heard\n")
    (tmp_path / "said").write_bytes(b"said\n")
    async with whole() as it:
        spec = command(program.here, program.there, folder=tmp_path, pty=program.pty)
        port = await it.serve(TCP, spec)
        with socat("-", f"TCP:127.0.0.1:{port}") as here:
            here.send(b"abc\n")
            await here.hears(program.answer, among=program.pty)
            if program.file is not None:
                said = tmp_path / "said"
                await until(lambda: said.read_bytes() == program.file)


@pytest.mark.parametrize(
    "address", FIFOS, ids=lambda address: Program(address, "-", b"").id
)
@ensure
async def test_fifos(address: str, tmp_path: Path) -> None:
    """What socat writes to one the session echoes to the other."""
    ends = {"in": str(tmp_path / "there"), "out": str(tmp_path / "back")}
    async with whole() as it:
        listener = {"protocol": "PIPE", **ends, "create": True}
        await it.listen(listener, {"protocol": "Echo"})
        with socat("-", address.format(folder=tmp_path)) as here:
            for message in (b"one", b"three"):
                here.send(message)
                await here.hears(message)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor of a terminal."""
    terminal = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        yield terminal
    finally:
        os.close(terminal)


@ensure
async def test_a_terminal(tmp_path: Path) -> None:
    """Who opens the terminal speaks with the session, as over a serial line."""
    async with whole() as it:
        port = await it.serve(TCP, command("-", TERMINAL, folder=tmp_path))
        with socat("-", f"TCP:127.0.0.1:{port}") as here:
            path = tmp_path / "tty"
            await until(path.exists)
            with opened(path) as terminal:
                os.write(terminal, b"from the terminal\n")
                await here.hears(b"from the terminal\n")
                here.send(b"to the terminal\n")
                heard = b""

                def hear() -> bool:
                    nonlocal heard
                    try:
                        heard += os.read(terminal, 100)
                    except BlockingIOError:
                        return False
                    return heard == b"to the terminal\n"

                await until(hear)
