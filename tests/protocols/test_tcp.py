"""TCP, end to end: a client, a proxy and an upstream with real sockets."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from l7mp.core.events import AttemptFailed, StageRestored
from l7mp.core.registry import Context, Registry
from l7mp.errors import LocalError, Loss, Reason
from l7mp.protocols import tcp
from tests.protocols.real import LOOPBACK, Conn, Real, real
from tests.streams.loopback import turn, until

TCP: dict[str, Any] = {"protocol": "TCP", "port": 1, "address": LOOPBACK}
CLUSTER: dict[str, Any] = {"protocol": "TCP", "port": 1}
BOUND = 1 << 20
SMALL = 4096


async def between(
    world: Real, receive: int = 0, **route: Any
) -> tuple[Conn, Conn, socket.socket]:
    """A client and its upstream, and where the latter was accepted."""
    server = world.serve(receive=receive)
    endpoint = {"address": LOOPBACK, "port": server.getsockname()[1]}
    bound = await world.route(TCP, CLUSTER, endpoint, **route)
    client = world.dial((LOOPBACK, bound["port"]))
    return client, await world.accept(server), server


async def stuff(client: Conn) -> int:
    """Write until nothing more is taken for a while; how much it was."""
    sent, quiet = 0, 0
    while quiet < 200:
        taken = client.push(bytes(SMALL))
        sent, quiet = sent + taken, 0 if taken else quiet + 1
        await turn()
    return sent


def buffered(stream: Any) -> int:
    """How much waits in a stream to be written."""
    return sum(map(len, stream.unsent()))


@pytest_twisted.ensureDeferred
async def test_it_carries_bytes_both_ways() -> None:
    """What either side writes the other reads."""
    async with real() as world:
        client, upstream, _ = await between(world)
        client.send(b"question")
        assert await upstream.reads(8) == b"question"
        upstream.send(b"answer")
        assert await client.reads(6) == b"answer"


@pytest_twisted.ensureDeferred
async def test_metadata_names_both_sides() -> None:
    """A session knows the addresses and ports of its client's connection."""
    async with real() as world:
        client, _, _ = await between(world)
        session = await world.one_session()
        port, own = client.sock.getsockname()[1], client.sock.getpeername()[1]
        assert session.metadata["IP"] == {"src_addr": LOOPBACK, "dst_addr": LOOPBACK}
        assert session.metadata["TCP"] == {"src_port": port, "dst_port": own}
        assert session.name.startswith(f"TCP:{LOOPBACK}:{port}-{LOOPBACK}:{own}")


@pytest_twisted.ensureDeferred
async def test_a_stalled_reader_stops_the_writer() -> None:
    """Little is buffered for an upstream that does not read, and all of it arrives."""
    async with real() as world:
        client, upstream, _ = await between(world, receive=SMALL)
        session = await world.one_session()
        sent = await stuff(client)
        assert session.stages[0].stream.is_held
        assert 0 < buffered(session.stages[1].stream) < BOUND
        client.finish()
        assert len(await upstream.reads_all()) == sent


@pytest_twisted.ensureDeferred
async def test_a_stalled_client_stops_the_upstream() -> None:
    """The answers are held back as the questions are, and go on when they are read."""
    async with real() as world:
        client, upstream, _ = await between(world)
        session = await world.one_session()
        sent = await stuff(upstream)
        assert session.stages[1].stream.is_held
        assert 0 < buffered(session.stages[0].stream) < BOUND
        await client.reads(sent)
        assert not session.stages[1].stream.is_held
        upstream.send(b"more")
        await client.reads(sent + 4)


@pytest_twisted.ensureDeferred
async def test_half_close_leaves_the_answer_its_way() -> None:
    """A client that has said everything still gets a late answer."""
    async with real() as world:
        client, upstream, _ = await between(world)
        client.send(b"question")
        client.finish()
        assert await upstream.reads_all() == b"question"
        await turn(10)
        upstream.send(b"late answer")
        upstream.sock.close()
        assert await client.reads_all() == b"late answer"
        assert await world.loss() == Loss(Reason.FIN)


