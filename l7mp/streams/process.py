"""
Starting programs, and hearing of their ends.

Twisted's way would fork this whole process and tell of a missing program only by an
exit status; and a pidfd (pidfd_open(2)) needs no signal handler.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from twisted.internet.interfaces import (
    IDelayedCall,
    IReactorFDSet,
    IReactorTime,
    IReadDescriptor,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from l7mp.errors import LocalError, Loss, Reason
from l7mp.interfaces import ICloseable
from l7mp.streams.access import gid_of, uid_of

Errors = Literal["log", "merge", "drop"]

DEATH = 0.5
"""Seconds to wait for what was killed; only a broken disk or driver takes longer."""

_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios\n"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "os.execvp(sys.argv[1], sys.argv[1:])\n"
)
"""What a program runs through that shall have a terminal of its own (tty_ioctl(4))."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """How to run a program."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Beside our own, unless that is cleared."""
    clear_environment: bool = False
    directory: str | None = None
    user: str | int | None = None
    group: str | int | None = None
    pty: bool = False
    errors: Errors = "log"
    """What becomes of its standard error."""


class Ends(NamedTuple):
    """Our ends of what a program reads and writes; none of them blocks."""

    stdin: int
    stdout: int
    stderr: int | None


class _Theirs(NamedTuple):
    """The program's ends."""

    stdin: int
    stdout: int
    stderr: int


