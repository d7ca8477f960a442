"""PIPE: FIFOs by their paths, and what was left open for us by its number."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, model_validator
from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from l7mp.core.registry import Accept, Context, Protocol
from l7mp.errors import LocalError, Loss, Reason, RemoteError
from l7mp.interfaces import IListening, IStream, Kind, Metadata
from l7mp.model.config import EndPoint
from l7mp.model.explain import Says, complaint
from l7mp.model.spec import Spec
from l7mp.model.types import Account, Address, FileMode
from l7mp.streams.access import Access, Made
from l7mp.streams.fifo import (
    PAUSE,
    End,
    Lookout,
    check,
    directions,
    has_reader,
    is_fifo,
    make,
    open_end,
    shown,
)
from l7mp.streams.pipestream import PipeStream

Ends = tuple[End | None, End | None]
"""Where to read from, and where to write to."""

Descriptor = Annotated[
    int,
    Field(ge=0),
    Says("the number of a descriptor", "must be the number of a descriptor"),
]

Direction = Literal["read", "write", "both"]


# -- what a user declares ------------------------------------------------------


class _PipeSpec(Spec):
    path: Address | None = None
    """The path of one FIFO."""
    fd: Descriptor | None = None
    """The number of a descriptor that whoever started the proxy has left open."""
    direction: Direction | None = None
    """
    What to do with the path or the descriptor: read, write, or both.

    A path is read by a listener and written by a cluster if missing; with a
    descriptor, everything is done that it was opened for.
    """
    input: Address | Descriptor | None = Field(
        default=None, validation_alias=AliasChoices("input", "in")
    )
    """Instead of path: where to read from, a path or the number of a descriptor."""
    output: Address | Descriptor | None = Field(
        default=None, validation_alias=AliasChoices("output", "out")
    )
    """Instead of path: where to write to."""

    @model_validator(mode="after")
    def _names_one_thing(self) -> _PipeSpec:
        apart = self.input is not None or self.output is not None
        given = [self.path is not None, self.fd is not None, apart]
        if sum(given) != 1:
            hint = "give path, or fd, or input and output"
            raise complaint("a pipe needs one of path, fd, and input or output", hint)
        if apart and self.direction is not None:
            hint = "leave direction out: input is read and output written"
            raise complaint("direction is for path and fd", hint)
        return self

    def _ends(self, usual: Direction) -> Ends:
        """Raises ``LocalError`` for a descriptor that is not there."""
        if self.path is None and self.fd is None:
            return self.input, self.output
        one: End = self.fd if self.path is None else self.path  # type: ignore[assignment]
        reads, writes = _DIRECTIONS[self.direction or usual]
        if isinstance(one, int) and self.direction is None:
            check(one)
            reads, writes = directions(one)
        return one if reads else None, one if writes else None


_DIRECTIONS = {"read": (True, False), "write": (False, True), "both": (True, True)}


class PIPEListenerSpec(_PipeSpec):
    """Each writer of a FIFO is a session, one after another."""

    create: bool = False
    """Make the FIFOs that are missing, and remove them in the end."""
    mode: FileMode | None = None
    """Who may open what was made; what the umask leaves of 0666 if missing."""
    owner: Account | None = None
    """The user to whom it belongs; which takes root."""
    group: Account | None = None
    """The group to which it belongs."""

    @model_validator(mode="after")
    def _makes_what_it_gives(self) -> PIPEListenerSpec:
        given = (self.mode, self.owner, self.group)
        if not self.create and any(one is not None for one in given):
            what = "mode, owner and group are those of a FIFO that is made"
            raise complaint(what, "say create: true, or leave them out")
        return self

    def ends(self) -> Ends:
        """See ``_ends``."""
        return self._ends("read")

    @property
    def paths(self) -> list[End]:
        """Everything that has a path."""
        every = (self.path, self.input, self.output)
        return [one for one in every if isinstance(one, str)]


class PIPEClusterSpec(_PipeSpec):
    """Open a FIFO for each session."""

    def ends(self) -> Ends:
        """See ``_ends``."""
        return self._ends("write")


# -- listeners -----------------------------------------------------------------


@implementer(IListening)
class _Listening:
    """One session at a time: when one is lost, the next is waited for."""

    def __init__(
        self,
        reactor: Any,
        ends: Ends,
        made: list[Made],
        begin: Callable[[PipeStream], None],
    ) -> None:
        self._reactor, self._made, self._begin = reactor, made, begin
        self._input, self._output = ends
        self._timer: IDelayedCall | None = None
        self._lookout: Lookout | None = None
        # Descriptors where something can be read, and where somebody reads.
        self._inlet: int | None = None
        self._outlet: int | None = None
        self._is_open = True
        self._can_recur = all(is_fifo(end) for end in ends if end is not None)
        if self._input is not None and is_fifo(self._input):
            self._lookout = Lookout(reactor, reactor, self._input)
        # Not before whoever asked to listen knows that we do.
        self._timer = reactor.callLater(0, self._wait)

    def address(self) -> dict[str, Any]:
        ends = {"input": self._input, "output": self._output}
        return {name: end for name, end in ends.items() if end is not None}

    def _wait(self) -> None:
        """
        Until there is something to read, and somebody to write to where we should.

        Neither need be first: some open one FIFO and wait for us before the other.
        """
        self._timer = None
        if self._output is not None:
            self._look_for_reader()
        if self._lookout is not None:
            self._lookout.wait(self._readable)
        elif self._input is not None:
            self._readable(open_end(self._input, os.O_RDONLY))

    def _readable(self, fd: int) -> None:
        self._inlet = fd
        self._try()

    def _look_for_reader(self) -> None:
        self._timer = None
        assert self._output is not None, "nobody to look for"
        try:
            self._outlet = open_end(self._output, os.O_WRONLY)
        except RemoteError:
            self._timer = self._reactor.callLater(PAUSE, self._look_for_reader)
        else:
            self._try()

    def _try(self) -> None:
        """Begin, if everything is there."""
        lacks_reader = self._outlet is not None and not has_reader(self._outlet)
        if lacks_reader and self._can_recur:
            _close(self._outlet)
            self._outlet = None
            self._look_for_reader()
            return
        ready = (self._inlet is not None or self._input is None) and (
            self._outlet is not None or self._output is None
        )
        if ready:
            reactor, ends = self._reactor, (self._inlet, self._outlet)
            self._inlet = self._outlet = None
            stream = PipeStream(reactor, reactor, *ends, over=True)
            stream.when_lost().addCallback(self._lost)
            self._begin(stream)

    def _lost(self, _: Loss) -> None:
        """Wait for the next, unless there can be none."""
        if self._is_open and self._can_recur:
            self._timer = self._reactor.callLater(0, self._wait)

    def stop(self) -> Deferred[None]:
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lookout is not None:
            self._lookout.close()
            self._lookout = None
        for fd in (self._inlet, self._outlet):
            _close(fd)
        self._inlet = self._outlet = None
        for made in self._made:
            made.remove()
        return succeed(None)


def _close(fd: int | None) -> None:
    if fd is not None:
        os.close(fd)


def listen(
    context: Context, spec: PIPEListenerSpec, accept: Accept
) -> Deferred[IListening]:
    """Make what is missing, and wait for writers."""
    return execute(_listen, context.reactor, spec, accept)


def _listen(reactor: Any, spec: PIPEListenerSpec, accept: Accept) -> IListening:
    access = Access.of(spec.mode, spec.owner, spec.group)
    made = make(spec.paths, access) if spec.create else []
    try:
        ends = spec.ends()
        for end in ends:
            if end is not None:
                check(end)

        def begin(stream: PipeStream) -> None:
            accept(stream, _facts(ends), "")

        return _Listening(reactor, ends, made, begin)
    except (LocalError, RemoteError) as error:
        for one in made:
            one.remove()
        raise LocalError(f"cannot listen: {error}") from error


def _facts(ends: Ends) -> Metadata:
    named = zip(("input", "output"), ends, strict=True)
    return {"PIPE": {name: end for name, end in named if end is not None}}


# -- clusters ------------------------------------------------------------------


def connect(
    context: Context, spec: PIPEClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """Open the ends."""
    return execute(_connect, context, spec)


def _connect(context: Context, spec: PIPEClusterSpec) -> IStream:
    input_, output = spec.ends()
    for end in (input_, output):
        if end is not None:
            _check(end)
    release = _claim(context, input_)
    inlet = outlet = None
    try:
        # Who opens both and waits for us is not kept waiting at the first.
        if input_ is not None:
            inlet = open_end(input_, os.O_RDONLY)
        if output is not None:
            outlet = open_end(output, os.O_WRONLY)
    except RemoteError:
        if inlet is not None:
            os.close(inlet)
        release()
        raise
    reactor = context.reactor
    over = isinstance(input_, int)
    stream = PipeStream(reactor, reactor, inlet, outlet, over)
    stream.when_lost().addCallback(lambda _: release())
    return stream


def _check(end: End) -> None:
    """A FIFO that is not there may be tomorrow: that is no mistake of ours."""
    try:
        check(end)
    except LocalError as error:
        raise RemoteError(Loss(Reason.UNREACHABLE, str(error))) from error


def _claim(context: Context, end: End | None) -> Callable[[], None]:
    """Have what is read for ourselves: two readers would each get some of it."""
    if end is None:
        return lambda: None
    owner, claim = ("PIPE", "reading", end), object()
    if context.resources.get(owner, lambda: claim) is not claim:
        what = f"{shown(end)} is being read by another session"
        raise RemoteError(Loss(Reason.LOCAL, what))
    return lambda: context.resources.forget(owner)


protocol = Protocol(
    name="PIPE",
    kind=Kind.BYTES,
    summary="FIFOs by path, and inherited descriptors: one session at a time.",
    listener=PIPEListenerSpec,
    listen=listen,
    cluster=PIPEClusterSpec,
    connect=connect,
    virtual=True,
    balanced=False,
    aliases=("FIFO",),
)
