"""The states of a session, and nothing else about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from automat import TypeMachineBuilder

from l7mp.errors import Loss


class Lifecycle(Protocol):
    """What may happen to a session."""

    def connected(self) -> None:
        """Every stage is there and the ring is closed."""

    def lost(self, index: int) -> None:
        """A stage went away, and is being connected again."""

    def restored(self, index: int) -> None:
        """A lost stage is back in the ring."""

    def finish(self, loss: Loss) -> None:
        """The session is to end."""

    def vanished(self) -> None:
        """The last stream of the session is gone."""

    def status(self) -> str:
        """The word REST shows."""


@dataclass
class Hooks:
    """What the session does when its state changes."""

    wind_up: Callable[[Loss], None]
    """Close every stream; ``vanished`` follows."""
    bury: Callable[[], None]
    """Nothing is left of the session."""
    missing: set[int] = field(default_factory=set)


def _build() -> Callable[[Hooks], Lifecycle]:  # noqa: C901  # a table of transitions
    machine = TypeMachineBuilder(Lifecycle, Hooks)
    init = machine.state("INIT")
    up = machine.state("CONNECTED")
    retrying = machine.state("DISCONNECTED")
    finalizing = machine.state("FINALIZING")
    over = machine.state("DESTROYED")

    init.upon(Lifecycle.connected).to(up).returns(None)
    retrying.upon(Lifecycle.connected).to(up).returns(None)

    @up.upon(Lifecycle.lost).to(retrying)
    def first(life: Lifecycle, hooks: Hooks, index: int) -> None:
        hooks.missing.add(index)

    @retrying.upon(Lifecycle.lost).loop()
    def another(life: Lifecycle, hooks: Hooks, index: int) -> None:
        hooks.missing.add(index)

    @retrying.upon(Lifecycle.restored).loop()
    def back(life: Lifecycle, hooks: Hooks, index: int) -> None:
        hooks.missing.discard(index)
        if not hooks.missing:
            life.connected()

    for state in (init, up, retrying):

        @state.upon(Lifecycle.finish).to(finalizing)
        def finish(life: Lifecycle, hooks: Hooks, loss: Loss) -> None:
            hooks.wind_up(loss)

    @finalizing.upon(Lifecycle.vanished).to(over)
    def vanished(life: Lifecycle, hooks: Hooks) -> None:
        hooks.bury()

    for state in (finalizing, over):
        state.upon(Lifecycle.connected).loop().returns(None)
        state.upon(Lifecycle.lost).loop().returns(None)
        state.upon(Lifecycle.restored).loop().returns(None)
        state.upon(Lifecycle.finish).loop().returns(None)
    over.upon(Lifecycle.vanished).loop().returns(None)

    for state in (init, up, retrying, finalizing, over):
        state.upon(Lifecycle.status).loop().returns(state.name)

    return machine.build()


lifecycle = _build()
