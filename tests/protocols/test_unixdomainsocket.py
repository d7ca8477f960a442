"""Unix domain sockets, end to end, and the files they live at."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from pydantic import ValidationError

from l7mp.core.events import Warned
from l7mp.core.registry import Registry
from l7mp.errors import LocalError, Loss, Reason
from l7mp.model import predicate
from l7mp.observers.metrics import Metrics
from l7mp.protocols import unixdomainsocket
from l7mp.streams.unixsocket import TYPES
from tests.protocols.real import Real, real
from tests.streams.loopback import turn, until

CLUSTER: dict[str, Any] = {"protocol": "UnixDomainSocket"}
NEVER = {"retry_on": "never"}


def ourselves() -> dict[str, int]:
    return {"pid": os.getpid(), "uid": os.getuid(), "gid": os.getgid()}


async def listening(world: Real, path: Path) -> dict[str, Any]:
    listener = {"protocol": "UnixDomainSocket", "filename": str(path)}
    return await world.route(
        listener, CLUSTER, {"address": str(path) + ".up"}, retry=NEVER
    )


@pytest_twisted.ensureDeferred
async def test_half_close_leaves_the_answer_its_way(tmp_path: Path) -> None:
    """A client that has said everything still gets a late answer."""
    path = tmp_path / "s"
    async with real() as world:
        server = world.serve(f"{path}.up")
        assert await listening(world, path) == {"filename": str(path)}
        client = world.dial(str(path))
        upstream = await world.accept(server)
        client.send(b"question")
        client.finish()
        assert await upstream.reads_all() == b"question"
        upstream.send(b"late answer")
        upstream.sock.close()
        assert await client.reads_all() == b"late answer"
        assert await world.loss() == Loss(Reason.FIN)


@pytest_twisted.ensureDeferred
async def test_the_session_knows_its_file(tmp_path: Path) -> None:
    """The path, and who is at the other end, are metadata of the session."""
    path = tmp_path / "s"
    async with real() as world:
        world.serve(f"{path}.up")
        await listening(world, path)
        world.dial(str(path))
        session = await world.one_session()
        assert session.metadata["UNIX"] == {"filename": str(path), **ourselves()}
        assert session.name.startswith("UNIX:in-")


@pytest_twisted.ensureDeferred
async def test_nobody_listens(tmp_path: Path) -> None:
    """A missing socket file is unreachable, one that nobody listens at refuses."""
    path = tmp_path / "s"
    for stale, reason in ((False, Reason.UNREACHABLE), (True, Reason.REFUSED)):
        if stale:
            leave_behind(Path(f"{path}.up"))
        async with real() as world:
            await listening(world, path)
            world.dial(str(path))
            assert (await world.loss()).reason is reason


def leave_behind(path: Path) -> None:
    """A socket file that nobody listens at."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


@pytest_twisted.ensureDeferred
async def test_a_stale_file_is_replaced(tmp_path: Path) -> None:
    """A socket file that a dead process left behind is in nobody's way."""
    path = tmp_path / "s"
    leave_behind(path)
    async with real() as world:
        await listening(world, path)
        world.dial(str(path))
        await until(lambda: world.proxy.sessions or world.events)


