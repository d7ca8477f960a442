"""Metric: an echo that counts."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from l7mp.errors import LocalError, Loss, Reason
from l7mp.observers.metrics import Metrics
from l7mp.protocols import metric
from tests.protocols.one import One


def test_sessions_count_for_their_cluster() -> None:
    """What passes is echoed, and added up over the sessions of the cluster."""
    metrics = Metrics()
    one = One(metric, metrics=metrics)
    for _ in range(2):
        stream, sink = one.connect()
        stream.write(b"abc")
        stream.end()
        assert sink.written == [b"abc"]
        assert sink.ended
    shown = metrics.exposition()
    assert 'session_byte_counter_total{clusterName="out"} 6\n' in shown
    assert 'session_packet_counter_total{clusterName="out"} 2\n' in shown


def test_the_counters_can_be_named() -> None:
    """The names of the metrics are the cluster's to choose."""
    metrics = Metrics()
    names: dict[str, Any] = {"byteCounterName": "mine", "packetCounterName": "yours"}
    stream, _ = One(metric, metrics=metrics).connect(**names)
    stream.write(b"abc")
    assert 'mine{clusterName="out"} 3\n' in metrics.exposition()
    assert 'yours{clusterName="out"} 1\n' in metrics.exposition()


def test_without_metrics_there_is_nothing_to_count_with() -> None:
    """A proxy put together without metrics says so."""
    with pytest.raises(LocalError, match="without metrics"):
        One(metric).connect()


def test_living_sessions_are_shown() -> None:
    """By name while they live, as many as are wanted, and then with the rest."""
    metrics = Metrics()
    one = One(metric, metrics=metrics)
    streams = [one.connect({"name": f"s{n}"}, sessions=1)[0] for n in range(2)]
    for stream in streams:
        stream.write(b"abc")
    shown = metrics.exposition()
    mine = 'session_byte_counter_total{sessionName="s0",clusterName="out"} 3\n'
    assert mine in shown
    assert 'session_byte_counter_total{clusterName="out"} 3\n' in shown
    streams[0].abort(Loss(Reason.RESET))
    assert mine not in metrics.exposition()
    assert 'session_byte_counter_total{clusterName="out"} 6\n' in metrics.exposition()


def test_names_of_the_proxy_are_refused() -> None:
    """One metric cannot be two."""
    with pytest.raises(ValidationError, match="counted by the proxy itself"):
        One(metric).connect(byteCounterName="listener_requests_total")
