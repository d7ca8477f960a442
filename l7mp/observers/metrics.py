"""Counts what happens, for Prometheus; labels are bounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from l7mp.core import events

Labels = tuple[tuple[str, str], ...]

MAX_SERIES = 1000
"""
How many sets of labels a metric has; what more there is is counted as ``OTHERS``.

Names come and go with the configuration, and nobody may remember all of them.
"""

OTHERS = "<OTHERS>"


class Family(Counter[Labels]):
    """The series of one metric."""

    def add(self, **labels: str) -> None:
        """One more."""
        key: Labels = tuple(labels.items())
        if key not in self and len(self) >= MAX_SERIES:
            key = tuple((name, OTHERS) for name in labels)
        self[key] += 1


@dataclass(slots=True)
class Meter:
    """What has passed, be it of one session or of many."""

    bytes: int = 0
    messages: int = 0
    users: int = 0


@dataclass(slots=True)
class Group:
    """What passes the Metric clusters of one name."""

    rest: Meter = field(default_factory=Meter)
    """Of sessions that are not shown by name, or not any more."""
    living: dict[str, Meter] = field(default_factory=dict)

    def enter(self, session: str, most: int) -> Meter:
        """A session's meter, its own if no more than ``most`` sessions have theirs."""
        meter = self.living.get(session)
        if meter is None:
            if not session or len(self.living) >= most:
                return self.rest
            meter = self.living[session] = Meter()
        meter.users += 1
        return meter

    def leave(self, session: str, meter: Meter) -> None:
        """The session is over, and what it counted is the rest's."""
        if self.living.get(session) is meter:
            meter.users -= 1
            if not meter.users:
                del self.living[session]
                self.rest.bytes += meter.bytes
                self.rest.messages += meter.messages


class Metrics:
    """An observer; ``exposition`` shows what it has counted."""

    def __init__(self) -> None:
        self._listeners, self._clusters = Family(), Family()
        self._ended, self._unshaken = Family(), Family()
        self._groups: dict[tuple[str, str, str], Group] = {}
        self._drops: dict[str, Counter[str]] = {}

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.Born):
            self._listeners.add(listenerName=event.listener, protocol=event.protocol)
        elif isinstance(event, events.StageConnected):
            self._clusters.add(clusterName=event.origin, protocol=event.protocol)
        elif isinstance(event, events.Ended):
            self._ended.add(reason=event.loss.reason.value)
        elif isinstance(event, events.HandshakeFailed):
            self._unshaken.add(listenerName=event.listener)

    def group(self, cluster: str, bytes_name: str, messages_name: str) -> Group:
        """What a Metric cluster counts, and the names under which it is shown."""
        key = (cluster, bytes_name, messages_name)
        if key not in self._groups and len(self._groups) >= MAX_SERIES:
            key = (OTHERS, *METERED)
        return self._groups.setdefault(key, Group())

    def drops(self, listener: str) -> Counter[str]:
        """What came to a listener and reached no session, to be counted by reason."""
        if listener not in self._drops and len(self._drops) >= MAX_SERIES:
            listener = OTHERS
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
        shown: dict[str, Counter[Labels]] = {name: Counter() for name in METERED}
        for (cluster, of_bytes, of_messages), group in self._groups.items():
            for labels, meter in _series(cluster, group):
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


METERED = ("session_byte_counter_total", "session_packet_counter_total")
"""What Metric clusters count where they do not say another name."""


def _series(cluster: str, group: Group) -> Iterator[tuple[Labels, Meter]]:
    yield (("clusterName", cluster),), group.rest
    for session, meter in group.living.items():
        yield (("sessionName", session), ("clusterName", cluster)), meter


def _lines(name: str, counts: Counter[Labels]) -> Iterable[str]:
    for labels, count in counts.items():
        words = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels)
        yield f"{name}{{{words}}} {count}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
