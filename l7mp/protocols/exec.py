"""Exec: a transform made of a program that reads and writes messages."""

from __future__ import annotations

import os
import shutil
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from twisted.internet.defer import Deferred, execute
from zope.interface import implementer

from l7mp.core.registry import Context, Protocol
from l7mp.interfaces import ICloseable, IStream, Metadata
from l7mp.model.base import Items
from l7mp.model.config import EndPoint
from l7mp.model.explain import complaint
from l7mp.model.framing import RealFraming, framing_of
from l7mp.model.spec import REMOTE_WORDS, Spec
from l7mp.model.types import Account, Milliseconds
from l7mp.streams.answering import AnsweringProgram
from l7mp.streams.process import Children, Program
from l7mp.streams.program import How, ProgramStream
from l7mp.wire.framing import codec

_FORGIVING = frozenset({"cobs", "slip", "json-lines"})
"""Framings in which a bad frame is dropped, and so would be the reply in it."""


def _runnable(command: tuple[str, ...]) -> tuple[str, ...]:
    if not command or not command[0]:
        raise complaint("must be a list of the program and its arguments")
    if any("\0" in word for word in command):
        raise complaint("must not have a NUL in it")
    if shutil.which(command[0]) is None:
        hint = "name a file that can be executed, or one that is found on the PATH"
        raise complaint(f"there is no program {command[0]}", hint)
    return command


def _a_folder(path: str | None) -> str | None:
    if path is not None and not os.path.isdir(path):
        raise complaint(f"there is no directory {path}", "make it, or leave it out")
    return path


class ExecClusterSpec(Spec):
    """Run a program for each session, and pass each message through it."""

    tolerates = REMOTE_WORDS

    command: Annotated[
        Items[str], AfterValidator(_runnable), Field(examples=[["/usr/bin/my-filter"]])
    ]
    """The program and its arguments; there is no shell between."""
    framing: RealFraming = "u32be"
    """How messages are told apart on its standard input and output."""
    shared: bool = False
    """Whether all sessions have one program, which replies one message to each."""
    replies: Literal["any", "one"] = "any"
    """Whether it gives exactly one message for each that it is given, in order."""
    timeout: Milliseconds = 5000
    """How long it may take for its one reply, in ms."""
    on_error: Literal["close", "restart"] = "close"
    """When it fails: end the session, or start it again if it has given anything."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Variables beside the proxy's own."""
    directory: Annotated[str | None, AfterValidator(_a_folder)] = None
    """Where it runs; where the proxy does if missing."""
    user: Account | None = None
    """As whom it runs, with all groups of that user; which takes root."""
    group: Account | None = None
    """As which group it runs; the user's own if missing."""
    grace: Milliseconds = 5000
    """How long it has to go after SIGTERM, before SIGKILL, in ms."""

    @model_validator(mode="after")
    def _can_be_shared(self) -> ExecClusterSpec:
        if self.shared and self.replies != "one":
            hint = "say replies: one, or leave shared out"
            raise complaint("nobody knows whose the replies of a shared one are", hint)
        format_ = framing_of(self.framing).format
        if self.shared and format_ in _FORGIVING:
            hint = "use u32be, or lines"
            raise complaint(f"with {format_} a shared program may skip a reply", hint)
        return self


@implementer(ICloseable)
class _Slot:
    """Where a cluster's shared program is, if there is one."""

    program: AnsweringProgram | None = None

    def join(self, reactor: Any, how: How) -> IStream:
        """A part in it; started if it does not run."""
        if self.program is None or self.program.loss is not None:
            self.program = AnsweringProgram(reactor, how)
        return self.program.join()

    def close(self) -> None:
        """The cluster goes, or the proxy."""
        if self.program is not None:
            self.program.close()


def connect(
    context: Context, spec: ExecClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """The program of one session."""
    framing = framing_of(spec.framing)
    children = context.resources.get(("Exec",), Children)
    how = How(
        program=Program(
            command=spec.command,
            environment=spec.environment,
            directory=spec.directory,
            user=spec.user,
            group=spec.group,
        ),
        facts={} if spec.shared else {"L7MP_SESSION": str(metadata.get("name", ""))},
        framing=codec(framing.format, framing.max_message),
        grace=spec.grace / 1000,
        answers_within=spec.timeout / 1000 if spec.replies == "one" else None,
        restarts=spec.on_error == "restart",
        born=children.add,
    )
    if spec.shared:
        slot: _Slot = context.resources.get(context.owner, _Slot)
        return execute(slot.join, context.reactor, how)
    return execute(ProgramStream, context.reactor, how)


protocol = Protocol(
    name="Exec",
    kind=None,
    summary="Passes each message through a program of the user's.",
    cluster=ExecClusterSpec,
    connect=connect,
    virtual=True,
)
