"""Echo: what goes in comes out."""

from __future__ import annotations

import pytest_twisted

from l7mp.protocols import echo
from l7mp.testing import check_stream
from tests.protocols.one import One
from tests.protocols.real import LOOPBACK, real


def test_it_keeps_boundaries() -> None:
    """Each message comes back as it was, and the end after it."""
    stream, sink = One(echo).connect()
    stream.write(b"a")
    stream.write(b"")
    stream.write(b"b")
    stream.end()
    assert sink.written == [b"a", b"", b"b"]
    assert sink.ended


def test_it_keeps_the_contract() -> None:
    """An echo is a stream."""

    def make() -> tuple[object, object]:
        stream, _ = One(echo).connect()
        stream.hold("sink")
        return stream, stream.write

    check_stream(make)  # type: ignore[arg-type]  # write is bound to its stream


@pytest_twisted.ensureDeferred
async def test_a_client_hears_itself() -> None:
    """As a destination, an echo gives a client everything back before the end."""
    async with real() as world:
        bound = await world.route(
            {"protocol": "TCP", "port": 1, "address": LOOPBACK}, {"protocol": "Echo"}
        )
        client = world.dial((LOOPBACK, bound["port"]))
        client.send(b"hello")
        client.finish()
        assert await client.reads_all() == b"hello"
