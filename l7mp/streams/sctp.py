"""Listening for associations of SCTP and making them, in the kernel or in user space."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, Protocol

from l7mp.errors import LocalError
from l7mp.streams.address import V4, Numeric, literal, shown, wildcard
from l7mp.streams.association import Association, Owner
from l7mp.streams.carrier import open_udp
from l7mp.streams.kernelsctp import (
    KernelDoor,
    KernelLink,
    bind,
    family_of,
    open_socket,
)
from l7mp.streams.stack import Door, Newcomer, Stack
from l7mp.streams.usrsctp import Tuning

ONE_PATH = (
    "several addresses need the SCTP of the kernel (engine: kernel):"
    " in user space an association has one path"
)


class Place(Protocol):
    """Where associations come in."""

    def address(self) -> dict[str, Any]:
        """Where it is bound."""

    def close(self) -> None:
        """Let nobody in any more; twice is once."""


# -- in the kernel -----------------------------------------------------------------


def listen_in_kernel(
    reactor: Any,
    places: Sequence[Numeric],
    port: int,
    tuning: Tuning,
    welcome: Newcomer,
) -> KernelDoor:
    """Listen at these addresses, all of the machine if none; raises ``LocalError``."""
    own = tuple(shown(place.sockaddr[0]) for place in places)
    where = places or [_numeric(wildcard())]
    sock = open_socket(family_of(where), tuning, None)
    try:
        bind(sock, where, port)
        return KernelDoor(reactor, sock, own, welcome)
    except (LocalError, OSError):
        sock.close()
        raise


def connect_in_kernel(
    reactor: Any,
    remotes: Sequence[Numeric],
    places: Sequence[Numeric],
    port: int,
    remote_udp: int | None,
    tuning: Tuning,
    owner: Owner,
) -> Association:
    """
    Begin to make an association with a peer that has these addresses.

    ``places`` and ``port`` are ours, as far as they are given; ``remote_udp`` is the
    peer's port of UDP.  Raises ``LocalError``.
    """
    family = family_of([*remotes, *places])
    sock = open_socket(family, tuning, remote_udp)
    where = places
    if port and not places:
        where = [_numeric("0.0.0.0" if family == V4 else "::")]  # noqa: S104  # any
    try:
        bind(sock, where, port)
    except LocalError:
        sock.close()
        raise
    own = tuple(shown(place.sockaddr[0]) for place in places)
    link = KernelLink(reactor, sock, own)
    association = link.begin(reactor, tuning.streams)
    association.owner = owner
    link.connect(remotes)
    return association


# -- in user space -----------------------------------------------------------------


class UserPlace:
    """A listener's door in the stack, and how to show where it is."""

    def __init__(self, stack: Stack, door: Door, host: str, is_udp: bool) -> None:
        self._stack, self._door, self._host, self._is_udp = stack, door, host, is_udp

    def address(self) -> dict[str, Any]:
        """See ``Place``."""
        about: dict[str, Any] = {"address": self._host, "port": self._door.port}
        if self._is_udp:
            (carrier,) = self._door.carriers
            about["encapsulation"] = {"port": carrier.own[1]}
        return about

    def close(self) -> None:
        """See ``Place``."""
        self._stack.shut(self._door)


def listen_in_user_space(
    stack: Stack,
    places: Sequence[Numeric],
    port: int,
    udp: int | None,
    tuning: Tuning,
    welcome: Newcomer,
) -> UserPlace:
    """
    Listen at an address, or at all of the machine; raises ``LocalError``.

    ``udp`` is a port of UDP, 0 for any; None for SCTP right on IP.
    """
    host = shown(_only(places).sockaddr[0]) if places else wildcard()
    hosts = None
    if udp is not None:
        carriers = [stack.udp(_numeric(host, udp))]
    elif places:
        carriers, hosts = [stack.raw(places[0].family)], [host]
    else:
        families = sorted({V4, _numeric(host).family})
        carriers = [stack.raw(family) for family in families]
    door = Door(carriers, port, hosts, welcome)
    try:
        stack.listen(door, tuning)
    except LocalError:
        for carrier in carriers:
            carrier.tidy()
        raise
    return UserPlace(stack, door, host, udp is not None)


def connect_in_user_space(
    stack: Stack,
    remotes: Sequence[Numeric],
    places: Sequence[Numeric],
    port: int,
    udp: tuple[int, int] | None,
    tuning: Tuning,
    owner: Owner,
) -> Association:
    """
    Begin to make an association with a peer.

    ``udp`` are the ports of UDP, ours and the peer's; None for SCTP right on IP.
    Raises ``LocalError``.
    """
    remote = _only(remotes)
    peer, asked = remote.sockaddr, b""
    if udp is None:
        asked = _packed(_only(places)) if places else b""
        carrier = stack.raw(remote.family)
    else:
        everywhere = "0.0.0.0" if remote.family == V4 else "::"  # noqa: S104  # any
        host = _only(places).sockaddr[0] if places else everywhere
        carrier = stack.udp(_numeric(host, udp[0]))
        peer = (peer[0], udp[1], *peer[2:])
    try:
        ports = (port, remote.sockaddr[1])
        return stack.connect(carrier, peer, ports, tuning, owner, asked)
    except LocalError:
        carrier.tidy()
        raise


def _packed(place: Numeric) -> bytes:
    """An address, which must be ours."""
    open_udp(place).close()
    return socket.inet_pton(place.family, place.sockaddr[0].partition("%")[0])


def _only(numbers: Sequence[Numeric]) -> Numeric:
    if len(numbers) > 1:
        raise LocalError(ONE_PATH)
    return numbers[0]


def _numeric(host: str, port: int = 0) -> Numeric:
    found = literal(host, port)
    assert found is not None, "an address is an address"
    return found
