"""AF_PACKET on the loopback interface, as listener and cluster."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest
import pytest_twisted
from pydantic import ValidationError

from l7mp.core.registry import Context, Registry
from l7mp.errors import LocalError, Loss, Reason, RemoteError
from l7mp.interfaces import SINK
from l7mp.model.config import EndPoint
from l7mp.observers.metrics import Metrics
from l7mp.protocols import af_packet
from l7mp.streams.packet import Heard
from l7mp.streams.packetsocket import open_packet_socket
from l7mp.testing import Memory
from tests.streams.frames import (
    LO,
    LOCAL1,
    LOCAL2,
    NOBODY,
    A,
    B,
    C,
    Wire,
    frame,
    needs_packets,
    wire,
)
from tests.streams.loopback import turn, until

pytestmark = needs_packets

REGISTRY = Registry.of([af_packet.protocol])
WORDS = REGISTRY.vocabulary()
ONLY_X = [[0x30, 0, 0, 14], [0x15, 0, 1, ord("x")], [6, 0, 0, 65535], [6, 0, 0, 0]]


def said(**words: Any) -> dict[str, Any]:
    return {"protocol": "AF_PACKET", "ethertype": "local1", **words}


class World:
    """Listeners and clusters, closed in the end, and what came of them."""

    def __init__(self) -> None:
        from twisted.internet import reactor

        self.metrics = Metrics()
        services = {"metrics": self.metrics}
        self.context = Context(
            reactor=reactor, registry=REGISTRY, services=services
        ).on_behalf_of("listener", "ear")
        self.accepted: list[tuple[Any, dict[str, Any], str]] = []
        self.sinks: list[Memory] = []
        self.open: list[Any] = []

    def _accept(self, stream: Any, metadata: dict[str, Any], words: str) -> None:
        self.accepted.append((stream, metadata["ETH"], words))
        self.open.append(stream)
        self._drink(stream)

    def _drink(self, stream: Any) -> None:
        self.sinks.append(Memory())
        stream.deliver_to(self.sinks[-1])
        stream.release(SINK)

    async def listen(self, **words: Any) -> Any:
        spec = WORDS.listener(said(interface=LO, **words))
        return await self.context.listen(spec, self._accept)

    async def connect(
        self, address: str = LO, metadata: Any = None, **words: Any
    ) -> Any:
        spec = WORDS.cluster(said(**words))
        endpoint = EndPoint("e", address)
        stream = await self.context.connect(spec, endpoint, metadata or {})
        self.open.append(stream)
        self._drink(stream)
        return stream

    def close(self) -> None:
        for stream in self.open:
            stream.abort(Loss(Reason.SHUTDOWN))


@pytest.fixture
def world() -> Any:
    made = World()
    yield made
    made.close()


# -- listeners ---------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_single_session_begins_at_once(world: World) -> None:
    """A listener has its session before any frame, and all frames go there."""
    listening = await world.listen()
    assert listening.address() == {"interface": LO}
    assert world.accepted == []
    await until(lambda: world.accepted)
    ((stream, facts, words),) = world.accepted
    assert words == LO
    assert facts == {"interface": LO, "src": "00:00:00:00:00:00", "type": LOCAL1}
    with wire() as peer:
        frames = [frame(A), frame(C), frame(A, payload=bytes(1400))]
        peer.send(*frames)
        await until(lambda: len(world.sinks[0].written) == 3)
        assert world.sinks[0].written == frames
        stream.write(frame(B, A, payload=b"answer"))
        for expected in (*frames, frame(B, A, payload=b"answer")):
            assert await peer.receive() == expected
    assert stream.idle_timeout == 0
    await listening.stop()


@pytest_twisted.ensureDeferred
async def test_the_next_session_begins_with_a_frame(world: World) -> None:
    """When the single session has ended, the next frame begins another."""
    listening = await world.listen()
    await until(lambda: world.accepted)
    world.accepted[0][0].abort(Loss(Reason.DELETED))
    await turn(3)
    assert len(world.accepted) == 1
    with wire() as peer:
        peer.send(frame())
        await until(lambda: len(world.accepted) == 2)
        assert world.sinks[1].written == [frame()]
        assert world.accepted[1][1]["src"] == "02:00:00:00:00:0a"
    await listening.stop()


@pytest_twisted.ensureDeferred
async def test_a_session_for_every_source(world: World) -> None:
    """Each hardware address gets a session, with what its first frame says."""
    listening = await world.listen(sessions="per-source")
    with wire() as peer:
        peer.send(frame(A, payload=b"1"), frame(A, payload=b"2"))
        await until(lambda: world.accepted and len(world.sinks[0].written) == 2)
    stream, facts, words = world.accepted[0]
    assert words == "02:00:00:00:00:0a-lo"
    assert facts == {
        "src": "02:00:00:00:00:0a",
        "dst": "02:00:00:00:00:0b",
        "type": LOCAL1,
        "interface": LO,
    }
    assert stream.idle_timeout == 60
    await listening.stop()
    with wire() as peer:
        peer.send(frame(B), frame(A, payload=b"3"))
        await until(lambda: len(world.sinks[0].written) == 3)
    assert len(world.accepted) == 1


@pytest_twisted.ensureDeferred
async def test_there_are_only_so_many(world: World) -> None:
    """Sources for which there is no session more are counted with the listener."""
    listening = await world.listen(sessions="per-source", max_sessions=1)
    with wire() as peer:
        peer.send(frame(A), frame(C), frame(A))
        await until(lambda: world.sinks and len(world.sinks[0].written) == 2)
        counted = world.metrics.drops("ear")
        await until(lambda: counted == {"max-sessions": 1})
        world.accepted[0][0].end()
        peer.send(frame(C))
        await until(lambda: len(world.accepted) == 2)
    await listening.stop()


@pytest_twisted.ensureDeferred
async def test_tagged_frames(world: World) -> None:
    """Of a frame in a VLAN the number is known, and the tag is in the frame."""
    program = [[0x28, 0, 0, 0], [0x15, 0, 1, 0x0200], [6, 0, 0, 65535], [6, 0, 0, 0]]
    listening = await world.listen(
        sessions="per-source", ethertype="all", filter_bytes=program, idle_timeout=5
    )
    plain = frame(C)
    data = plain[:12] + b"\x81\x00\x60\x07" + plain[12:]
    with wire() as peer:
        peer.send(data)
        await until(lambda: world.accepted)
    ((stream, facts, _),) = world.accepted
    assert (facts["vlan"], facts["type"]) == (7, LOCAL1)
    assert world.sinks[0].written == [data]
    assert stream.idle_timeout == 5
    await listening.stop()


@pytest_twisted.ensureDeferred
async def test_payloads(world: World) -> None:
    """Cooked sessions carry payloads, and answer whoever they are with."""
    listening = await world.listen(type="cooked", sessions="per-source")
    with wire() as peer:
        for source, to in ((A, NOBODY), (C, B)):
            peer.send(frame(source, to, payload=b"ask"))
            await peer.receive()
        await until(lambda: len(world.accepted) == 2)
        assert [one.written for one in world.sinks] == [[b"ask"], [b"ask"]]
        facts = [one[1] for one in world.accepted]
        assert [one["src"][-2:] for one in facts] == ["0a", "0c"]
        assert [one.get("dst") for one in facts] == ["00:00:00:00:00:00", None]
        assert facts[0]["type"] == LOCAL1
        world.accepted[0][0].write(b"answer")
        assert await peer.receive() == frame(NOBODY, A, payload=b"answer")
    await listening.stop()


@pytest_twisted.ensureDeferred
async def test_a_destination_of_all(world: World) -> None:
    """A single cooked session can have somebody to send to from the beginning."""
    listening = await world.listen(type="cooked", destination="02:00:00:00:00:0B")
    await until(lambda: world.accepted)
    with wire() as peer:
        world.accepted[0][0].write(b"hello")
        assert await peer.receive() == frame(NOBODY, B, payload=b"hello")
    await listening.stop()


@pytest.mark.parametrize(
    ("words", "passes"),
    [
        ({"filter": "ether[14] = 0x78"}, [b"xyz"]),
        ({"filter_bytes": ONLY_X}, [b"xyz"]),
        ({"filter": "ether src 02:00:00:00:00:0c"}, []),
        ({"promiscuous": True}, [b"abc", b"xyz"]),
        ({"outgoing": True}, [b"abc", b"abc", b"xyz", b"xyz"]),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_heard(
    world: World, words: dict[str, Any], passes: list[bytes]
) -> None:
    """A filter, of either form, and the direction, choose what is heard."""
    listening = await world.listen(**words)
    await until(lambda: world.accepted)
    with wire() as peer, wire(LOCAL2) as other:
        peer.send(*(frame(payload=payload) for payload in (b"abc", b"xyz")))
        other.send(frame(kind=LOCAL2))
        await until(lambda: len(world.sinks[0].written) == len(passes))
        await turn(5)
        assert [one[-3:] for one in world.sinks[0].written] == passes
    await listening.stop()


@pytest_twisted.ensureDeferred
async def test_a_listener_can_stop_before_it_began(world: World) -> None:
    """Stopped at once, it has no session."""
    listening = await world.listen()
    await listening.stop()
    await turn(3)
    assert world.accepted == []
    assert not_watched(listening)


def not_watched(listening: Any) -> bool:
    descriptor: int = listening._socket.fileno()
    return descriptor < 0


@pytest_twisted.ensureDeferred
async def test_an_interface_comes_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listener whose interface went tries until it is there again."""
    monkeypatch.setattr(af_packet, "RETURN", 0.01)
    listening = await world.listen()
    await until(lambda: world.accepted)
    attempts: list[int] = []

    def absent(wanted: Any) -> socket.socket:
        attempts.append(1)
        if len(attempts) < 3:
            raise OSError(19, os.strerror(19))
        return open_packet_socket(wanted)

    monkeypatch.setattr(af_packet, "open_packet_socket", absent)
    listening._socket.fail(OSError(100, os.strerror(100)))
    await until(lambda: len(world.accepted) == 2)
    assert len(attempts) == 3
    assert world.accepted[0][0].loss.reason is Reason.UNREACHABLE
    assert "it is down" in world.accepted[0][0].loss.detail
    listening._socket.fail(OSError(100, os.strerror(100)))
    await until(lambda: world.accepted[1][0].loss)
    await listening.stop()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"interface": "nowhere0"}, "cannot listen on interface nowhere0: there is no"),
        ({"filter": "tcp and ("}, 'no filter of packets: "tcp and ("'),
        ({"filter_bytes": [[0xFFFF, 0, 0, 0]]}, "the kernel refuses these"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_heard(
    world: World, words: dict[str, Any], told: str
) -> None:
    """What is wrong is told with the interface or the filter."""
    spec = WORDS.listener(said(**{"interface": LO, **words}))
    with pytest.raises(LocalError) as info:
        await world.context.listen(spec, world._accept)
    assert told in str(info.value)


# -- clusters ------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_cluster_sends_frames(world: World) -> None:
    """A raw cluster sends frames as they are, and reads what comes."""
    with wire() as peer:
        for words in ({"address": LO}, {"interface": LO, "address": "anything"}):
            stream = await world.connect(**words)
            stream.write(frame())
            assert await peer.receive() == frame()
            peer.send(frame(B, A, payload=b"back"))
            sink = world.sinks[-1]
            await until(lambda: len(world.sinks[-1].written) == 2)
            assert sink.written[1] == frame(B, A, payload=b"back")
            assert await peer.receive()
            stream.end()
            assert stream.loss == Loss(Reason.FIN)


ETH = {"ETH": {"dst": "02:00:00:00:00:0b", "type": LOCAL1}}


@pytest.mark.parametrize(
    ("address", "metadata", "words"),
    [
        (LO, {}, {"destination": "02:00:00:00:00:0b"}),
        ("02-00-00-00-00-0b", {}, {"interface": LO}),
        (LO, ETH, {}),
        (LO, ETH, {"ethertype": "all"}),
        (LO, {"ETH": {"type": "local1"}},
         {"ethertype": "all", "destination": "02:00:00:00:00:0b"}),
    ],
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_where_payloads_go(
    world: World, address: str, metadata: Any, words: dict[str, Any]
) -> None:
    """Address and type come from the specification, the endpoint or the metadata."""
    stream = await world.connect(address, metadata, type="cooked", **words)
    with wire() as peer:
        stream.write(b"hello")
        assert await peer.receive() == frame(NOBODY, B, payload=b"hello")


@pytest.mark.parametrize(
    ("metadata", "words", "told"),
    [
        ({}, {}, "need a destination: give destination, or metadata at /ETH/dst"),
        ({"ETH": {"dst": 5}}, {}, "need a destination"),
        ({"ETH": "no"}, {}, "need a destination"),
        ({"ETH": {"dst": "02:00:00:00:00:0b", "type": 5}}, {"ethertype": "all"},
         "need an EtherType: give ethertype, or metadata at /ETH/type"),
        (ETH, {"interface": "nowhere0"}, "interface nowhere0: there is no such"),
    ],
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_nowhere_to_go(
    world: World, metadata: Any, words: dict[str, Any], told: str
) -> None:
    """Without an interface, an address or a type the attempt fails and says so."""
    with pytest.raises(RemoteError) as info:
        await world.connect(LO, metadata, type="cooked", **words)
    assert told in info.value.loss.detail


# -- what can be declared ------------------------------------------------------------


@pytest.mark.parametrize("name", ["AF_PACKET", "Packet", "afpacket"])
def test_names(name: str) -> None:
    """It goes by several names."""
    assert WORDS.canonical(name) == "AF_PACKET"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"ethertype": "IPX9"}, "is the name of no EtherType"),
        ({"ethertype": 5}, "5 is no EtherType"),
        ({"type": "cooked", "destination": "eth0"}, "is no MAC address"),
        ({"destination": "02:00:00:00:00:0b"}, "raw frames have their destination"),
        ({"type": "cooked", "destination": "02:00:00:00:00:0b", "ethertype": "all"},
         "a destination needs an ethertype"),
        ({"filter": "arp", "filter_bytes": ONLY_X}, "are two filters"),
        ({"filter_bytes": []}, "1 to 4096 instructions"),
        ({"filter_bytes": [[1 << 17, 0, 0, 0]]}, "instruction 0 of the filter"),
        ({"filter_bytes": [[6, 0, 0, 0], [6, 256, 0, 0]]}, "instruction 1 of the"),
        ({"filter_bytes": [[6, 0, 0]]}, "at least 4"),
    ],
)  # fmt: skip
def test_what_is_refused(words: dict[str, Any], told: str) -> None:
    """What makes no sense is refused where it is declared."""
    with pytest.raises(ValidationError, match=told):
        WORDS.listener(said(**{"interface": LO, **words}))


def test_broadcasts() -> None:
    """A payload that was sent to all has the address of all."""
    heard = Heard(b"", LOCAL1, socket.PACKET_BROADCAST, A)
    shared: Any = type("Shared", (), {"wanted": type("W", (), {"cooked": True})})
    assert af_packet._facts(shared, heard) == {
        "src": "02:00:00:00:00:0a",
        "dst": "ff:ff:ff:ff:ff:ff",
        "type": LOCAL1,
    }


def test_short_frames() -> None:
    """A frame that ends in its header has at least a source."""
    heard = Heard(b"short", LOCAL1, 0, A)
    shared: Any = type("Shared", (), {"wanted": type("W", (), {"cooked": False})})
    assert af_packet._facts(shared, heard) == {"src": "02:00:00:00:00:0a"}


def test_a_peer_is_not_us() -> None:
    """The peers of these tests hear only their own type."""
    one = Wire(LOCAL2)
    with wire() as peer:
        peer.send(frame())
        assert one.poll() is None
    one.sock.close()
