"""Listening for associations and making them, whichever stack it is."""

from __future__ import annotations

import os
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from l7mp.errors import LocalError
from l7mp.streams import sctp
from l7mp.streams.association import Association
from l7mp.streams.association_stream import Attempt
from l7mp.streams.kernelsctp import is_there
from l7mp.streams.sctp import (
    connect_in_kernel,
    connect_in_user_space,
    listen_in_kernel,
    listen_in_user_space,
)
from l7mp.streams.stack import Stack
from l7mp.streams.usrsctp import Tuning
from tests.streams.links import Remembering
from tests.streams.loopback import until
from tests.streams.userland import place, started

TUNING = Tuning(streams=4, heartbeat=30, retransmissions=5)
HOST = "127.0.0.1"


class Land:
    """A stack, and what came to it."""

    def __init__(self) -> None:
        self.stack = Stack(reactor, started())
        self.came: list[Association] = []

    def listen(self, *hosts: str, port: int = 0, udp: int | None = 0) -> sctp.UserPlace:
        places = [place(host=host) for host in hosts]
        return listen_in_user_space(
            self.stack, places, port, udp, TUNING, self._welcome
        )

    def _welcome(self, association: Association) -> None:
        association.owner = Remembering()
        self.came.append(association)

    def attempt(
        self, to: dict[str, Any], *hosts: str, own: tuple[str, ...] = ()
    ) -> Attempt:
        it = Attempt()
        remotes = [place(to["port"], host) for host in hosts or (HOST,)]
        udp = (0, to["encapsulation"]["port"]) if "encapsulation" in to else None
        places = [place(host=host) for host in own]
        it.association = connect_in_user_space(
            self.stack, remotes, places, 0, udp, TUNING, it
        )
        return it


@pytest.fixture
def land() -> Any:
    made = Land()
    yield made
    made.stack.close()


@pytest.mark.parametrize("hosts", [(), (HOST,)])
@pytest_twisted.ensureDeferred
async def test_in_user_space_over_udp(land: Land, hosts: tuple[str, ...]) -> None:
    """A place says where it is; who has found it comes in until it is closed."""
    where = land.listen(*hosts)
    association = await land.attempt(where.address()).made
    await until(lambda: land.came)
    assert association.ends().peer_port == where.address()["port"]
    assert where.address()["address"] == (hosts or ("::",))[0]
    where.close()
    where.close()
    assert not land.stack._gates


@pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets need root")
@pytest.mark.skipif(
    is_there(), reason="the kernel of this machine has an SCTP of its own"
)
@pytest.mark.parametrize("host", [HOST, "::1"])
@pytest_twisted.ensureDeferred
async def test_in_user_space_on_ip(land: Land, host: str) -> None:
    """From an address of our own, to a listener at every address."""
    where = land.listen(udp=None).address()
    assert "encapsulation" not in where
    own = "127.0.0.9" if host == HOST else host
    association = await land.attempt(where, host, own=(own,)).made
    assert association.ends().own == (own,)
    await until(lambda: land.came)
    assert land.came[0].ends().peer == (own,)


def test_one_path(land: Land) -> None:
    """Several addresses are refused in user space, and why is said."""
    where = land.listen(HOST).address()
    for hosts, own in (((HOST, "127.0.0.2"), ()), ((HOST,), (HOST, "127.0.0.2"))):
        with pytest.raises(LocalError, match="one path"):
            land.attempt(where, *hosts, own=own)
    with pytest.raises(LocalError, match="one path"):
        land.listen(HOST, "127.0.0.2")


def test_what_fails_leaves_nothing(land: Land, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a carrier nor a door, though the port is taken or the address is not ours."""
    where = land.listen(HOST)
    carriers = len(land.stack._carriers)
    about = where.address()
    with pytest.raises(LocalError, match="another listener"):
        land.listen(HOST, port=about["port"], udp=about["encapsulation"]["port"])
    with pytest.raises(LocalError, match="does not have that address"):
        land.attempt(about, own=("192.0.2.1",))
    with monkeypatch.context() as patched:
        patched.setattr(land.stack.engine, "open", _failing)
        with pytest.raises(LocalError, match="on purpose"):
            land.attempt(about)
        with pytest.raises(LocalError, match="on purpose"):
            land.listen(HOST)
    assert len(land.stack._carriers) == carriers


def _failing(*_: object) -> int:
    raise LocalError("on purpose")


class _Sock:
    closed = False

    def close(self) -> None:
        self.closed = True


def test_in_the_kernel_nothing_is_left_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that cannot be bound is closed."""
    sock = _Sock()
    asked: list[tuple[int, list[str]]] = []

    def bind(_: object, places: Any, port: int) -> None:
        asked.append((port, [one.sockaddr[0] for one in places]))
        raise LocalError("on purpose")

    monkeypatch.setattr(sctp, "open_socket", lambda *_: sock)
    monkeypatch.setattr(sctp, "bind", bind)
    with pytest.raises(LocalError, match="on purpose"):
        listen_in_kernel(reactor, [], 5000, TUNING, print)
    assert sock.closed
    sock.closed = False
    for host in (HOST, "::1"):
        with pytest.raises(LocalError, match="on purpose"):
            connect_in_kernel(
                reactor, [place(5000, host)], [], 4000, None, TUNING, Attempt()
            )
    assert sock.closed
    assert asked == [(5000, ["::"]), (4000, ["0.0.0.0"]), (4000, ["::"])]
