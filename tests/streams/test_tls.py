"""Streams over TLS, with Python's own sockets at the other end."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from itertools import pairwise
from typing import Any, cast

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import SINK
from l7mp.model.tls import TLSClient
from l7mp.streams.endpoint import factory_of
from l7mp.streams.tls import CUT, RECORD
from l7mp.streams.tls_context import ClientTLS
from l7mp.testing import Memory
from tests.streams.certs import Certs
from tests.streams.loopback import Collector, turn, until
from tests.streams.secure import HOST, Peer, World, world
from tests.streams.tls_ends import Simple, greeting, server_end

DELETED = Loss(Reason.DELETED)


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    return Certs(tmp_path_factory.mktemp("certs"))


async def sink_has(sink: Collector, octets: int) -> None:
    await until(lambda: sum(map(len, sink.got)) >= octets)


@pytest_twisted.ensureDeferred
async def test_it_carries_bytes_both_ways(certs: Certs) -> None:
    """What either side writes the other reads, whatever its length."""
    async with world(certs) as here:
        stream, peer = await here.pair()
        sink = Collector(stream)
        sent = bytes(range(256)) * 1024
        for size in (1, RECORD, RECORD + 1, len(sent)):
            stream.write(sent[:size])
            peer.got = b""
            assert await peer.reads(size) == sent[:size]
            sink.got.clear()
            pushed = 0
            while pushed < size:
                pushed += peer.push(sent[pushed:size])
                await turn()
            await sink_has(sink, size)
            assert b"".join(sink.got) == sent[:size]


@pytest_twisted.ensureDeferred
async def test_nobody_is_accepted_before_the_handshake(certs: Certs) -> None:
    """A connection is a stream when the handshake is done, and knows of it."""
    async with world(certs) as here:
        peer = here.dial(here.listen(), name="localhost")
        await turn(10)
        assert here.accepted == []
        await peer.shakes()
        stream = await here.arrival()
        facts = stream.transport.tls_facts  # type: ignore[attr-defined]
        assert facts["sni"] == "localhost"
        assert facts["version"] == peer.sock.version()


@pytest_twisted.ensureDeferred
async def test_a_held_stream_delivers_nothing(certs: Certs) -> None:
    """What was read and decrypted waits, in order, until it is wanted."""
    async with world(certs) as here:
        stream, peer = await here.pair()
        peer.send(b"one")
        await turn(10)
        assert stream.bytes_in == 0
        sink = Collector(stream)
        await until(lambda: sink.got == [b"one"])


@pytest_twisted.ensureDeferred
async def test_a_hold_stops_between_records(certs: Certs) -> None:
    """A stream that is held by what it delivers keeps the rest of what it has read."""
    async with world(certs) as here:
        stream, peer = await here.pair()

        class Full(Collector):
            def write(self, data: bytes) -> None:
                super().write(data)
                stream.hold(self)

        sink = Full(stream)
        stream.hold("all of it comes at once")
        for number in range(5):
            peer.send(b"%d" % number)
        await turn(10)
        stream.release("all of it comes at once")
        for number in range(5):
            await sink_has(sink, number + 1)
            await turn(3)
            assert len(sink.got) == number + 1
            stream.release(sink)
        assert sink.got == [b"0", b"1", b"2", b"3", b"4"]


# -- ends -------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_an_end_leaves_the_other_direction_open(certs: Certs) -> None:
    """After our end the peer reads the end, and its late answer is still read."""
    async with world(certs) as here:
        stream, peer = await here.pair()
        sink = Collector(stream)
        assert stream.half_close
        stream.write(b"question")
        stream.end()
        assert await peer.reads_all() == b"question"
        await turn(5)
        assert stream.loss is None
        peer.send(b"late answer")
        await until(lambda: sink.got == [b"late answer"])
        peer.say_end()
        peer.sock.close()
        assert await stream.when_lost() == Loss(Reason.FIN)
        assert sink.ended


@pytest_twisted.ensureDeferred
async def test_the_peer_can_end_first(certs: Certs) -> None:
    """After the peer's close_notify we can still write to it."""
    async with world(certs) as here:
        stream, peer = await here.pair()
        sink = Collector(stream)
        peer.send(b"question")
        peer.say_end()
        await until(lambda: sink.ended)
        assert sink.got == [b"question"]
        assert stream.loss is None
        stream.end()
        assert await stream.when_lost() == Loss(Reason.FIN)


@pytest_twisted.ensureDeferred
async def test_a_missing_end_is_told(certs: Certs) -> None:
    """A connection that ends below TLS may have been cut, and is no good end."""
    async with world(certs) as here:
        stream, peer = await here.pair()
        sink = Collector(stream)
        peer.send(b"all there is?")
        os.close(peer.sock.detach())
        assert await stream.when_lost() == CUT
        assert sink.got == [b"all there is?"]
        assert not sink.ended


