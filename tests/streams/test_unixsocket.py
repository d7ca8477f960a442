"""Names, files and credentials of Unix sockets."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from l7mp.errors import LocalError, Reason, RemoteError
from l7mp.streams.access import Access
from l7mp.streams.unixsocket import (
    MAX_NAME,
    TYPES,
    bind,
    dial,
    is_in_use,
    make_room,
    peer_of,
    raw,
    shown,
)
from tests.streams.loopback import turn

EVERY_TYPE = pytest.mark.parametrize("type_", TYPES.values(), ids=TYPES)


def unix(type_: int) -> socket.socket:
    return socket.socket(socket.AF_UNIX, type_)


def occupied(path: Path, type_: int) -> socket.socket:
    """Somebody who listens there."""
    sock = unix(type_)
    sock.bind(str(path))
    if type_ != socket.SOCK_DGRAM:
        sock.listen(1)
    return sock


@pytest.fixture
def somewhere(tmp_path: Path) -> Path:
    return tmp_path / "s"


def test_names_and_addresses() -> None:
    """A name that begins with @ is abstract; what is shown can be given."""
    assert (raw("/tmp/s"), raw("@s"), raw("./@s")) == (b"/tmp/s", b"\0s", b"./@s")
    assert (shown("/tmp/s"), shown(b"\0s"), shown(None)) == ("/tmp/s", "@s", "")
    assert shown(b"\0\xff") == "@\\xff"
    assert shown(os.fsdecode(b"/\xff")) == "/\\xff"


@EVERY_TYPE
def test_a_file_is_made_and_removed(somewhere: Path, type_: int) -> None:
    """Binding makes a socket file, which can be removed again."""
    bound = bind(type_, str(somewhere), Access(), 5 * (type_ != socket.SOCK_DGRAM))
    assert somewhere.is_socket()
    with unix(type_) as client:
        client.connect(str(somewhere))
    bound.remove_file()
    bound.remove_file()
    assert not somewhere.exists()
    bound.sock.close()


def test_an_abstract_name_is_no_file() -> None:
    """It cannot be bound twice, and nothing is left of it."""
    name = f"@l7mp-test-{os.getpid()}"
    bound = bind(socket.SOCK_STREAM, name, Access(), 5)
    with pytest.raises(LocalError, match=f"at {name}: Address.*another process"):
        bind(socket.SOCK_STREAM, name, Access(), 5)
    bound.remove_file()
    bound.sock.close()
    bind(socket.SOCK_STREAM, name, Access(), 5).sock.close()


@EVERY_TYPE
def test_what_a_dead_process_left_is_replaced(somewhere: Path, type_: int) -> None:
    """Nobody listens at a stale file, whatever its type was."""
    occupied(somewhere, type_).close()
    assert not is_in_use(str(somewhere))
    bound = bind(socket.SOCK_DGRAM, str(somewhere), Access())
    bound.remove_file()
    bound.sock.close()


@EVERY_TYPE
def test_one_in_use_is_left_alone(somewhere: Path, type_: int) -> None:
    """Whatever its type, it is not taken away, and who listens does not notice."""
    with occupied(somewhere, type_) as other:
        other.setblocking(False)
        with pytest.raises(LocalError, match="another process listens"):
            bind(socket.SOCK_STREAM, str(somewhere), Access(), 5)
        assert somewhere.is_socket()
        notice: Callable[[], object] = other.accept
        if type_ == socket.SOCK_DGRAM:
            notice = partial(other.recv, 1)
        with pytest.raises(BlockingIOError):
            notice()
    assert not is_in_use(str(somewhere.parent / "missing"))


def test_a_bound_socket_is_in_use_before_it_listens(somewhere: Path) -> None:
    """Somebody who is just about to listen is not robbed of the file."""
    with unix(socket.SOCK_STREAM) as sock:
        sock.bind(str(somewhere))
        assert is_in_use(str(somewhere))


def test_what_is_no_socket_stays(somewhere: Path) -> None:
    """Another kind of file is somebody's data."""
    somewhere.write_text("precious")
    with pytest.raises(LocalError, match="no socket"):
        bind(socket.SOCK_STREAM, str(somewhere), Access(), 5)
    assert somewhere.read_text() == "precious"


