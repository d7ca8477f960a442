"""STDIO-fork: a program for each session, which reads it and is read."""

from __future__ import annotations

import shlex
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    model_validator,
)
from twisted.internet.defer import Deferred, execute

from l7mp.core.registry import Context, Protocol
from l7mp.interfaces import IStream, Kind, Metadata
from l7mp.model import pointer
from l7mp.model.base import Items
from l7mp.model.config import EndPoint
from l7mp.model.explain import complaint
from l7mp.model.spec import REMOTE_WORDS, Spec
from l7mp.model.types import Account, Seconds
from l7mp.streams.process import Child, Children, Program
from l7mp.streams.processstream import ProcessStream
from l7mp.streams.sharedprogram import SharedProgram

FACTS = {
    "L7MP_SESSION": "/name",
    "L7MP_SRC_ADDR": "/IP/src_addr",
    "L7MP_DST_ADDR": "/IP/dst_addr",
    "L7MP_TCP_SRC_PORT": "/TCP/src_port",
    "L7MP_TCP_DST_PORT": "/TCP/dst_port",
    "L7MP_UDP_SRC_PORT": "/UDP/src_port",
    "L7MP_UDP_DST_PORT": "/UDP/dst_port",
    "L7MP_UNIX_PID": "/UNIX/pid",
    "L7MP_UNIX_UID": "/UNIX/uid",
    "L7MP_UNIX_GID": "/UNIX/gid",
}
"""
What programs are told of their sessions, and where in the metadata that is.

Nothing that a peer can word freely: there are programs that believe their environment.
"""

_POINTERS = {name: pointer.parse(path) for name, path in FACTS.items()}


# -- what a user declares ------------------------------------------------------


def _split(command: Any) -> Any:
    if not isinstance(command, str):
        return command
    try:
        return shlex.split(command)
    except ValueError as error:
        raise complaint(f"cannot be split into words: {error}") from None


def _sound(command: tuple[str, ...]) -> tuple[str, ...]:
    if not command or not command[0]:
        raise complaint("must be a program and its arguments")
    if any("\0" in word for word in command):
        raise complaint("must not have a NUL in it")
    return command


class STDIOForkClusterSpec(Spec):
    """Run a program for each session, and speak with it."""

    tolerates = REMOTE_WORDS

    command: Annotated[
        Items[str],
        AfterValidator(_sound),
        BeforeValidator(_split),
        Field(examples=[["/usr/bin/tr", "a-z", "A-Z"]]),
    ]
    """
    The program and its arguments, as a list, or as a text that is split at spaces.

    Quotes keep spaces, as in a shell; there is no shell between, so nothing is
    expanded.
    """
    environment: dict[str, str] = Field(
        default_factory=dict, validation_alias=AliasChoices("environment", "env")
    )
    """Variables for the program, beside the proxy's own and those about the session."""
    clear_environment: bool = False
    """Leave out the proxy's own."""
    directory: str | None = Field(
        default=None, validation_alias=AliasChoices("directory", "cwd")
    )
    """Where it runs; where the proxy does if missing."""
    user: Account | None = None
    """As whom it runs, with all groups of that user; which takes root."""
    group: Account | None = None
    """As which group it runs; the user's own if missing."""
    pty: bool = False
    """Give it a terminal in place of pipes."""
    stderr: Literal["log", "merge", "drop"] | None = None
    """
    What becomes of its standard error.

    log, the default: a line in the log and an event of the session for each of its
    lines, as far as there are not too many; merge: it is output as any other, as it
    always is at a terminal; drop: nothing.
    """
    kill_after: Seconds = 5
    """Seconds from the signal that asks it to go (TERM) to the one that makes it (KILL)."""

    shared: bool = False
    """
    One program for all sessions: what it says goes to all, what they say is mixed.

    It runs from the first session on until the cluster goes; when it has ended, it is
    run again for the next session.
    """

    @model_validator(mode="after")
    def _has_one_output(self) -> STDIOForkClusterSpec:
        if self.pty and self.stderr not in (None, "merge"):
            hint = "leave stderr out, or say pty: false"
            raise complaint("at a terminal standard error is output as any other", hint)
        return self

    def program(self) -> Program:
        """How to run it."""
        return Program(
            command=self.command,
            environment=self.environment,
            clear_environment=self.clear_environment,
            directory=self.directory,
            user=self.user,
            group=self.group,
            pty=self.pty,
            errors=self.stderr or "log",
        )


# -- running -------------------------------------------------------------------


def facts_of(metadata: Metadata) -> dict[str, str]:
    """What the program of a session is told of it."""
    found = {name: pointer.get(metadata, path) for name, path in _POINTERS.items()}
    return {
        name: str(value).replace("\0", "")
        for name, value in found.items()
        if value is not pointer.MISSING
    }


def connect(
    context: Context, spec: STDIOForkClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """Run the program."""
    return execute(_connect, context, spec, metadata)


def _connect(
    context: Context, spec: STDIOForkClusterSpec, metadata: Metadata
) -> IStream:
    children = context.resources.get(("STDIO-fork",), Children)
    stream, child = (_join if spec.shared else _run)(context, spec, metadata)
    children.add(child)
    return stream


def _run(
    context: Context, spec: STDIOForkClusterSpec, metadata: Metadata
) -> tuple[IStream, Child]:
    reactor, facts = context.reactor, facts_of(metadata)
    patience = float(spec.kill_after)
    stream = ProcessStream(reactor, reactor, spec.program(), facts, patience)
    return stream, stream.child


def _join(
    context: Context, spec: STDIOForkClusterSpec, metadata: Metadata
) -> tuple[IStream, Child]:
    def make() -> SharedProgram:
        reactor, patience = context.reactor, float(spec.kill_after)
        return SharedProgram(reactor, reactor, spec.program(), patience, context.warn)

    return context.resources.get(context.owner, make).join()


protocol = Protocol(
    name="STDIO-fork",
    kind=Kind.BYTES,
    summary="A program for each session, through its standard input and output.",
    cluster=STDIOForkClusterSpec,
    connect=connect,
    virtual=True,
    balanced=False,
    aliases=("STDIOFork", "STDIO_fork"),
)
