"""The states of a session."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from l7mp.core.lifecycle import Hooks, lifecycle
from l7mp.errors import Loss, Reason


class Lives(RuleBasedStateMachine):
    """Whatever happens, a session winds up once and is buried once, in that order."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.missing: set[int] = set()
        self.life = lifecycle(
            Hooks(
                lambda _: self.told.append("wind up"), lambda: self.told.append("bury")
            )
        )

    def in_state(self, *states: str) -> bool:
        return self.life.status() in states

    @precondition(lambda self: self.in_state("INIT", "FINALIZING", "DESTROYED"))
    @rule()
    def connected(self) -> None:
        self.life.connected()

    @precondition(lambda self: not self.in_state("INIT"))
    @rule(index=st.integers(1, 3))
    def lost(self, index: int) -> None:
        self.life.lost(index)
        self.missing.add(index)

    @precondition(lambda self: self.missing)
    @rule()
    def restored(self) -> None:
        self.life.restored(self.missing.pop())

    @rule()
    def finish(self) -> None:
        self.life.finish(Loss(Reason.FIN))

    @precondition(lambda self: self.in_state("FINALIZING", "DESTROYED"))
    @rule()
    def vanished(self) -> None:
        self.life.vanished()

    @invariant()
    def once_and_in_order(self) -> None:
        expected = {"FINALIZING": ["wind up"], "DESTROYED": ["wind up", "bury"]}
        assert self.told == expected.get(self.life.status(), [])

    @invariant()
    def missing_means_disconnected(self) -> None:
        if self.in_state("CONNECTED"):
            assert not self.missing
        if self.in_state("DISCONNECTED"):
            assert self.missing


TestLives = Lives.TestCase