@pytest_twisted.ensureDeferred
async def test_closing_delivers_what_was_written(certs: Certs) -> None:
    """A closed stream is gone when the peer has read everything and has ended."""
    async with world(certs) as here:
        stream, peer = await here.pair()
        data = bytes(3 << 20)
        stream.write(data)
        stream.close(DELETED)
        assert await peer.reads_all() == data
        peer.say_end()
        peer.sock.close()
        assert await stream.when_lost() == DELETED
        assert stream.unsent() == []


@pytest_twisted.ensureDeferred
async def test_a_dropped_connection_is_a_reset(certs: Certs) -> None:
    """Who drops the connection has not ended it."""
    async with world(certs) as here:
        stream, peer = await here.pair()
        Collector(stream)
        stream.write(b"unread")
        await turn(5)
        peer.sock.close()
        assert (await stream.when_lost()).reason is Reason.RESET


@pytest_twisted.ensureDeferred
async def test_what_never_left_is_known(certs: Certs) -> None:
    """A lost stream says what was in no record that the kernel took as a whole."""
    async with world(certs) as here:
        stream, _ = await here.pair()
        data = bytes(range(256)) * (32 << 10)
        stream.write(data[:-5])
        await turn(5)
        stream.write(data[-5:])
        stream.abort(DELETED)
        assert await stream.when_lost() == DELETED
        left = b"".join(stream.unsent())
        assert 5 < len(left) < len(data)
        assert data.endswith(left)
        assert (len(data) - 5 - (len(left) - 5)) % RECORD == 0


