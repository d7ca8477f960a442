"""UDP sockets: what they are told, what they tell, and how they are watched."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from l7mp.errors import Loss, Reason
from l7mp.streams.address import V4, V6, Sockaddr
from l7mp.streams.udpsocket import (
    ASKED,
    PKTINFO_SPACE,
    DatagramReader,
    answer_from,
    drop_reason,
    loss_of,
    open_socket,
    queued_errors,
    route_to,
    tell_asked,
    tried_again,
)
from tests.streams.loopback import until, unused_port

BUFFER = 1 << 16


def error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


# -- making them ---------------------------------------------------------------


def test_buffers_are_as_large_as_the_system_allows() -> None:
    """The kernel is asked for room, and what it grants is enough to go on."""
    with open_socket(V4, ("127.0.0.1", 0), buffer=1 << 30) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= BUFFER
        assert not sock.getblocking()


def test_a_port_is_not_shared_by_accident() -> None:
    """Only who asks for it shares a port with others that ask for it."""
    with (
        open_socket(V4, ("127.0.0.1", 0), buffer=BUFFER) as sock,
        pytest.raises(OSError, match="in use"),
    ):
        open_socket(V4, sock.getsockname(), buffer=BUFFER, reuse=True)
    place = ("127.0.0.1", unused_port())
    with (
        open_socket(V4, place, buffer=BUFFER, reuse=True),
        open_socket(V4, place, buffer=BUFFER, reuse=True),
    ):
        pass


@pytest.mark.parametrize(
    ("bound", "asked"),
    [
        ((V4, "0.0.0.0"), "127.0.0.1"),
        ((V4, "0.0.0.0"), "127.0.0.7"),
        ((V6, "::"), "127.0.0.1"),
        ((V6, "::"), "127.0.0.7"),
        ((V6, "::"), "::1"),
    ],
)
def test_a_wildcard_knows_the_address_asked(bound: tuple[int, str], asked: str) -> None:
    """The address that was asked comes with the datagram, and answers leave from it."""
    family, everywhere = bound
    with (
        open_socket(family, (everywhere, 0), buffer=BUFFER) as sock,
        socket.socket(V6 if ":" in asked else V4, socket.SOCK_DGRAM) as peer,
    ):
        tell_asked(sock)
        peer.settimeout(5)
        peer.sendto(b"question", (asked, sock.getsockname()[1]))
        sock.setblocking(True)
        data, info, _, source = sock.recvmsg(BUFFER, PKTINFO_SPACE)
        packed = info[0][2][ASKED[family]]
        assert socket.inet_ntop(family, packed).removeprefix("::ffff:") == asked
        sock.sendmsg([data], answer_from(packed), 0, source)
        assert peer.recvfrom(BUFFER)[1][0] == asked


def test_the_route_to_a_peer_is_known_before_it_speaks() -> None:
    """The kernel tells from which address it would speak; to nowhere, from none."""
    assert route_to(V4, ("127.0.0.1", 9)) == bytes([127, 0, 0, 1])
    assert route_to(V6, ("::1", 9, 0, 0)) == socket.inet_pton(V6, "::1")
    assert route_to(V6, ("::ffff:127.0.0.1", 9, 0, 0))[-4:] == bytes([127, 0, 0, 1])
    assert route_to(V4, ("255.255.255.255", 9)) == b""


# -- their errors --------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason", "word"),
    [
        (errno.ECONNREFUSED, Reason.REFUSED, "refused"),
        (errno.EHOSTUNREACH, Reason.UNREACHABLE, "unreachable"),
        (errno.ENETUNREACH, Reason.UNREACHABLE, "unreachable"),
        (errno.EPERM, Reason.UNREACHABLE, "unreachable"),
        (errno.ETIMEDOUT, Reason.TIMEOUT, "timeout"),
        (errno.EIO, Reason.LOCAL, "local-error"),
        (errno.EAGAIN, Reason.LOCAL, "send-buffer"),
        (errno.ENOBUFS, Reason.LOCAL, "send-buffer"),
        (errno.EMSGSIZE, Reason.LOCAL, "too-big"),
    ],
)
def test_errors_have_words(code: int, reason: Reason, word: str) -> None:
    """Each error of a socket ends a flow, or drops a datagram, for a reason of ours."""
    assert loss_of(error(code)) == Loss(reason, os.strerror(code))
    assert drop_reason(error(code)) == word


def test_an_error_may_be_about_another_datagram() -> None:
    """Sending is tried once more after an error, unless there is simply no room."""
    calls: list[int] = []
    refused, full = error(errno.ECONNREFUSED), error(errno.EAGAIN)

    def fails() -> None:
        calls.append(1)
        raise full

    assert tried_again(lambda: calls.append(1), refused) is None
    assert tried_again(fails, refused) is full
    assert len(calls) == 2
    assert tried_again(fails, full) is full
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("bound", "gone"),
    [
        ((V4, "0.0.0.0"), ("127.0.0.1",)),
        ((V6, "::"), ("::ffff:127.0.0.1", 0, 0)),
        ((V6, "::"), ("::1", 0, 0)),
    ],
)
def test_a_refusal_names_the_peer(
    bound: tuple[int, str], gone: tuple[str, int, int]
) -> None:
    """An unconnected socket learns which of its peers is gone, once."""
    host, *rest = gone
    peer = (host, unused_port(host.removeprefix("::ffff:")), *rest)
    with open_socket(bound[0], (bound[1], 0), buffer=BUFFER) as sock:
        sock.sendto(b"anybody?", peer)
        found = list(queued_errors(sock))
        assert [(one.errno, who) for one, who in found] == [(errno.ECONNREFUSED, peer)]
        assert list(queued_errors(sock)) == []
        sock.sendto(b"the error is gone", ("127.0.0.1", 9) if not rest else peer)


def test_an_error_that_found_no_room_is_still_told() -> None:
    """Where the kernel could not queue an error, it is told without its peer."""
    with open_socket(V4, ("127.0.0.1", 0), buffer=BUFFER) as sock:
        sock.setsockopt(socket.IPPROTO_IP, 11, 0)  # IP_RECVERR: queue nothing
        sock.connect(("127.0.0.1", unused_port()))
        sock.send(b"anybody?")
        found = list(queued_errors(sock))
        assert [(one.errno, who) for one, who in found] == [(errno.ECONNREFUSED, None)]


# -- watching them -------------------------------------------------------------


class Reader(DatagramReader):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.met: list[int | None] = []
        self.blamed: list[Loss] = []
        self.dismissed: list[Loss] = []
        sock = open_socket(V4, ("127.0.0.1", 0), buffer=BUFFER)
        super().__init__(reactor, sock)

    def doRead(self) -> None:
        try:
            data = self._sock.recv(BUFFER)
        except OSError:
            self._read_errors()
            return
        self.got.append(data)
        if data == b"bad":
            raise ZeroDivisionError("on purpose")

    def _met(self, error: OSError, peer: Sockaddr | None) -> None:
        self.met.append(error.errno)

    def _blamed(self, loss: Loss) -> None:
        self.blamed.append(loss)

    def _dismissed(self, loss: Loss) -> None:
        self.dismissed.append(loss)
        self._let_go()

    def tell(self, data: bytes) -> None:
        self._sock.sendto(data, self._sock.getsockname())

    def provoke(self) -> None:
        self._sock.sendto(b"anybody?", ("127.0.0.1", unused_port()))


@pytest.fixture
def reader() -> Iterator[Reader]:
    reader = Reader()
    yield reader
    reader._let_go()


@pytest_twisted.ensureDeferred
async def test_an_error_is_read_and_reading_goes_on(reader: Reader) -> None:
    """A reactor that gives up a socket for an error of it is given it back."""
    reader.provoke()
    await until(lambda: reader.met == [errno.ECONNREFUSED])
    reader.tell(b"still here")
    await until(lambda: reader.got == [b"still here"])
    assert (reader.blamed, reader.dismissed) == ([], [])


@pytest_twisted.ensureDeferred
async def test_an_exception_is_blamed_and_reading_goes_on(
    reader: Reader, logged_failures: list[Failure]
) -> None:
    """An exception of a reader is told, and does not stop the reading."""
    reader.tell(b"bad")
    reader.tell(b"good")
    await until(lambda: reader.got == [b"bad", b"good"])
    assert reader.blamed == [Loss(Reason.LOCAL, "ZeroDivisionError: on purpose")]
    logged_failures.clear()  # the reactor has logged it


def test_a_reactor_that_stops_is_the_end(reader: Reader) -> None:
    """When the reactor lets go of everything, so does a reader."""
    reader.connectionLost(Failure(ConnectionLost()))
    assert [loss.reason for loss in reader.dismissed] == [Reason.SHUTDOWN]
    assert reader.fileno() == -1
    reader.connectionLost(Failure(ConnectionDone()))
    assert reader.logPrefix() == "Reader"
