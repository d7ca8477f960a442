"""Ends that speak TLS, by Python's own ssl."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

from l7mp.interfaces import Kind
from tests.conformance.ends import Back, End, Front, Traits, Upstream
from tests.conformance.sockets import HOST, SocketEnd, StreamServer
from tests.conformance.web import Served, Spoken
from tests.streams.certs import Certs


class SecureEnd(Spoken):
    """TLS above a socket."""

    def __init__(
        self, under: SocketEnd, context: ssl.SSLContext, *, server: bool
    ) -> None:
        super().__init__(under)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server else HOST
        self._tls = context.wrap_bio(self._in, self._out, server, name)
        self._unsaid: list[bytes] = []
        self._open = self._finishing = self._leaving = False
        self._go_on()

    def received(self, data: bytes) -> None:
        self._in.write(data)
        self._go_on()

    def _go_on(self) -> None:
        try:
            self._shake()
            while data := self._tls.read(1 << 16):
                self.chunks.append(data)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError:
            self.broken = True
        self._flush()

    def _shake(self) -> None:
        if not self._open:
            self._tls.do_handshake()
            self._open = True
            for data in self._unsaid:
                self._tls.write(data)
            self._unsaid.clear()
            self._say_last()

    def _flush(self) -> None:
        data = self._out.read()
        if data:
            self.under.say(data)
        if self._leaving and self._open:
            self.under.leave()

    def say(self, data: bytes) -> None:
        if self._open:
            self._tls.write(data)
            self._flush()
        else:
            self._unsaid.append(data)

    def _say_last(self) -> None:
        if self._finishing and self._open:
            self._finishing = False
            with suppress(ssl.SSLError):  # which says that the peer has not said it
                self._tls.unwrap()

    def finish(self) -> None:
        self._finishing = True
        self._say_last()
        self._flush()

    def leave(self) -> None:
        self._leaving = True
        self.finish()


def _certificate(folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    return Certs(folder).pem(HOST, file="server.pem")


def _listener(folder: Path) -> dict[str, Any]:
    tls = {"cert": _certificate(folder)}
    return {"protocol": "TCP", "port": 1, "address": HOST, "tls": tls}


def _dial(address: dict[str, Any], folder: Path) -> End:
    sock = socket.create_connection((HOST, address["port"]))
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    return SecureEnd(SocketEnd(sock), context, server=False)


def _serve(folder: Path) -> Upstream:
    mine = folder / "server"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(mine))
    cluster = {"protocol": "TCP", "tls": {"ca": str(mine / "ca.pem")}}
    server = StreamServer(cluster, (HOST, 0))
    return Served(server, lambda end: SecureEnd(end, context, server=True))


SECURE = Traits(Kind.BYTES)

FRONTS = (Front("TCP (TLS)", SECURE, _listener, _dial),)
BACKS = (Back("TCP (TLS)", SECURE, _serve),)
