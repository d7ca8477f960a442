"""Prometheus: the counters, for whoever asks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import pytest_twisted

from l7mp.errors import LocalError, Loss, Reason
from l7mp.observers.metrics import Metrics
from l7mp.protocols import prometheus
from l7mp.protocols.prometheus import CONTENT_TYPE, Scrape
from l7mp.testing import check_stream
from tests.protocols.one import One
from tests.protocols.real import LOOPBACK, real


def test_a_request_is_answered_once() -> None:
    """The end of a request brings the counters, with their type, and the end."""
    metrics = Metrics()
    stream, sink = One(prometheus, metrics=metrics).connect()
    assert sink.written == []
    stream.end()
    text = metrics.exposition().encode()
    assert sink.written == [text]
    (facts,) = sink.facts
    assert facts["HTTP"]["status"] == 200
    assert facts["HTTP"]["headers"] == {
        "content-type": CONTENT_TYPE,
        "content-length": str(len(text)),
    }
    assert sink.ended
    assert stream.loss == Loss(Reason.FIN)


def test_it_keeps_the_contract() -> None:
    """A scrape is a stream."""

    def make() -> tuple[Scrape, Callable[[bytes], None]]:
        scrape = Scrape("")

        def send(data: bytes) -> None:
            scrape._text = data
            scrape.write(b"GET")

        return scrape, send

    check_stream(make)


def test_without_metrics_there_is_nothing_to_show() -> None:
    """A proxy put together without metrics says so."""
    with pytest.raises(LocalError, match="without metrics"):
        One(prometheus).connect()


@pytest_twisted.ensureDeferred
async def test_a_plain_client_is_answered_too() -> None:
    """Over TCP whatever is sent brings the counters."""
    async with real(metrics=Metrics()) as world:
        bound = await world.route(
            {"protocol": "TCP", "port": 1, "address": LOOPBACK},
            {"protocol": "Prometheus"},
        )
        client = world.dial((LOOPBACK, bound["port"]))
        client.send(b"?")
        assert b"# TYPE sessions_ended_total counter\n" in await client.reads_all()
