"""Datagrams of Unix sockets: the hall that many share, and flows of one's own."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from l7mp.errors import Loss, Reason
from l7mp.streams.access import Access
from l7mp.streams.descriptor import LARGEST
from l7mp.streams.stream import Stream
from l7mp.streams.transport import FLUSH
from l7mp.streams.unixdatagram import SOON, DatagramFlow, DatagramHall, DatagramPeer
from l7mp.streams.unixsocket import CREDENTIALS, bind, new_socket, shown
from tests.streams.loopback import Collector, Faulty, turn, until
from tests.streams.test_outbox import Producer
from tests.streams.test_unixpacket import open_here, send_with_a_descriptor

FIN = Loss(Reason.FIN)
NOBODY = 65534
SCM_CREDENTIALS = 2


def dgram(path: Path | None = None) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setblocking(False)
    if path is not None:
        sock.bind(str(path))
    return sock


class World:
    """A hall and those who come."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "s"
        self.clock = Clock()
        self.peers: list[DatagramPeer] = []
        self.heard: list[Collector] = []
        self.collect: Callable[[DatagramPeer], Collector] = Collector
        self.bound = bind(socket.SOCK_DGRAM, str(self.path), Access())
        self.hall = DatagramHall(reactor, self.clock, self.bound, self.accept, 9.0)
        self._socks: list[socket.socket] = []

    def accept(self, peer: DatagramPeer) -> None:
        self.peers.append(peer)
        self.heard.append(self.collect(peer))

    def client(self, name: str = "") -> socket.socket:
        """Somebody who speaks to the hall."""
        sock = dgram(self.folder / name if name else None)
        self._socks.append(sock)
        sock.connect(str(self.path))
        return sock

    def close(self) -> None:
        self.hall.close()
        for peer in self.peers:
            peer.abort(FIN)
        for sock in self._socks:
            sock.close()
        assert self.hall.fileno() < 0


def lost(stream: Stream) -> bool:
    return stream.loss is not None


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


@pytest_twisted.ensureDeferred
async def test_each_address_is_a_peer(world: World) -> None:
    """What an address sends comes from one stream, and answers go back to it."""
    one, two = world.client("one"), world.client("two")
    one.send(b"1")
    two.send(b"2")
    one.send(b"")
    one.send(os.urandom(1 << 16))
    await until(lambda: world.heard and len(world.heard[0].got) == 3)
    assert [len(data) for data in world.heard[0].got] == [1, 0, 1 << 16]
    assert world.heard[1].got == [b"2"]
    assert [shown(peer.address) for peer in world.peers] == [
        str(world.folder / "one"),
        str(world.folder / "two"),
    ]
    assert [peer.idle_timeout for peer in world.peers] == [9.0, 9.0]
    world.peers[0].write(b"answer")
    assert one.recv(9) == b"answer"
    assert (world.peers[0].messages_out, world.peers[0].bytes_out) == (1, 6)


@pytest_twisted.ensureDeferred
async def test_who_has_no_address_cannot_be_answered(world: World) -> None:
    """Such senders are told apart by their process; what is written is counted."""
    world.client().send(b"1")
    world.client().send(b"2")
    await until(lambda: world.heard and len(world.heard[0].got) == 2)
    (peer,) = world.peers
    peer.write(b"answer")
    assert peer.address == b""
    assert peer.drops == {"unanswerable": 1}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
@pytest_twisted.ensureDeferred
async def test_another_user_is_another_peer(world: World) -> None:
    """Whoever takes over an address does not take over the session."""
    client = world.client("one")
    client.send(b"root")
    await until(lambda: world.heard)
    claim = CREDENTIALS.pack(os.getpid(), NOBODY, NOBODY)  # which root may
    client.sendmsg([b"nobody"], [(socket.SOL_SOCKET, SCM_CREDENTIALS, claim)])
    await until(lambda: len(world.peers) == 2)
    assert world.peers[0].loss == Loss(
        Reason.RESET, "another user has the peer's address"
    )
    assert world.heard[0].got == [b"root"]
    assert world.heard[1].got == [b"nobody"]


@pytest_twisted.ensureDeferred
async def test_the_door_can_be_closed(world: World) -> None:
    """Who is inside stays, nobody comes in, the file is gone; then all is."""
    one, two = world.client("one"), world.client("two")
    one.send(b"1")
    await until(lambda: world.peers)
    world.hall.close()
    world.hall.close()
    two.send(b"2")
    one.send(b"1")
    await until(lambda: len(world.heard[0].got) == 2)
    assert len(world.peers) == 1
    assert not world.path.exists()
    world.peers[0].end()
    assert world.peers[0].loss == FIN
    assert world.hall.fileno() < 0


