"""Connections that keep messages."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Iterator

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import Clock

from l7mp.errors import Loss, Reason
from l7mp.streams.descriptor import LARGEST
from l7mp.streams.unixpacket import PacketStream
from tests.streams.loopback import Collector, until

Both = tuple[PacketStream, socket.socket]


@pytest.fixture
def both() -> Iterator[Both]:
    """A stream, and its peer's socket."""
    ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stream = PacketStream(reactor, Clock(), ours)
    yield stream, peer
    stream.abort(Loss(Reason.FIN))
    peer.close()


def send_with_a_descriptor(sock: socket.socket, data: bytes) -> None:
    rights = array.array("i", [0])
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


def open_here() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest_twisted.ensureDeferred
async def test_an_empty_message_is_no_end(both: Both) -> None:
    """It is delivered as one, and the end as the end."""
    stream, peer = both
    heard = Collector(stream)
    peer.send(b"")
    peer.send(b"x")
    await until(lambda: len(heard.got) == 2)
    assert heard.got == [b"", b"x"]
    assert not heard.ended
    peer.shutdown(socket.SHUT_WR)
    await until(lambda: heard.ended)
    stream.write(b"")
    stream.write(b"y")
    assert (peer.recv(9), peer.recv(9)) == (b"", b"y")


@pytest_twisted.ensureDeferred
async def test_long_messages_pass(both: Both) -> None:
    """At least 64 KiB in both directions."""
    stream, peer = both
    heard = Collector(stream)
    data = os.urandom(1 << 16)
    peer.send(data)
    stream.write(data)
    await until(lambda: heard.got)
    assert heard.got == [data] == [peer.recv(1 << 20)]


@pytest_twisted.ensureDeferred
async def test_what_is_too_long_is_counted(both: Both) -> None:
    """A message that would be cut is not passed on as if it were whole."""
    stream, peer = both
    heard = Collector(stream)
    peer.setsockopt(socket.SOL_SOCKET, 32, 2 * LARGEST)  # SO_SNDBUFFORCE
    peer.send(bytes(LARGEST + 1))
    peer.send(b"next")
    await until(lambda: heard.got)
    assert heard.got == [b"next"]
    assert stream.drops == {"oversize": 1}


@pytest_twisted.ensureDeferred
async def test_descriptors_are_not_let_in(both: Both) -> None:
    """The data that they come with passes; the descriptors are counted, not opened."""
    stream, peer = both
    heard = Collector(stream)
    before = open_here()
    send_with_a_descriptor(peer, b"with")
    await until(lambda: heard.got)
    assert heard.got == [b"with"]
    assert stream.drops == {"descriptors": 1}
    assert open_here() == before
