"""Connections of Unix sockets for Twisted's protocols."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.streams.endpoint import connect_stream
from l7mp.streams.unixendpoint import UnixEndpoint
from tests.protocols.real import Conn
from tests.streams.loopback import turn, until


@pytest_twisted.ensureDeferred
async def test_a_connection_is_taken_over(tmp_path: Path) -> None:
    """Data passes, and nothing is left open in the end."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        before = len(os.listdir("/proc/self/fd"))
        stream = await connect_stream(reactor, UnixEndpoint(reactor, path))
        with server.accept()[0] as peer:
            stream.write(b"hello")
            assert await Conn(peer).reads(5) == b"hello"
            stream.abort(Loss(Reason.DELETED))
            await until(lambda: stream.loss)
        assert len(os.listdir("/proc/self/fd")) == before


@pytest_twisted.ensureDeferred
async def test_failures_are_told(tmp_path: Path) -> None:
    """Where there is nobody, the attempt fails with a reason."""
    to = UnixEndpoint(reactor, str(tmp_path / "missing"))
    with pytest.raises(RemoteError) as caught:
        await connect_stream(reactor, to)
    assert caught.value.loss.reason is Reason.UNREACHABLE


@pytest_twisted.ensureDeferred
async def test_who_gives_up_leaves_nothing(tmp_path: Path) -> None:
    """An attempt that waits for a full queue can be cancelled."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(path)
            connecting = connect_stream(reactor, UnixEndpoint(reactor, path))
            await turn(2)
            assert not connecting.called
            connecting.cancel()
            with pytest.raises(CancelledError):
                await connecting
