"""What happened to each session, in the words of the original, for REST to show."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime, timezone
from functools import singledispatch
from typing import Any

from l7mp.core import events
from l7mp.errors import Loss

FIRST = 16
LAST = 64
"""How many of a session's events are kept: those of its birth, and the latest."""

Entry = tuple[str, str, Any]
"""Event, message, content."""


def _loss(loss: Loss) -> dict[str, str]:
    return {"reason": loss.reason.value, "detail": loss.detail}


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
        self.first: list[dict[str, Any]] = []
        self.last: deque[dict[str, Any]] = deque(maxlen=LAST)
        self.count = 0

    def add(self, page: dict[str, Any]) -> None:
        self.count += 1
        if len(self.first) < FIRST:
            self.first.append(page)
        else:
            self.last.append(page)


class Journal:
    """An observer that remembers until a session is forgotten."""

    def __init__(
        self, now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
    ) -> None:
        self._now = now
        self._sessions: dict[str, _Pages] = {}

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.Forgotten):
            self._sessions.pop(event.session, None)
        elif isinstance(event, events.SessionEvent):
            found = entry(event)
            if found is not None:
                self._write(event.session, *found)

    def _write(self, session: str, word: str, message: str, content: Any) -> None:
        time = self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        page = {"event": word, "timestamp": time, "message": message}
        pages = self._sessions.setdefault(session, _Pages())
        pages.add({**page, "content": content})

    def events(self, session: str) -> list[dict[str, Any]]:
        """What happened, in order; how many were left out stands where they were."""
        pages = self._sessions.get(session)
        if pages is None:
            return []
        missing = pages.count - len(pages.first) - len(pages.last)
        gap = []
        if missing:
            message = f"{missing} events are not kept"
            time = pages.first[-1]["timestamp"]
            gap = [{"event": "…", "timestamp": time, "message": message}]
        return [*pages.first, *gap, *pages.last]
