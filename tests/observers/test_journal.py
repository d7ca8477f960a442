"""What REST shows of a session's past."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from l7mp.core import events
from l7mp.errors import Loss, Reason
from l7mp.interfaces import Note
from l7mp.observers.journal import FIRST, LAST, OMITTED, Journal

NOW = datetime(2026, 1, 2, 3, 4, 5, 678912, tzinfo=UTC)
LOSS = Loss(Reason.REFUSED, "nobody there")
WHY = {"reason": "refused", "detail": "nobody there"}
KICKED = Loss(Reason.FIN, "kicked", 4000)


def journal_of(*happened: events.Event) -> Journal:
    journal = Journal(lambda: NOW)
    journal(events.Born("s", "in", "UDP"))
    for event in happened:
        journal(event)
    return journal


@pytest.mark.parametrize(
    ("event", "word", "content"),
    [
        (
            events.Routed("s", "list", "rule", "route"),
            "LOOKUP SUCCESS",
            {"rulelist": "list", "rule": "rule", "route": "route"},
        ),
        (events.Connected("s"), "CONNECT", {}),
        (
            events.Noted("s", "out", Note("WORD", "in words", {"more": 1})),
            "WORD",
            {"stage": "out", "more": 1},
        ),
        (events.StageLost("s", "out", LOSS), "DISCONNECT", {"stage": "out", **WHY}),
        (events.AttemptFailed("s", "out", LOSS), "ERROR", {"stage": "out", **WHY}),
        (events.Refused("s", LOSS), "ERROR", WHY),
        (events.Ended("s", LOSS), "END", WHY),
        (
            events.Ended("s", KICKED),
            "END",
            {"reason": "fin", "detail": "kicked", "code": 4000},
        ),
        (events.Destroyed("s", LOSS), "DESTROY", WHY),
    ],
)
def test_events_have_the_words_of_the_original(
    event: events.Event, word: str, content: dict[str, Any]
) -> None:
    """Every event is told in the original's word, with the reason of a loss."""
    birth, page = journal_of(event).events("s")
    assert (birth.event, page.event) == ("INIT", word)
    assert page.content == content
    assert page.timestamp == "2026-01-02T03:04:05.678Z"


def test_messages_name_what_is_concerned() -> None:
    """The message of a lookup names the rulelist and the rule."""
    birth, lookup = journal_of(events.Routed("s", "list", "rule", "r")).events("s")
    assert '"in"' in birth.message
    assert '"list"' in lookup.message
    assert '"rule"' in lookup.message


def test_time_is_the_clock_s() -> None:
    """Each event has the time at which it happened."""
    times = iter(NOW + timedelta(milliseconds=n) for n in range(3))
    journal = Journal(lambda: next(times))
    for event in (
        events.Born("s", "in", "UDP"),
        events.Connected("s"),
        events.Ended("s", LOSS),
    ):
        journal(event)
    assert [page.timestamp[-4:] for page in journal.events("s")] == [
        "678Z",
        "679Z",
        "680Z",
    ]


def test_what_is_not_of_a_session_is_not_mentioned() -> None:
    """Events of listeners, and those that the original had not, are left out."""
    journal = journal_of(
        events.StageRestored("s", "out"),
        events.StageConnected("s", "out", "TCP", "e"),
        events.Warned("s", "mind the gap"),
        events.StoppedListening("in"),
    )
    assert [page.event for page in journal.events("s")] == ["INIT"]


def test_sessions_are_told_apart() -> None:
    """A session's events are its own; of an unknown one there are none."""
    journal = journal_of(events.Born("t", "in", "UDP"), events.Connected("t"))
    assert [page.event for page in journal.events("s")] == ["INIT"]
    assert [page.event for page in journal.events("t")] == ["INIT", "CONNECT"]
    assert journal.events("nobody") == ()


def test_a_forgotten_session_stays_forgotten() -> None:
    """Nothing is kept of a session that is not listed, whatever still happens to it."""
    journal = journal_of(events.Forgotten("s"), events.AttemptFailed("s", "out", LOSS))
    assert journal.events("s") == ()


@pytest.mark.parametrize("happened", [FIRST - 1, FIRST + LAST - 1, FIRST + LAST + 6])
def test_a_long_life_is_told_in_short(happened: int) -> None:
    """The first and the last events are kept, with a word about those between."""
    losses = [Loss(Reason.FIN, str(n)) for n in range(happened)]
    pages = journal_of(*(events.Ended("s", loss) for loss in losses)).events("s")
    lost = max(0, happened + 1 - FIRST - LAST)
    assert len(pages) == happened + 1 - lost + bool(lost)
    assert pages[-1].content["detail"] == str(happened - 1)
    gaps = [page for page in pages if page.event == OMITTED]
    assert [gap.content for gap in gaps] == [{"omitted": lost}] * bool(lost)
    if lost:
        assert pages[FIRST] == gaps[0]
        assert str(lost) in gaps[0].message