def test_errors_say_what_and_where(somewhere: Path) -> None:
    """A missing directory, a name that is too long."""
    with pytest.raises(LocalError, match=r"at .*/a/b: No such file.*; make the direc"):
        bind(socket.SOCK_STREAM, str(somewhere / "a" / "b"), Access(), 5)
    for name in ("@" + MAX_NAME * "x", "/tmp/" + MAX_NAME * "x"):
        with pytest.raises(LocalError, match=f"longer than {MAX_NAME} bytes"):
            bind(socket.SOCK_STREAM, name, Access(), 5)
    name = "@l7mp" + (MAX_NAME - 5) * "x"
    bind(socket.SOCK_STREAM, name, Access(), 5).sock.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_file_is_never_more_open(
    somewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until owner and group are right, nobody may connect; then those who shall."""
    seen: list[int] = []
    chown = os.chown

    def watch(path: str, uid: int, gid: int) -> None:
        seen.append(stat.S_IMODE(os.stat(path).st_mode))
        chown(path, uid, gid)
        seen.append(stat.S_IMODE(os.stat(path).st_mode))

    monkeypatch.setattr(os, "chown", watch)
    bound = bind(socket.SOCK_STREAM, str(somewhere), Access(0o666, 65534, 7), 5)
    found = somewhere.stat()
    assert seen == [0, 0]
    assert stat.S_IMODE(found.st_mode) == 0o666
    assert (found.st_uid, found.st_gid) == (65534, 7)
    bound.sock.close()


def test_what_cannot_be_given_leaves_nothing(
    somewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When owner or mode cannot be set, there is no file in the end."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(LocalError, match=r"to group 7: Operation not permitted"):
        bind(socket.SOCK_STREAM, str(somewhere), Access(0o660, gid=7), 5)
    assert not somewhere.exists()


# -- connecting --------------------------------------------------------------------


def dialling(type_: int, path: Path) -> Deferred[socket.socket]:
    return Deferred.fromCoroutine(dial(reactor, type_, str(path)))


@EVERY_TYPE
@pytest_twisted.ensureDeferred
async def test_peers_know_each_other(somewhere: Path, type_: int) -> None:
    """Who connects is known by process, user and group, and by name if it has one."""
    with occupied(somewhere, type_) as server, await dialling(type_, somewhere) as sock:
        assert not sock.getblocking()
        if type_ == socket.SOCK_DGRAM:
            assert sock.getsockname()[:1] == b"\0"
            return
        with server.accept()[0] as accepted:
            who = {"pid": os.getpid(), "uid": os.geteuid(), "gid": os.getegid()}
            assert peer_of(accepted) == who
            assert peer_of(sock)["peer"] == str(somewhere)


@pytest_twisted.ensureDeferred
async def test_failures_have_reasons(somewhere: Path) -> None:
    """Nothing there, nobody there, another type there, a name that cannot be."""
    too_long = somewhere.parent / ("x" * MAX_NAME)

    async def reason(type_: int, path: Path = somewhere) -> Reason:
        with pytest.raises(RemoteError, match=path.name) as caught:
            await dialling(type_, path)
        return caught.value.loss.reason

    assert await reason(socket.SOCK_STREAM) is Reason.UNREACHABLE
    assert await reason(socket.SOCK_STREAM, too_long) is Reason.LOCAL
    with occupied(somewhere, socket.SOCK_STREAM):
        assert await reason(socket.SOCK_DGRAM) is Reason.REFUSED
    assert await reason(socket.SOCK_STREAM) is Reason.REFUSED


@pytest_twisted.ensureDeferred
async def test_a_full_queue_is_asked_again(somewhere: Path) -> None:
    """Who cannot be accepted now, may be later; giving up leaves nothing."""
    type_ = socket.SOCK_STREAM
    with occupied(somewhere, type_) as server:
        others = []
        while True:
            other = unix(type_)
            others.append(other)
            other.setblocking(False)
            try:
                other.connect(str(somewhere))
            except BlockingIOError:
                break
        waiting, given_up = dialling(type_, somewhere), dialling(type_, somewhere)
        await turn(3)
        given_up.cancel()
        with pytest.raises(CancelledError):
            await given_up
        assert not waiting.called
        for _ in others[1:]:
            server.accept()[0].close()
        (await waiting).close()
        for other in others:
            other.close()


def test_there_is_room_for_long_messages() -> None:
    """At least 64 KiB, whatever the system's default is."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        make_room(ours)
        assert ours.send(bytes(1 << 16)) == 1 << 16
