"""Options of sockets: asked of real ones, and read back from the kernel."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from l7mp.errors import LocalError
from l7mp.model.sockets import SocketOptions, TCPSocketOptions, UDPSocketOptions
from l7mp.streams.address import V4, V6
from l7mp.streams.sockopts import (
    IP_FREEBIND,
    IP_MTU_DISCOVER,
    IP_TRANSPARENT,
    IPV6_FREEBIND,
    IPV6_MTU_DISCOVER,
    IPV6_TRANSPARENT,
    IPV6_UNICAST_HOPS,
    PMTUDISC_DO,
    TABLE,
    prepare,
)

SOCKET, FOUR, SIX, TCP = (
    socket.SOL_SOCKET,
    socket.IPPROTO_IP,
    socket.IPPROTO_IPV6,
    socket.IPPROTO_TCP,
)
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_NET_ADMIN")


@contextmanager
def unprivileged() -> Iterator[None]:
    """Without capabilities for a while."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_the_table_is_complete() -> None:
    """There is a row for every option that can be declared, and none besides."""
    declared = {*UDPSocketOptions.model_fields, *TCPSocketOptions.model_fields}
    assert set(TABLE) == declared


@pytest.mark.parametrize("family", [V4, V6])
@pytest.mark.parametrize(
    ("name", "value", "level", "number", "found"),
    [
        ("reuse_port", True, SOCKET, socket.SO_REUSEPORT, 1),
        ("reuse_address", True, SOCKET, socket.SO_REUSEADDR, 1),
        ("tos", 0x88, FOUR, socket.IP_TOS, 0x88),
        ("dscp", 46, FOUR, socket.IP_TOS, 46 << 2),
        ("ttl", 7, FOUR, socket.IP_TTL, 7),
        ("priority", 5, SOCKET, socket.SO_PRIORITY, 5),
        ("receive_buffer", 10_000, SOCKET, socket.SO_RCVBUF, 20_000),
        ("send_buffer", 10_000, SOCKET, socket.SO_SNDBUF, 20_000),
        ("freebind", True, FOUR, IP_FREEBIND, 1),
        ("dont_fragment", True, FOUR, IP_MTU_DISCOVER, PMTUDISC_DO),
    ],
)
def test_the_kernel_has_what_was_asked(
    family: int, name: str, value: Any, level: int, number: int, found: int
) -> None:
    """What is asked of a socket it has, whichever family it speaks."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        prepare(sock, UDPSocketOptions(**{name: value}))
        assert sock.getsockopt(level, number) == found


@pytest.mark.parametrize(
    ("name", "value", "number", "found"),
    [
        ("tos", 0x88, socket.IPV6_TCLASS, 0x88),
        ("dscp", 46, socket.IPV6_TCLASS, 46 << 2),
        ("ttl", 7, IPV6_UNICAST_HOPS, 7),
        ("freebind", True, IPV6_FREEBIND, 1),
        ("dont_fragment", True, IPV6_MTU_DISCOVER, PMTUDISC_DO),
    ],
)
def test_a_socket_of_both_families(
    name: str, value: Any, number: int, found: int
) -> None:
    """On IPv6 sockets, which speak both, an option is set for both."""
    with socket.socket(V6, socket.SOCK_DGRAM) as sock:
        prepare(sock, UDPSocketOptions(**{name: value}))
        assert sock.getsockopt(SIX, number) == found


@needs_root
@pytest.mark.parametrize(
    ("family", "name", "value", "level", "number", "found"),
    [
        (V4, "mark", 0xFFFF_FFFE, SOCKET, socket.SO_MARK, 0xFFFF_FFFE),
        (V4, "priority", 7, SOCKET, socket.SO_PRIORITY, 7),
        (V4, "receive_buffer", 64 << 20, SOCKET, socket.SO_RCVBUF, 128 << 20),
        (V4, "send_buffer", 64 << 20, SOCKET, socket.SO_SNDBUF, 128 << 20),
        (V4, "transparent", True, FOUR, IP_TRANSPARENT, 1),
        (V6, "transparent", True, SIX, IPV6_TRANSPARENT, 1),
    ],
)
def test_what_needs_privileges(
    family: int, name: str, value: Any, level: int, number: int, found: int
) -> None:
    """With the capability there are marks, priorities, buffers beyond the limits."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        prepare(sock, SocketOptions(**{name: value}))
        assert sock.getsockopt(level, number) & 0xFFFF_FFFF == found


@needs_root
@pytest.mark.parametrize(
    ("name", "value", "needs"),
    [
        ("mark", 1, "CAP_NET_ADMIN"),
        ("priority", 7, "CAP_NET_ADMIN"),
        ("receive_buffer", 64 << 20, "a larger rmem_max"),
        ("send_buffer", 64 << 20, "a larger wmem_max"),
        ("transparent", True, "CAP_NET_ADMIN"),
    ],
)
def test_what_is_not_permitted(name: str, value: Any, needs: str) -> None:
    """Without the capability the error names it, and the option."""
    with (
        socket.socket(V4, socket.SOCK_DGRAM) as sock,
        unprivileged(),
        pytest.raises(LocalError, match=needs) as raised,
    ):
        prepare(sock, SocketOptions(**{name: value}))
    assert f"the socket option {name}" in str(raised.value)


@needs_root
def test_a_device() -> None:
    """A socket can be bound to an interface; one that is not there is named."""
    with socket.socket(V4, socket.SOCK_DGRAM) as sock:
        prepare(sock, SocketOptions(device="lo"))
        found = sock.getsockopt(SOCKET, socket.SO_BINDTODEVICE, 16)
        assert found.rstrip(b"\0") == b"lo"
        with pytest.raises(LocalError, match="device to nowhere: No such device"):
            prepare(sock, SocketOptions(device="nowhere"))


@pytest.mark.parametrize(
    ("name", "value", "level", "number", "found"),
    [
        ("nodelay", False, TCP, socket.TCP_NODELAY, 0),
        ("keepalive", False, SOCKET, socket.SO_KEEPALIVE, 0),
        ("keepalive_idle", 9, TCP, socket.TCP_KEEPIDLE, 9),
        ("keepalive_interval", 8, TCP, socket.TCP_KEEPINTVL, 8),
        ("keepalive_count", 7, TCP, socket.TCP_KEEPCNT, 7),
        ("user_timeout", 1234, TCP, socket.TCP_USER_TIMEOUT, 1234),
    ],
)
def test_tcp(name: str, value: Any, level: int, number: int, found: int) -> None:
    """TCP has options of its own, and some can be taken away."""
    with socket.socket(V4, socket.SOCK_STREAM) as sock:
        sock.setsockopt(TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(SOCKET, socket.SO_KEEPALIVE, 1)
        prepare(sock, TCPSocketOptions(**{name: value}))
        assert sock.getsockopt(level, number) == found


def test_nothing_is_asked() -> None:
    """A socket of which nothing is asked is as it was."""
    with socket.socket(V4, socket.SOCK_DGRAM) as sock:
        prepare(sock, None)
        prepare(sock, SocketOptions())


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOPROTOOPT, "this kernel does not have it"),
        (errno.EINVAL, "Invalid argument"),
    ],
)
def test_what_the_kernel_does_not_have(
    code: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An option that the kernel does not know, or does not want, is refused as such."""

    def refuse(*args: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(socket.socket, "setsockopt", refuse)
    with (
        socket.socket(V4, socket.SOCK_DGRAM) as sock,
        pytest.raises(LocalError, match=words),
    ):
        prepare(sock, SocketOptions(ttl=3))
