"""
SCTP of the kernel, where there is one.

On a machine without, tests/real/test_sctp.py runs this file on one that has it.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from l7mp.errors import LocalError, Loss, Reason, RemoteError
from l7mp.interfaces import Note
from l7mp.streams import kernelsctp
from l7mp.streams.association import Association
from l7mp.streams.association_stream import AssociationStream, Attempt, Manner
from l7mp.streams.kernelsctp import (
    KernelDoor,
    KernelLink,
    bind,
    check_tunnel,
    family_of,
    is_there,
    open_socket,
)
from l7mp.streams.sctp import connect_in_kernel, listen_in_kernel
from l7mp.streams.usrsctp import Tuning
from l7mp.testing import Memory
from tests.streams.links import Remembering
from tests.streams.loopback import Collector, turn, until
from tests.streams.userland import place

NEEDS_SCTP = pytest.mark.skipif(
    not is_there(), reason="the kernel of this machine has no SCTP"
)
HOST = "127.0.0.1"
TUNING = Tuning(streams=6, heartbeat=30, retransmissions=5)
FIN = Loss(Reason.FIN)


class Land:
    """A door, and what came in."""

    def __init__(self, *hosts: str) -> None:
        self.came: list[Association] = []
        places = [place(host=host) for host in hosts]
        self.door = listen_in_kernel(reactor, places, 0, TUNING, self._welcome)
        self.made: list[Association] = []

    def _welcome(self, association: Association) -> None:
        association.owner = Remembering()
        self.came.append(association)

    def attempt(self, *hosts: str, to: int = 0, **how: Any) -> Attempt:
        """A try to reach the door, or another port."""
        it = Attempt()
        remotes = [place(to or self.door.place[1], host) for host in hosts or (HOST,)]
        about = {"places": [], "port": 0, "remote_udp": None, **how}
        it.association = connect_in_kernel(
            reactor, remotes, tuning=TUNING, owner=it, **about
        )
        self.made.append(it.association)
        return it

    async def pair(
        self, *hosts: str, **how: Any
    ) -> tuple[AssociationStream, AssociationStream]:
        """Both ends of a new association, newborn."""
        count = len(self.came)
        near = await self.attempt(*hosts, **how).made
        await until(lambda: len(self.came) > count)
        return (
            AssociationStream(near, Manner()),
            AssociationStream(self.came[-1], Manner()),
        )

    def close(self) -> None:
        self.door.close()
        for association in (*self.came, *self.made):
            association.abort(FIN)


@asynccontextmanager
async def land(*hosts: str) -> AsyncIterator[Land]:
    made = Land(*(hosts or (HOST,)))
    try:
        yield made
    finally:
        made.close()


# -- anywhere --------------------------------------------------------------------


def test_without_sctp(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to do about it is said."""

    class Lacking(socket.socket):
        def __init__(self, *_: object) -> None:
            raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    monkeypatch.setattr("l7mp.streams.kernelsctp.socket.socket", Lacking)
    assert not is_there()
    with pytest.raises(LocalError, match=r"modprobe sctp.*engine: user"):
        open_socket(socket.AF_INET, TUNING, None)