@pytest.mark.parametrize("type_", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest_twisted.ensureDeferred
async def test_one_in_use_is_left_alone(tmp_path: Path, type_: int) -> None:
    """A socket somebody uses is not taken away."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, type_) as other:
        other.bind(str(path))
        if type_ == socket.SOCK_STREAM:
            other.listen()
        async with real() as world:
            with pytest.raises(LocalError, match="another process"):
                await listening(world, path)
        assert path.is_socket()


@pytest_twisted.ensureDeferred
async def test_a_file_is_left_alone(tmp_path: Path) -> None:
    """What is no socket is not replaced by one."""
    path = tmp_path / "s"
    path.write_text("precious")
    async with real() as world:
        with pytest.raises(LocalError, match="no socket"):
            await listening(world, path)
    assert path.read_text() == "precious"


@pytest_twisted.ensureDeferred
async def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """Who cannot listen is told where and why."""
    async with real() as world:
        with pytest.raises(LocalError, match=r"cannot listen at .*No such file"):
            await listening(world, tmp_path / "missing" / "s")


@pytest_twisted.ensureDeferred
async def test_the_file_goes_with_the_listener(tmp_path: Path) -> None:
    """A stopped listener leaves no file."""
    path = tmp_path / "s"
    async with real() as world:
        await listening(world, path)
        assert path.is_socket()
    assert not path.exists()


@pytest_twisted.ensureDeferred
async def test_the_file_of_another_stays(tmp_path: Path) -> None:
    """A listener removes only the file it made."""
    path = tmp_path / "s"
    async with real() as world:
        await listening(world, path)
        os.rename(path, tmp_path / "away")
        path.write_text("precious")
    assert path.read_text() == "precious"


# -- the other types ---------------------------------------------------------------


def bound(path: Path, type_: int) -> socket.socket:
    """Somebody at an address of their own."""
    sock = socket.socket(socket.AF_UNIX, type_)
    sock.bind(str(path))
    return sock


async def passing(world: Real, path: Path, type_: str, **more: Any) -> dict[str, Any]:
    """A listener of a type before a cluster of the same."""
    listener = {"protocol": "Unix", "filename": str(path), "type": type_, **more}
    cluster = {**CLUSTER, "type": type_}
    endpoint = {"address": f"{path}.up"}
    return await world.route(listener, cluster, endpoint, retry=NEVER)


@pytest_twisted.ensureDeferred
async def test_packets_stay_whole(tmp_path: Path) -> None:
    """Messages keep their boundaries both ways, and an end leaves the answer its way."""
    path = tmp_path / "s"
    with bound(Path(f"{path}.up"), socket.SOCK_SEQPACKET) as server:
        server.listen()
        server.setblocking(False)
        async with real() as world:
            assert await passing(world, path, "seqpacket") == {"filename": str(path)}
            with bound(tmp_path / "me", socket.SOCK_SEQPACKET) as sock:
                sock.connect(str(path))
                client = Packets(sock)
                session = await world.one_session()
                upstream = Packets(server.accept()[0])
                for data in (b"one", b"two", bytes(1 << 16)):
                    sock.send(data)
                await until(lambda: upstream.pull() and len(upstream.got) == 3)
                assert upstream.got == [b"one", b"two", bytes(1 << 16)]
                sock.shutdown(socket.SHUT_WR)
                await until(lambda: upstream.pull() and upstream.ended)
                upstream.sock.send(b"late")
                upstream.sock.send(b"answer")
                upstream.sock.close()
                await until(lambda: client.pull() and client.ended)
                assert client.got == [b"late", b"answer"]
                assert session.metadata["UNIX"]["peer"] == str(tmp_path / "me")
                assert session.warnings == []
                assert await world.loss() == Loss(Reason.FIN)


class Packets:
    """One side of a connection of messages."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.got: list[bytes] = []
        self.ended = False

    def pull(self) -> bool:
        """Read once; whether there was anything, if only the end."""
        try:
            data = self.sock.recv(1 << 20)
        except BlockingIOError:
            return False
        if data:
            self.got.append(data)
        self.ended = not data
        return True


@pytest_twisted.ensureDeferred
async def test_datagrams_find_their_way_there_and_back(tmp_path: Path) -> None:
    """Each sender is a session with an address of its own at the upstream."""
    path = tmp_path / "s"
    with (
        bound(Path(f"{path}.up"), socket.SOCK_DGRAM) as server,
        bound(tmp_path / "1", socket.SOCK_DGRAM) as one,
        bound(tmp_path / "2", socket.SOCK_DGRAM) as two,
    ):
        upstream = [Packets(server), Packets(one), Packets(two)]
        async with real() as world:
            await passing(world, path, "dgram", options={"idle_timeout": 0})
            sources = []
            for client in (one, two):
                client.sendto(b"question", str(path))
                data, source = await until(lambda: _heard(server))
                assert data == b"question"
                sources.append(source)
            for answer, source in zip((b"1", b"2"), sources, strict=True):
                server.sendto(answer, source)
            await until(lambda: all(peer.pull() or peer.got for peer in upstream[1:]))
            assert [peer.got for peer in upstream] == [[], [b"1"], [b"2"]]
            names = [s.metadata["UNIX"]["peer"] for s in world.proxy.sessions.values()]
            assert names == [str(tmp_path / "1"), str(tmp_path / "2")]


def _heard(sock: socket.socket) -> tuple[bytes, Any] | None:
    try:
        return sock.recvfrom(1 << 16)
    except BlockingIOError:
        return None


@pytest_twisted.ensureDeferred
async def test_silent_senders_are_forgotten(tmp_path: Path) -> None:
    """A sender of datagrams has no end, so silence is one; 60 s unless said."""
    path = tmp_path / "s"
    with bound(tmp_path / "1", socket.SOCK_DGRAM) as one:
        async with real() as world:
            listener = {"protocol": "Unix", "filename": str(path), "type": "dgram"}
            options = {"options": {"idle_timeout": 0.05}}
            await world.route({**listener, **options}, {"protocol": "Echo"})
            one.sendto(b"x", str(path))
            assert (await world.loss()).reason is Reason.IDLE
    words = real_words()
    assert words.listener(listener).idle_timeout == 60
    assert words.listener({**listener, "type": "stream"}).idle_timeout == 0


def real_words() -> Any:
    return Registry.of([unixdomainsocket.protocol]).vocabulary()


@pytest_twisted.ensureDeferred
async def test_rules_can_ask_who_it_is(tmp_path: Path) -> None:
    """The user at the other end is a number that rules can compare."""
    path = tmp_path / "s"
    async with real() as world:
        listener = {"protocol": "Unix", "filename": str(path)}
        await world.route(listener, {"protocol": "Echo"})
        world.dial(str(path))
        metadata = (await world.one_session()).metadata
        match = {"op": "test", "path": "/UNIX/uid", "value": os.getuid()}
        assert predicate.compile(match)(metadata)
        assert not predicate.compile({**match, "value": 4711})(metadata)


@pytest_twisted.ensureDeferred
async def test_the_file_is_for_whom_it_shall_be(tmp_path: Path) -> None:
    """Mode, owner and group are as declared; unknown ones are refused by name."""
    path = tmp_path / "s"
    async with real() as world:
        more = {"mode": "0620", "owner": "root", "group": 7}
        await passing(world, path, "dgram", **more)
        found = path.stat()
        assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == (0o620, 0, 7)
    async with real() as world:
        with pytest.raises(LocalError, match='no group "nosuchgroup"'):
            await passing(world, path, "stream", group="nosuchgroup")


@pytest_twisted.ensureDeferred
async def test_abstract_names_work_on_both_sides() -> None:
    """A listener and an endpoint may be abstract, as @name."""
    name = f"@l7mp-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name[1:]}.up")
        server.listen()
        server.setblocking(False)
        async with real() as world:
            assert await listening(world, Path(name)) == {"filename": name}
            client = world.dial(f"\0{name[1:]}")
            upstream = await world.accept(server)
            client.send(b"question")
            assert await upstream.reads(8) == b"question"
            assert world.session.metadata["UNIX"]["filename"] == name


