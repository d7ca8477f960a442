"""Flows through a packet socket, on the loopback interface."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from l7mp.errors import Loss, Reason
from l7mp.interfaces import IStream
from l7mp.streams.packet import Heard, PacketFlow, PacketSocket, To, _whole
from l7mp.streams.packetsocket import (
    AUXILIARY,
    NEEDS_CHECKSUM,
    OFFLOAD,
    VLAN_TPID_VALID,
    VLAN_VALID,
    Wanted,
    open_packet_socket,
)
from l7mp.testing import check_stream
from tests.streams.frames import (
    LO,
    LOCAL1,
    NOBODY,
    A,
    B,
    C,
    frame,
    needs_packets,
    wire,
)
from tests.streams.loopback import Collector, Faulty, turn, until
from tests.wire.test_segment import lump_of

pytestmark = needs_packets


class Here:
    """A packet socket on the loopback and what it has heard."""

    def __init__(self, cooked: bool = False, by_source: bool = False) -> None:
        self.wanted = Wanted(interface=LO, cooked=cooked, ethertype=LOCAL1)
        self.flows: dict[bytes, PacketFlow] = {}
        self.collected: dict[bytes, Collector] = {}
        self.failures = 0
        self.picky = False
        """Whether nobody is wanted."""
        self.shared = PacketSocket(
            reactor, open_packet_socket(self.wanted), self.wanted, self._take,
            self._failed, by_source,
        )  # fmt: skip

    def _take(self, shared: PacketSocket, key: bytes, heard: Heard) -> Any:
        if self.picky:
            shared.drop("unwanted")
            return None
        flow = PacketFlow(shared, key)
        shared.add(flow)
        self.flows[key] = flow
        self.collected[key] = Collector(flow)
        return flow

    def _failed(self) -> None:
        self.failures += 1

    def got(self, key: bytes = b"") -> list[bytes]:
        found = self.collected.get(key)
        return found.got if found else []


@pytest.fixture
def here() -> Iterator[Callable[..., Here]]:
    """Makes packet sockets, closed in the end."""
    made: list[Here] = []

    def make(**options: bool) -> Here:
        made.append(Here(**options))
        return made[-1]

    yield make
    for one in made:
        one.shared.close()


Make = Callable[..., Here]


@pytest_twisted.ensureDeferred
async def test_frames_come_and_go_whole(here: Make) -> None:
    """A flow hears frames as they are and sends what it is written as one."""
    place = here()
    with wire() as peer:
        frames = [frame(payload=bytes([n % 256]) * n) for n in (1, 1500, 40000)]
        peer.send(*frames)
        await until(lambda: len(place.got()) == 3)
        assert place.got() == frames
        answer = frame(B, A, payload=b"answer")
        place.flows[b""].write(answer)
        assert [await peer.receive() for _ in range(4)] == [*frames, answer]
        assert place.flows[b""].messages_out == 1


@pytest_twisted.ensureDeferred
async def test_a_flow_for_every_source(here: Make) -> None:
    """Each hardware address has a flow of its own."""
    place = here(by_source=True)
    with wire() as peer:
        peer.send(
            frame(A, payload=b"1"), frame(C, payload=b"2"), frame(A, payload=b"3")
        )
        await until(lambda: len(place.got(A)) == 2)
        assert [one[-1:] for one in place.got(A)] == [b"1", b"3"]
        assert [one[-1:] for one in place.got(C)] == [b"2"]


@pytest_twisted.ensureDeferred
async def test_payloads_are_answered_to_who_spoke_last(here: Make) -> None:
    """A payload that is written goes to the source of the last one that was read."""
    place = here(cooked=True)
    with wire() as peer:
        for source in (A, C):
            peer.send(frame(source, payload=b"ask"))
            await peer.receive()
            await until(lambda: place.got() and place.got().pop())
            place.flows[b""].write(b"answer")
            assert await peer.receive() == frame(NOBODY, source, payload=b"answer")
            await until(
                lambda: place.got() and place.got().pop()
            )  # which the loopback returns


@pytest_twisted.ensureDeferred
async def test_payloads_for_somebody_else(here: Make) -> None:
    """With a destination, it gets everything, whoever spoke."""
    place = here(cooked=True)
    flow = PacketFlow(place.shared, b"", To(LOCAL1, B))
    place.shared.add(flow)
    with wire() as peer:
        flow.write(b"first")
        assert await peer.receive() == frame(NOBODY, B, payload=b"first")
        peer.send(frame(C))
        await until(lambda: flow.queued == 2)
        flow.write(b"second")
        assert (await peer.receive())[:6] == B or (await peer.receive())[:6] == B


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_sent_is_counted(here: Make) -> None:
    """Of frames too short, too long or with nowhere to go, and late ones, one knows."""
    raw, cooked = here(), here(cooked=True)
    flow, lonely = PacketFlow(raw.shared, b""), PacketFlow(cooked.shared, b"")
    for one, shared in ((flow, raw.shared), (lonely, cooked.shared)):
        shared.add(one)
    flow.write(b"short")
    flow.write(bytes(70_000))
    lonely.write(b"to whom")
    flow.abort(Loss(Reason.FIN))
    flow.write(frame())
    assert flow.drops == {"runt": 1, "too-big": 1, "closed": 1}
    assert lonely.drops == {"no-destination": 1}


@pytest_twisted.ensureDeferred
async def test_nobody_wants_it(here: Make) -> None:
    """What is not taken, or comes when nobody takes any more, is counted, too."""
    place = here(by_source=True)
    with wire() as peer:
        peer.send(frame(A))
        await until(lambda: place.shared.population == 1)
        place.picky = True
        peer.send(frame(C), frame(C))
        await until(lambda: place.shared.drops == {"unwanted": 2})
        place.shared.take_no_more()
        peer.send(frame(C), frame(A))
        await until(lambda: len(place.got(A)) == 2)
    assert place.shared.drops == {"unwanted": 2, "nobody": 1}


@pytest_twisted.ensureDeferred
async def test_what_the_kernel_has_no_room_for(
    here: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came while the socket's queue was full is counted when it is read."""
    monkeypatch.setattr("l7mp.streams.packetsocket.BUFFER", 1 << 16)
    place, sent = here(), 5000
    with wire() as peer:
        for _ in range(sent):
            peer.send(frame())
            peer.poll()
        await until(lambda: place.shared.drops)
        await turn(20)
    lost = place.shared.drops["receive-buffer"]
    assert 0 < lost < sent
    assert len(place.got()) + lost == sent