@pytest_twisted.ensureDeferred
async def test_a_peer_that_is_gone_may_come_back(world: World) -> None:
    """After the loss of its stream, its next datagram begins another."""
    one = world.client("one")
    one.send(b"1")
    await until(lambda: world.peers)
    world.peers[0].abort(Loss(Reason.DELETED))
    world.peers[0].write(b"late")
    assert world.peers[0].drops == {"closed": 1}
    one.send(b"2")
    await until(lambda: len(world.peers) == 2)
    assert world.hall.logPrefix() == "DatagramHall"


async def full(world: World) -> tuple[socket.socket, DatagramPeer, int]:
    """A peer whose queue is full."""
    one = world.client("one")
    one.send(b"1")
    await until(lambda: world.peers)
    peer, sent = world.peers[0], 0
    while not peer.unsent():
        peer.write(b"%d" % sent)
        sent += 1
    return one, peer, sent


def read(sock: socket.socket, world: World, count: int) -> list[bytes]:
    """So many datagrams, while time passes."""
    got = []
    for _ in range(100 * count):
        try:
            got.append(sock.recv(1 << 20))
        except BlockingIOError:
            world.clock.advance(0.05)
        if len(got) == count:
            break
    return got


@pytest_twisted.ensureDeferred
async def test_a_full_queue_is_tried_again(world: World) -> None:
    """What a peer cannot take waits in order, its producer too, and nothing is lost."""
    one, peer, sent = await full(world)
    producer = Producer()
    peer.registerProducer(producer, True)  # type: ignore[arg-type]  # enough of one
    for _ in range(20):
        peer.write(b"%d" % sent)
        sent += 1
    world.clock.advance(SOON)
    assert producer.told == ["pause"]
    assert read(one, world, sent) == [b"%d" % n for n in range(sent)]
    assert producer.told == ["pause", "resume"]
    assert not peer.is_waiting
    peer.unregisterProducer()
    assert peer.drops == {}


@pytest_twisted.ensureDeferred
async def test_what_waits_is_delivered_before_the_end(world: World) -> None:
    """An end, and a close, wait for it, though not for ever."""
    one, peer, sent = await full(world)
    peer.end()
    peer.close(Loss(Reason.DELETED))
    peer.write(b"late")
    assert len(read(one, world, sent)) == sent
    world.clock.advance(1)
    assert peer.loss == FIN
    _, peer, _ = await full_again(world, one)
    peer.close(Loss(Reason.IDLE))
    world.clock.advance(FLUSH)
    assert peer.loss == Loss(Reason.IDLE)


async def full_again(
    world: World, one: socket.socket
) -> tuple[socket.socket, DatagramPeer, int]:
    one.send(b"1")
    await until(lambda: len(world.peers) == 2)
    while not world.peers[1].unsent():
        world.peers[1].write(b"x")
    return one, world.peers[1], 0


@pytest_twisted.ensureDeferred
async def test_a_peer_that_does_not_wait_loses(world: World) -> None:
    """There is a bound to what waits, and what is too long for the socket is counted."""
    _, peer, _ = await full(world)
    for _ in range(9):
        peer.write(bytes(1 << 20))
    assert peer.drops["overflow"] > 0
    peer.abort(FIN)


@pytest_twisted.ensureDeferred
async def test_what_is_too_long_is_counted(world: World) -> None:
    """In both directions, and the rest goes on."""
    one = world.client("one")
    one.setsockopt(socket.SOL_SOCKET, 32, 2 * LARGEST)  # SO_SNDBUFFORCE
    one.send(b"1")
    one.send(bytes(LARGEST + 1))
    send_with_a_descriptor(one, b"2")
    before = open_here()
    await until(lambda: world.heard and len(world.heard[0].got) == 2)
    assert open_here() == before
    world.peers[0].write(bytes(8 << 20))
    world.peers[0].write(b"answer")
    assert one.recv(9) == b"answer"
    assert world.peers[0].drops == {"oversize": 1, "descriptors": 1, "too-big": 1}


