"""One run of a program that many sessions share."""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.internet.interfaces import IReactorFDSet, IReactorTime
from zope.interface import implementer

from l7mp.errors import Loss, Reason
from l7mp.interfaces import ICloseable
from l7mp.streams.commons import Commons, SharedStream
from l7mp.streams.murmur import Murmur
from l7mp.streams.pipes import Inlet
from l7mp.streams.process import Child, Program, launch, loss_of


class _Run:
    """From the start of the program to its end."""

    def __init__(self, house: SharedProgram) -> None:
        reactor, clock, program = house.reactor, house.clock, house.program
        self.child, ends = launch(reactor, clock, program, {}, self._exited)
        self._name = program.command[0]
        self._fate: Loss | None = None
        self._errors: Inlet | None = None
        self.commons = Commons(reactor, clock, ends.stdin)
        self.commons.read_from(ends.stdout, self._silent)
        self._murmur = Murmur(clock, house.say)
        if ends.stderr is not None:
            feed, end = self._murmur.feed, self._said_all
            self._errors = Inlet(reactor, clock, ends.stderr, feed, end)
            self._errors.go()

    def _said_all(self, _: Loss) -> None:
        self._errors = None
        self._murmur.end()

    def _silent(self, _: Loss) -> None:
        """There is no more output; who listens is told with the reason."""
        if self._fate is not None:
            self.finish(self._fate)

    def _exited(self, status: int) -> None:
        self._fate = loss_of(self._name, status)
        if not self.commons.is_reading or not self.commons.members:
            self.finish(self._fate)

    def clear_away(self) -> None:
        """Nobody has heard the last of its output, nor will."""
        if self._fate is not None and not self.commons.members:
            self.finish(self._fate)

    def finish(self, loss: Loss) -> None:
        """It is over, for all."""
        self.commons.end_all(loss)
        self.commons.close()
        if self._errors is not None:
            self._errors.catch_up()
        if self._errors is not None:
            self._errors.close()
            self._said_all(loss)


@implementer(ICloseable)
class SharedProgram:
    """
    Runs a program for whoever comes, once for all of them.

    After it has ended it is run again for the next one.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IReactorTime,
        program: Program,
        kill_after: float,
        say: Callable[[str], None],
    ) -> None:
        """``say`` hears each line of its standard error, behind its name."""
        self.reactor, self.clock, self.program = reactor, clock, program
        self._kill_after, self._say = kill_after, say
        self._runs: list[_Run] = []

    def say(self, line: str) -> None:
        """It said ``line`` on its standard error."""
        self._say(f"{os.path.basename(self.program.command[0])}: {line}")

    def join(self) -> tuple[SharedStream, Child]:
        """A stream for one session; raises ``LocalError`` if it cannot be run."""
        if not self._runs or not self._runs[-1].child.is_running:
            # Of the others, some are still being heard.
            for run in self._runs:
                run.clear_away()
            self._runs = [run for run in self._runs if run.commons.members]
            self._runs.append(_Run(self))
        run = self._runs[-1]
        return run.commons.join(), run.child

    def close(self) -> None:
        """Let it go; whoever still listens hears no more."""
        for run in self._runs:
            run.child.dismiss(self._kill_after, hang_up=self.program.pty)
            run.finish(Loss(Reason.DELETED, "the program was taken away"))
        self._runs.clear()
