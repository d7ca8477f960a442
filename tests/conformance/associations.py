"""
Ends that speak SCTP.

Where the kernel has none they are made of the same library as ours, on the other side
of a UDP socket; that other implementations understand us is proven elsewhere, with a
kernel that has it.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

from twisted.internet import reactor

from l7mp.core.registry import Context, Registry
from l7mp.errors import Loss, Reason
from l7mp.interfaces import SINK, IListening, IStream, Kind
from l7mp.model.config import EndPoint
from l7mp.protocols import sctp
from l7mp.testing import Memory
from tests.conformance.ends import Back, End, Front, Traits, Upstream
from tests.conformance.sockets import HOST

REGISTRY = Registry.of([sctp.protocol])
WORDS = REGISTRY.vocabulary()
PORT = 5001


class AssociationEnd:
    """One association."""

    def __init__(self, context: Context, *, owns: bool) -> None:
        self._context, self._owns = context, owns
        self._memory = Memory()
        self.chunks = self._memory.written
        self._stream: IStream | None = None
        self._unsaid: list[bytes] = []
        self._leaving = False

    def begin(self, stream: IStream) -> None:
        """The association is up."""
        self._stream = stream
        stream.deliver_to(self._memory)
        stream.release(SINK)
        for data in self._unsaid:
            stream.write(data)
        if self._leaving:
            self.leave()

    @property
    def ended(self) -> bool:
        """Heard that nothing more will come."""
        loss = self._stream.loss if self._stream is not None else None
        return self._memory.ended or (loss is not None and loss.reason is Reason.FIN)

    @property
    def broken(self) -> bool:
        """Heard that the conversation broke off."""
        loss = self._stream.loss if self._stream is not None else None
        return loss is not None and loss.reason is not Reason.FIN

    def poll(self) -> None:
        """The reactor does."""

    def say(self, data: bytes) -> None:
        if self._stream is None:
            self._unsaid.append(data)
        else:
            self._stream.write(data)

    def finish(self) -> None:
        self.leave()

    def leave(self) -> None:
        self._leaving = True
        if self._stream is not None:
            self._stream.close(Loss(Reason.FIN))

    def drop(self) -> None:
        if self._stream is not None:
            self._stream.abort(Loss(Reason.RESET))

    def close(self) -> None:
        self.drop()
        if self._owns:
            self._context.resources.close()


def _context() -> Context:
    return Context(reactor=reactor, registry=REGISTRY)


def _dial(address: dict[str, Any], folder: Path) -> End:
    context = _context()
    port = address["encapsulation"]["port"]
    spec = WORDS.cluster(
        {
            "protocol": "SCTP",
            "port": address["port"],
            "encapsulation": {"remote_port": port},
        }
    )
    end = AssociationEnd(context, owns=True)
    connecting = context.connect(spec, EndPoint("e", HOST), {})
    connecting.addCallbacks(end.begin, lambda _: None)
    return end


class _Server:
    """Takes associations."""

    def __init__(self) -> None:
        self._udp = 0
        self.start()
        self.cluster: dict[str, Any] = {
            "protocol": "SCTP",
            "port": PORT,
            "encapsulation": {"remote_port": self._udp},
        }
        self.endpoint: dict[str, Any] | None = {"address": HOST}

    def start(self) -> None:
        self._context = _context()
        self._fresh: deque[AssociationEnd] = deque()
        self._ends: list[AssociationEnd] = []
        spec = WORDS.listener(
            {
                "protocol": "SCTP",
                "port": PORT,
                "address": HOST,
                "encapsulation": {"port": self._udp},
            }
        )
        listening: list[IListening] = []
        made = self._context.listen(spec, self._accepted)
        made.addCallback(listening.append)
        assert listening, "an address needs no waiting for"
        self._listening = listening[0]
        self._udp = self._listening.address()["encapsulation"]["port"]

    def _accepted(self, stream: IStream, metadata: Any, words: str) -> None:
        end = AssociationEnd(self._context, owns=False)
        end.begin(stream)
        self._fresh.append(end)
        self._ends = [one for one in self._ends if not (one.ended or one.broken)]
        self._ends.append(end)

    def accept(self) -> End | None:
        return self._fresh.popleft() if self._fresh else None

    def stop(self) -> None:
        self._listening.stop()
        for end in self._ends:
            end.drop()
        self._context.resources.close()


def _listener(folder: Path) -> dict[str, Any]:
    return {
        "protocol": "SCTP",
        "port": PORT,
        "address": HOST,
        "encapsulation": {"port": 0},
    }


def _serve(folder: Path) -> Upstream:
    return _Server()


MESSAGES = Traits(Kind.DATAGRAMS, half_close=False, has_empty=False)

FRONTS = (Front("SCTP", MESSAGES, _listener, _dial),)
BACKS = (Back("SCTP", MESSAGES, _serve),)
