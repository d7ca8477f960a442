"""An association that the sessions of a cluster share, a stream for each."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import ICloseable, IStream, Note
from l7mp.streams.association import Association
from l7mp.streams.association_stream import Manner
from l7mp.streams.lanes import Lanes

Made = tuple[Association, list[Note]]
"""An association, read no further than that it is up, and what happened until then."""


@implementer(ICloseable)
class Trunk:
    """
    Makes the association for its first session, and shuts it down after the last.

    ``gone`` is called when it takes no more sessions; it may be more than once.
    """

    def __init__(
        self, associate: Callable[[], Deferred[Made]], gone: Callable[[], None]
    ) -> None:
        self._associate, self._gone = associate, gone
        self._lanes: Lanes | None = None
        self._making: Deferred[Made] | None = None
        self._waiting: list[tuple[Deferred[IStream], Manner]] = []

    def join(self, manner: Manner) -> Deferred[IStream]:
        """A session on the stream of ``manner``, or on any that is free."""
        if self._lanes is not None:
            return self._join(self._lanes, manner)
        waiting: Deferred[IStream] = Deferred(self._give_up)
        self._waiting.append((waiting, manner))
        if self._making is None:
            self._making = self._associate()
            self._making.addCallbacks(self._made, self._failed)
        return waiting

    def _join(self, lanes: Lanes, manner: Manner) -> Deferred[IStream]:
        lane = lanes.open(manner.stream, manner)
        if lane is not None:
            return succeed(lane)
        count = lanes.association.streams_out
        if manner.stream is None:
            what = f"all {count} streams of the association are in use"
        else:
            what = f"stream {manner.stream} of {count} is in use, or there is none"
        return fail(RemoteError(Loss(Reason.LOCAL, what)))

    def _give_up(self, waiting: Deferred[IStream]) -> None:
        self._waiting = [one for one in self._waiting if one[0] is not waiting]
        if not self._waiting and self._making is not None:
            self._gone()
            self._making.cancel()

    def _made(self, made: Made) -> None:
        association, notes = made
        lanes = Lanes(
            association, Manner(), None, self._emptied, lambda _: self._gone()
        )
        for note in notes:
            lanes.happened(note)
        self._lanes = lanes
        joined = [
            (waiting, self._join(lanes, manner)) for waiting, manner in self._waiting
        ]
        self._waiting = []
        for waiting, lane in joined:
            lane.chainDeferred(waiting)
        if not lanes.lanes:
            self._emptied(lanes)

    def _failed(self, failure: Failure) -> None:
        self._gone()
        waiting, self._waiting = self._waiting, []
        if failure.check(CancelledError):
            failure = Failure(RemoteError(Loss(Reason.RECONFIGURED, "not needed")))
        for one, _ in waiting:
            one.errback(failure)

    def _emptied(self, lanes: Lanes) -> None:
        self._gone()
        lanes.association.finish(Loss(Reason.FIN))

    def close(self) -> None:
        """Take no more sessions; those that there are live on."""
        self._gone = _nothing
        if self._making is not None and self._lanes is None:
            self._making.cancel()


def _nothing() -> None:
    """Nobody needs to know."""
