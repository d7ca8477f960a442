"""SCTP in user space, as a whole: associations over UDP on the loopback."""

from __future__ import annotations

import os
import socket
from typing import Any, cast

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from l7mp.errors import LocalError, Loss, Reason, RemoteError
from l7mp.interfaces import SINK, Note
from l7mp.streams.address import V4
from l7mp.streams.association import Association
from l7mp.streams.association_stream import AssociationStream, Manner
from l7mp.streams.kernelsctp import is_there
from l7mp.streams.stack import AFTERGLOW, TICK, Door, Stack
from l7mp.streams.usrsctp import MAX_MESSAGE
from l7mp.testing import Memory
from tests.streams.loopback import turn
from tests.streams.userland import TUNING, Collector, place, started, until, userland

FIN = Loss(Reason.FIN)


@pytest_twisted.ensureDeferred
async def test_messages_pass_both_ways() -> None:
    """From one byte to a MiB they stay what they are, in order, on both sides."""
    async with userland() as land:
        near, far = await land.pair()
        here, there = Collector(near), Collector(far)
        sent = [os.urandom(size) for size in (1, 1000, 1 << 16, 300_000, MAX_MESSAGE)]
        for data in sent:
            near.write(data)
            far.write(data)
        await until(lambda: len(there.got) == len(here.got) == len(sent))
        assert there.got == here.got == sent


@pytest_twisted.ensureDeferred
async def test_no_message_is_too_long_unnoticed() -> None:
    """What does not fit into the stack's buffer is counted, and others pass."""
    async with userland() as land:
        near, far = await land.pair()
        there = Collector(far)
        near.write(bytes(MAX_MESSAGE + 1))
        near.write(b"next")
        await until(lambda: there.got)
        assert there.got == [b"next"]
        assert near.drops == {"oversize": 1}


@pytest_twisted.ensureDeferred
async def test_pressure_reaches_the_writer() -> None:
    """While the reader is held the writer is paused, and nothing is lost after."""
    async with userland() as land:
        near, far = await land.pair()
        calls: list[str] = []

        class Writer:
            def pauseProducing(self) -> None:
                calls.append("pause")

            def resumeProducing(self) -> None:
                calls.append("resume")

        near.registerProducer(Writer(), True)  # type: ignore[arg-type]
        count = 0
        while not calls:
            near.write(count.to_bytes(4, "big") + bytes(20_000))
            count += 1
            await turn()
            assert count < 1000, "never full"
        there = Collector(far)
        await until(lambda: len(there.got) == count)
        assert [int.from_bytes(d[:4], "big") for d in there.got] == list(range(count))
        await until(lambda: calls == ["pause", "resume"])


@pytest_twisted.ensureDeferred
async def test_streams_and_identifiers_arrive() -> None:
    """The number of the stream and the payload protocol identifier come through."""
    async with userland() as land:
        near, far = await land.pair()
        sink = Memory()
        far.deliver_to(sink)
        far.release(SINK)
        near.describe({"SCTP": {"stream": 9, "ppid": 0x01020304}})
        near.write(b"data")
        await until(lambda: sink.written)
        assert sink.facts == [{"SCTP": {"stream": 9, "ppid": 0x01020304}}]


@pytest_twisted.ensureDeferred
async def test_an_end_is_a_shutdown_on_both_sides() -> None:
    """What was written before is delivered; both say that it was in good order."""
    async with userland() as land:
        near, far = await land.pair()
        there, here = Collector(far), Collector(near)
        heard: list[Note] = []
        far.tell(heard.append)
        near.write(bytes(200_000))
        near.end()
        await until(lambda: near.loss and far.loss)
        assert [len(data) for data in there.got] == [200_000]
        assert (near.loss, far.loss) == (FIN, FIN)
        assert not here.got
        words = [note.word for note in heard]
        assert words[0] == "COMM_UP"
        assert words[-2:] == ["SHUTDOWN_EVENT", "SHUTDOWN_COMP"]


@pytest_twisted.ensureDeferred
async def test_a_drop_is_an_abort() -> None:
    """The other side hears of a reset."""
    async with userland() as land:
        near, far = await land.pair()
        Collector(far)
        near.abort(Loss(Reason.DELETED))
        await until(lambda: far.loss)
        assert far.loss is not None
        assert far.loss.reason is Reason.RESET


