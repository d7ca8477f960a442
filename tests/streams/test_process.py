"""Programs: how they are run, and how they end."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import Clock

from l7mp.errors import LocalError, Loss, Reason
from l7mp.streams.process import Child, Program, launch, loss_of, start
from tests.streams.loopback import turn, until
from tests.streams.test_access import as_nobody
from tests.streams.test_pipes import pull

ROOT_ONLY = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root runs programs as somebody else"
)


def shell(script: str, **more: Any) -> Program:
    return Program(command=("sh", "-c", script), **more)


async def output(program: Program, **facts: str) -> str:
    """What a program says, to its end."""
    process, ends = start(program, facts)
    os.close(ends.stdin)
    said = b""

    def ended() -> bool:
        nonlocal said
        try:
            data = os.read(ends.stdout, 1 << 16)
        except BlockingIOError:
            return False
        except OSError:  # a terminal that was hung up
            return True
        said += data
        return not data

    await until(ended)
    for fd in ends[1:]:
        if fd is not None:
            os.close(fd)
    process.wait()
    return said.decode().replace("\r\n", "\n")


@pytest_twisted.ensureDeferred
async def test_a_program_reads_and_writes() -> None:
    """Through three pipes, of which ours do not block."""
    process, ends = start(Program(command=("cat",)), {})
    assert not any(os.get_blocking(fd) for fd in ends if fd is not None)
    os.write(ends.stdin, b"hello")
    assert await until(lambda: pull(ends.stdout)) == b"hello"
    for fd in ends:
        assert fd is not None
        os.close(fd)
    assert process.wait() == 0


@pytest_twisted.ensureDeferred
async def test_nothing_of_ours_is_open_there() -> None:
    """A program has its three descriptors and no other, inherited ones neither."""
    leaky = os.dup(0)
    os.set_inheritable(leaky, True)
    listing = "import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1])"
    said = await output(Program(command=(sys.executable, "-S", "-c", listing)))
    os.close(leaky)
    assert said == "[0, 1, 2]\n"


@pytest_twisted.ensureDeferred
async def test_the_environment_is_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours unless it is cleared, then what is told, then what is declared."""
    monkeypatch.setenv("OURS", "ours")
    script = "echo $OURS,$L7MP_SESSION,$MINE"
    said = await output(shell(script, environment={"MINE": "mine"}), L7MP_SESSION="s")
    assert said == "ours,s,mine\n"
    cleared = Program(
        command=("/usr/bin/env",), clear_environment=True, environment={"A": "b"}
    )
    assert await output(cleared) == "A=b\n"


@pytest_twisted.ensureDeferred
async def test_standard_error_goes_where_it_shall(tmp_path: Path) -> None:
    """Into its own pipe, the same as the output, or nowhere."""
    script = "echo out; echo err >&2; pwd"
    here = str(tmp_path)
    for errors, expected in (
        ("log", f"out\n{here}\n"),
        ("merge", f"out\nerr\n{here}\n"),
        ("drop", f"out\n{here}\n"),
    ):
        program = shell(script, errors=errors, directory=here)
        assert await output(program) == expected


@pytest_twisted.ensureDeferred
async def test_a_terminal_of_its_own() -> None:
    """With pty, a program is at a terminal, which is its controlling one."""
    said = await output(shell("tty && test -t 2 && echo yes >/dev/tty", pty=True))
    assert said.startswith("/dev/pts/")
    assert said.endswith("\nyes\n")


@ROOT_ONLY
@pytest_twisted.ensureDeferred
async def test_another_user() -> None:
    """With the groups and the home of that user, or the group that is said."""
    script = "echo $(id -u):$(id -g):$(id -G):$USER:$HOME"
    assert await output(shell(script, user="nobody")) == (
        "65534:65534:65534:nobody:/nonexistent\n"
    )
    assert (await output(shell(script, user="nobody", group=7))).startswith("65534:7:")
    assert (await output(shell(script, user=4711))).startswith("4711:4711:4711:")
    assert (await output(shell(script, group="7"))).startswith("0:7:7:")


@ROOT_ONLY
def test_who_may_not_become_another_is_told() -> None:
    """Without privileges; and unknown users are named."""
    with as_nobody(), pytest.raises(LocalError, match="only root"):
        start(shell("true", user="nobody"), {})
    with pytest.raises(LocalError, match='no user "nosuchuser"'):
        start(shell("true", user="nosuchuser"), {})


