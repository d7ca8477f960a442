"""Internet addresses: from names to numbers, and as people write them."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from zope.interface import implementer

from l7mp.errors import Loss, Reason, RemoteError

Sockaddr = tuple[Any, ...]
"""What the socket module takes: host and port, for IPv6 also flow and scope."""

V4 = int(socket.AF_INET)
V6 = int(socket.AF_INET6)
MAPPED = "::ffff:"
"""How IPv4 peers look to a socket that serves both (RFC 4291, section 2.5.5.2)."""

_MAPPED = socket.inet_pton(socket.AF_INET6, "::ffff:0.0.0.0")[:12]

_TYPES: dict[int | None, Sequence[type[IAddress]]] = {
    None: (IPv4Address, IPv6Address),
    V4: (IPv4Address,),
    V6: (IPv6Address,),
}


class Numeric(NamedTuple):
    """An address that needs no resolving."""

    family: int
    """``V4`` or ``V6``."""
    sockaddr: Sockaddr

    def for_family(self, family: int) -> Sockaddr | None:
        """The same address for sockets of ``family``, None if there is no such."""
        host, port = self.sockaddr[:2]
        if family == self.family:
            return self.sockaddr
        if family == V6:
            return (MAPPED + host, port, 0, 0)
        plain = shown(host)
        return None if plain == host else (plain, port)


def shown(host: str) -> str:
    """A numeric host as people know it: IPv4 always dotted, never mapped."""
    plain = host.removeprefix(MAPPED)
    return plain if "." in plain else host


def host_port(host: str, port: int) -> str:
    """``192.0.2.1:80`` or ``[2001:db8::1]:80`` (RFC 3986, section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_group(packed: bytes) -> bool:
    """Whether a packed address is one of a multicast group, mapped or not."""
    if len(packed) == len(b"IPv4") or packed.startswith(_MAPPED):
        return packed[-4] & 0xF0 == 0xE0
    return packed[:1] == b"\xff"


def wildcard() -> str:
    """The host that means every address of this machine, of both families if it can."""
    try:
        with socket.socket(V6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return "0.0.0.0"  # noqa: S104  # to listen everywhere is what was asked for
    return "::"


def literal(host: str, port: int = 0) -> Numeric | None:
    """``host`` if it is an IP address, with or without scope; None if it is a name."""
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=flags)
    except (OSError, ValueError):
        return None
    family, _, _, _, sockaddr = found[0]
    return Numeric(int(family), sockaddr)


def resolve(
    reactor: IReactorPluggableNameResolver,
    host: str,
    port: int = 0,
    family: int | None = None,
) -> Deferred[list[Numeric]]:
    """
    The addresses of ``host``, at least one, in the resolver's order of preference.

    An IP address is its own answer at once, without a thread.  Fails with
    ``RemoteError`` (unreachable) when there is none, or none of ``family``.  Can be
    cancelled: what the resolver finds afterwards is of no interest.
    """
    number = literal(host, port)
    if number is not None:
        if family in (None, number.family):
            return succeed([number])
        version = 6 if family == V6 else 4
        return fail(_unknown(f"{host} is no IPv{version} address"))
    if not _is_name(host):
        return fail(_unknown(f'"{host}" is neither an IP address nor a host name'))
    answer = _Answer(host)
    reactor.nameResolver.resolveHostName(answer, host, port, _TYPES[family], "UDP")
    return answer.found


def _is_name(host: str) -> bool:
    """Whether the resolver can be asked without an exception in its thread."""
    try:
        return bool(host.encode("idna")) and "\0" not in host
    except UnicodeError:
        return False


def _unknown(what: str) -> RemoteError:
    return RemoteError(Loss(Reason.UNREACHABLE, what))


@implementer(IResolutionReceiver)
class _Answer:
    """Collects what Twisted's resolver finds."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._numbers: list[Numeric] = []
        self.found: Deferred[list[Numeric]] = Deferred()

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        """The thread of a resolver cannot be stopped, so there is nothing to keep."""

    def addressResolved(self, address: IAddress) -> None:
        if isinstance(address, IPv6Address):
            sockaddr = (
                address.host,
                address.port,
                address.flowInfo,
                cast(int, address.scopeID),
            )
            self._numbers.append(Numeric(V6, sockaddr))
        elif isinstance(address, IPv4Address):
            self._numbers.append(Numeric(V4, (address.host, address.port)))

    def resolutionComplete(self) -> None:
        if self._numbers:
            self.found.callback(self._numbers)
        else:
            what = f'the name "{self._host}" has no address'
            self.found.errback(_unknown(what))
