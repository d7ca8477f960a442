"""
A stream after a handshake over a network that may repeat what was sent.

A header that got lost is sent again, and so one that did not get lost comes twice, or
late.  None of the copies is data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.components import proxyForInterface

from l7mp.interfaces import IStream, Metadata
from l7mp.streams.handshake import Continued

COPIES = 10.0
"""
Seconds for which copies of a header are told from data.

They begin anew with each copy, and not before there was data: a peer that sends data
has got our answer, and one that has not got it still repeats its header.
"""


class _Screen(proxyForInterface(IStream, "sink")):  # type: ignore[misc]
    """Stands before a sink and keeps copies of a header from it."""

    def __init__(
        self,
        sink: IStream,
        copy: bytes,
        came: Callable[[], None],
        data: Callable[[], None],
    ) -> None:
        super().__init__(sink)
        self._copy, self._came, self._data = copy, came, data
        self._is_first = True

    def write(self, data: bytes) -> None:
        if data == self._copy:
            self._came()
            return
        if self._is_first:
            self._is_first = False
            self._data()
        self.sink.write(data)


class Screened(Continued):
    """
    A stream whose peer's header, ``copy``, may come again.

    ``came`` is called for each copy.  When no more can come, data goes straight from
    the inner stream to the sink.  With None for ``copy`` it does so at once.
    """

    def __init__(
        self,
        inner: IStream,
        clock: IReactorTime,
        copy: bytes | None,
        rest: Iterable[bytes] = (),
        facts: Metadata | None = None,
    ) -> None:
        super().__init__(inner, rest, facts)
        self._clock, self._copy = clock, copy
        self._timer: IDelayedCall | None = None
        if copy is not None:
            inner.when_lost().addCallback(lambda _: self._stop())

    def came(self) -> None:
        """A copy of the header came; the default has nothing to say to it."""

    def deliver_to(
        self, sink: IStream, ended: Callable[[], None] | None = None
    ) -> None:
        self._sink, self._on_end = sink, ended or sink.end
        if self._copy is not None:
            sink = _Screen(sink, self._copy, self._copy_came, self._data_came)
        self.inner.deliver_to(sink, self._on_end)

    def _is_transparent(self) -> bool:
        return self._copy is None and super()._is_transparent()

    def _copy_came(self) -> None:
        if self._timer is not None:
            self._timer.reset(COPIES)
        self.came()

    def _data_came(self) -> None:
        if self._timer is None and self._copy is not None:
            self._timer = self._clock.callLater(COPIES, self._step_out)

    def _step_out(self) -> None:
        """No copy can come any more."""
        self._timer = self._copy = None
        if self._sink is not None:
            self.inner.deliver_to(self._sink, self._on_end)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
