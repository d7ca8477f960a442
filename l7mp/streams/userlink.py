"""An association in the user-space stack."""

from __future__ import annotations

import errno
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from l7mp.errors import Loss, Reason
from l7mp.streams.association import Association, Ends
from l7mp.streams.carrier import Path
from l7mp.streams.udpsocket import BUDGET
from l7mp.streams.usrsctp import READ, WRITE, Engine
from l7mp.wire import sctp
from l7mp.wire.sctp import USRSCTP, notification


class Host(Protocol):
    """Where links live."""

    engine: Engine

    def add(self, link: UserLink) -> None:
        """A link lives."""

    def remove(self, link: UserLink) -> None:
        """It does not any more."""

    def touched(self, sock: int) -> None:
        """Look at a socket soon."""

    def use_port(self, port: int, by: int) -> None:
        """So many more associations have a port."""


class UserLink:
    """A socket of the library, the path it takes, and the association it is."""

    association: Association

    def __init__(
        self, host: Host, sock: int, path: Path, ports: tuple[int, int]
    ) -> None:
        """``ports`` are ours and the peer's, of SCTP."""
        self.sock, self.path, self.ports = sock, path, ports
        self._host, self._engine = host, host.engine
        self._is_open, self._is_writing, self._is_connecting = True, False, False
        path.users += 1
        host.use_port(ports[0], 1)
        host.add(self)

    def begin(self, clock: IReactorTime, streams_out: int) -> Association:
        """The association."""
        self.association = Association(self, clock, streams_out)
        return self.association

    def connect(self, port: int) -> None:
        """Send INIT."""
        self._is_connecting = True
        try:
            self._engine.connect(self.sock, self.path.number, port)
        except OSError as error:
            self.association.failed(error)
        else:
            self.association.read(True)

    def unreachable(self, loss: Loss) -> None:
        """The network says that the peer is not there."""
        if self._is_connecting:
            self.association.abort(loss)

    # -- for the association --------------------------------------------------------

    def send(self, data: bytes, stream: int, ppid: int, unordered: bool) -> None:
        if not self._is_open:
            raise OSError(errno.EPIPE, "closed")
        self._engine.send(self.sock, data, stream, ppid, unordered)

    def watch(self, reading: bool, writing: bool) -> None:
        self._is_writing = writing
        if self._is_open and (reading or writing):
            self._host.touched(self.sock)  # something may be there already

    def shutdown(self) -> None:
        self._engine.shutdown(self.sock)
        self._host.touched(self.sock)

    def abort(self) -> None:
        self._let_go(by=self._engine.abort)

    def close(self) -> None:
        self._let_go(by=self._engine.close)

    def _let_go(self, by: object) -> None:
        if not self._is_open:
            return
        self._is_open = False
        assert callable(by), "a way to go"
        by(self.sock)
        self._host.remove(self)
        self._host.use_port(self.ports[0], -1)
        self.path.users -= 1
        self.path.carrier.release(self.path)

    def shown(self, address: sctp.Sockaddr) -> str:
        return self.path.peer[0]

    def ends(self) -> Ends:
        path, (own_port, peer_port) = self.path, self.ports
        host, udp_port = path.peer
        incoming, outgoing = self._engine.streams(self.sock)
        udp = None if path.carrier.is_raw else (path.carrier.own[1], udp_port)
        return Ends((path.own,), own_port, (host,), peer_port, incoming, outgoing, udp)

    # -- for the stack ----------------------------------------------------------------

    def ready(self) -> None:
        """Look at what happened."""
        try:
            if self._is_writing and self._engine.events(self.sock) & WRITE:
                self.association.writable()
            self._read()
        except Exception as error:  # noqa: BLE001  # a fault costs one association
            what = f"{type(error).__name__}: {error}"
            self.association.abort(Loss(Reason.LOCAL, what))

    def _read(self) -> None:
        association, engine, sock = self.association, self._engine, self.sock
        for _ in range(BUDGET):
            if not association.is_reading or not engine.events(sock) & READ:
                return
            try:
                found = engine.receive(sock)
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    association.failed(error)
                return
            if found is None:
                association.ended()
                return
            if found.is_notification:
                said = notification(found.data, USRSCTP)
                if said is not None and said.word == sctp.COMM_UP:
                    self._is_connecting = False
                association.notified(said)
            else:
                association.received(
                    found.data, found.stream, found.ppid, found.is_whole
                )
        self._host.touched(sock)