@pytest_twisted.ensureDeferred
async def test_a_writer_hears_of_an_abort() -> None:
    """Though it is held and reads nothing, and it is not fed for long."""
    async with userland() as land:
        near, far = await land.pair()
        far.abort(Loss(Reason.DELETED))

        def lost() -> Loss | None:
            near.write(b"data")
            return near.loss

        loss = await until(lost)
        assert loss.reason is Reason.RESET


@pytest_twisted.ensureDeferred
async def test_nobody_listens() -> None:
    """A port of SCTP without a listener refuses, and so does a port of UDP."""
    async with userland() as land:
        for attempt in (land.attempt(port=9), land.attempt(udp_port=9)):
            with pytest.raises(RemoteError) as caught:
                await attempt.made
            assert caught.value.loss.reason is Reason.REFUSED


@pytest_twisted.ensureDeferred
async def test_a_peer_that_never_answers_can_be_given_up() -> None:
    """Cancelling leaves nothing behind."""
    async with userland() as land:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
            deaf.bind(("127.0.0.1", 0))
            attempt = land.attempt(udp_port=deaf.getsockname()[1])
            results: list[object] = []
            attempt.made.addBoth(results.append)
            assert deaf.recv(1000)[12] == 1  # INIT
            attempt.made.cancel()
            assert results
            assert not land.stack._associations()


@pytest_twisted.ensureDeferred
async def test_listeners_share_a_port_on_different_carriers() -> None:
    """Who comes to a carrier is let in at the door of that carrier only."""
    async with userland() as land:
        other = land.stack.udp(place())
        came: list[Association] = []
        door = land.open(came, carriers=[other], port=land.door.port)
        await land.attempt(udp_port=other.own[1]).made
        await until(lambda: came)
        assert not land.came
        land.stack.shut(door)
        land.stack.shut(door)
        assert len(land.stack._gates) == 1
        await land.attempt().made
        await until(lambda: land.came)


@pytest_twisted.ensureDeferred
async def test_who_asks_another_address_is_turned_away() -> None:
    """Where no door is for the address that was asked, the association is aborted."""
    async with userland() as land:
        other = land.stack.udp(place())
        came: list[Association] = []
        door = land.open(came, carriers=[other], hosts=["127.0.0.2"])
        far = await land.attempt(port=door.port, udp_port=other.own[1]).made
        stream = AssociationStream(far, Manner())
        Collector(stream)
        await until(lambda: stream.loss)
        assert stream.loss is not None
        assert stream.loss.reason is Reason.RESET
        assert not came


@pytest_twisted.ensureDeferred
async def test_a_carrier_of_nobody_goes() -> None:
    """A stranger's packet is answered, and then there is nothing to stay for."""
    async with userland() as land:
        other = land.stack.udp(place())
        with pytest.raises(RemoteError):
            await land.attempt(udp_port=other.own[1], port=9).made
        assert other not in land.stack._carriers.values()


@pytest_twisted.ensureDeferred
async def test_ports_in_use_are_refused() -> None:
    """A second door at the same place, and a client's port, say what to do."""
    async with userland() as land:
        with pytest.raises(LocalError, match="another listener uses it"):
            land.open([], port=land.door.port)
        with pytest.raises(LocalError, match="another listener uses it"):
            land.open([], port=land.door.port, hosts=["127.0.0.1"])
        with pytest.raises(LocalError, match="choose another"):
            land.attempt(own=land.door.port)
        fixed = land.attempt(own=4321)
        association = await fixed.made
        assert association.ends().own_port == 4321


@pytest_twisted.ensureDeferred
async def test_doors_of_different_addresses_do_not_meet() -> None:
    """Two listeners may have one port at different addresses of a carrier."""
    async with userland() as land:
        first = land.open([], port=7777, hosts=["127.0.0.1"])
        second = land.open([], port=7777, hosts=["127.0.0.2"])
        assert not first.meets(second)


@pytest_twisted.ensureDeferred
async def test_strangers_leave_nothing() -> None:
    """Packets that lead to no association cost no memory, whoever sends them."""
    async with userland() as land:
        paths, drops = len(land.stack._paths), land.carrier.drops
        packet = bytes.fromhex("270f270f00000000000000000a000004") + bytes(20)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for data in (packet, b"short", b"", packet[:16]):
                stranger.sendto(data, land.carrier.own)
            await until(lambda: drops == {"malformed": 2})
        assert len(land.stack._paths) == paths


