"""Counters for Prometheus."""

from __future__ import annotations

from l7mp.core import events
from l7mp.errors import Loss, Reason
from l7mp.observers.metrics import Metrics


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
    meter = metrics.meter("m", "session_byte_counter_total", "messages")
    assert metrics.meter("m", "session_byte_counter_total", "messages") is meter
    meter.bytes += 10
    meter.messages += 2
    one = metrics.meter("n", "both", "both")
    one.bytes += 1
    text = metrics.exposition()
    assert 'session_byte_counter_total{clusterName="m"} 10\n' in text
    assert 'messages{clusterName="m"} 2\n' in text
    assert 'both{clusterName="n"} 1\n' in text
