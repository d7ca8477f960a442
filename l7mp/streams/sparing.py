"""Telling of what may happen very often, now and then."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

PAUSE = 60.0
"""Seconds between two sentences about the same."""


class Sparing:
    """
    Says something about each topic at once, and then not before a pause.

    What is said is ``sentence`` with the topic, and how often it has come up since.
    Topics are few: they are remembered for good.
    """

    def __init__(
        self, clock: IReactorTime, say: Callable[[str], None], sentence: str
    ) -> None:
        """``sentence`` has places for ``{topic}`` and ``{count}``."""
        self._clock, self._say, self._sentence = clock, say, sentence
        self._last: dict[str, float] = {}
        self._count: dict[str, int] = {}

    def __call__(self, topic: str) -> None:
        """It has happened again."""
        count = self._count[topic] = self._count.get(topic, 0) + 1
        now = self._clock.seconds()
        last = self._last.get(topic)
        if last is None or now - last >= PAUSE:
            self._last[topic], self._count[topic] = now, 0
            self._say(self._sentence.format(topic=topic, count=count))
