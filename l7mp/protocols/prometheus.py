"""Prometheus: what the proxy has counted, for a scraper."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed

from l7mp.core.registry import Context, Protocol
from l7mp.errors import LocalError, Loss, Reason
from l7mp.interfaces import IStream, Kind, Metadata
from l7mp.model.config import EndPoint
from l7mp.model.spec import REMOTE_WORDS, Spec
from l7mp.streams.stream import Stream

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class PrometheusClusterSpec(Spec):
    """Answer with the proxy's counters, in Prometheus's text format."""

    tolerates = REMOTE_WORDS


class Scrape(Stream):
    """Answers once, as soon as something was asked, whatever it was."""

    kind = Kind.BYTES
    half_close = True

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text.encode()
        self._asked = False

    def write(self, data: bytes) -> None:
        self.messages_out += 1
        self.bytes_out += len(data)
        self._ask()

    def end(self) -> None:
        """The request is complete."""
        self._ask()

    def _ask(self) -> None:
        self._asked = True
        if not self.is_held:
            self._resume()

    def _resume(self) -> None:
        text, self._text = self._text, b"" if self._asked else self._text
        if self._asked and text and self._sink is not None:
            headers = {"content-type": CONTENT_TYPE, "content-length": str(len(text))}
            self._sink.describe({"HTTP": {"status": 200, "headers": headers}})
            self._deliver(text)
            self._read_ended()
            self._lose(Loss(Reason.FIN))

    def abort(self, loss: Loss) -> None:
        self._lose(loss)


def connect(
    context: Context,
    spec: PrometheusClusterSpec,
    endpoint: EndPoint,
    metadata: Metadata,
) -> Deferred[IStream]:
    """The counters as they are now."""
    if "metrics" not in context.services:
        raise LocalError("this proxy was put together without metrics")
    return succeed(Scrape(context.services["metrics"].exposition()))


protocol = Protocol(
    name="Prometheus",
    kind=Kind.BYTES,
    summary="The proxy's counters, in Prometheus's text format.",
    cluster=PrometheusClusterSpec,
    connect=connect,
    virtual=True,
)