def start(
    program: Program, facts: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], Ends]:
    """
    Run ``program``, with ``facts`` in its environment.

    Nothing that we have open is open there, and it has a session and a process group
    of its own.  Raises ``LocalError`` that says what cannot be run, and why.
    """
    account = _account(program)
    environment = _environment(program, facts, account)
    command = list(program.command)
    if program.pty:
        _find(command[0], environment, program.directory)
        command = [sys.executable, "-I", "-S", "-c", _TAKE_TERMINAL, *command]
    try:
        ours, theirs = _terminal() if program.pty else _pipes(program.errors)
    except OSError as error:
        raise _failure(program, error) from error
    try:
        process = subprocess.Popen(  # noqa: S603  # what the configuration says
            command,
            stdin=theirs.stdin,
            stdout=theirs.stdout,
            stderr=theirs.stderr,
            cwd=program.directory,
            env=environment,
            start_new_session=True,
            **account.arguments(),
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        _close(*ours)
        raise _failure(program, error) from error
    finally:
        _close(*theirs)
    return process, ours


def _close(*fds: int | None) -> None:
    for fd in {fd for fd in fds if fd is not None and fd >= 0}:
        os.close(fd)


def _pipes(errors: Errors) -> tuple[Ends, _Theirs]:
    with ExitStack() as opened:
        in_theirs, in_ours = _kept(opened, os.pipe2(os.O_CLOEXEC))
        out_ours, out_theirs = _kept(opened, os.pipe2(os.O_CLOEXEC))
        err_ours, err_theirs = None, subprocess.STDOUT
        if errors == "log":
            err_ours, err_theirs = _kept(opened, os.pipe2(os.O_CLOEXEC))
        elif errors == "drop":
            err_theirs = subprocess.DEVNULL
        opened.pop_all()
    for fd in (in_ours, out_ours, err_ours):
        if fd is not None:
            os.set_blocking(fd, False)
    return Ends(in_ours, out_ours, err_ours), _Theirs(in_theirs, out_theirs, err_theirs)


def _terminal() -> tuple[Ends, _Theirs]:
    with ExitStack() as opened:
        ours, theirs = _kept(opened, os.openpty())
        copy = os.dup(ours)
        opened.pop_all()
    os.set_blocking(ours, False)
    return Ends(copy, ours, None), _Theirs(theirs, theirs, theirs)


def _kept(opened: ExitStack, pair: tuple[int, int]) -> tuple[int, int]:
    """Both are closed if there are no descriptors for what else is needed."""
    opened.callback(_close, *pair)
    return pair


# -- as whom -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Account:
    """Who runs a program; None: who we are."""

    uid: int | None = None
    gid: int | None = None
    entry: pwd.struct_passwd | None = None

    def arguments(self) -> dict[str, Any]:
        """The same for ``Popen``."""
        if self.uid is None and self.gid is None:
            return {}
        found: dict[str, Any] = {}
        if self.gid is not None:
            found = {"group": self.gid, "extra_groups": [self.gid]}
        if self.uid is not None:
            found["user"] = self.uid
        if self.entry is not None and self.gid is not None:
            found["extra_groups"] = os.getgrouplist(self.entry.pw_name, self.gid)
        return found


def _account(program: Program) -> _Account:
    """Raises ``LocalError`` for unknown names, and if we may not become somebody."""
    if program.user is None and program.group is None:
        return _Account()
    gid = None if program.group is None else gid_of(program.group)
    if program.user is None:
        account = _Account(None, gid)
    else:
        uid = uid_of(program.user)
        entry = None
        with suppress(KeyError):
            entry = pwd.getpwuid(uid)
        if gid is None:
            gid = entry.pw_gid if entry is not None else uid
        account = _Account(uid, gid, entry)
    if os.geteuid() != 0:
        what = f"cannot run {program.command[0]} as somebody else"
        raise LocalError(f"{what}: only root may do that")
    return account


def _environment(
    program: Program, facts: Mapping[str, str], account: _Account
) -> dict[str, str]:
    whole = {} if program.clear_environment else dict(os.environ)
    if account.entry is not None:
        name, home = account.entry.pw_name, account.entry.pw_dir
        whole |= {"USER": name, "LOGNAME": name, "HOME": home}
    return {**whole, **facts, **program.environment}


# -- why not -----------------------------------------------------------------------


def _find(name: str, environment: Mapping[str, str], directory: str | None) -> None:
    """Raise ``LocalError`` if there is no such program."""
    if directory is not None and "/" in name:
        name = os.path.join(directory, name)
    path = environment.get("PATH", os.defpath)
    if shutil.which(name, path=path) is None:
        raise LocalError(f"cannot run {name}: there is no such program")


def _failure(program: Program, error: BaseException) -> LocalError:
    name, directory = program.command[0], program.directory
    why = getattr(error, "strerror", None) or str(error)
    if isinstance(error, OSError) and error.filename == directory and directory:
        why = f"its directory {directory}: {why}"
    elif isinstance(error, FileNotFoundError):
        why = "there is no such program"
    return LocalError(f"cannot run {name}: {why}")


# -- its end -----------------------------------------------------------------------


def loss_of(name: str, status: int) -> Loss:
    """What the end of a program means; a negative status is that of a signal."""
    if status == 0:
        return Loss(Reason.FIN, "", 0)
    if status < 0:
        what = signal.Signals(-status).name
        return Loss(Reason.EXIT, f"{name} was ended by {what}", status)
    return Loss(Reason.EXIT, f"{name} exited with status {status}", status)


@implementer(IReadDescriptor)
class Child:
    """A running program; ``exited`` is called once, with its status."""

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IReactorTime,
        process: subprocess.Popen[bytes],
        exited: Callable[[int], None],
    ) -> None:
        self._reactor, self._clock, self._process = reactor, clock, process
        self._exited = exited
        self._timer: IDelayedCall | None = None
        self._doomed = False
        self._pidfd = os.pidfd_open(process.pid)
        reactor.addReader(self)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not been seen to exit."""
        return self._pidfd >= 0

    def fileno(self) -> int:
        return self._pidfd

    def logPrefix(self) -> str:
        """What the reactor's log says where we fail."""
        return type(self).__name__

    def doRead(self) -> None:
        """It has exited."""
        if self._doomed:
            self._signal(
                signal.SIGKILL
            )  # what it has started; its number is not free yet
        status = self._process.wait()
        self._set_timer(None)
        self._reactor.removeReader(self)
        os.close(self._pidfd)
        self._pidfd = -1
        self._exited(status)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops, or whoever heard of the end raised an exception."""

    def dismiss(self, patience: float, *, hang_up: bool = False) -> None:
        """
        Ask it, and all that it has started, to go, and make it after ``patience``.

        ``hang_up`` is for those at a terminal: a shell there hears of nothing else.
        """
        if self.is_running and not self._doomed:
            self._doomed = True
            self._signal(signal.SIGTERM)
            if hang_up:
                self._signal(signal.SIGHUP)
            self._set_timer(patience)

    def kill(self) -> None:
        """Make it go, now."""
        self._doomed = True
        self._signal(signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(DEATH)
        if self.is_running and self._process.returncode is not None:
            self.doRead()

    def _signal(self, number: int) -> None:
        if self.is_running:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if seconds is not None:
            self._timer = self._clock.callLater(seconds, self._signal, signal.SIGKILL)


def launch(
    reactor: IReactorFDSet,
    clock: IReactorTime,
    program: Program,
    facts: Mapping[str, str],
    exited: Callable[[int], None],
) -> tuple[Child, Ends]:
    """Run ``program`` as ``start`` does, and watch it."""
    process, ends = start(program, facts)
    try:
        return Child(reactor, clock, process, exited), ends
    except OSError as error:
        process.kill()
        process.wait()
        _close(*ends)
        raise _failure(program, error) from error


@implementer(ICloseable)
class Children:
    """The programs that run."""

    def __init__(self) -> None:
        self._all: set[Child] = set()

    def add(self, child: Child) -> None:
        """One more; those that have gone are forgotten."""
        self._all = {child, *(one for one in self._all if one.is_running)}

    def close(self) -> None:
        """The proxy goes: so do they."""
        for child in self._all:
            child.kill()