@pytest.mark.parametrize(
    ("setting", "port", "message"),
    [
        ("9899\n", 9899, None),
        ("9899\n", 0, None),
        ("9899\n", 9900, "at port 9899; sysctl -w net.sctp.udp_port=9900"),
        ("0\n", 9899, "not at all; sysctl -w net.sctp.udp_port=9899"),
        (None, 0, "not at all"),
    ],
)
def test_the_kernel_s_port_of_udp(
    setting: str | None,
    port: int,
    message: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is for the machine's administrator to choose, and the message says how."""
    path = tmp_path / "udp_port"
    monkeypatch.setattr(kernelsctp, "UDP_PORT", str(path))
    if setting is not None:
        path.write_text(setting)
    if message is None:
        check_tunnel(port)
    else:
        with pytest.raises(LocalError, match=message):
            check_tunnel(port)


def test_families() -> None:
    """A socket of IPv6 serves both, so it is for those who need both."""
    four, six = place(host="127.0.0.1"), place(host="::1")
    assert family_of([four]) == socket.AF_INET
    assert family_of([four, six]) == family_of([six]) == socket.AF_INET6


class Few:
    """A listening socket of a process that has no descriptor left."""

    def __init__(self) -> None:
        self.code, self.is_closed = errno.EMFILE, False

    def listen(self, backlog: int) -> None:
        pass

    def getsockname(self) -> tuple[str, int]:
        return HOST, 5000

    def accept(self) -> None:
        raise OSError(self.code, os.strerror(self.code))

    def close(self) -> None:
        self.is_closed = True


class Watcher(Clock):
    """A reactor that only remembers who is watched."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[object] = set()
        self.addReader, self.removeReader = self.readers.add, self.readers.discard


def test_no_descriptor_is_left() -> None:
    """The door rests for a while, instead of trying as often as it can."""
    watcher, sock = Watcher(), Few()
    door = KernelDoor(watcher, cast(Any, sock), (), print)
    assert door.address() == {"address": HOST, "port": 5000}
    door.doRead()
    assert not watcher.readers
    watcher.advance(kernelsctp.PAUSE)
    assert watcher.readers == {door}
    sock.code = errno.ECONNABORTED  # whoever it was has gone again
    door.doRead()
    sock.code = errno.EAGAIN
    door.doRead()
    assert watcher.readers == {door}
    sock.code = errno.EMFILE
    door.doRead()
    door.doWrite()
    door.close()
    assert sock.is_closed
    assert not watcher.getDelayedCalls()


# -- with it -----------------------------------------------------------------------


@NEEDS_SCTP
@pytest_twisted.ensureDeferred
async def test_messages_pass_both_ways() -> None:
    """From one byte to a MiB they stay what they are, in order, on both sides."""
    async with land() as it:
        near, far = await it.pair()
        here, there = Collector(near), Collector(far)
        sent = [os.urandom(size) for size in (1, 1000, 1 << 16, 300_000, 1 << 20)]
        for data in sent:
            near.write(data)
            far.write(data)
        await until(lambda: len(there.got) == len(here.got) == len(sent), 30)
        assert there.got == here.got == sent


@NEEDS_SCTP
@pytest_twisted.ensureDeferred
async def test_streams_and_identifiers_arrive() -> None:
    """The number of the stream and the payload protocol identifier come through."""
    async with land() as it:
        near, far = await it.pair()
        sink = Memory()
        far.deliver_to(sink)
        far.release("sink")
        near.describe({"SCTP": {"stream": 5, "ppid": 0x01020304}})
        near.write(b"data")
        await until(lambda: sink.written)
        assert sink.facts == [{"SCTP": {"stream": 5, "ppid": 0x01020304}}]


@NEEDS_SCTP
@pytest_twisted.ensureDeferred
async def test_pressure_reaches_the_writer() -> None:
    """While the reader is held the writer waits, and nothing is lost after."""
    async with land() as it:
        near, far = await it.pair()
        count = 0
        while not near._association.is_full:
            near.write(count.to_bytes(4, "big") + bytes(20_000))
            count += 1
            await turn()
            assert count < 1000, "never full"
        there = Collector(far)
        await until(lambda: len(there.got) == count, 30)
        assert [int.from_bytes(d[:4], "big") for d in there.got] == list(range(count))


@NEEDS_SCTP
@pytest_twisted.ensureDeferred
async def test_an_end_is_a_shutdown_on_both_sides() -> None:
    """What was written before is delivered; both say that it was in good order."""
    async with land() as it:
        near, far = await it.pair()
        there, _ = Collector(far), Collector(near)
        heard: list[Note] = []
        far.tell(heard.append)
        near.write(bytes(200_000))
        near.end()
        await until(lambda: near.loss and far.loss)
        assert [len(data) for data in there.got] == [200_000]
        assert (near.loss, far.loss) == (FIN, FIN)
        words = [note.word for note in heard]
        assert words[0] == "COMM_UP"
        assert words[-2:] == ["SHUTDOWN_EVENT", "SHUTDOWN_COMP"]


@NEEDS_SCTP
@pytest_twisted.ensureDeferred
async def test_a_drop_is_an_abort() -> None:
    """The other side hears of a reset, and of who wanted it."""
    async with land() as it:
        near, far = await it.pair()
        Collector(far)
        near.abort(Loss(Reason.DELETED))
        await until(lambda: far.loss)
        assert far.loss == Loss(Reason.RESET, "user-initiated abort")


@NEEDS_SCTP
@pytest_twisted.ensureDeferred
async def test_a_writer_hears_of_an_abort() -> None:
    """Though it is held and reads nothing, and it is not fed for long."""
    async with land() as it:
        near, far = await it.pair()
        far.abort(Loss(Reason.DELETED))

        def lost() -> Loss | None:
            near.write(b"data")
            return near.loss

        loss = await until(lost)
        assert loss.reason is Reason.RESET


@NEEDS_SCTP
@pytest_twisted.ensureDeferred
async def test_nobody_listens() -> None:
    """That is a refusal, and a peer that answers nothing can be given up."""
    async with land() as it:
        with pytest.raises(RemoteError) as caught:
            await it.attempt(to=9).made
        assert caught.value.loss.reason is Reason.REFUSED
        attempt = it.attempt(to=9)
        failures: list[object] = []
        attempt.made.addErrback(failures.append)
        attempt.made.cancel()
        assert failures


@NEEDS_SCTP
@pytest_twisted.ensureDeferred
async def test_several_addresses() -> None:
    """A multihomed association knows its addresses, ours and the peer's."""
    async with land(HOST, "127.0.0.2") as it:
        places = [place(host="127.0.0.3"), place(host="127.0.0.4")]
        near, far = await it.pair(HOST, "127.0.0.2", places=places)
        here, there = near._association.ends(), far._association.ends()
        assert here.own == ("127.0.0.3", "127.0.0.4")
        assert there.own == (HOST, "127.0.0.2")
        assert sorted(here.peer) == [HOST, "127.0.0.2"]
        assert sorted(there.peer) == ["127.0.0.3", "127.0.0.4"]
        assert (there.streams_in, there.streams_out) == (6, 6)


@NEEDS_SCTP
@pytest_twisted.ensureDeferred
async def test_ipv6_and_a_port_of_our_own() -> None:
    """A door of both versions of IP shows IPv4 as it is."""
    made = Land()
    try:
        for host in (HOST, "::1"):
            _, far = await made.pair(host)
            assert far._association.ends().peer[0] == host
        near, _ = await made.pair(port=3333)
        assert near._association.ends().own_port == 3333
        in_udp = made.attempt(remote_udp=9899)
        in_udp.made.addErrback(lambda _: None)
        in_udp.made.cancel()
    finally:
        made.close()


@NEEDS_SCTP
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_bound() -> None:
    """Addresses of others and ports in use are refused, with a remedy."""
    async with land() as it:
        port = it.door.place[1]
        for where, number, message in (
            ("192.0.2.1", 0, "does not have that address"),
            (HOST, port, "choose another port"),
        ):
            with pytest.raises(LocalError, match=message):
                listen_in_kernel(
                    reactor, [place(host=where)], number, TUNING, it._welcome
                )
            with pytest.raises(LocalError, match=message):
                it.attempt(places=[place(host=where)], port=number)
        sock = open_socket(socket.AF_INET, TUNING, None)
        bind(sock, [place()], 0)
        sock.close()


@NEEDS_SCTP
@pytest_twisted.ensureDeferred
async def test_a_fault_costs_one_association() -> None:
    """A sink that fails ends its own association with the reason, and no other."""
    async with land() as it:
        near, far = await it.pair()
        well, there = await it.pair()
        fine = Collector(there)

        class Broken(Memory):
            def write(self, data: bytes) -> None:
                raise ZeroDivisionError("on purpose")

        far.deliver_to(Broken())
        far.release("sink")
        near.write(b"data")
        await until(lambda: far.loss)
        assert far.loss == Loss(Reason.LOCAL, "ZeroDivisionError: on purpose")
        well.write(b"data")
        await until(lambda: fine.got)


@NEEDS_SCTP
@pytest_twisted.ensureDeferred
async def test_the_reactor_gives_up() -> None:
    """A lost connection ends an association once; a door stays open."""
    async with land() as it:
        near, _ = await it.pair()
        link = near._association._link
        assert isinstance(link, KernelLink)
        link.connectionLost(Failure(ConnectionLost()))
        assert near.loss is not None
        assert near.loss.reason is Reason.RESET
        link.connectionLost(Failure(ConnectionLost()))
        link.watch(True, True)
        link.abort()
        door = it.door
        assert isinstance(door, KernelDoor)
        door.connectionLost(Failure(ZeroDivisionError()))
        await it.pair()
        assert door.logPrefix() == f"SCTP {HOST}:{door.place[1]}"
        door.close()
        door.close()
        door.connectionLost(Failure(ConnectionDone()))
        door.doRead()


@NEEDS_SCTP
@pytest_twisted.ensureDeferred
async def test_associations_leave_nothing() -> None:
    """Descriptors are given back."""
    async with land() as it:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            for _ in range(10):
                near, far = await it.pair()
                Collector(far)
                near.abort(FIN)
            await until(lambda: all(one.loss for one in it.came))
        assert len(os.listdir("/proc/self/fd")) == before
