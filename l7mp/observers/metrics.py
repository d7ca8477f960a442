"""Counts what happens, for Prometheus; labels are bounded, sessions are not labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from l7mp.core import events

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """An observer; ``exposition`` shows what it has counted."""

    def __init__(self) -> None:
        self._listeners: Counter[Labels] = Counter()
        self._clusters: Counter[Labels] = Counter()
        self._ended: Counter[Labels] = Counter()

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.Born):
            labels = (("listenerName", event.listener), ("protocol", event.protocol))
            self._listeners[labels] += 1
        elif isinstance(event, events.StageConnected):
            labels = (("clusterName", event.origin), ("protocol", event.protocol))
            self._clusters[labels] += 1
        elif isinstance(event, events.Ended):
            self._ended[(("reason", event.loss.reason.value),)] += 1

    def exposition(self) -> str:
        """The text format of Prometheus, version 0.0.4."""
        families = (
            ("listener_requests_total", "Sessions emitted.", self._listeners),
            ("cluster_requests_total", "Stages connected.", self._clusters),
            ("sessions_ended_total", "Sessions ended, by reason.", self._ended),
        )
        return "".join(
            f"# HELP {name} {text}\n# TYPE {name} counter\n{''.join(_lines(name, of))}"
            for name, text, of in families
        )


def _lines(name: str, counts: Counter[Labels]) -> Iterable[str]:
    for labels, count in counts.items():
        words = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels)
        yield f"{name}{{{words}}} {count}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
