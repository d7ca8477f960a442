"""PIPE, end to end, with real FIFOs and descriptors."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from pydantic import ValidationError

from l7mp.core.registry import VIRTUAL, Registry
from l7mp.errors import LocalError, Loss, Reason, RemoteError
from l7mp.model.config import EndPoint
from l7mp.protocols import pipe
from tests.protocols.real import LOOPBACK, Conn, Real, real
from tests.real.namespace import Running
from tests.streams.loopback import turn, until
from tests.streams.test_pipes import pull

TCP = {"protocol": "TCP", "port": 1, "address": LOOPBACK}
ONCE = {"retry_on": "never"}


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def writer(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_NONBLOCK)


async def arriving(world: Real, **spec: Any) -> Callable[[], Any]:
    """A pipe to a TCP upstream; what is returned accepts the next session there."""
    server = world.serve()
    cluster = {"protocol": "TCP", "port": server.getsockname()[1]}
    listener = {"protocol": "PIPE", **spec}
    await world.route(listener, cluster, {"address": LOOPBACK}, retry=ONCE)
    return lambda: world.accept(server)


def ended(world: Real) -> bool:
    return not world.proxy.sessions


# -- listeners -----------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_each_writer_is_a_session(tmp_path: Path) -> None:
    """The end of one is the end of its session, and the next begins another."""
    path = fifo(tmp_path / "p")
    async with real() as world:
        accept = await arriving(world, path=str(path))
        for data in (b"one", b"two"):
            fd = writer(path)
            os.write(fd, data)
            upstream = await accept()
            assert world.session.metadata["PIPE"] == {"input": str(path)}
            os.close(fd)
            assert await upstream.reads_all() == data
            upstream.sock.close()
            await until(lambda: ended(world))
        assert (await world.loss()).reason is Reason.FIN


@pytest_twisted.ensureDeferred
async def test_nothing_is_lost_between_sessions(tmp_path: Path) -> None:
    """A hundred writers, some gone before they were noticed, are all heard."""
    path = fifo(tmp_path / "p")
    async with real() as world:
        listener = {"protocol": "PIPE", "path": str(path)}
        cluster = {"protocol": "Logger", "log_file": str(tmp_path / "log")}
        await world.route(listener, cluster)
        for number in range(100):
            fd = writer(path)
            os.write(fd, b"%d\n" % number)
            os.close(fd)
            await turn(number % 4)
        everything = b"".join(b"%d\n" % number for number in range(100))
        log = tmp_path / "log"
        await until(lambda: log.exists() and log.read_bytes() == everything)


@pytest_twisted.ensureDeferred
async def test_answers_need_a_way(tmp_path: Path) -> None:
    """A session begins when there is somebody to read them, and both are passed on."""
    there, back = fifo(tmp_path / "there"), fifo(tmp_path / "back")
    async with real() as world:
        accept = await arriving(world, **{"in": str(there), "out": str(back)})
        fd = writer(there)
        os.write(fd, b"question")
        await turn(5)
        assert ended(world)
        os.close(os.open(back, os.O_RDONLY | os.O_NONBLOCK))
        reader = os.open(back, os.O_RDONLY | os.O_NONBLOCK)
        upstream = await accept()
        os.close(fd)
        assert await upstream.reads_all() == b"question"
        upstream.send(b"answer")
        assert await until(lambda: pull(reader)) == b"answer"
        upstream.sock.close()
        await until(lambda: ended(world))
        os.close(reader)


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_answered_is_counted(tmp_path: Path) -> None:
    """Who only writes hears nothing, and the stream says how much that was."""
    path = fifo(tmp_path / "p")
    async with real() as world:
        await world.route({"protocol": "FIFO", "path": str(path)}, {"protocol": "Echo"})
        fd = writer(path)
        os.write(fd, b"hello")
        stream = (await world.one_session()).stages[0].stream
        await until(lambda: stream.drops)
        assert stream.drops == {"one-way": 5}
        os.close(fd)


@pytest_twisted.ensureDeferred
async def test_readers_are_served_one_after_another(tmp_path: Path) -> None:
    """A listener that writes has a session as long as somebody reads."""
    path = fifo(tmp_path / "p")
    async with real() as world:
        accept = await arriving(world, path=str(path), direction="write")
        for data in (b"one", b"two"):
            reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            upstream = await accept()
            upstream.send(data)
            assert await until(lambda: pull(reader)) == data  # noqa: B023
            os.close(reader)
            await until(lambda: ended(world))
        assert (await world.loss()).reason is Reason.RESET


@pytest_twisted.ensureDeferred
async def test_both_directions_of_one_fifo(tmp_path: Path) -> None:
    """What a session writes to its own FIFO it reads again, as in socat."""
    path = fifo(tmp_path / "p")
    async with real() as world:
        accept = await arriving(world, path=str(path), direction="both")
        fd = writer(path)
        os.write(fd, b"once")
        upstream = await accept()
        assert await upstream.reads(4) == b"once"
        upstream.send(b"again")
        assert await upstream.reads(9) == b"onceagain"
        os.close(fd)


@pytest_twisted.ensureDeferred
async def test_what_is_made_is_removed(tmp_path: Path) -> None:
    """With create, what is missing is made, for whom it shall be, and goes again."""
    path = tmp_path / "p"
    async with real() as world:
        listener = {"protocol": "PIPE", "path": str(path), "create": True}
        await world.route({**listener, "mode": "0622"}, {"protocol": "Discard"})
        assert path.is_fifo()
        assert path.stat().st_mode & 0o777 == 0o622
    assert not path.exists()
    fifo(path)
    async with real() as world:
        await world.route(listener, {"protocol": "Discard"})
    assert path.is_fifo()


@pytest_twisted.ensureDeferred
async def test_errors_say_what_is_missing(tmp_path: Path) -> None:
    """A FIFO that is not there, a file that is none, a descriptor that is not ours."""
    (tmp_path / "f").write_text("precious")
    made = str(tmp_path / "made")
    for spec, what in (
        ({"path": str(tmp_path / "p")}, "there is no such file"),
        ({"path": str(tmp_path / "f"), "create": True}, "that is no FIFO"),
        ({"in": made, "out": str(tmp_path / "f"), "create": True}, "no FIFO"),
        ({"fd": 1 << 20}, "was not left open"),
    ):
        async with real() as world:
            with pytest.raises(LocalError, match=f"cannot listen: .*{what}"):
                await arriving(world, **spec)
    assert os.listdir(tmp_path) == ["f"]


# -- inherited descriptors ---------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_an_inherited_socket_is_one_session(tmp_path: Path) -> None:
    """It is there at once, in both directions, and there is no other after it."""
    ours, theirs = socket.socketpair()
    os.set_inheritable(ours.fileno(), True)
    with ours, theirs:
        async with real() as world:
            accept = await arriving(world, fd=ours.fileno())
            upstream = await accept()
            peer = Conn(theirs)
            peer.send(b"question")
            peer.finish()
            assert await upstream.reads_all() == b"question"
            upstream.send(b"answer")
            upstream.sock.close()
            assert await peer.reads_all() == b"answer"
            await until(lambda: ended(world))
            await turn(5)
            assert ended(world)


@pytest_twisted.ensureDeferred
async def test_an_inherited_pipe_is_read() -> None:
    """By its number, in the direction that it has."""
    ours, theirs = os.pipe()
    os.set_inheritable(ours, True)
    async with real() as world:
        accept = await arriving(world, fd=ours)
        os.write(theirs, b"hello")
        os.close(theirs)
        assert await (await accept()).reads_all() == b"hello"
    os.close(ours)


@pytest_twisted.ensureDeferred
async def test_an_inherited_file_is_read_once(tmp_path: Path) -> None:
    """From the place where whoever left it open had stopped, and not again."""
    (tmp_path / "f").write_bytes(b"header body")
    with (tmp_path / "f").open("rb", buffering=0) as file:
        file.read(7)
        os.set_inheritable(file.fileno(), True)
        async with real() as world:
            accept = await arriving(world, fd=file.fileno())
            upstream = await accept()
            assert await upstream.reads_all() == b"body"
            upstream.sock.close()
            await until(lambda: ended(world))
            await turn(5)
            assert ended(world)


@pytest_twisted.ensureDeferred
async def test_a_reader_that_left_is_waited_for(tmp_path: Path) -> None:
    """A session does not begin with nobody to write to, whoever was there before."""
    there, back = fifo(tmp_path / "there"), fifo(tmp_path / "back")
    async with real() as world:
        accept = await arriving(world, **{"in": str(there), "out": str(back)})
        fleeting = os.open(back, os.O_RDONLY | os.O_NONBLOCK)
        await until(lambda: has_reader_of(back, fleeting))
        os.close(fleeting)
        fd = writer(there)
        os.write(fd, b"question")
        await turn(10)
        assert ended(world)
        reader = os.open(back, os.O_RDONLY | os.O_NONBLOCK)
        upstream = await accept()
        assert await upstream.reads(8) == b"question"
        for each in (fd, reader):
            os.close(each)


def has_reader_of(path: Path, reader: int) -> bool:
    """Whether the listener has opened ``path`` for writing."""
    try:
        os.read(reader, 1)
    except BlockingIOError:  # there is a writer
        return True
    return False


# -- clusters ------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_session_writes_to_its_reader(tmp_path: Path) -> None:
    """Everything, and then its end."""
    path = fifo(tmp_path / "p")
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    async with real() as world:
        address = await world.route(TCP, {"protocol": "PIPE", "path": str(path)})
        client = world.dial((LOOPBACK, address["port"]))
        client.send(b"hello")
        client.finish()
        assert await until(lambda: pull(reader)) == b"hello"
        await until(lambda: ended(world))
    assert os.read(reader, 9) == b""
    os.close(reader)


@pytest_twisted.ensureDeferred
async def test_nobody_reads_yet(tmp_path: Path) -> None:
    """That is refused, and tried again as the retry policy says."""
    path = fifo(tmp_path / "p")
    cluster = {"protocol": "PIPE", "path": str(path)}
    async with real() as world:
        address = await world.route(TCP, cluster, retry=ONCE)
        world.dial((LOOPBACK, address["port"]))
        assert await world.loss() == Loss(Reason.REFUSED, f"{path}: nobody reads there")
    async with real() as world:
        retry = {"retry_on": "connect-failure", "num_retries": 99, "timeout": 5}
        address = await world.route(TCP, cluster, retry=retry)
        client = world.dial((LOOPBACK, address["port"]))
        client.send(b"kept")
        await until(lambda: world.proxy.sessions)
        await turn(5)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        assert await until(lambda: pull(reader)) == b"kept"
        os.close(reader)


@pytest_twisted.ensureDeferred
async def test_two_pipes_make_a_conversation(tmp_path: Path) -> None:
    """A program between two FIFOs answers; a second session may not read along."""
    there, back = fifo(tmp_path / "there"), fifo(tmp_path / "back")
    program = subprocess.Popen(["sh", "-c", f"exec tr a-z A-Z <{there} >{back}"])
    async with real() as world:
        cluster = {"protocol": "PIPE", "out": str(there), "in": str(back)}
        retry = {"retry_on": "connect-failure", "num_retries": 99, "timeout": 50}
        address = await world.route(TCP, cluster, retry=retry)
        client = world.dial((LOOPBACK, address["port"]))
        await world.one_session()
        nowhere = EndPoint("out", VIRTUAL)
        one = pipe.connect(world.proxy.context, words().cluster(cluster), nowhere, {})
        with pytest.raises(RemoteError, match=r"back is being read by another"):
            await one
        client.send(b"hello")
        client.finish()
        assert await client.reads_all() == b"HELLO"
        await until(lambda: ended(world))
    assert program.wait() == 0


@pytest_twisted.ensureDeferred
async def test_a_missing_fifo_is_unreachable(tmp_path: Path) -> None:
    """It may be there tomorrow, so that is a failure of the attempt."""
    async with real() as world:
        cluster = {"protocol": "PIPE", "path": str(tmp_path / "p")}
        address = await world.route(TCP, cluster, retry=ONCE)
        world.dial((LOOPBACK, address["port"]))
        assert (await world.loss()).reason is Reason.UNREACHABLE


@pytest_twisted.ensureDeferred
async def test_sessions_leave_no_descriptors(tmp_path: Path) -> None:
    """After 200 sessions there are as many as before."""
    path = fifo(tmp_path / "p")
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    async with real() as world:
        address = await world.route(TCP, {"protocol": "PIPE", "path": str(path)})
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            clients = [world.dial((LOOPBACK, address["port"])) for _ in range(10)]
            for client in clients:
                client.send(b"x")
                client.finish()
            for client in clients:
                await client.reads_all()
                client.sock.close()
        await until(lambda: ended(world))
        assert len(os.listdir("/proc/self/fd")) == before
    assert pull(reader) == b"x" * 200
    os.close(reader)


# -- what can be said --------------------------------------------------------------


def words() -> Any:
    return Registry.of([pipe.protocol]).vocabulary()


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ({}, "needs one of path, fd, and input or output"),
        ({"path": "p", "fd": 3}, "needs one of"),
        ({"path": "p", "in": "q"}, "needs one of"),
        ({"in": "p", "direction": "read"}, "direction is for path and fd"),
        ({"path": "p", "mode": "0600"}, "of a FIFO that is made"),
        ({"fd": -1}, "must be the number of a descriptor"),
    ],
)
def test_what_makes_no_sense_is_refused(spec: dict[str, Any], what: str) -> None:
    """A pipe is one thing, and what is said of it must mean something."""
    with pytest.raises(ValidationError, match=what):
        words().listener({"protocol": "PIPE", **spec})


def test_directions_have_defaults() -> None:
    """A listener reads a path, a cluster writes it, unless another is said."""
    listener = {"protocol": "PIPE", "path": "p"}
    assert words().listener(listener).ends() == ("p", None)
    assert words().cluster(listener).ends() == (None, "p")
    both = {**listener, "direction": "both"}
    assert words().listener(both).ends() == ("p", "p")
    apart = {"protocol": "PIPE", "in": "p", "output": 3}
    assert words().listener(apart).ends() == ("p", 3)
    assert words().listener(apart).dump() == {
        "protocol": "PIPE",
        "input": "p",
        "output": 3,
    }


@pytest.mark.skipif(not shutil.which("socat"), reason="socat is not installed")
@pytest_twisted.ensureDeferred
async def test_socat_writes_and_reads(tmp_path: Path) -> None:
    """socat at the other end of two FIFOs, which it opens one after the other."""
    there, back = tmp_path / "there", tmp_path / "back"
    async with real() as world:
        listener = {"protocol": "PIPE", "in": str(there), "out": str(back)}
        await world.route({**listener, "create": True}, {"protocol": "Echo"})
        program = Running(
            ["socat", "-", f"PIPE:{back},rdonly!!PIPE:{there},wronly"],
        )
        program.type(b"hello\n")
        await until(lambda: program.output == b"hello\n")
        program.process.terminate()
        await until(lambda: program.process.poll() is not None)
        assert program.process.stdin is not None
        program.process.stdin.close()
