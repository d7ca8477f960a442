"""Whether a silent peer is still there."""

from __future__ import annotations

from twisted.internet.task import Clock

from l7mp.streams.heartbeat import Heartbeat


class Patient:
    """Somebody whose heart is watched."""

    def __init__(self, interval: float, patience: float) -> None:
        self.clock = Clock()
        self.asked: list[float] = []
        self.silences: list[float] = []
        self.heartbeat = Heartbeat(
            self.clock,
            interval,
            patience,
            lambda: self.asked.append(self.clock.seconds()),
            lambda: self.silences.append(self.clock.seconds()),
        )


def test_a_silent_peer_is_noticed() -> None:
    """Nothing heard within the patience after a question is told, each time."""
    patient = Patient(10, 3)
    patient.clock.pump([1] * 25)
    assert patient.asked == [10, 20]
    assert patient.silences == [13, 23]


def test_a_patient_heart_beats_slower() -> None:
    """Nothing is asked while an answer may still come."""
    patient = Patient(2, 10)
    patient.clock.pump([1] * 23)
    assert patient.asked == [2, 12, 22]
    assert patient.silences == [12, 22]


def test_any_sign_of_life_counts() -> None:
    """Whatever is heard between question and deadline is an answer."""
    patient = Patient(10, 3)
    patient.clock.pump([1] * 11)
    patient.heartbeat.heard = True
    patient.clock.pump([1] * 5)
    assert patient.silences == []


def test_an_old_sign_of_life_does_not_count() -> None:
    """What was heard before the question is no answer to it."""
    patient = Patient(10, 3)
    patient.heartbeat.heard = True
    patient.clock.pump([1] * 13)
    assert patient.silences == [13]


def test_without_patience_it_only_asks() -> None:
    """Without patience the question is asked at every interval, whatever is heard."""
    patient = Patient(10, 0)
    patient.clock.pump([1] * 35)
    assert patient.asked == [10, 20, 30]
    assert patient.silences == []


def test_it_stops() -> None:
    """A stopped heartbeat leaves no timer behind, and stopping twice is stopping once."""
    patient = Patient(10, 3)
    patient.clock.advance(10)
    patient.heartbeat.stop()
    patient.heartbeat.stop()
    assert not patient.clock.getDelayedCalls()


def test_it_can_be_stopped_by_its_own_news() -> None:
    """Who hears of the silence may stop the heartbeat at once."""
    patient = Patient(10, 3)
    patient.heartbeat._silent = patient.heartbeat.stop
    patient.clock.pump([1] * 30)
    assert patient.asked == [10]
    assert not patient.clock.getDelayedCalls()
