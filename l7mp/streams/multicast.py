"""Groups: joining them, and sending to them; see ip(7), ipv6(7) and RFC 3678."""

from __future__ import annotations

import errno
import os
import socket
import struct

from l7mp.errors import LocalError
from l7mp.model.multicast import Membership, Sending
from l7mp.streams.address import V4, V6, Numeric, literal

IP_MULTICAST_ALL, IPV6_MULTICAST_ALL = 49, 29
MCAST_JOIN_GROUP, MCAST_JOIN_SOURCE_GROUP = 42, 46

_MREQN = struct.Struct("@4s4si")  # group, our address, interface
_GROUP = struct.Struct("@I0P128s")  # interface, group
_GROUP_SOURCE = struct.Struct("@I0P128s128s")  # interface, group, source
_SOCKADDR_V4 = struct.Struct("@H2x4s")  # family, port, address
_SOCKADDR_V6 = struct.Struct("@H6x16s")  # family, port, flow, address
_REMEDIES = {
    errno.ENODEV: "no route says on which interface: name it in multicast.interface",
    errno.EADDRNOTAVAIL: "the interface has no address",
    errno.ENOBUFS: "the system's limit is reached (igmp_max_memberships)",
}


def join(sock: socket.socket, membership: Membership) -> None:
    """
    Join groups; nothing is heard that was sent to other groups.

    Raises ``LocalError`` that names the group, and why it cannot be joined.
    """
    index = index_of(membership.interface)
    sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
    if sock.family == V6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0)
    for group in membership.groups:
        try:
            _join(sock, index, _number(group), membership.sources)
        except OSError as error:
            where = f" on {membership.interface}" if index else ""
            what = f"cannot join the group {group}{where}: "
            why = _REMEDIES.get(error.errno or 0) or os.strerror(error.errno or 0)
            raise LocalError(what + why) from error


def _join(
    sock: socket.socket, index: int, group: Numeric, sources: tuple[str, ...]
) -> None:
    if group.family == V6 and sock.family == V4:
        raise OSError(errno.EAFNOSUPPORT, "")
    level = socket.IPPROTO_IPV6 if group.family == V6 else socket.IPPROTO_IP
    packed = _sockaddr(group)
    if not sources:
        request = _GROUP.pack(index, packed)
        sock.setsockopt(level, MCAST_JOIN_GROUP, request)
    for source in sources:
        request = _GROUP_SOURCE.pack(index, packed, _sockaddr(_number(source)))
        sock.setsockopt(level, MCAST_JOIN_SOURCE_GROUP, request)


def aim(sock: socket.socket, sending: Sending) -> None:
    """Have what ``sock`` sends to groups go as far, and where, it should."""
    index = index_of(sending.interface)
    is_six = sock.family == V6
    level = socket.IPPROTO_IPV6 if is_six else socket.IPPROTO_IP
    if sending.ttl is not None:
        option = socket.IPV6_MULTICAST_HOPS if is_six else socket.IP_MULTICAST_TTL
        sock.setsockopt(level, option, sending.ttl)
    if sending.loop is not None:
        option = socket.IPV6_MULTICAST_LOOP if is_six else socket.IP_MULTICAST_LOOP
        sock.setsockopt(level, option, int(sending.loop))
    if not index:
        return
    if is_six:
        sock.setsockopt(level, socket.IPV6_MULTICAST_IF, index)
    else:
        request = _MREQN.pack(bytes(4), bytes(4), index)
        sock.setsockopt(level, socket.IP_MULTICAST_IF, request)


def index_of(interface: str | None) -> int:
    """The number of an interface; 0 for none in particular."""
    if interface is None:
        return 0
    try:
        return socket.if_nametoindex(interface)
    except OSError as error:
        raise LocalError(f'this machine has no interface "{interface}"') from error


def _number(address: str) -> Numeric:
    found = literal(address)
    assert found is not None, "declared as an IP address"
    return found


def _sockaddr(number: Numeric) -> bytes:
    """As the kernel has it, without a port."""
    packed = socket.inet_pton(number.family, number.sockaddr[0])
    if number.family == V6:
        return _SOCKADDR_V6.pack(V6, packed)
    return _SOCKADDR_V4.pack(V4, packed)