def test_an_abstract_name_has_no_mode() -> None:
    """There is no file to which a mode, an owner or a group could belong."""
    spec = {"protocol": "Unix", "filename": "@x", "mode": "0600"}
    with pytest.raises(ValidationError, match="abstract name has no mode"):
        real_words().listener(spec)


@pytest_twisted.ensureDeferred
async def test_there_is_an_end_to_senders(tmp_path: Path) -> None:
    """Who finds no room is refused and counted, whoever is inside stays."""
    path = tmp_path / "s"
    metrics = Metrics()
    async with real(metrics=metrics) as world:
        listener = {"protocol": "Unix", "filename": str(path), "type": "dgram"}
        most = {"options": {"max_sessions": 5, "max_sessions_per_source": 2}}
        await world.route({**listener, **most}, {"protocol": "Discard"})
        for number in range(4):
            with bound(tmp_path / str(number), socket.SOCK_DGRAM) as sock:
                sock.sendto(b"x", str(path))
                await turn(2)
        assert len(world.proxy.sessions) == 2
        assert metrics.drops("in") == {"max-sessions-per-source": 2}
        warnings = [event for event in world.events if isinstance(event, Warned)]
        assert [event.subject for event in warnings] == ["listener in"]
        next(iter(world.proxy.sessions.values())).end(Loss(Reason.DELETED))
        await until(lambda: len(world.proxy.sessions) == 1)
        with bound(tmp_path / "5", socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", str(path))
            await until(lambda: len(world.proxy.sessions) == 2)
    spec = {**listener, **most, "type": "stream"}
    with pytest.raises(ValidationError, match="no limit to sessions of type stream"):
        real_words().listener(spec)


def test_types_say_what_they_carry() -> None:
    """stream carries bytes, the others messages; on both sides, in any spelling."""
    words = real_words()
    for given, kind in (
        ("stream", "byte-stream"),
        ("dgram", "datagram-stream"),
        ("datagram", "datagram-stream"),
        ("seqpacket", "datagram-stream"),
    ):
        spec = {"protocol": "UDS", "type": given}
        assert words.kind_of(words.cluster(spec)) == kind
        assert words.kind_of(words.listener({**spec, "filename": "x"})) == kind


@pytest.mark.parametrize("type_", ["stream", "dgram", "seqpacket"])
@pytest_twisted.ensureDeferred
async def test_sessions_leave_no_descriptors(tmp_path: Path, type_: str) -> None:
    """After 200 sessions there are as many descriptors as before."""
    path = tmp_path / "s"
    async with real() as world:
        listener = {"protocol": "Unix", "filename": str(path), "type": type_}
        await world.route(listener, {"protocol": "Echo"})
        before = len(os.listdir("/proc/self/fd"))
        socks = []
        for number in range(200):
            sock = bound(tmp_path / str(number), TYPES[type_])
            socks.append(sock)
            sock.connect(str(path))
            sock.send(b"x")
            await turn()
        await until(lambda: len(world.proxy.sessions) == 200)
        for sock in socks:
            sock.setblocking(False)
            await until(lambda: _heard(sock))  # noqa: B023  # called at once
            sock.close()
        if type_ == "dgram":
            for session in list(world.proxy.sessions.values()):
                session.end(Loss(Reason.DELETED))
        await until(lambda: not world.proxy.sessions)
        assert len(os.listdir("/proc/self/fd")) == before
