"""A shared socket for tests: who comes in is noted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from twisted.internet import reactor

from l7mp.streams.address import V4, Sockaddr
from l7mp.streams.datagram import PeerFlow, SharedSocket
from l7mp.streams.door import Door
from l7mp.streams.udpsocket import open_socket

ENOUGH = 4 << 20

Build = Callable[..., "House"]


class House:
    """A shared socket, and the flows that came in."""

    def __init__(self, family: int, host: str) -> None:
        sock = open_socket(family, (host, 0), buffer=ENOUGH)
        self.emptied = 0
        self.flows: list[PeerFlow] = []
        self.shared = SharedSocket(reactor, sock, self._emptied)
        self.port = self.shared.own[1]
        self.at = (host, self.port)

    def _emptied(self) -> None:
        self.emptied += 1
        self.shared.close()

    def open(
        self,
        accept: Callable[[PeerFlow], None] | None = None,
        admits: Callable[[Sockaddr], bool] = lambda _: True,
        peer: Sockaddr | None = None,
    ) -> Door:
        """A door; everybody may come in unless it ``admits`` only some."""

        def note(flow: PeerFlow) -> None:
            self.flows.append(flow)
            if accept is not None:
                accept(flow)

        return Door(self.shared, note, admits, 60.0, peer)


@contextmanager
def houses() -> Iterator[Build]:
    """Builds houses that are torn down in the end."""
    made: list[House] = []

    def build(family: int = V4, host: str = "127.0.0.1") -> House:
        made.append(House(family, host))
        return made[-1]

    yield build
    for one in made:
        one.shared.close()
