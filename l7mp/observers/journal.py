"""What happened to each session, in the words of the original, for REST to show."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import singledispatch
from typing import Any

from l7mp.core import events
from l7mp.errors import Loss
from l7mp.model.view import EventView

FIRST = 16
LAST = 64
"""How many of a session's events are kept: those of its birth, and the latest."""

OMITTED = "OMITTED"
"""Stands for events that are not kept."""

Entry = tuple[str, str, dict[str, Any]]
"""Event, message, content."""


def _loss(loss: Loss) -> dict[str, Any]:
    code = {} if loss.code is None else {"code": loss.code}
    return {"reason": loss.reason.value, "detail": loss.detail, **code}


@singledispatch
def entry(event: events.SessionEvent) -> Entry | None:
    """What the journal says of an event, None for what it does not mention."""
    return None


@entry.register
def _(event: events.Born) -> Entry:
    message = f'emitted by listener "{event.listener}"'
    return "INIT", message, {"listener": event.listener, "protocol": event.protocol}


@entry.register
def _(event: events.Routed) -> Entry:
    message = f'matched rule "{event.rule}" of rulelist "{event.rulelist}"'
    content = {"rulelist": event.rulelist, "rule": event.rule, "route": event.route}
    return "LOOKUP SUCCESS", message, content


@entry.register
def _(event: events.Connected) -> Entry:
    return "CONNECT", "every stage is connected", {}


@entry.register
def _(event: events.StageLost) -> Entry:
    message = f'"{event.origin}" is gone: {event.loss}'
    return "DISCONNECT", message, {"stage": event.origin, **_loss(event.loss)}


@entry.register
def _(event: events.AttemptFailed) -> Entry:
    message = f'"{event.origin}" could not be connected: {event.loss}'
    return "ERROR", message, {"stage": event.origin, **_loss(event.loss)}


@entry.register
def _(event: events.Noted) -> Entry:
    note = event.note
    message = f'"{event.origin}": {note.message}'
    return note.word, message, {"stage": event.origin, **note.facts}


@entry.register
def _(event: events.Refused) -> Entry:
    return "ERROR", f"the session failed: {event.loss}", _loss(event.loss)


@entry.register
def _(event: events.Ended) -> Entry:
    return "END", str(event.loss), _loss(event.loss)


@entry.register
def _(event: events.Destroyed) -> Entry:
    return "DESTROY", str(event.loss), _loss(event.loss)


class _Pages:
    """The events of one session."""

    def __init__(self) -> None:
        self.first: list[EventView] = []
        self.last: deque[EventView] = deque(maxlen=LAST)
        self.count = 0

    def add(self, page: EventView) -> None:
        self.count += 1
        if len(self.first) < FIRST:
            self.first.append(page)
        else:
            self.last.append(page)

    def read(self) -> tuple[EventView, ...]:
        missing = self.count - len(self.first) - len(self.last)
        if not missing:
            return (*self.first, *self.last)
        gap = EventView(
            event=OMITTED,
            timestamp=self.last[0].timestamp,
            message=f"{missing} events before this are not kept",
            content={"omitted": missing},
        )
        return (*self.first, gap, *self.last)


def _utc() -> datetime:
    return datetime.now(UTC)


class Journal:
    """
    An observer that remembers what happened to sessions until they are forgotten.

    ``now`` is the wall clock, in UTC.
    """

    def __init__(self, now: Callable[[], datetime] = _utc) -> None:
        self._now = now
        self._sessions: dict[str, _Pages] = {}

    def __call__(self, event: events.Event) -> None:
        if not isinstance(event, events.SessionEvent):
            return
        if isinstance(event, events.Born):
            self._sessions[event.session] = _Pages()
        elif isinstance(event, events.Forgotten):
            self._sessions.pop(event.session, None)
        pages, found = self._sessions.get(event.session), entry(event)
        if pages is not None and found is not None:
            pages.add(self._page(*found))

    def _page(self, word: str, message: str, content: dict[str, Any]) -> EventView:
        time = self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return EventView(event=word, timestamp=time, message=message, content=content)

    def events(self, session: str) -> tuple[EventView, ...]:
        """What happened, in order; how many are missing stands where they were."""
        pages = self._sessions.get(session)
        return () if pages is None else pages.read()
