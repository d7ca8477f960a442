"""Counts what happens, for Prometheus; labels are bounded, sessions are not labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from l7mp.core import events

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Meter:
    """What has passed a Metric cluster."""

    bytes: int = 0
    messages: int = 0


class Metrics:
    """An observer; ``exposition`` shows what it has counted."""

    def __init__(self) -> None:
        self._listeners: Counter[Labels] = Counter()
        self._clusters: Counter[Labels] = Counter()
        self._ended: Counter[Labels] = Counter()
        self._unshaken: Counter[Labels] = Counter()
        self._meters: dict[tuple[str, str, str], Meter] = {}
        self._drops: dict[str, Counter[str]] = {}

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.Born):
            labels = (("listenerName", event.listener), ("protocol", event.protocol))
            self._listeners[labels] += 1
        elif isinstance(event, events.StageConnected):
            labels = (("clusterName", event.origin), ("protocol", event.protocol))
            self._clusters[labels] += 1
        elif isinstance(event, events.Ended):
            self._ended[(("reason", event.loss.reason.value),)] += 1

        elif isinstance(event, events.HandshakeFailed):
            self._unshaken[(("listenerName", event.listener),)] += 1

    def meter(self, cluster: str, bytes_name: str, messages_name: str) -> Meter:
        """The meter of a Metric cluster, and the names under which it is shown."""
        return self._meters.setdefault((cluster, bytes_name, messages_name), Meter())

    def drops(self, listener: str) -> Counter[str]:
        """What came to a listener and reached no session, to be counted by reason."""
        return self._drops.setdefault(listener, Counter())

    def _dropped(self) -> Counter[Labels]:
        return Counter(
            {
                (("listenerName", listener), ("reason", reason)): count
                for listener, counts in self._drops.items()
                for reason, count in counts.items()
            }
        )

    def _metered(self) -> dict[str, Counter[Labels]]:
        shown: dict[str, Counter[Labels]] = {
            "session_byte_counter_total": Counter(),
            "session_packet_counter_total": Counter(),
        }
        for (cluster, of_bytes, of_messages), meter in self._meters.items():
            labels = (("clusterName", cluster),)
            shown.setdefault(of_bytes, Counter())[labels] += meter.bytes
            if of_messages != of_bytes:
                shown.setdefault(of_messages, Counter())[labels] += meter.messages
        return shown

    def exposition(self) -> str:
        """The text format of Prometheus, version 0.0.4."""
        metered = (
            (name, "What passed Metric clusters.", counts)
            for name, counts in self._metered().items()
        )
        families = (
            ("listener_requests_total", "Sessions emitted.", self._listeners),
            ("cluster_requests_total", "Stages connected.", self._clusters),
            ("sessions_ended_total", "Sessions ended, by reason.", self._ended),
            (
                "listener_drops_total",
                "Messages that reached no session, by reason.",
                self._dropped(),
            ),
            ("handshakes_failed_total", "TLS clients turned away.", self._unshaken),
            *metered,
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
