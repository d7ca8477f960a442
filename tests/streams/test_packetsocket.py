"""Opening packet sockets, on the loopback interface."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
from typing import Any

import pytest

from l7mp.errors import Reason
from l7mp.streams import packetsocket
from l7mp.streams.packetsocket import (
    OFFLOAD,
    NoEthernet,
    Wanted,
    open_packet_socket,
    why_not,
)
from l7mp.wire.ethernet import ALL
from tests.streams.frames import LO, LOCAL1, LOCAL2, NOBODY, frame, needs_packets, wire

pytestmark = needs_packets

ONLY_H = ((0x30, 0, 0, 0), (0x15, 0, 1, ord("h")), (0x06, 0, 0, 65535), (0x06, 0, 0, 0))
REFUSE_ALL = ((0x06, 0, 0, 0),)
ONLY_X = (
    (0x30, 0, 0, 14),
    (0x15, 0, 1, ord("x")),
    (0x06, 0, 0, 65535),
    (0x06, 0, 0, 0),
)
"""Payloads that begin with an x."""


def opened(**wanted: Any) -> socket.socket:
    return open_packet_socket(
        Wanted(**{"interface": LO, "ethertype": LOCAL1, **wanted})
    )


def all_of(sock: socket.socket) -> list[bytes]:
    """What waits at a socket; a frame on the loopback is there when it was sent."""
    got = []
    while True:
        try:
            got.append(sock.recv(1 << 16))
        except BlockingIOError:
            return got


def test_raw_is_whole_frames() -> None:
    """A raw socket hears frames of its type, behind what interfaces leave to others."""
    with opened() as sock, wire() as peer:
        peer.send(frame(payload=b"1"), frame(kind=LOCAL2), frame(payload=b"2"))
        got = all_of(sock)
    assert [one[OFFLOAD.size :] for one in got] == [
        frame(payload=b"1"),
        frame(payload=b"2"),
    ]


def test_cooked_is_payloads() -> None:
    """A cooked socket hears payloads."""
    with opened(cooked=True) as sock, wire() as peer:
        peer.send(frame(payload=b"hello"), frame(kind=LOCAL2))
        assert all_of(sock) == [b"hello"]


def test_all_types() -> None:
    """Without a type, frames of every type are heard."""
    program = (
        (0x28, 0, 0, 12),
        (0x35, 0, 1, LOCAL1),
        (0x06, 0, 0, 65535),
        (0x06, 0, 0, 0),
    )
    with opened(ethertype=ALL, program=program) as sock, wire() as peer:
        peer.send(frame(), frame(kind=LOCAL2))
        assert len(all_of(sock)) == 2


@pytest.mark.parametrize("program", [None, ONLY_H])
def test_outgoing_frames(program: Any) -> None:
    """What this machine sends is heard by whoever wants that, of its type alone."""
    wanted = {"cooked": True, "outgoing": True, "program": program}
    with opened(**wanted) as sock, wire() as peer, wire(LOCAL2) as other:
        peer.send(frame())
        other.send(frame(kind=LOCAL2))
        assert all_of(sock) == [b"hello", b"hello"]  # out of the loopback, and in
        peer.send(frame(payload=b"xyz"))
        assert len(all_of(sock)) == (2 if program is None else 0)


def test_a_filter() -> None:
    """Only what passes the program is heard."""
    with opened(program=ONLY_X) as sock, wire() as peer:
        peer.send(*(frame(payload=payload) for payload in (b"abc", b"xyz")))
        assert [one[-3:] for one in all_of(sock)] == [b"xyz"]


def test_a_filter_is_there_from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes while the socket is made is filtered, too: it hears nothing before."""
    real = socket.socket.setsockopt
    with wire() as peer:

        def noisy(sock: socket.socket, *arguments: Any) -> None:
            peer.send(frame())
            real(sock, *arguments)

        with monkeypatch.context() as patched:
            patched.setattr(socket.socket, "setsockopt", noisy)
            sock = opened(program=REFUSE_ALL)
        with sock:
            peer.send(frame())
            assert all_of(sock) == []


def test_promiscuous() -> None:
    """An interface is promiscuous for as long as the socket is open."""

    def count() -> int:
        shown = subprocess.check_output(["ip", "-d", "-j", "link", "show", LO])
        number: int = json.loads(shown)[0]["promiscuity"]
        return number

    before = count()
    with opened(promiscuous=True):
        assert count() > before
    with opened():
        assert count() == before


def test_its_own_address() -> None:
    """The loopback has the address of nobody."""
    with opened() as sock:
        assert sock.getsockname()[4] == NOBODY


# -- what can go wrong -------------------------------------------------------------


def told(**wanted: Any) -> tuple[Reason, str]:
    """Why there is no such socket."""
    with pytest.raises(OSError) as info:
        opened(**wanted)
    loss = why_not(info.value, wanted.get("interface", LO))
    return loss.reason, loss.detail


@pytest.mark.parametrize("name", ["nowhere0", "no\0where", "ü", "x" * 40])
def test_no_such_interface(name: str) -> None:
    """An interface that does not exist is told with how to find one that does."""
    reason, detail = told(interface=name)
    assert reason is Reason.UNREACHABLE
    assert detail == f"interface {name}: there is no such interface; see ip link"


def test_a_bad_program() -> None:
    """Instructions that the kernel refuses are told to be refused."""
    reason, detail = told(program=((0xFFFF, 0, 0, 0),))
    assert reason is Reason.LOCAL
    assert "the filter, Invalid argument; the kernel refuses these" in detail
    assert told(program=())[0] is Reason.LOCAL


def test_no_privileges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the capability one is told which it is."""

    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(socket, "socket", refuse)
    reason, detail = told()
    assert reason is Reason.LOCAL
    assert "CAP_NET_RAW" in detail


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (OSError(errno.ENETDOWN, "x"), Reason.UNREACHABLE, "it is down; bring it up"),
        (OSError(errno.ENOMEM, "no memory"), Reason.LOCAL, "interface lo: no memory"),
        (OSError("odd"), Reason.LOCAL, "interface lo: odd"),
        (NoEthernet(errno.EPROTOTYPE, "hardware type 5"), Reason.LOCAL,
         "hardware type 5; its frames have no Ethernet header; say type: cooked"),
    ],
)  # fmt: skip
def test_errors(error: OSError, reason: Reason, words: str) -> None:
    """Every error is told with its interface, and a remedy where there is one."""
    loss = why_not(error, LO)
    assert loss.reason is reason
    assert words in loss.detail


def test_frames_without_ethernet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raw frames of an interface that is no Ethernet are refused, payloads are not."""
    monkeypatch.setattr(packetsocket, "_ARPHRD_LOOPBACK", -1)
    assert "say type: cooked" in told()[1]
    opened(cooked=True).close()
