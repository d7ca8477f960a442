"""Counters for Prometheus."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from l7mp.core import events
from l7mp.errors import Loss, Reason
from l7mp.observers.metrics import METERED, OTHERS, Group, Metrics
from l7mp.protocols.metric import RESERVED


def test_the_exposition() -> None:
    """HELP and TYPE from the start; sessions are counted, not named."""
    metrics = Metrics()
    assert "# TYPE listener_requests_total counter" in metrics.exposition()
    for _ in range(2):
        metrics(events.Born("s", 'li"st\\en\n', "TCP"))
    metrics(events.StageConnected("s", "out", "UDP", "e"))
    metrics(events.Ended("s", Loss(Reason.IDLE)))
    metrics(events.Connected("s"))
    metrics(events.HandshakeFailed("in", "a client", Loss(Reason.TLS)))
    text = metrics.exposition()
    assert 'handshakes_failed_total{listenerName="in"} 1\n' in text
    assert (
        'listener_requests_total{listenerName="li\\"st\\\\en\\n",protocol="TCP"} 2\n'
    ) in text
    assert 'cluster_requests_total{clusterName="out",protocol="UDP"} 1\n' in text
    assert 'sessions_ended_total{reason="idle"} 1\n' in text


def test_meters() -> None:
    """A Metric cluster counts bytes and messages under names of its choice."""
    metrics = Metrics()
    group = metrics.group("m", "session_byte_counter_total", "messages")
    assert metrics.group("m", "session_byte_counter_total", "messages") is group
    group.rest.bytes += 10
    group.rest.messages += 2
    metrics.group("n", "both", "both").rest.bytes += 1
    text = metrics.exposition()
    assert 'session_byte_counter_total{clusterName="m"} 10\n' in text
    assert 'messages{clusterName="m"} 2\n' in text
    assert 'both{clusterName="n"} 1\n' in text


def test_sessions_are_shown_while_they_live() -> None:
    """As many as are wanted; what they counted stays counted when they end."""
    group = Group()
    one, again, two, three = (group.enter(name, 2) for name in ("1", "1", "2", "3"))
    assert one is again
    assert three is group.rest
    for meter in (one, two, three):
        meter.bytes += 1
    group.leave("1", one)
    assert list(group.living) == ["1", "2"]
    group.leave("1", one)
    group.leave("1", one)
    group.leave("3", three)
    assert list(group.living) == ["2"]
    assert group.rest.bytes == 2
    assert group.enter("", 2) is group.rest


def test_series_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names come and go; beyond a bound they are counted together."""
    monkeypatch.setattr("l7mp.observers.metrics.MAX_SERIES", 2)
    metrics = Metrics()
    for name in "abcda":
        metrics(events.Born("s", name, "TCP"))
        metrics.drops(name)["rate"] += 1
        metrics.group(name, "b", "m").rest.bytes += 1
    text = metrics.exposition()
    assert 'listener_requests_total{listenerName="a",protocol="TCP"} 2\n' in text
    assert (
        f'listener_requests_total{{listenerName="{OTHERS}",protocol="{OTHERS}"}} 2\n'
    ) in text
    assert f'listener_drops_total{{listenerName="{OTHERS}",reason="rate"}} 2\n' in text
    assert f'session_byte_counter_total{{clusterName="{OTHERS}"}} 2\n' in text


AWKWARD = st.text(st.sampled_from('ab\\"\n{},=# '), max_size=6)


@given(st.lists(st.tuples(AWKWARD, AWKWARD, st.integers(0, 5)), max_size=5))
def test_a_scraper_understands_it(counts: list[tuple[str, str, int]]) -> None:
    """Prometheus's own parser finds every number under the labels it was given."""
    metrics = Metrics()
    for cluster, session, count in counts:
        metrics.group(cluster, *METERED).enter(session, 10).messages += count
        metrics(events.StageConnected("s", cluster, "UDP", "e"))
    families = {
        family.name: family
        for family in text_string_to_metric_families(metrics.exposition())
    }
    assert set(families) >= {name.removesuffix("_total") for name in RESERVED}
    assert all(family.type == "counter" for family in families.values())
    packets = families["session_packet_counter"].samples
    assert sum(sample.value for sample in packets) == sum(one[2] for one in counts)
    stages = {
        sample.labels["clusterName"]: sample.value
        for sample in families["cluster_requests"].samples
    }
    assert stages == Counter(cluster for cluster, _, _ in counts)


def test_reserved_names_are_all_there_are() -> None:
    """A Metric cluster cannot be called as anything that is counted anyway."""
    names = re.findall(r"# TYPE (\S+) counter", Metrics().exposition())
    assert {*names} == RESERVED | {*METERED}
    assert len(names) == len({*names})