@pytest_twisted.ensureDeferred
async def test_a_reset_is_no_end() -> None:
    """A client that drops its connection is told apart from one that ends it."""
    async with real() as world:
        client, _, _ = await between(world)
        await world.one_session()
        client.drop()
        assert (await world.loss()).reason is Reason.RESET


@pytest_twisted.ensureDeferred
async def test_an_upstream_that_resets_ends_the_session_so() -> None:
    """A reset upstream is the session's loss, too."""
    async with real() as world:
        _, upstream, _ = await between(world)
        await world.one_session()
        upstream.drop()
        assert (await world.loss()).reason is Reason.RESET


@pytest_twisted.ensureDeferred
async def test_nobody_listens() -> None:
    """A connection that is refused is told apart from one that was lost."""
    async with real() as world:
        with socket.socket() as nobody:
            nobody.bind((LOOPBACK, 0))  # bound, so nobody else takes it
            endpoint = {"address": LOOPBACK, "port": nobody.getsockname()[1]}
            bound = await world.route(
                TCP, CLUSTER, endpoint, retry={"retry_on": "never"}
            )
            world.dial((LOOPBACK, bound["port"]))
            assert (await world.loss()).reason is Reason.REFUSED
        assert any(isinstance(e, AttemptFailed) for e in world.events)


@pytest_twisted.ensureDeferred
async def test_closing_lets_the_peer_read_everything() -> None:
    """Ending a session resets nobody although the client had more to say."""
    async with real() as world:
        client, upstream, _ = await between(world)
        session = await world.one_session()
        answer = bytes(300_000)
        written = 0
        while written < len(answer):
            written += upstream.push(answer[written:])
            await turn()
        stream = session.stages[1].stream
        await until(lambda: client.pull() and stream.bytes_in == len(answer))
        client.send(b"unread")
        session.end(Loss(Reason.DELETED))
        client.send(b"too late")
        await client.reads_all()
        assert client.got == answer
        client.sock.close()
        await until(lambda: session.status == "DESTROYED")


@pytest_twisted.ensureDeferred
async def test_what_never_left_goes_to_the_next_upstream() -> None:
    """A replaced upstream gets what the lost one was not sent."""
    async with real() as world:
        client, upstream, server = await between(
            world, receive=SMALL, retry={"retry_on": "always", "num_retries": 5}
        )
        session = await world.one_session()
        sent = await stuff(client)
        left = buffered(session.stages[1].stream)
        assert left
        delivered = session.stages[1].stream.bytes_out - left
        upstream.drop()
        again = await world.accept(server)
        client.finish()
        assert len(await again.reads_all()) == sent - delivered
        assert any(isinstance(e, StageRestored) for e in world.events)


@pytest_twisted.ensureDeferred
async def test_a_port_in_use_is_refused_by_name() -> None:
    """Who cannot listen is told where, why, and what to do."""
    context = Context(reactor=reactor, registry=Registry.of([tcp.protocol]))
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        port = other.getsockname()[1]
        spec = tcp.TCPListenerSpec.model_construct(
            protocol="TCP", port=port, address=LOOPBACK
        )
        with pytest.raises(LocalError, match=f"{LOOPBACK}:{port}.*choose another port"):
            await context.listen(spec, lambda *_: None)


@pytest_twisted.ensureDeferred
async def test_a_stopped_listener_keeps_its_sessions() -> None:
    """Stopping accepts nothing more; what was accepted goes on."""
    async with real() as world:
        client, upstream, _ = await between(world)
        await world.one_session()
        running = world.proxy._running["in"]
        assert running.listening is not None
        where = running.listening.address()
        await running.listening.stop()
        with pytest.raises(ConnectionRefusedError):
            world.dial((where["address"], where["port"]))
        client.send(b"still")
        assert await upstream.reads(5) == b"still"