@pytest_twisted.ensureDeferred
async def test_who_is_gone_has_refused(world: World) -> None:
    """Writing to an address where nobody is any more ends the stream, not the hall."""
    one = world.client("one")
    one.send(b"1")
    await until(lambda: world.peers)
    one.close()
    (peer,) = world.peers
    peer.write(b"lost")
    assert not lost(peer)  # not in the middle of a write
    world.clock.advance(0)
    what = f"{world.folder / 'one'}: {os.strerror(errno.ECONNREFUSED)}"
    assert peer.loss == Loss(Reason.REFUSED, what)
    assert peer.unsent() == [b"lost"]


@pytest_twisted.ensureDeferred
async def test_a_bug_costs_one_peer(
    world: World, logged_failures: list[Failure]
) -> None:
    """A sink that raises ends the stream of that peer and nothing else."""
    world.collect = Faulty
    world.client("one").send(b"1")
    await until(lambda: world.peers and world.peers[0].loss)
    assert world.peers[0].loss == Loss(Reason.LOCAL, "on purpose")
    world.collect = Collector
    world.client("two").send(b"2")
    await until(lambda: len(world.peers) == 2)
    logged_failures.clear()


# -- flows of one's own ------------------------------------------------------------


class Own:
    """A flow, its peer's socket, and a time that the test turns."""

    def __init__(self, folder: Path) -> None:
        self.peer = dgram(folder / "up")
        sock = new_socket(socket.SOCK_DGRAM)
        sock.bind(b"")
        sock.connect(str(folder / "up"))
        self.own = sock.getsockname()
        self.clock = Clock()
        self.flow = DatagramFlow(reactor, self.clock, sock, 1.0)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Own]:
    made = Own(tmp_path)
    yield made
    made.flow.abort(FIN)
    made.peer.close()


@pytest_twisted.ensureDeferred
async def test_answers_find_the_flow(own: Own) -> None:
    """It has an address, where the peer's answers arrive whole."""
    heard = Collector(own.flow)
    own.flow.write(b"question")
    data, source = own.peer.recvfrom(99)
    assert (data, source) == (b"question", own.own)
    for answer in (b"answer", b"", bytes(1 << 16)):
        own.peer.sendto(answer, source)
    await until(lambda: len(heard.got) == 3)
    assert heard.got == [b"answer", b"", bytes(1 << 16)]


@pytest_twisted.ensureDeferred
async def test_silence_stands_for_the_end(own: Own) -> None:
    """After our end, answers are waited for as long as they come."""
    heard = Collector(own.flow)
    own.flow.end()
    own.clock.advance(0.9)
    own.peer.sendto(b"late", own.own)
    await until(lambda: heard.got)
    own.clock.advance(0.2)
    assert not lost(own.flow)
    own.clock.advance(1)
    assert heard.ended
    assert own.flow.loss == FIN


@pytest_twisted.ensureDeferred
async def test_what_a_full_peer_cannot_take_waits(own: Own) -> None:
    """The kernel tells when there is room; closing waits for what was written."""
    sent = 0
    while not own.flow.unsent():
        own.flow.write(b"%d" % sent)
        sent += 1
    own.flow.close(Loss(Reason.IDLE))
    got: list[bytes] = []

    def pull() -> bool:
        try:
            got.append(own.peer.recv(99))
        except BlockingIOError:
            return False
        return len(got) == sent

    await until(pull)
    await until(lambda: own.flow.loss)
    assert own.flow.loss == Loss(Reason.IDLE)
    assert got == [b"%d" % n for n in range(sent)]


@pytest_twisted.ensureDeferred
async def test_nobody_waits_for_the_end_of_what_is_closed(own: Own) -> None:
    """A close after our end is the end."""
    own.flow.end()
    own.flow.close(Loss(Reason.DELETED))
    assert own.flow.loss == Loss(Reason.DELETED)


@pytest_twisted.ensureDeferred
async def test_a_flow_does_not_open_what_it_is_sent(own: Own) -> None:
    """Descriptors are counted, and so are datagrams longer than can be read."""
    heard = Collector(own.flow)
    own.peer.connect(own.own)
    own.peer.setsockopt(socket.SOL_SOCKET, 32, 2 * LARGEST)  # SO_SNDBUFFORCE
    own.peer.send(bytes(LARGEST + 1))
    send_with_a_descriptor(own.peer, b"with")
    await until(lambda: heard.got)
    assert own.flow.drops == {"oversize": 1, "descriptors": 1}
    await turn()