@pytest_twisted.ensureDeferred
async def test_what_has_left_is_forgotten(
    certs: Certs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection on which nothing happens keeps nothing of what it has sent."""
    monkeypatch.setattr("l7mp.streams.tls.TIDY", 0.01)
    async with world(certs) as here:
        stream, peer = await here.pair()
        transport = cast(Any, stream.transport)
        stream.write(bytes(4 << 20))
        await turn(5)
        assert transport.backlog() > 0
        await peer.reads(4 << 20)
        await until(lambda: not transport._written)
        assert transport.backlog() == 0


@pytest_twisted.ensureDeferred
async def test_a_slow_peer_pushes_back(certs: Certs) -> None:
    """Who writes to a peer that does not read is asked to pause."""
    async with world(certs) as here:
        stream, peer = await here.pair()
        asked: list[str] = []

        class Producer(Memory):
            def pauseProducing(self) -> None:
                asked.append("pause")

            def resumeProducing(self) -> None:
                asked.append("resume")

        stream.registerProducer(Producer(), True)  # type: ignore[arg-type]  # enough of one
        stream.write(bytes(8 << 20))
        assert {*asked} == {"pause"}
        await peer.reads(8 << 20)
        await until(lambda: asked[-1] == "resume")
        stream.unregisterProducer()


# -- handshakes that fail -----------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_strangers_harm_no_listener(certs: Certs) -> None:
    """Port scanners, plain HTTP and garbage are turned away; others are served."""
    async with world(certs) as here:
        port = here.listen()
        for what in (
            b"",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\xff\xff",
            b"\0" * 99,
        ):
            with socket.create_connection((HOST, port)) as stranger:
                stranger.send(what)
        await until(lambda: len(here.failures) == 4)
        assert here.failures[1] == Loss(Reason.TLS, "the peer speaks plain HTTP")
        assert {loss.reason for loss in here.failures} == {Reason.TLS}
        peer = await here.dial(port).shakes()
        await here.arrival()
        assert peer.sock.version()


@pytest_twisted.ensureDeferred
async def test_handshakes_are_limited_in_time(certs: Certs) -> None:
    """Who says nothing is shown the door."""
    async with world(certs) as here:
        port = here.listen(handshake_timeout=0.05)
        with socket.create_connection((HOST, port)):
            await until(lambda: here.failures)
        (loss,) = here.failures
        assert loss == Loss(Reason.TIMEOUT, "the handshake took over 0.05 s")


@pytest_twisted.ensureDeferred
async def test_the_client_learns_why(certs: Certs) -> None:
    """An alert arrives although the client had already begun to speak (TLS 1.3)."""
    async with world(certs) as here:
        port = here.listen(client_cert="required", ca=certs.ca)
        peer = await here.dial(port).shakes()  # as far as the client can tell
        peer.send(b"early")
        with pytest.raises(OSError, match=r"(?i)certificate.required"):
            await peer.reads(1)
        assert here.failures == [Loss(Reason.TLS, "the peer shows no certificate")]
        assert here.accepted == []


@pytest_twisted.ensureDeferred
async def test_a_refusal_after_the_handshake(certs: Certs) -> None:
    """A server that refuses our certificate, or the lack of one, is heard (TLS 1.3)."""
    async with world(certs) as here:
        server = here.serve()
        connecting = here.connect(server.getsockname()[1])
        peer = await here.accept(server, ca=certs.ca)
        with pytest.raises(OSError, match=r"(?i)peer.did.not.return"):
            await peer.shakes()
        peer.sock.close()
        stream = await connecting
        stream.deliver_to(Memory())
        stream.release(SINK)
        loss = await stream.when_lost()
        assert loss == Loss(Reason.TLS, "the peer says: certificate required")


@pytest_twisted.ensureDeferred
async def test_what_comes_too_late_is_known(certs: Certs) -> None:
    """What is written to a connection that has failed, but is not gone, is not lost."""
    async with world(certs) as here:
        stream, peer = await here.pair()
        sink = Collector(stream)
        fd = peer.sock.detach()
        os.write(fd, b"\x17\x03\x03\x00\x20" + bytes(32))  # no record of ours
        await until(lambda: stream.transport._fate)  # type: ignore[attr-defined]
        stream.write(b"late")
        os.close(fd)
        loss = await stream.when_lost()
        assert loss == Loss(Reason.TLS, "damaged data")
        assert stream.unsent() == [b"late"]
        assert sink.got == []


async def simple_pair(here: World) -> tuple[Simple, Peer]:
    """One above TLS, and a client of Python's."""
    made: list[Simple] = []

    def build() -> Simple:
        made.append(Simple())
        return made[-1]

    peer = await here.dial(here.listen_for(factory_of(build))).shakes()
    await until(lambda: made and made[0].connected)
    return made[0], peer


@pytest_twisted.ensureDeferred
async def test_protocols_without_half_close(certs: Certs) -> None:
    """For them the peer's end is the end, and it is answered."""
    async with world(certs) as here:
        above, peer = await simple_pair(here)
        peer.send(b"hello")
        peer.say_end()
        await until(lambda: above.lost)
        assert above.got == b"hello"
        assert above.lost[0].check(ConnectionDone)
        await peer.reads_all()


@pytest_twisted.ensureDeferred
async def test_a_producer_can_stop_it(certs: Certs) -> None:
    """As any transport it is a producer, which can be stopped, and takes sequences."""
    async with world(certs) as here:
        above, peer = await simple_pair(here)
        transport = cast(Any, above.transport)
        transport.writeSequence([b"good", b"bye"])
        transport.stopProducing()
        assert await peer.reads_all() == b"goodbye"
        peer.say_end()
        await until(lambda: above.lost)


@pytest_twisted.ensureDeferred
async def test_a_refused_connection_is_dropped(certs: Certs) -> None:
    """A factory that wants nobody drops the client when it has shaken hands."""
    async with world(certs) as here:

        class Full(Factory):
            def buildProtocol(self, addr: object) -> None:
                pass

        peer = here.dial(here.listen_for(Full()))
        with pytest.raises(OSError, match=r"(?i)reset|eof"):
            await (await peer.shakes()).reads(1)


# -- strangers ------------------------------------------------------------------------------


@given(data=st.data())
def test_no_greeting_does_harm(data: st.DataObject, certs: Certs) -> None:
    """Whatever comes in place of a handshake, in whatever pieces, fails it or waits."""
    said = bytearray(greeting())
    for _ in range(data.draw(st.integers(0, 4))):
        said[data.draw(st.integers(0, len(said) - 1))] = data.draw(st.integers(0, 255))
    whole = data.draw(st.sampled_from([bytes(said), b""])) + data.draw(
        st.binary(max_size=200)
    )
    end, _, failures = server_end(certs)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    for start, stop in pairwise([0, *cuts, len(whole)]):
        if start < stop:
            end.dataReceived(whole[start:stop])
    end.readConnectionLost()
    end.connectionLost(Failure(ConnectionDone()))
    assert end.above is None
    (loss,) = failures
    assert loss.reason is Reason.TLS
    assert loss.detail


@given(st.binary(min_size=1, max_size=200))
def test_no_record_does_harm(certs: Certs, data: bytes) -> None:
    """What is no record of the peer's costs its connection, and is never delivered."""
    end, wire, failures = server_end(certs)
    tls = TLSClient(ca=certs.ca)
    client, _ = ClientTLS(tls, (), print, Clock()).connection("a.org")
    for _ in range(4):
        with suppress(SSL.WantReadError):
            client.do_handshake()
        with suppress(SSL.WantReadError):
            end.dataReceived(client.bio_read(1 << 16))
        answer = wire.value()
        wire.clear()
        if answer:
            client.bio_write(answer)
    above = cast(Simple, end.above)
    client.send(b"good")
    end.dataReceived(client.bio_read(1 << 16) + data)
    end.readConnectionLost()
    end.connectionLost(Failure(ConnectionDone()))
    assert above.got == b"good"
    (reason,) = above.lost
    assert isinstance(reason.value, RemoteError)
    assert reason.value.loss.reason is Reason.TLS
    assert failures == []