@pytest_twisted.ensureDeferred
async def test_a_fault_costs_one_association() -> None:
    """A sink that fails ends its own association with the reason, and no other."""
    async with userland() as land:
        near, far = await land.pair()
        well, there = await land.pair()
        fine = Collector(there)

        class Broken(Memory):
            def write(self, data: bytes) -> None:
                raise ZeroDivisionError("on purpose")

        far.deliver_to(Broken())
        far.release(SINK)
        near.write(b"data")
        await until(lambda: far.loss)
        assert far.loss == Loss(Reason.LOCAL, "ZeroDivisionError: on purpose")
        well.write(b"data")
        await until(lambda: fine.got)


@pytest_twisted.ensureDeferred
async def test_a_fault_of_a_listener_costs_what_came() -> None:
    """The association is aborted, the fault is logged, and the others go on."""
    async with userland() as land:
        near, far = await land.pair()
        there = Collector(far)
        broken = land.stack.udp(place())

        def fails(association: Association) -> None:
            near.write(b"meanwhile")
            raise ZeroDivisionError("on purpose")

        door = Door([broken], 0, None, fails)
        land.stack.listen(door, TUNING)
        made = await land.attempt(door.port, udp_port=broken.own[1]).made
        lost = AssociationStream(made, Manner())
        Collector(lost)
        await until(lambda: lost.loss and there.got)
        assert lost.loss is not None
        assert lost.loss.reason is Reason.RESET
        assert land.stack._tick is not None
        assert len(land.stack._paths) == 2


@pytest_twisted.ensureDeferred
async def test_carriers_go_with_their_last_user() -> None:
    """A socket of UDP is closed when its association is over."""
    async with userland() as land:
        near, _ = await land.pair()
        assert len(land.stack._carriers) == 2
        near.abort(FIN)
        await until(lambda: len(land.stack._carriers) == 1)


@pytest_twisted.ensureDeferred
async def test_a_thousand_associations_leave_nothing() -> None:
    """Sockets of the library, paths, ports and descriptors are given back."""
    async with userland() as land:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            pairs = [await land.pair() for _ in range(50)]
            for near, far in pairs:
                Collector(far)
                near.abort(FIN)
            await until(lambda: not land.stack._associations())
            land.came.clear()
        assert len(os.listdir("/proc/self/fd")) == before
        assert list(land.stack._ports) == [land.door.port]


def test_time_stands_still_when_nobody_is_there() -> None:
    """The library is told the time only while an association lives, and a while on."""
    clock = Clock()
    stack = Stack(clock, started())
    stack._keep_time()
    assert stack in stack.engine.clocks
    for _ in range(int(AFTERGLOW / TICK) + 2):
        clock.advance(TICK)
    assert stack not in stack.engine.clocks
    assert not clock.getDelayedCalls()
    stack.close()


def test_one_clock_is_enough() -> None:
    """Of several stacks in a process one tells the time; then it is another's turn."""
    library = started()
    told: list[int] = []
    first, second = Clock(), Clock()
    stacks = [Stack(first, library), Stack(second, library)]
    for stack in stacks:
        stack._keep_time()
    behind = library._lib
    library._lib = cast(Any, _Watch(told))
    try:
        first.advance(0.5)
        second.advance(0.25)
        stacks[0].close()
        second.advance(0.25)
    finally:
        library._lib = behind
        stacks[1].close()
    assert told == [500, 250]


class _Watch:
    """In place of the library."""

    def __init__(self, told: list[int]) -> None:
        self.usrsctp_handle_timers = told.append


@pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets need root")
@pytest.mark.skipif(
    is_there(), reason="the kernel of this machine has an SCTP of its own"
)
@pytest_twisted.ensureDeferred
async def test_associations_right_on_ip() -> None:
    """Without UDP, at one of our addresses, with a port that is found free."""
    async with userland() as land:
        carrier = land.stack.raw(V4)
        assert land.stack.raw(V4) is carrier
        came: list[Association] = []
        door = land.open(came, carriers=[carrier], hosts=["127.0.0.1"])
        near = await land.attempt(port=door.port, carrier=carrier).made
        await until(lambda: came)
        assert near.ends().udp is None
        assert came[0].ends().peer == ("127.0.0.1",)
