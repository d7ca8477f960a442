"""
SCTP in user space on the reactor: carriers below, associations above.

The library between them calls back while it is being called, so what it says is
noted, and looked at when it has returned.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from hashlib import blake2b
from random import randint
from secrets import token_bytes
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from l7mp.errors import LocalError, Loss, Reason
from l7mp.interfaces import ICloseable
from l7mp.streams.address import Numeric, Sockaddr, literal
from l7mp.streams.association import Association, Owner
from l7mp.streams.association_stream import Beginning
from l7mp.streams.carrier import Carrier, Key, Path, open_raw, open_udp
from l7mp.streams.endpoint import BACKLOG
from l7mp.streams.userlink import UserLink
from l7mp.streams.usrsctp import Engine, Tuning

TICK = 0.01
"""Seconds between the moments at which the library is told the time."""

AFTERGLOW = 10.0
"""Seconds for which it is still told when the last association has gone."""

PORTS = (49152, 65535)
"""From which to choose where none is asked for (RFC 6335, section 6)."""

Newcomer = Callable[[Association], None]
"""Takes an association that a peer has made; newborn, without an owner."""


@dataclass(eq=False)
class Door:
    """Where associations come in for one listener."""

    carriers: Collection[Carrier]
    port: int
    hosts: Collection[str] | None
    """Our addresses at which peers are let in; None for all."""
    accept: Newcomer

    def admits(self, path: Path) -> bool:
        """Whether who comes this way is for this listener."""
        return path.carrier in self.carriers and (
            self.hosts is None or path.own in self.hosts
        )

    def meets(self, other: Door) -> bool:
        """Whether somebody could come to either."""
        if not set(self.carriers) & set(other.carriers):
            return False
        if self.hosts is None or other.hosts is None:
            return True
        return bool(set(self.hosts) & set(other.hosts))


class _Gate:
    """A listening socket of the library, which all listeners at a port share."""

    def __init__(self, stack: Stack, sock: int) -> None:
        self._stack, self.sock = stack, sock
        self.doors: list[Door] = []

    def ready(self) -> None:
        """Let in whoever waits."""
        engine, stack = self._stack.engine, self._stack
        while (found := engine.accept(self.sock, stack)) is not None:
            sock, number, port = found
            path = stack.path(number)
            link = UserLink(stack, sock, path, (self.doors[0].port, port))
            association = link.begin(stack.reactor, engine.streams(sock)[1])
            self._let_in(association, path)

    def _let_in(self, association: Association, path: Path) -> None:
        association.owner = Beginning()
        door = next((door for door in self.doors if door.admits(path)), None)
        if door is None:
            association.abort(Loss(Reason.REFUSED, "nobody listens at that address"))
            return
        try:
            door.accept(association)
        except BaseException:
            association.abort(Loss(Reason.LOCAL, "a fault of ours"))
            raise


@implementer(ICloseable)
class Stack:
    """What one proxy does with the library."""

    def __init__(self, reactor: Any, engine: Engine) -> None:
        self.reactor, self.engine = reactor, engine
        self._carriers: dict[tuple[Any, ...], Carrier] = {}
        self._paths: dict[int, Path] = {}
        self._links: dict[int, UserLink | _Gate] = {}
        self._gates: dict[int, _Gate] = {}
        self._ports: dict[int, int] = {}
        self._dirty: dict[int, None] = {}
        self._soon: IDelayedCall | None = None
        self._is_inside = False
        self._tick: IDelayedCall | None = None
        self._told = self._busy = 0.0
        self._secret = token_bytes(16)

    def close(self) -> None:
        """Abort everything."""
        for link in self._associations():
            link.association.abort(Loss(Reason.SHUTDOWN))
        for door in [door for gate in self._gates.values() for door in gate.doors]:
            self.shut(door)
        for carrier in list(self._carriers.values()):
            self.emptied(carrier)
        for call in (self._soon, self._tick):
            if call is not None and call.active():
                call.cancel()
        self._soon = self._tick = None
        if self in self.engine.clocks:
            self.engine.clocks.remove(self)

    # -- carriers ---------------------------------------------------------------

    def udp(self, place: Numeric) -> Carrier:
        """The carrier over a port of UDP; raises ``LocalError``."""
        found = self._carriers.get(("udp", *place.sockaddr))
        if found is None:
            found = Carrier(self.reactor, open_udp(place), self)
            host, *rest = place.sockaddr
            self._carriers["udp", host, found.own[1], *rest[1:]] = found
        return found

    def raw(self, family: int) -> Carrier:
        """The carrier on a version of IP; raises ``LocalError``."""
        found = self._carriers.get(("raw", family))
        if found is None:
            place = next(
                number
                for host in ("0.0.0.0", "::")  # noqa: S104  # it takes what is ours
                if (number := literal(host)) is not None and number.family == family
            )
            found = Carrier(self.reactor, open_raw(place), self)
            self._carriers["raw", family] = found
        return found

    def emptied(self, carrier: Carrier) -> None:
        for key, one in list(self._carriers.items()):
            if one is carrier:
                del self._carriers[key]
        carrier.close()

    # -- paths --------------------------------------------------------------------

    def path(self, number: int) -> Path:
        """The path that the library knows by a number."""
        return self._paths[number]

    def new_path(self, carrier: Carrier, key: Key) -> Path:
        number = self._number(carrier, key)
        self.engine.add_path(number, self)
        path = self._paths[number] = Path(carrier, key, number)
        return path

    def _number(self, carrier: Carrier, key: Key) -> int:
        """
        The number of a path, the same whenever it is asked for.

        It is part of the cookie that a stranger has to bring back, by when the path
        itself has been forgotten (RFC 9260, section 5.1.3).
        """
        about = repr((carrier.own, carrier.is_raw, key)).encode()
        digest = blake2b(about, digest_size=8, key=self._secret).digest()
        return int.from_bytes(digest, "big") or 1

    def forget_path(self, path: Path) -> None:
        del self._paths[path.number]
        self.engine.forget_path(path.number)

    def unreachable(self, path: Path, loss: Loss) -> None:
        for link in self._associations():
            if link.path is path:
                link.unreachable(loss)

    # -- associations -----------------------------------------------------------

    def connect(
        self,
        carrier: Carrier,
        peer: Sockaddr,
        ports: tuple[int, int],
        tuning: Tuning,
        owner: Owner,
        asked: bytes = b"",
    ) -> Association:
        """
        Begin to make an association from one port, 0 for any, to another.

        ``asked`` is the packed address of ours to do so from, if it is laid down.

        Raises ``LocalError`` if our port is in use.
        """
        own, port = ports
        sock = self.engine.open(self, tuning)
        try:
            own = self._bind(sock, own)
            path = carrier.path_to(peer, asked)
        except (LocalError, OSError):
            self.engine.close(sock)
            raise
        link = UserLink(self, sock, path, (own, port))
        association = link.begin(self.reactor, tuning.streams)
        association.owner = owner
        link.connect(port)
        return association

    def _bind(self, sock: int, port: int) -> int:
        for _ in range(64):
            chosen = port or randint(*PORTS)
            try:
                self.engine.bind(sock, chosen)
            except OSError as error:
                if port or error.errno != errno.EADDRINUSE:
                    break
            else:
                return chosen
        what = f"cannot use port {port} of SCTP: {os.strerror(errno.EADDRINUSE)}"
        raise LocalError(f"{what}; choose another, or none")

    def listen(self, door: Door, tuning: Tuning) -> None:
        """
        Open a door; one at port 0 is given a port.

        Raises ``LocalError`` if another listener is there.
        """
        gate = self._gates.get(door.port) if door.port else None
        if gate is None:
            gate = self._new_gate(door, tuning)
        if any(door.meets(other) for other in gate.doors):
            what = f"cannot listen on SCTP port {door.port}"
            raise LocalError(f"{what}: another listener uses it: choose another port")
        gate.doors.append(door)
        for carrier in door.carriers:
            carrier.users += 1

    def _new_gate(self, door: Door, tuning: Tuning) -> _Gate:
        sock = self.engine.open(self, tuning)
        try:
            door.port = self._bind(sock, door.port)
            self.engine.listen(sock, BACKLOG)
        except (LocalError, OSError):
            self.engine.close(sock)
            raise
        gate = self._gates[door.port] = self._links[sock] = _Gate(self, sock)
        self.use_port(door.port, 1)
        return gate

    def shut(self, door: Door) -> None:
        """Let nobody in there any more; twice is once."""
        gate = self._gates.get(door.port)
        if gate is None or door not in gate.doors:
            return
        gate.doors.remove(door)
        if not gate.doors:
            del self._gates[door.port], self._links[gate.sock]
            self.use_port(door.port, -1)
            self.engine.close(gate.sock)
        for carrier in door.carriers:
            carrier.users -= 1
            carrier.tidy()

    # -- what links tell us -------------------------------------------------------

    def has_port(self, port: int) -> bool:
        return port in self._ports

    def use_port(self, port: int, by: int) -> None:
        """So many more associations or listeners have a port."""
        self._ports[port] = self._ports.get(port, 0) + by
        if not self._ports[port]:
            del self._ports[port]

    def add(self, link: UserLink) -> None:
        """A link lives."""
        self._links[link.sock] = link
        self._keep_time()

    def _associations(self) -> list[UserLink]:
        return [link for link in self._links.values() if isinstance(link, UserLink)]

    def remove(self, link: UserLink) -> None:
        """It does not any more, and nor does its socket."""
        self._links.pop(link.sock, None)
        self._busy = self.reactor.seconds()

    # -- what the library tells us --------------------------------------------------

    def output(self, path: int, packet: bytes) -> None:
        """A packet is to be sent."""
        way = self._paths[path]
        way.carrier.send(way, packet)

    def touched(self, sock: int) -> None:
        """Look at a socket soon."""
        self._dirty[sock] = None
        if not self._is_inside and self._soon is None:
            self._soon = self.reactor.callLater(0, self._settle_soon)

    def _settle_soon(self) -> None:
        self._soon = None
        self.settle()

    def input(self, path: Path, packet: bytes) -> None:
        self._is_inside = True
        self.engine.input(path.number, packet)
        self._is_inside = False

    def settle(self) -> None:
        dirty, self._dirty = self._dirty, {}
        try:
            while dirty:
                link = self._links.get(dirty.popitem()[0])
                if link is not None:
                    link.ready()
        finally:
            for sock in dirty:  # somebody's fault is not the others'
                self.touched(sock)

    # -- time -------------------------------------------------------------------------

    def _keep_time(self) -> None:
        if self._tick is None:
            self._told = self.reactor.seconds()
            self.engine.clocks.append(self)
            self._tick = self.reactor.callLater(TICK, self._tell_time)

    def _tell_time(self) -> None:
        now = self.reactor.seconds()
        if self.engine.clocks[0] is self:
            passed = int((now - self._told) * 1000)
            self._told += passed / 1000
            self._is_inside = True
            self.engine.advance(passed)
            self._is_inside = False
        else:
            self._told = now
        try:
            self.settle()
        finally:
            self._tell_again(now)

    def _tell_again(self, now: float) -> None:
        if len(self._links) > len(self._gates):
            self._busy = now
        if now - self._busy < AFTERGLOW:
            self._tick = self.reactor.callLater(TICK, self._tell_time)
        else:
            self._tick = None
            self.engine.clocks.remove(self)
