"""Frame: messages into frames."""

from __future__ import annotations

import pytest
import pytest_twisted
from pydantic import ValidationError

from l7mp.protocols import frame
from tests.protocols.one import One
from tests.protocols.real import LOOPBACK, real
from tests.streams.loopback import peers


def test_each_message_gets_a_frame() -> None:
    """What goes in comes out in frames; what has none is dropped and counted."""
    framing = {"format": "lines", "max_message": 5}
    stream, sink = One(frame).connect(framing=framing)
    for message in (b"one", b"t\no", b"seven!!"):
        stream.write(message)
    stream.end()
    assert sink.written == [b"one\n"]
    assert sink.ended
    assert stream.drops == {"unframeable": 1, "oversize": 1}


def test_there_has_to_be_a_framing() -> None:
    """None frames nothing, so it is refused with what to do instead."""
    for framing in ("none", {"format": "none"}):
        with pytest.raises(ValidationError, match="no frames without a framing"):
            One(frame).connect(framing=framing)


@pytest_twisted.ensureDeferred
async def test_between_messages_and_bytes() -> None:
    """On the way to a stream of bytes it keeps boundaries, and nobody is warned."""
    async with real() as world:
        server = world.serve()
        where = dict(zip(("address", "port"), server.getsockname(), strict=True))
        bound = await world.route(
            {"protocol": "UDP", "port": 1, "address": LOOPBACK},
            {"protocol": "TCP", "port": 1},
            where,
            more=(
                {"name": "f", "spec": {"protocol": "Frame", "framing": "netstring"}},
                {"name": "d", "spec": {"protocol": "Deframe", "framing": "netstring"}},
            ),
            ingress=["f"],
            egress=["d"],
        )
        with peers() as (client,):
            client.send(b"one", (LOOPBACK, bound["port"]))
            client.send(b"", (LOOPBACK, bound["port"]))
            there = await world.accept(server)
            assert await there.reads(9) == b"3:one,0:,"
            there.send(b"2:hi,3:y")
            there.send(b"ou,")
            assert [(await client.receive())[0] for _ in "12"] == [b"hi", b"you"]
            assert (await world.one_session()).warnings == []
