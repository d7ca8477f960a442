"""Flows of DTLS, of ours at both ends, over flows that lose what we say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from l7mp.errors import LocalError, Loss, Reason, RemoteError
from l7mp.interfaces import SINK, IStream
from l7mp.model.tls import TLSClient, TLSServer
from l7mp.streams.dtls import DTLSFlow, DTLSServer, connect_flow
from l7mp.streams.tls_context import ClientTLS, ServerTLS
from l7mp.testing import Memory, check_stream
from l7mp.wire.dtls import MAX_CONTENT
from tests.streams.certs import Certs
from tests.streams.loopback import until

DELETED = Loss(Reason.DELETED)


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    return Certs(tmp_path_factory.mktemp("certs"))


class Wire(Memory):
    """One end of a path between two addresses; what is written is on its way."""

    is_believed = False

    def __init__(self, path: Path, out: list[bytes]) -> None:
        super().__init__()
        self._path, self.written = path, out

    def believe(self) -> None:
        self.is_believed = True

    def five_tuple(self) -> tuple[str, int, str, int, int]:
        return "192.0.2.1", self._path.port, "198.51.100.1", 443, 17


class Path:
    """Between a client and the server, which makes a flow of what belongs to none."""

    def __init__(self, server: DTLSServer, port: int) -> None:
        self._server, self.port = server, port
        self.there: list[bytes] = []
        """On its way to the server."""
        self.back: list[bytes] = []
        self.near = Wire(self, self.there)
        self.far = Wire(self, self.back)
        self.far.vanish()

    def reach_server(self) -> None:
        """Let everything arrive there that is on its way."""
        going, self.there[:] = list(self.there), []
        for data in going:
            if self.far.loss is not None:
                self.far = Wire(self, self.back)
                self._server.arrived(self.far)
            self.far.inject(data)

    def reach_client(self) -> None:
        """The other way."""
        going, self.back[:] = list(self.back), []
        self.near.inject(*going)

    def carry(self) -> None:
        """Until both have said everything."""
        while self.there or self.back:
            self.reach_server()
            self.reach_client()


class World:
    """A server, and clients of it."""

    def __init__(self, certs: Certs, clock: Any = None, **said: Any) -> None:
        self.certs, self.clock = certs, clock or Clock()
        tls = TLSServer(**{"cert": certs.pem("a.org"), **said})
        self.accepted: list[DTLSFlow] = []
        self.failures: list[Loss] = []
        self.server = DTLSServer(
            self.clock,
            lambda cookies: ServerTLS(tls, (), pytest.fail, self.clock, cookies),
            lambda stream, _: self.accepted.append(stream),
            lambda _, loss: self.failures.append(loss),
        )
        self.port = 5000

    def path(self) -> Path:
        """From another port."""
        self.port += 1
        return Path(self.server, self.port)

    def call(self, linger: float = 0, **said: Any) -> tuple[list[Any], Path]:
        """A client that begins: what becomes of it, and the path to it."""
        tls = TLSClient(**{"ca": self.certs.ca, **said})
        security = ClientTLS(tls, (), pytest.fail, self.clock, datagrams=True)
        path, outcome = self.path(), list[Any]()
        self.connecting = connect_flow(self.clock, security, path.near, "a.org", linger)
        self.connecting.addCallback(outcome.append)
        self.connecting.addErrback(lambda failure: outcome.append(failure.value))
        return outcome, path

    def pair(self, **how: Any) -> tuple[DTLSFlow, DTLSFlow, Path]:
        """Both ends of a connection, and what is between them."""
        outcome, path = self.call(**how)
        path.carry()
        (near,) = outcome
        return near, self.accepted[-1], path


def flowing(stream: DTLSFlow) -> Memory:
    sink = Memory()
    stream.deliver_to(sink)
    stream.release(SINK)
    return sink


def test_messages_stay_messages(certs: Certs) -> None:
    """What is written arrives, message by message, encrypted on its way."""
    near, far, path = World(certs).pair()
    sink = flowing(far)
    sent = [b"one message", b"another", bytes(MAX_CONTENT)]
    for data in sent:
        near.write(data)
    assert len(path.there) == len(sent)
    assert not any(data in packet for data in sent for packet in path.there)
    path.carry()
    assert sink.written == sent
    answers = flowing(near)
    far.write(b"answer")
    path.carry()
    assert answers.written == [b"answer"]
    assert far.tls_facts["version"] == "DTLSv1.2"
    assert far.tls_facts["sni"] == "a.org"


def test_what_is_lost_is_lost(certs: Certs) -> None:
    """A datagram that did not arrive, or that was forged, takes nothing with it."""
    near, far, path = World(certs).pair()
    sink = flowing(far)
    near.write(b"one")
    path.there.clear()
    near.write(b"two")
    path.there[0] = path.there[0][:-1] + bytes([path.there[0][-1] ^ 1])
    near.write(b"three")
    path.there += [b"garbage", b"", b"\x17\xfe\xfd" + bytes(200), bytes(60_000)]
    path.there.append(b"\x17\xfe\xfd\0\1" + b"\xff" * 60_000)
    near.write(b"four")
    path.carry()
    assert sink.written == [b"three", b"four"]
    assert far.loss is None


def test_nothing_is_kept_of_strangers(certs: Certs) -> None:
    """Who has not proved where it is gets a cookie, and is forgotten at once."""
    world = World(certs)
    _, path = world.call()
    (greeting,) = path.there
    path.reach_server()
    assert path.far.loss is not None
    (cookie,) = path.back
    assert len(cookie) < len(greeting)
    assert world.accepted == []
    assert world.failures == []


def test_cookies_are_personal(certs: Certs) -> None:
    """A greeting with the cookie of somebody else is as one without."""
    world = World(certs)
    _, path = world.call()
    path.reach_server()
    path.reach_client()
    other = world.path()
    other.there += path.there
    other.reach_server()
    assert other.far.loss is not None
    assert len(other.back) == 1
    path.reach_server()
    assert path.far.loss is None
    assert path.far.is_believed


@pytest.mark.parametrize(
    "data", [b"", bytes(50), b"GET / HTTP/1.1\r\n\r\n", bytes(40_000)]
)
def test_garbage_is_no_greeting(certs: Certs, data: bytes) -> None:
    """Who speaks something else is not answered, and the next is served."""
    world = World(certs)
    path = world.path()
    path.there.append(data)
    path.reach_server()
    assert path.far.loss is not None
    assert path.back == []
    world.pair()


@pytest_twisted.ensureDeferred
async def test_lost_flights_are_sent_again(certs: Certs) -> None:
    """A handshake survives that flights are lost."""
    world = World(certs, clock=reactor)
    outcome, path = world.call()
    lost: set[int] = set()

    def lossy() -> bool:
        for going in (path.there, path.back):
            flight = hash(tuple(sorted(map(len, going))))
            if going and flight not in lost and len(lost) < 2:
                lost.add(flight)
                going.clear()
        path.reach_server()
        path.reach_client()
        return bool(outcome)

    await until(lossy, 20)
    assert len(lost) == 2
    (near,) = outcome
    sink = flowing(world.accepted[0])
    near.write(b"hello")
    path.carry()
    assert sink.written == [b"hello"]


def test_nobody_is_there(certs: Certs) -> None:
    """What becomes of the flow becomes of the attempt."""
    world = World(certs)
    outcome, path = world.call()
    path.near.vanish(Reason.REFUSED)
    (error,) = outcome
    assert isinstance(error, RemoteError)
    assert error.loss == Loss(Reason.REFUSED)
    assert not world.clock.getDelayedCalls()


def test_an_attempt_can_be_given_up(certs: Certs) -> None:
    """Who cancels leaves no flow and no timer behind."""
    world = World(certs)
    outcome, path = world.call()
    world.connecting.cancel()
    assert isinstance(outcome[0], CancelledError)
    assert path.near.loss is not None
    assert not world.clock.getDelayedCalls()


def test_a_handshake_is_limited_in_time(certs: Certs) -> None:
    """Who has got in and does not go on is shown out."""
    world = World(certs, handshake_timeout=0.5)
    _, path = world.call()
    path.reach_server()
    path.reach_client()
    path.reach_server()
    assert path.far.loss is None
    world.clock.advance(0.5)
    assert world.failures == [Loss(Reason.TIMEOUT, "the handshake took over 0.5 s")]
    assert path.far.loss is not None


@pytest.mark.parametrize(
    ("said", "why"),
    [({"server_name": "b.org"}, "not for b.org"), ({"ca": "other"}, "unknown CA")],
)
def test_strangers_are_not_trusted(
    certs: Certs, said: dict[str, Any], why: str
) -> None:
    """Names and authorities are checked as over TCP, and both sides learn of it."""
    if "ca" in said:
        said = {"ca": certs.other_ca}
    world = World(certs)
    outcome, path = world.call(**said)
    path.carry()
    (error,) = outcome
    assert error.loss.reason is Reason.TLS
    assert why in error.loss.detail
    (loss,) = world.failures
    assert loss.detail.startswith("the peer says: ")


def test_clients_show_who_they_are(certs: Certs) -> None:
    """Certificates of clients are asked for over datagrams, too."""
    world = World(certs, client_cert="required", ca=certs.ca)
    _, far, _ = world.pair(cert=certs.pem("me.org", cn="Me"))
    assert far.tls_facts["peer"]["cn"] == "Me"


def test_a_name_that_nobody_has(certs: Certs) -> None:
    """What can be no host's name is told as that, and the flow is dropped."""
    clock = Clock()
    security = ClientTLS(TLSClient(), (), pytest.fail, clock, datagrams=True)
    flow, heard = Memory(), list[Any]()
    connecting = connect_flow(clock, security, flow, "ü" * 80, 0)
    connecting.addErrback(lambda failure: heard.append(failure.value))
    assert heard[0].loss.reason is Reason.UNREACHABLE
    assert flow.loss is not None