def test_what_cannot_be_run_is_told(tmp_path: Path) -> None:
    """A missing program or directory, one that may not be run, and nothing is left."""
    plain = tmp_path / "plain"
    plain.write_text("no program")
    before = len(os.listdir("/proc/self/fd"))
    for program, what in (
        (
            Program(command=("nosuchprogram",)),
            "nosuchprogram: there is no such program",
        ),
        (Program(command=("nosuchprogram",), pty=True), "there is no such program"),
        (
            Program(command=("./x",), pty=True, directory="/"),
            "there is no such program",
        ),
        (Program(command=(str(plain),)), "plain: Permission denied"),
        (shell("true", directory="/missing"), "its directory /missing: No such file"),
        (Program(command=("a\0b",)), "null byte"),
    ):
        with pytest.raises(LocalError, match=what):
            start(program, {})
    plain.chmod(0o755)
    with pytest.raises(LocalError, match="plain: Exec format error"):
        start(Program(command=(str(plain),)), {})
    assert len(os.listdir("/proc/self/fd")) == before


def test_statuses_have_reasons() -> None:
    """0 is good order, all others are the program's own words."""
    assert loss_of("p", 0) == Loss(Reason.FIN, "", 0)
    assert loss_of("p", 3) == Loss(Reason.EXIT, "p exited with status 3", 3)
    assert loss_of("p", -9) == Loss(Reason.EXIT, "p was ended by SIGKILL", -9)


# -- ends --------------------------------------------------------------------------


def child(
    script: str, clock: Any = None
) -> tuple[Child, list[int], Callable[[], bytes]]:
    """A running program, its status in time, and what it says."""
    process, ends = start(shell(script), {})
    statuses: list[int] = []
    made = Child(reactor, clock or Clock(), process, statuses.append)
    os.close(ends.stdin)
    assert ends.stderr is not None
    os.close(ends.stderr)
    return made, statuses, lambda: pull(ends.stdout)


@pytest_twisted.ensureDeferred
async def test_the_end_is_heard_once() -> None:
    """With the status, without a signal handler, and nothing is left open."""
    before = len(os.listdir("/proc/self/fd"))
    it, statuses, _ = child("exit 7")
    await until(lambda: statuses)
    assert statuses == [7]
    assert not it.is_running
    it.dismiss(1)
    it.kill()
    await turn()
    assert len(os.listdir("/proc/self/fd")) == before + 1  # its output is ours
    assert it.logPrefix() == "Child"


@pytest_twisted.ensureDeferred
async def test_it_is_asked_to_go_and_then_made_to() -> None:
    """A signal that it may refuse, and later one that it may not."""
    polite, statuses, _ = child("sleep 99")
    polite.dismiss(5)
    await until(lambda: statuses)
    assert statuses == [-signal.SIGTERM]
    clock = Clock()
    stubborn, statuses, said = child("trap '' TERM; echo ready; sleep 99", clock)
    await until(said)
    stubborn.dismiss(5)
    stubborn.dismiss(5)
    await turn(5)
    assert statuses == []
    clock.advance(5)
    await until(lambda: statuses)
    assert statuses == [-signal.SIGKILL]


@pytest_twisted.ensureDeferred
async def test_what_it_has_started_goes_with_it() -> None:
    """A whole process group is meant, and at a terminal it is hung up on, too."""
    it, statuses, said = child("trap 'exit 1' HUP; sleep 99 & echo $!; wait")
    started = int(await until(said))
    it.dismiss(5, hang_up=True)
    await until(lambda: statuses)
    await until(lambda: not is_alive(started))


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]
    except OSError:
        return False


@pytest_twisted.ensureDeferred
async def test_killing_does_not_take_a_turn() -> None:
    """When the proxy goes, there is no reactor to hear of ends."""
    it, statuses, said = child("trap '' TERM; echo ready; sleep 99")
    await until(said)
    it.kill()
    assert statuses == [-signal.SIGKILL]
    assert it.pid > 0


@pytest.mark.parametrize("call", ["pipe2", "openpty", "dup", "pidfd_open"])
def test_when_there_are_no_descriptors_left(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that cannot have all of them has none, and nothing runs."""
    program = Program(command=("sleep", "99"), pty=call in ("openpty", "dup"))
    real, left = getattr(os, call), [1, 1] if call == "pipe2" else []

    def scarce(*words: Any) -> Any:
        if not left:
            raise OSError(errno.EMFILE, "too many")
        left.pop()
        return real(*words)

    made: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *words: Any, **more: Any) -> None:
            super().__init__(*words, **more)
            made.append(self)

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(subprocess, "Popen", Noted)
    monkeypatch.setattr(os, call, scarce)
    with pytest.raises(LocalError, match="cannot run sleep: too many"):
        launch(reactor, Clock(), program, {}, lambda _: None)
    assert os.listdir("/proc/self/fd") == before
    assert all(one.returncode is not None for one in made)
