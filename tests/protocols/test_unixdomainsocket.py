"""Unix domain sockets, end to end, and the files they live at."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from l7mp.errors import LocalError, Loss, Reason
from tests.protocols.real import Real, real
from tests.streams.loopback import until

CLUSTER: dict[str, Any] = {"protocol": "UnixDomainSocket"}
NEVER = {"retry_on": "never"}


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
    """The path is metadata of the session."""
    path = tmp_path / "s"
    async with real() as world:
        world.serve(f"{path}.up")
        await listening(world, path)
        world.dial(str(path))
        session = await world.one_session()
        assert session.metadata["UNIX"] == {"filename": str(path)}
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
