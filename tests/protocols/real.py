"""A real proxy on the real reactor between peers with plain sockets."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet import reactor

from l7mp.core.events import Ended, Event, Listening
from l7mp.core.proxy import Proxy
from l7mp.core.registry import Context, Protocol, Registry
from l7mp.errors import Loss
from l7mp.model import declared, edit
from l7mp.model.config import Config
from l7mp.model.spec import Spec
from l7mp.protocols import (
    deframe,
    discard,
    echo,
    exec,
    fanout,
    frame,
    jsondecap,
    jsonencap,
    jsonsocket,
    l7mpcontroller,
    logger,
    metric,
    pipe,
    prometheus,
    stdio,
    stdiofork,
    sync,
    tcp,
    udp,
    unixdomainsocket,
)
from tests.streams.loopback import until

LOOPBACK = "127.0.0.1"
Where = tuple[str, int] | str
"""A TCP address, or a path."""

MODULES = (
    deframe, discard, echo, exec, fanout, frame, jsondecap, jsonencap, jsonsocket, l7mpcontroller, logger, metric,
    pipe, prometheus, stdio, stdiofork, sync, tcp, udp, unixdomainsocket,
)  # fmt: skip


def protocols() -> list[Protocol]:
    """All but what speaks HTTP."""
    return [module.protocol for module in MODULES]


def anywhere(spec: Any) -> Any:
    """The same on a port that the kernel chooses."""
    changes: dict[str, Any] = {}
    if hasattr(spec, "port"):
        changes["port"] = 0
    if isinstance(getattr(spec, "transport", None), Spec):
        changes["transport"] = anywhere(spec.transport)
    return spec.model_copy(update=changes)


class Conn:
    """One side of a connection; reads only when told to."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.got = b""
        self.ended = self.reset = False

    def send(self, data: bytes) -> None:
        """All of it; for what fits into the kernel's buffers."""
        assert self.sock.send(data) == len(data)

    def push(self, data: bytes) -> int:
        """As much as there is room for."""
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0

    def finish(self) -> None:
        """Half-close."""
        self.sock.shutdown(socket.SHUT_WR)

    def drop(self) -> None:
        """Reset the connection."""
        self.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.sock.close()

    def pull(self) -> bool:
        """Read once; whether there was anything, if only the end."""
        try:
            data = self.sock.recv(1 << 16)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            self.reset = True
            return True
        self.got += data
        self.ended = self.ended or not data
        return True

    async def reads(self, count: int) -> bytes:
        """The first ``count`` bytes of what comes, at least."""
        await until(lambda: self.pull() and len(self.got) >= count)
        return self.got

    async def reads_all(self) -> bytes:
        """Everything up to the end."""
        await until(lambda: self.pull() and (self.ended or self.reset))
        assert not self.reset, f"reset after {len(self.got)} bytes"
        return self.got


class Real:
    """A proxy, what it said, and sockets that are closed in the end."""

    def __init__(self, **services: Any) -> None:
        self.registry = Registry.of(protocols())
        context = Context(reactor=reactor, registry=self.registry, services=services)
        self.events: list[Event] = []
        self.proxy = Proxy(context, [self.events.append])
        self._socks: list[socket.socket] = []

    async def route(
        self,
        listener: dict[str, Any],
        cluster: dict[str, Any],
        endpoint: dict[str, Any] | None = None,
        more: tuple[dict[str, Any], ...] = (),
        **route: Any,
    ) -> dict[str, Any]:
        """One listener ``in`` to one cluster ``out``; where the former is bound."""
        out: dict[str, Any] = {"name": "out", "spec": cluster}
        if endpoint is not None:
            out["endpoints"] = [{"name": "e", "spec": endpoint}]
        action = {"route": {"destination": "out", **route}}
        words = self.registry.vocabulary()
        said = declared.Config.model_validate(
            {
                "clusters": [out, *more],
                "listeners": [
                    {"name": "in", "spec": listener, "rules": [{"action": action}]}
                ],
            },
            context=words,
        )

        def change(config: Config) -> edit.Change:
            for one in said.listeners:
                object.__setattr__(one, "spec", anywhere(one.spec))
            return edit.replace_all(config, words, said)

        await self.proxy.edit(change)
        (address,) = [e.address for e in self.events if isinstance(e, Listening)]
        return address

    def serve(self, where: Where = (LOOPBACK, 0), receive: int = 0) -> socket.socket:
        """An upstream that listens."""
        family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
        sock = socket.socket(family)
        self._socks.append(sock)
        if receive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        sock.bind(where)
        sock.listen()
        sock.setblocking(False)
        return sock

    async def accept(self, server: socket.socket) -> Conn:
        """The next connection to an upstream."""

        def attempt() -> socket.socket | None:
            try:
                return server.accept()[0]
            except BlockingIOError:
                return None

        sock = await until(attempt)
        self._socks.append(sock)
        return Conn(sock)

    def dial(self, where: Where) -> Conn:
        """A client, connected by the kernel."""
        family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
        sock = socket.socket(family)
        self._socks.append(sock)
        sock.connect(where)
        return Conn(sock)

    @property
    def session(self) -> Any:
        """The only session."""
        (session,) = self.proxy.sessions.values()
        return session

    async def one_session(self) -> Any:
        """The only session, as soon as it is connected."""
        await until(lambda: self.proxy.sessions)
        session = self.session
        await until(lambda: session.status == "CONNECTED")
        return session

    async def loss(self) -> Loss:
        """Why the first session to end has ended."""
        ends = await until(lambda: [e for e in self.events if isinstance(e, Ended)])
        loss: Loss = ends[0].loss
        return loss

    async def close(self) -> None:
        for sock in self._socks:
            sock.close()
        await self.proxy.stopService()


@asynccontextmanager
async def real(**services: Any) -> AsyncIterator[Real]:
    """A proxy that is stopped in the end."""
    made = Real(**services)
    try:
        yield made
    finally:
        await made.close()