@pytest_twisted.ensureDeferred
async def test_what_is_too_long_to_read(
    here: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame that does not fit is dropped and counted, not cut."""
    monkeypatch.setattr("l7mp.streams.packet.SIZE", 100)
    place = here()
    with wire() as peer:
        peer.send(frame(payload=bytes(200)), frame())
        await until(place.got)
    assert place.got() == [frame()]
    assert place.shared.drops == {"oversize": 1}


@pytest_twisted.ensureDeferred
async def test_the_end(here: Make) -> None:
    """An ended flow makes room for another, and without takers the socket goes."""
    place = here()
    with wire() as peer:
        peer.send(frame())
        await until(place.got)
        place.flows[b""].end()
        assert place.flows[b""].loss == Loss(Reason.FIN)
        assert not place.shared.lives(b"")
        peer.send(frame(payload=b"new"))
        await until(lambda: place.got() == [frame(payload=b"new")])
        place.shared.take_no_more()
        assert place.shared.fileno() >= 0
        place.flows[b""].end()
        assert place.shared.fileno() < 0
        assert place.shared.send(frame(), None) is not None


@pytest.mark.parametrize("how", ["read", "written", "told"])
@pytest_twisted.ensureDeferred
async def test_an_interface_that_goes_down(
    here: Make, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever uses it is lost, what was read is delivered, and the owner is told."""
    place = here()
    down = OSError(errno.ENETDOWN, os.strerror(errno.ENETDOWN))
    with wire() as peer:
        peer.send(frame())
        await until(place.got)
    flow = place.flows[b""]
    flow.hold("full")

    def refuse(*_: Any) -> None:
        raise down

    flow.received(Heard(b"late", LOCAL1, 0, A))
    if how == "written":
        monkeypatch.setattr(place.shared, "_send", refuse)
        flow.write(b"a")
        flow.write(b"b")
        assert flow.loss is None
        await until(lambda: place.failures)
        assert flow.unsent() == [b"a", b"b"]
    elif how == "read":
        monkeypatch.setattr(place.shared, "_sock", Broken(place.shared._sock, down))
        place.shared.doRead()
    else:
        place.shared._met(down, None)
    heard: list[Loss] = []
    flow.when_lost().addCallback(heard.append)
    assert heard == []
    flow.release("full")
    assert place.got() == [frame(), b"late"]
    assert [loss.reason for loss in heard] == [Reason.UNREACHABLE]
    assert place.failures == 1
    assert place.shared.fileno() < 0


@pytest_twisted.ensureDeferred
async def test_an_interface_that_goes_down_when_nobody_listens_any_more(
    here: Make,
) -> None:
    """What was there goes with it, and whoever listened is not asked to come back."""
    place = here()
    with wire() as peer:
        peer.send(frame())
        await until(place.got)
    place.shared.take_no_more()
    place.shared._met(OSError(errno.ENETDOWN, "down"), None)
    assert place.flows[b""].loss is not None
    assert place.failures == 0


class Broken:
    """A socket whose interface is down."""

    def __init__(self, sock: socket.socket, error: OSError) -> None:
        self.fileno, self.close, self._error = sock.fileno, sock.close, error

    def recvmsg(self, *_: int) -> None:
        raise self._error


@pytest_twisted.ensureDeferred
async def test_a_late_failure_of_a_closed_socket_is_none(here: Make) -> None:
    """Who has gone by the time that a failure would be told hears nothing of it."""
    place = here()
    place.shared.fail(OSError(errno.ENETDOWN, "down"))
    place.shared.fail(OSError(errno.ENETDOWN, "down"))
    place.shared.close()
    place.shared.fail(OSError(errno.ENETDOWN, "down"))
    await turn(3)
    assert place.failures == 0


@pytest_twisted.ensureDeferred
async def test_a_faulty_sink_costs_its_flow(
    here: Make, logged_failures: list[Failure]
) -> None:
    """An exception while a frame is handed on ends the flow, not the socket."""
    place = here()
    with wire() as peer:
        flow = PacketFlow(place.shared, b"")
        place.shared.add(flow)
        Faulty(flow)
        peer.send(frame())
        await until(lambda: flow.loss)
        assert flow.loss is not None
        assert flow.loss.reason is Reason.LOCAL
        assert "ZeroDivisionError: on purpose" in flow.loss.detail
        logged_failures.clear()  # the reactor has logged it
        peer.send(frame())
        await until(place.got)


@pytest_twisted.ensureDeferred
async def test_a_reactor_that_stops(here: Make) -> None:
    """When nobody will call again, everything ends."""
    place = here()
    flow = PacketFlow(place.shared, b"")
    place.shared.add(flow)
    place.shared.connectionLost(Failure(ConnectionLost()))
    assert flow.loss is not None
    assert flow.loss.reason is Reason.SHUTDOWN
    assert place.failures == 0


@pytest_twisted.ensureDeferred
async def test_it_keeps_the_contract(here: Make) -> None:
    """A flow is a stream."""

    def make() -> tuple[IStream, Callable[[bytes], None]]:
        flow = PacketFlow(here().shared, b"")
        return flow, lambda data: flow.received(Heard(data, LOCAL1, 0, A))

    check_stream(make)


# -- what interfaces leave to others ---------------------------------------------


def left(status: int = 0, tci: int = 0, tpid: int = 0) -> bytes:
    """What the kernel says beside a frame."""
    return AUXILIARY.pack(status, 0, 0, 0, 0, tci, tpid)


@pytest.mark.parametrize(
    ("auxiliary", "tag"),
    [
        (b"", b""),
        (left(tci=5, tpid=0x8100), b""),
        (left(VLAN_VALID, 5), b"\x81\x00\x00\x05"),
        (left(VLAN_VALID | VLAN_TPID_VALID, 5, 0x88A8), b"\x88\xa8\x00\x05"),
    ],
)
def test_tags_are_put_back(auxiliary: bytes, tag: bytes) -> None:
    """A VLAN tag that the interface took out is where it was."""
    data = frame()
    assert _whole(OFFLOAD.pack(0, 0, 0, 0, 0, 0) + data, auxiliary) == [
        data[:12] + tag + data[12:]
    ]


def test_checksums_are_put_in() -> None:
    """A checksum that was left to the interface is computed."""
    data = frame(payload=b"\x01\x02\x00\x00\x03")
    header = OFFLOAD.pack(NEEDS_CHECKSUM, 0, 0, 0, 14, 2)
    (checksum,) = struct.unpack_from("!H", _whole(header + data, b"")[0], 16)
    assert checksum == 0xFFFF - (0x0102 + 0x0300)


@pytest.mark.parametrize("kind", [1, 0x81])
def test_lumps_are_cut(kind: int) -> None:
    """A lump of TCP becomes frames of the right size, each in its VLAN."""
    lump = lump_of(bytes(2500))
    header = OFFLOAD.pack(NEEDS_CHECKSUM, kind, 54, 1000, 34, 16)
    found = _whole(header + lump, left(VLAN_VALID, 5))
    assert [len(one) for one in found] == [1058, 1058, 558]
    assert all(one[12:16] == b"\x81\x00\x00\x05" for one in found)


def test_other_lumps_are_left_alone() -> None:
    """What is no lump of TCP stays one."""
    lump = lump_of(bytes(2500))
    assert _whole(OFFLOAD.pack(0, 3, 42, 1000, 34, 6) + lump, b"") == [lump]
