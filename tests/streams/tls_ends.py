"""Ends of TLS connections in memory."""

from __future__ import annotations

from contextlib import suppress

from OpenSSL import SSL
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from l7mp.errors import Loss
from l7mp.model.tls import TLSClient, TLSServer
from l7mp.streams.tls import TLSTransport
from l7mp.streams.tls_context import ClientTLS, ServerTLS
from tests.streams.certs import Certs


class Simple(Protocol):
    """A protocol that knows no half-close."""

    def __init__(self) -> None:
        self.got = b""
        self.lost: list[Failure] = []

    def dataReceived(self, data: bytes) -> None:
        self.got += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.append(reason)


class Wire(StringTransport):
    """A transport that goes nowhere."""

    def loseWriteConnection(self) -> None:
        self.disconnecting = True

    def unregisterProducer(self) -> None:
        pass


def server_end(certs: Certs) -> tuple[TLSTransport, Wire, list[Loss]]:
    """A listener's end of a connection in memory, and why it failed."""
    tls = TLSServer(cert=certs.pem("a.org"))
    end = ServerTLS(tls, (), print, Clock()).connection()
    failures: list[Loss] = []
    made = TLSTransport(Clock(), end, Simple, lambda _, loss: failures.append(loss))
    wire = Wire()
    made.makeConnection(wire)
    return made, wire, failures


def greeting() -> bytes:
    """What a client says first."""
    tls = TLSClient(verify=False)
    client, _ = ClientTLS(tls, (), print, Clock()).connection("a.org")
    with suppress(SSL.WantReadError):
        client.do_handshake()
    return client.bio_read(1 << 14)
