"""The log: one line for what operators want to know, on standard error or in a file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import singledispatch
from typing import IO

from twisted.logger import LogEvent, LogLevel, formatEvent

from l7mp.core import events
from l7mp.errors import LocalError

LEVELS = (
    "silly",
    "verbose",
    "info",
    "http",
    "timing",
    "notice",
    "warn",
    "error",
    "silent",
)
"""From the most talkative; the original's."""

SHOWN = {"warn": "WARN", "error": "ERR!"}

Line = tuple[str, str, str]
"""Level, prefix, text."""


@singledispatch
def line(event: events.Event) -> Line | None:
    """What the log says of an event; most are not worth a line."""
    return None


@line.register
def _(event: events.Listening) -> Line:
    where = " ".join(f"{key}={value}" for key, value in event.address.items())
    return "info", "listener", f"{event.listener} listens at {where}"


@line.register
def _(event: events.StoppedListening) -> Line:
    return "info", "listener", f"{event.listener} stopped"


@line.register
def _(event: events.HandshakeFailed) -> Line:
    return "info", "listener", f"{event.listener}: {event.peer}: {event.loss}"


@line.register
def _(event: events.Warned) -> Line:
    return "warn", "config", f"{event.subject}: {event.message}"


@line.register
def _(event: events.Faulted) -> Line:
    what = f"{type(event.error).__name__}: {event.error}"
    return "error", "fault", f"{event.subject}: {what}"


@line.register
def _(event: events.Born) -> Line:
    return "verbose", "session", f"{event.session} from {event.listener}"


@line.register
def _(event: events.Routed) -> Line:
    text = f"{event.session} takes {event.route} ({event.rulelist}, {event.rule})"
    return "verbose", "session", text


@line.register
def _(event: events.AttemptFailed) -> Line:
    return "info", "session", f"{event.session}: {event.origin}: {event.loss}"


@line.register
def _(event: events.Connected) -> Line:
    return "info", "session", f"{event.session} connected"


@line.register
def _(event: events.StageLost) -> Line:
    return "info", "session", f"{event.session} lost {event.origin}: {event.loss}"


@line.register
def _(event: events.Noted) -> Line:
    text = f"{event.session}: {event.origin}: {event.note.message}"
    return "notice" if event.note.is_loud else "verbose", "session", text


@line.register
def _(event: events.Refused) -> Line:
    return "notice", "session", f"{event.session} refused: {event.loss}"


@line.register
def _(event: events.Ended) -> Line:
    return "info", "session", f"{event.session} ended: {event.loss}"


def in_one_line(text: str) -> str:
    """The text without anything that would move a cursor: peers have worded some of it."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


class LogWriter:
    """
    Writes lines of at least a level: time (ISO 8601, UTC), level, prefix, text.

    It is an observer of the proxy's events and of Twisted's log, of which it shows
    warnings and failures.
    """

    def __init__(
        self,
        level: str,
        out: IO[str],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._threshold = LEVELS.index(level)
        self._out, self._now = out, now

    def set_level(self, level: str) -> None:
        """Show lines of at least this level from now on."""
        self._threshold = LEVELS.index(level)

    def write(self, level: str, prefix: str, text: str) -> None:
        """One line, if its level is high enough."""
        if LEVELS.index(level) < self._threshold or self._threshold == len(LEVELS) - 1:
            return
        time = self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        try:
            self._out.write(f"{time} {SHOWN.get(level, level)} {prefix} {text}\n")
            self._out.flush()
        except (OSError, ValueError):
            pass  # a log that cannot be written must not end the traffic

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.Configured):
            self.set_level(event.config.admin.log_level)
        found = line(event)
        if found is not None:
            level, prefix, text = found
            self.write(level, prefix, in_one_line(text))

    def twisted(self, event: LogEvent) -> None:
        """An ``ILogObserver``."""
        level = event.get("log_level", LogLevel.info)
        if level < LogLevel.warn:
            return
        word = "warn" if level is LogLevel.warn else "error"
        text = formatEvent(event) or "unformatted event"
        failure = event.get("log_failure")
        if failure is not None:
            text = f"{text}\n{failure.getTraceback()}".rstrip()
        self.write(word, str(event.get("log_namespace", "-")), text)


def open_log(log_file: str) -> IO[str]:
    """Where ``admin.log_file`` points to: ``stderr``, ``stdout`` or a path to append to."""
    if log_file in ("stderr", "", "-"):
        return sys.stderr
    if log_file == "stdout":
        return sys.stdout
    try:
        return open(log_file, "a", encoding="utf-8")  # open as long as we run
    except OSError as error:
        raise LocalError(f"cannot open log_file {log_file}: {error}") from error