# -- ends --------------------------------------------------------------------------------


def test_a_close_is_said(certs: Certs) -> None:
    """After a close the peer is told, and its stream ends in peace."""
    near, far, path = World(certs).pair()
    sink = flowing(far)
    near.write(b"last")
    near.close(DELETED)
    assert near.loss == DELETED
    path.carry()
    assert sink.written == [b"last"]
    assert sink.ended
    assert far.loss == Loss(Reason.FIN)


def test_a_held_stream_ends_when_it_was_read(certs: Certs) -> None:
    """What waits is delivered before the end is told."""
    near, far, path = World(certs).pair()
    near.write(b"last")
    near.end()
    path.carry()
    assert far.loss is None
    assert flowing(far).written == [b"last"]
    assert far.loss == Loss(Reason.FIN)


def test_an_end_waits_for_late_answers(certs: Certs) -> None:
    """Where silence stands for the end of answers, they are waited for before goodbye."""
    world = World(certs)
    near, far, path = world.pair(linger=1.0)
    assert near.half_close
    answers = flowing(near)
    near.end()
    near.end()
    world.clock.advance(0.8)
    far.write(b"late")
    path.carry()
    assert answers.written == [b"late"]
    world.clock.advance(0.8)
    assert not near._is_over
    world.clock.advance(0.3)
    assert near.loss is not None
    assert answers.ended
    path.carry()
    assert far.loss == Loss(Reason.FIN)
    assert not world.clock.getDelayedCalls()


