"""
What is asked of sockets: one table of options, and what it means when one is refused.

The numbers that Python's socket module lacks are Linux's, see socket(7), ip(7),
ipv6(7) and tcp(7).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from l7mp.errors import LocalError
from l7mp.model.sockets import DSCP_BITS, SocketOptions
from l7mp.streams.address import V6

Set = Callable[[socket.socket, Any], None]
"""Asks a socket for an option with a value; raises ``OSError``."""

SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_DO = 10, 23, 2
IP_FREEBIND, IPV6_FREEBIND = 15, 78
IP_TRANSPARENT, IPV6_TRANSPARENT = 19, 75
IPV6_UNICAST_HOPS = 16

_WORD = struct.Struct("=I")  # Python takes only numbers with a sign
_ECN_BITS = 8 - DSCP_BITS
_UNKNOWN = frozenset({errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT})


class Row(NamedTuple):
    """One option."""

    set: Set
    needs: str
    """What a process must have, or the system allow, if it is not permitted."""


def _at(level: int, number: int) -> Set:
    """The option of this level and number, for sockets of every family."""

    def set_(sock: socket.socket, value: Any) -> None:
        sock.setsockopt(level, number, _WORD.pack(int(value)))

    return set_


def _of_ip(four: int, six: int, convert: Callable[[Any], int] = int) -> Set:
    """An option that has a number for each version of IP; IPv6 sockets speak both."""

    def set_(sock: socket.socket, value: Any) -> None:
        sock.setsockopt(socket.IPPROTO_IP, four, convert(value))
        if sock.family == V6:
            sock.setsockopt(socket.IPPROTO_IPV6, six, convert(value))

    return set_


def _buffer(plain: int, forced: int) -> Set:
    """A buffer of at least that size; beyond the system's limit where we may."""

    def set_(sock: socket.socket, size: int) -> None:
        sock.setsockopt(socket.SOL_SOCKET, plain, size)
        # The kernel keeps its own books in the buffer and grants twice the size.
        if sock.getsockopt(socket.SOL_SOCKET, plain) < 2 * size:
            sock.setsockopt(socket.SOL_SOCKET, forced, size)

    return set_


def _device(sock: socket.socket, name: str) -> None:
    device = name.encode() + b"\0"
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)


_SOCKET, _TCP = socket.SOL_SOCKET, socket.IPPROTO_TCP
_TRAFFIC_CLASS = (socket.IP_TOS, socket.IPV6_TCLASS)
_ADMIN, _RAW = "CAP_NET_ADMIN", "CAP_NET_RAW"

TABLE: dict[str, Row] = {
    "reuse_port": Row(_at(_SOCKET, socket.SO_REUSEPORT), ""),
    "reuse_address": Row(_at(_SOCKET, socket.SO_REUSEADDR), ""),
    "tos": Row(_of_ip(*_TRAFFIC_CLASS), ""),
    "dscp": Row(_of_ip(*_TRAFFIC_CLASS, lambda dscp: dscp << _ECN_BITS), ""),
    "ttl": Row(_of_ip(socket.IP_TTL, IPV6_UNICAST_HOPS), ""),
    "mark": Row(_at(_SOCKET, socket.SO_MARK), _ADMIN),
    "priority": Row(_at(_SOCKET, socket.SO_PRIORITY), _ADMIN),
    "receive_buffer": Row(
        _buffer(socket.SO_RCVBUF, SO_RCVBUFFORCE), f"{_ADMIN}, or a larger rmem_max"
    ),
    "send_buffer": Row(
        _buffer(socket.SO_SNDBUF, SO_SNDBUFFORCE), f"{_ADMIN}, or a larger wmem_max"
    ),
    "device": Row(_device, _RAW),
    "freebind": Row(_of_ip(IP_FREEBIND, IPV6_FREEBIND), ""),
    "transparent": Row(_of_ip(IP_TRANSPARENT, IPV6_TRANSPARENT), _ADMIN),
    "dont_fragment": Row(
        _of_ip(IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, lambda _: PMTUDISC_DO), ""
    ),
    "nodelay": Row(_at(_TCP, socket.TCP_NODELAY), ""),
    "keepalive": Row(_at(_SOCKET, socket.SO_KEEPALIVE), ""),
    "keepalive_idle": Row(_at(_TCP, socket.TCP_KEEPIDLE), ""),
    "keepalive_interval": Row(_at(_TCP, socket.TCP_KEEPINTVL), ""),
    "keepalive_count": Row(_at(_TCP, socket.TCP_KEEPCNT), ""),
    "user_timeout": Row(_at(_TCP, socket.TCP_USER_TIMEOUT), ""),
}
"""Every field of the declarations in ``l7mp.model.sockets``."""


def prepare(sock: socket.socket, options: SocketOptions | None) -> None:
    """
    Ask ``sock`` for everything that ``options`` say, before it is bound.

    Raises ``LocalError`` that names the option, and what it needs if we may not.
    """
    for name, value in options.given().items() if options is not None else ():
        row = TABLE[name]
        try:
            row.set(sock, value)
        except OSError as error:
            raise LocalError(_refusal(name, value, row, error)) from error


def _refusal(name: str, value: object, row: Row, error: OSError) -> str:
    what = f"cannot set the socket option {name} to {value}"
    why = os.strerror(error.errno or 0)
    if error.errno in (errno.EPERM, errno.EACCES) and row.needs:
        return f"{what}: {why}; it needs {row.needs}"
    if error.errno in _UNKNOWN:
        return f"{what}: this kernel does not have it ({why})"
    return f"{what}: {why}"
