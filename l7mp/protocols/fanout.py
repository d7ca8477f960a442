"""FanOut: a cluster of clusters."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from l7mp.core.registry import Context, Dial, Protocol
from l7mp.core.stage import loss_of
from l7mp.errors import LocalError, Loss, Reason, RemoteError
from l7mp.interfaces import IStream, Metadata
from l7mp.model import declared
from l7mp.model.base import Items
from l7mp.model.config import EndPoint
from l7mp.model.explain import complaint
from l7mp.model.spec import REMOTE_WORDS, Spec
from l7mp.model.types import Name
from l7mp.streams.fan import Fan

MOST = 64
"""How many branches there can be: each is a connection for each session."""


def _some(clusters: tuple[Any, ...]) -> tuple[Any, ...]:
    if not 1 <= len(clusters) <= MOST:
        raise complaint(f"must be 1 to {MOST} clusters, not {len(clusters)}")
    names = [one for one in clusters if isinstance(one, str)]
    if len(set(names)) < len(names):
        hint = "define a second one with the same endpoints"
        raise complaint("the same cluster is there twice", hint)
    return clusters


class FanOutClusterSpec(Spec):
    """Give every message to several clusters."""

    tolerates = REMOTE_WORDS

    clusters: Annotated[Items[Name | declared.Cluster], AfterValidator(_some)]
    """Where to; names, or definitions as in a route."""
    mode: Literal["all", "mirror", "first"] = "all"
    """
    Whose answers come back: those of all; those of the first cluster, and the others
    are given a copy of what it is given; or those of whichever is first.
    """
    wins: Literal["answer", "connect"] = "answer"
    """What it is to be first: to answer, or to be connected."""
    on_loss: Literal["end", "drop"] = "end"
    """In mode all, whether the session ends with the first branch or with the last."""

    @property
    def members(self) -> tuple[Any, ...]:
        return self.clusters

    def standing_on(self, names: tuple[str, ...]) -> Spec:
        return self.model_copy(update={"clusters": names})


class _Opening:
    """A fan until it can be used."""

    def __init__(self, spec: FanOutClusterSpec) -> None:
        names = tuple(map(str, spec.clusters))
        self._spec = spec
        self.fan = Fan(names, spec.mode, spec.on_loss == "drop")
        self.ready: Deferred[IStream] = Deferred(self._give_up)
        self._waits = True
        """Whether there is somebody who wants to know."""
        self._dialed = False

    def dial(self, dial: Dial, metadata: Metadata) -> None:
        """Connect every branch."""
        fan = self.fan
        for index, branch in enumerate(fan.branches):
            if branch.is_out:
                continue  # another was first already
            connecting = dial(branch.name, dict(metadata))
            fan.pending[index] = connecting
            connecting.addCallbacks(
                partial(self._connected, index), partial(self._failed, index)
            )
        self._dialed = True
        fan.when_lost().addCallback(self._hopeless)
        self._check()

    def _connected(self, index: int, stream: IStream) -> None:
        fan = self.fan
        fan.attach(index, stream)
        branch = fan.branches[index]
        races = self._spec.mode == "first" and self._spec.wins == "connect"
        if races and not branch.is_out:
            fan.choose(branch)
        self._check()

    def _failed(self, index: int, failure: Failure) -> None:
        self.fan.fail(index, loss_of(failure.value or RuntimeError(str(failure))))
        self._check()

    def _check(self) -> None:
        if not self._dialed or not self._waits or self.fan.loss is not None:
            return
        states = [one.stream is not None for one in self.fan.branches]
        if self._spec.mode == "all":
            is_ready = any(states) and not self.fan.pending
        else:
            is_ready = states[0] if self._spec.mode == "mirror" else any(states)
        if is_ready:
            self._waits = False
            self.ready.callback(self.fan)

    def _hopeless(self, loss: Loss) -> None:
        if self._waits:
            self._waits = False
            self.ready.errback(RemoteError(loss))

    def _give_up(self, _: object) -> None:
        self._waits = False
        self.fan.abort(Loss(Reason.LOCAL, "given up"))


def connect(
    context: Context, spec: FanOutClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """As soon as the mode allows; other branches may come later."""
    if context.dial is None:
        raise LocalError("there is nobody who knows the other clusters")
    opening = _Opening(spec)
    opening.dial(context.dial, metadata)
    return opening.ready


protocol = Protocol(
    name="FanOut",
    kind=None,
    summary="Gives every message to several clusters.",
    cluster=FanOutClusterSpec,
    connect=connect,
    virtual=True,
    balanced=False,
    aliases=("Tee",),
)
