"""Python: a transform made of a user's own function or class."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from copy import deepcopy
from importlib import import_module
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from twisted.internet.defer import Deferred, succeed

from l7mp.core.registry import Context, Protocol
from l7mp.errors import LocalError, Loss, Reason
from l7mp.interfaces import IStream, Metadata, Note
from l7mp.model.config import EndPoint
from l7mp.model.explain import complaint
from l7mp.model.spec import REMOTE_WORDS, Spec
from l7mp.model.types import Milliseconds
from l7mp.streams.transform import TransformStream

MAX_OUTPUT = 1 << 20

Call = Callable[[bytes], Any]


def resolve(entry: str) -> Any:
    """
    What ``pkg.mod:name`` is; the module is imported.

    Raises ``ValueError`` that says what is missing, or what is wrong with it.
    """
    module, _, path = entry.partition(":")
    if not module or not path:
        raise ValueError('must be "package.module:name"')
    try:
        found = import_module(module)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"cannot import {module}: {what}") from error
    for name in path.split("."):
        if not hasattr(found, name):
            raise ValueError(f"{module} has no {path}")
        found = getattr(found, name)
    return found


def _usable(entry: str) -> str:
    try:
        found = resolve(entry)
    except ValueError as error:
        hint = "the proxy looks where Python does: see PYTHONPATH"
        raise complaint(str(error), hint) from error
    call = _called(found)
    if call is None:
        hint = "give a function, or a class whose instances can be called"
        raise complaint(f"{entry} cannot be called with a message", hint)
    if inspect.iscoroutinefunction(call):
        raise complaint(f"{entry} is asynchronous", "give a plain function")
    return entry


def _called(found: Any) -> Any:
    """What is run for each message, None if nothing can be."""
    if not inspect.isclass(found):
        return found if callable(found) else None
    return next(
        (vars(c)["__call__"] for c in found.__mro__ if "__call__" in vars(c)), None
    )


class PythonClusterSpec(Spec):
    """Call a function for each message; what it gives is passed on."""

    tolerates = REMOTE_WORDS

    call: Annotated[str, AfterValidator(_usable), Field(examples=["shop.filters:Mask"])]
    """``package.module:name`` of a function, or of a class that is made per session."""
    on_error: Literal["drop", "pass", "close"] = "drop"
    """What becomes of a message for which it fails; close ends the session."""
    budget: Milliseconds | None = None
    """How long a call may take, in ms, before the session's events tell of it."""
    max_output: Annotated[int, Field(ge=1)] = MAX_OUTPUT
    """How many bytes one call may give; more is a failure."""


class Caller:
    """
    The user's code as a transform.

    What happens is told at the 1st, 2nd, 4th, 8th… time: a note for each message would
    be a flood.
    """

    def __init__(
        self, call: Call, spec: PythonClusterSpec, seconds: Callable[[], float]
    ) -> None:
        self.dropped: dict[str, int] = {}
        self.notes: list[Note] = []
        self.doom: Loss | None = None
        """Why the stream has to end."""
        self._call, self._spec, self._seconds = call, spec, seconds
        self._failures = self._late = 0

    def feed(self, data: bytes) -> Iterable[bytes]:
        """What is made of one message."""
        return self._run(self._call, data)

    def end(self) -> Iterable[bytes]:
        """The last words of an instance that has a method ``end``."""
        last = getattr(self._call, "end", None)
        return () if last is None else self._run(last)

    def _run(self, call: Callable[..., Any], *message: bytes) -> Iterable[bytes]:
        budget = self._spec.budget
        began = 0.0 if budget is None else self._seconds()
        try:
            pieces = _pieces(call(*message), self._spec.max_output)
        except Exception as error:  # noqa: BLE001  # whatever a user's code may raise
            pieces = self._failed(error, message)
        if budget is not None:
            self._judge((self._seconds() - began) * 1000, budget)
        return pieces

    def _failed(self, error: Exception, message: tuple[bytes, ...]) -> Iterable[bytes]:
        self._failures += 1
        what = f"{self._spec.call}: {type(error).__name__}: {error}"
        self._tell("FAILED", what, self._failures, {})
        if self._spec.on_error == "close":
            self.doom = Loss(Reason.LOCAL, what)
        if not message or self._spec.on_error == "pass":
            return message
        self.dropped["error"] = self.dropped.get("error", 0) + 1
        return ()

    def _judge(self, took: float, budget: int) -> None:
        if took > budget:
            self._late += 1
            what = f"{self._spec.call} took {took:.0f} ms, over {budget}"
            self._tell("SLOW", what, self._late, {"milliseconds": round(took)})

    def _tell(self, word: str, what: str, count: int, facts: Metadata) -> None:
        if count & (count - 1) == 0:
            times = f" ({count} times so far)" if count > 1 else ""
            told = {"count": count, **facts}
            self.notes.append(Note(word, what + times, told, is_loud=True))


def _pieces(given: Any, most: int) -> Iterable[bytes]:
    """The messages that a call gave."""
    if given is None:
        return ()
    pieces = given if isinstance(given, list | tuple) else (given,)
    for piece in pieces:
        if not isinstance(piece, bytes | bytearray | memoryview):
            kind = type(piece).__name__
            raise TypeError(f"gave {kind}, and not bytes, a list of bytes or None")
    total = sum(map(len, pieces))
    if total > most:
        raise ValueError(f"gave {total} bytes, over {most}")
    return tuple(map(bytes, pieces))


class PythonStream(TransformStream):
    """One session's messages on their way through the user's code."""

    def __init__(self, caller: Caller) -> None:
        super().__init__(caller)
        self._caller = caller

    def _hand_on(self, pieces: Iterable[bytes]) -> None:
        super()._hand_on(pieces)
        caller = self._caller
        while caller.notes:
            self._note(caller.notes.pop(0))
        if caller.doom is not None and self.loss is None:
            self._lose(caller.doom)


def connect(
    context: Context, spec: PythonClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """A call, or an instance of a class, for one session."""
    found: Any = resolve(spec.call)
    if inspect.isclass(found):
        make: Callable[[Metadata], Any] = found
        try:
            found = make(deepcopy(metadata))
        except Exception as error:
            what = f"{spec.call}: {type(error).__name__}: {error}"
            raise LocalError(what) from error
    caller = Caller(found, spec, context.reactor.seconds)
    return succeed(PythonStream(caller))


protocol = Protocol(
    name="Python",
    kind=None,
    summary="Passes each message through a function or a class in Python.",
    cluster=PythonClusterSpec,
    connect=connect,
    virtual=True,
)
