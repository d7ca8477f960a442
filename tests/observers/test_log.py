"""The log: what operators want to know, one line each."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure

from l7mp.core import events
from l7mp.errors import LocalError, Loss, Reason
from l7mp.interfaces import Note
from l7mp.model.config import Config
from l7mp.model.declared import Admin
from l7mp.observers.log import LEVELS, LogWriter, line, open_log

NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
LOSS = Loss(Reason.IDLE, "quiet")


def writer(level: str) -> tuple[LogWriter, io.StringIO]:
    out = io.StringIO()
    return LogWriter(level, out, lambda: NOW), out


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (events.Listening("in", {"port": 5}), "info"),
        (events.StoppedListening("in"), "info"),
        (events.HandshakeFailed("in", "192.0.2.1:5000", LOSS), "info"),
        (events.Warned("route r", "boundaries"), "warn"),
        (events.Faulted("s", KeyError("k")), "error"),
        (events.Born("s", "in", "TCP"), "verbose"),
        (events.Routed("s", "list", "rule", "route"), "verbose"),
        (events.AttemptFailed("s", "out", LOSS), "info"),
        (events.Connected("s"), "info"),
        (events.Noted("s", "out", Note("WORD", "in words", {})), "verbose"),
        (events.Noted("s", "out", Note("WORD", "aloud", {}, True)), "notice"),
        (events.StageLost("s", "out", LOSS), "info"),
        (events.Refused("s", LOSS), "notice"),
        (events.Ended("s", LOSS), "info"),
    ],
)
def test_events_have_lines(event: events.Event, level: str) -> None:
    """Each is said at its level, and not below."""
    out = {}
    for threshold in LEVELS:
        log, text = writer(threshold)
        log(event)
        out[threshold] = text.getvalue()
    shown = [threshold for threshold in LEVELS if out[threshold]]
    assert shown == list(LEVELS[: LEVELS.index(level) + 1])
    assert out["silly"].startswith("2026-01-02T03:04:05.678Z ")


def test_most_events_have_none() -> None:
    """The log is no journal."""
    assert line(events.Forgotten("s")) is None


def test_a_peer_cannot_write_lines_of_its_own() -> None:
    """What a peer words, as a close reason, is shown in one line and moves no cursor."""
    log, out = writer("info")
    log(events.Ended("s", Loss(Reason.FIN, "kické\n2026 error \x1b[2J\x9b", 4000)))
    (written,) = out.getvalue().splitlines()
    assert written.endswith(r"s ended: fin 4000: kické\n2026 error \x1b[2J\x9b")


def test_levels_change_at_run_time_and_silent_is_silent() -> None:
    """POST /admin may change the level."""
    log, out = writer("silent")
    log.write("error", "x", "not this")
    log.set_level("error")
    log.write("error", "x", "but this")
    assert out.getvalue() == "2026-01-02T03:04:05.678Z ERR! x but this\n"


def test_the_level_follows_the_configuration() -> None:
    """POST /admin changes what is logged."""
    log, out = writer("error")
    log(events.Configured(Config(admin=Admin(log_level="info"))))
    log(events.Connected("s"))
    assert "s connected" in out.getvalue()


def test_twisteds_warnings_and_failures() -> None:
    """What Twisted has to complain about is shown, with its traceback."""
    log, out = writer("warn")
    publisher = LogPublisher(log.twisted)  # type: ignore[arg-type]
    logger = Logger("there", observer=publisher)
    logger.info("not this")
    logger.warn("mind {what}", what="this")
    logger.failure("it broke", Failure(ZeroDivisionError("oops")))
    text = out.getvalue()
    assert "not this" not in text
    assert "WARN there mind this" in text
    assert "ERR! there it broke" in text
    assert "ZeroDivisionError: oops" in text


def test_a_log_that_cannot_be_written_ends_nothing() -> None:
    """Traffic is more important."""
    log, out = writer("info")
    out.close()
    log.write("error", "x", "lost")


def test_log_files(tmp_path: Path) -> None:
    """stderr, stdout, or a file that is appended to."""
    assert open_log("stderr") is sys.stderr
    assert open_log("stdout") is sys.stdout
    path = tmp_path / "log"
    for _ in range(2):
        with open_log(str(path)) as file:
            file.write("line\n")
    assert path.read_text() == "line\nline\n"
    with pytest.raises(LocalError, match="nowhere"):
        open_log(str(tmp_path / "nowhere" / "log"))
