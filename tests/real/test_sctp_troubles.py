"""Our SCTP over networks that lose and double, with peers that fall silent or lie."""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.protocol import DatagramProtocol

from l7mp.errors import Loss, Reason
from l7mp.interfaces import Note
from l7mp.streams.association_stream import AssociationStream, Manner
from tests.streams import userland as land_of
from tests.streams.loopback import Collector, turn, until
from tests.streams.userland import Userland, userland

HOST = "127.0.0.1"
SEED = 20_260_101


class Relay(DatagramProtocol):
    """Carries packets between one client and the listener, badly."""

    def __init__(self, to: tuple[str, int]) -> None:
        self._to = to
        self._random = random.Random(SEED)
        self._client: tuple[str, int] | None = None
        self.lost = self.doubled = 0.0
        self.is_mute = False
        self.packets: list[bytes] = []
        self._port: Any = reactor.listenUDP(0, self, HOST, 1 << 16)  # type: ignore[attr-defined]
        self.port: int = self._port.getHost().port

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        if addr != self._to:
            self._client = addr
        self.packets.append(datagram)
        if self.is_mute or self._random.random() < self.lost:
            return
        assert self.transport is not None
        for _ in range(1 + (self._random.random() < self.doubled)):
            self.transport.write(
                datagram, self._client if addr == self._to else self._to
            )

    def close(self) -> Any:
        return self._port.stopListening()


@asynccontextmanager
async def relayed() -> AsyncIterator[tuple[Userland, Relay]]:
    """A listener, and a way to it that can be made bad."""
    async with userland() as land:
        relay = Relay(land.carrier.own)
        try:
            yield land, relay
        finally:
            await relay.close()


async def pair(
    land: Userland, relay: Relay
) -> tuple[AssociationStream, AssociationStream]:
    near = await land.attempt(udp_port=relay.port).made
    await until(lambda: land.came)
    return (
        AssociationStream(near, Manner()),
        AssociationStream(land.came[-1], Manner()),
    )


@pytest_twisted.ensureDeferred
async def test_a_network_that_loses_and_doubles() -> None:
    """One packet in twenty is lost, one in ten comes twice: every message comes once."""
    async with relayed() as (land, relay):
        near, far = await pair(land, relay)
        relay.lost, relay.doubled = 0.05, 0.1
        here, there = Collector(near), Collector(far)
        sent = [number.to_bytes(2, "big") * 700 for number in range(150)]
        for data in sent:
            near.write(data)
            far.write(data)
        await until(lambda: len(here.got) >= 150 and len(there.got) >= 150, 40)
        assert here.got == there.got == sent


@pytest_twisted.ensureDeferred
async def test_a_peer_that_falls_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the attempts that it is given the association is lost by time."""
    monkeypatch.setattr(land_of, "TUNING", land_of.TUNING._replace(retransmissions=1))
    async with relayed() as (land, relay):
        near, _ = await pair(land, relay)
        Collector(near)
        heard: list[Note] = []
        near.tell(heard.append)
        relay.is_mute = True
        near.write(b"anybody there?")
        await until(lambda: near.loss, 20)
        assert near.loss is not None
        assert near.loss.reason is Reason.TIMEOUT
        assert "COMM_LOST" in [note.word for note in heard]


@pytest_twisted.ensureDeferred
async def test_a_peer_that_does_not_answer_at_all() -> None:
    """INIT is sent again while somebody waits, and not after."""
    async with relayed() as (land, relay):
        relay.is_mute = True
        attempt = land.attempt(udp_port=relay.port)
        attempt.made.addErrback(lambda _: None)
        await until(lambda: len(relay.packets) > 1)
        assert {packet[12] for packet in relay.packets} == {1}
        attempt.made.cancel()
        count = len(relay.packets)
        await turn(10)
        assert len(relay.packets) <= count + 1  # ABORT


@pytest_twisted.ensureDeferred
async def test_lies() -> None:
    """Packets of real associations, bent in every way, harm nobody else."""
    async with relayed() as (land, relay):
        near, far = await pair(land, relay)
        there = Collector(far)
        near.write(b"before")
        await until(lambda: there.got)
        chance = random.Random(SEED)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as liar:
            for number in range(3000):
                packet = bytearray(chance.choice(relay.packets))
                for _ in range(chance.randint(0, 6)):
                    packet[chance.randrange(len(packet))] = chance.randrange(256)
                if chance.random() < 0.5:
                    packet[8:12] = _checksum(land, packet)
                if chance.random() < 0.2:
                    del packet[chance.randrange(len(packet)) :]
                liar.sendto(packet, land.carrier.own)
                if number % 50 == 0:
                    await turn()
        await turn(10)
        near.write(b"after")
        await until(lambda: len(there.got) == 2)
        fresh = await land.attempt().made
        assert fresh.loss is None
        assert len(land.stack._paths) <= 2 * len(land.stack._associations())
        near.abort(Loss(Reason.DELETED))


def _checksum(land: Userland, packet: bytearray) -> bytes:
    """What makes the library believe a packet."""
    bare = bytes(packet[:8]) + bytes(4) + bytes(packet[12:])
    found: int = land.stack.engine._lib.usrsctp_crc32c(bare, len(bare)) & 0xFFFFFFFF
    return found.to_bytes(4, "little")