def test_what_cannot_be_sent_is_counted(certs: Certs) -> None:
    """Messages longer than a record, empty ones, and those after the end."""
    near, _, path = World(certs).pair()
    near.write(bytes(MAX_CONTENT + 1))
    near.write(b"")
    near.abort(DELETED)
    near.write(b"late")
    assert near.drops == {"oversize": 1, "empty": 1, "closed": 1}
    assert path.there == []
    assert path.near.loss == DELETED


def test_a_lost_flow_is_a_lost_stream(certs: Certs) -> None:
    """What becomes of the flow becomes of the stream."""
    near, _, path = World(certs).pair()
    path.near.vanish(Reason.UNREACHABLE)
    assert near.loss == Loss(Reason.UNREACHABLE)


def test_what_comes_after_the_end_is_counted(certs: Certs) -> None:
    """A stream that is over reads nothing more."""
    near, far, path = World(certs).pair()
    far.write(b"late")
    near.close(DELETED)
    near.received(path.back[0])
    assert near.drops["closing"] == 1


def test_it_keeps_the_contract(certs: Certs) -> None:
    """An encrypted flow is a stream."""

    def make() -> tuple[IStream, Callable[[bytes], None]]:
        near, far, path = World(certs).pair()

        def send(data: bytes) -> None:
            near.write(data)
            path.carry()

        return far, send

    check_stream(make)


def test_only_one_version(certs: Certs) -> None:
    """Whoever asks for a version that nobody has made yet is told."""
    with pytest.raises(LocalError, match=r"DTLS 1\.2 only"):
        World(certs, min_version="TLSv1.3")


# -- strangers -----------------------------------------------------------------------------


@given(data=st.data())
def test_no_datagram_does_harm(data: st.DataObject, certs: Certs) -> None:
    """Whatever is sent before, in and after a handshake ends no stream of others."""
    world = World(certs)
    near, far, path = world.pair()
    sink = flowing(far)
    near.write(b"good")
    (packet,) = path.there
    for _ in range(data.draw(st.integers(1, 5))):
        kind = data.draw(st.sampled_from(["random", "changed", "cut"]))
        strange = data.draw(st.binary(max_size=60))
        at = data.draw(st.integers(0, len(packet) - 1))
        if kind == "changed":
            strange = packet[:at] + bytes([packet[at] ^ 0x55]) + packet[at + 1 :]
        elif kind == "cut":
            strange = packet[:at]
        path.there.insert(0, strange)
        other = world.path()
        other.there.append(strange)
        other.carry()
    path.carry()
    assert sink.written == [b"good"]
    assert far.loss is None
    assert world.failures == []
