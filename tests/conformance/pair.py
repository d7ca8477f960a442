"""One listener and one cluster with a proxy between them, and a peer on each side."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.process import reapProcessHandlers

import l7mp.protocols
from l7mp.admin.api import resource
from l7mp.core.events import Ended, Event, Listening
from l7mp.core.proxy import Proxy
from l7mp.core.registry import Context, Registry
from l7mp.errors import Loss, Reason
from l7mp.model import declared, edit
from l7mp.model.config import Config
from l7mp.observers.journal import Journal
from l7mp.observers.metrics import Metrics
from tests.conformance.ends import Back, End, Front, Inner, Upstream, heard
from tests.conformance.packets import network
from tests.protocols.real import anywhere
from tests.streams.loopback import until

REGISTRY = Registry.discover(l7mp.protocols)
WORDS = REGISTRY.vocabulary()


class Pair:
    """A proxy with one route, from a front to a back."""

    def __init__(self, front: Front, back: Back | Inner) -> None:
        self.front, self.back = front, back
        # paths of Unix sockets are short, those of pytest are not
        self.folder = Path(tempfile.mkdtemp(prefix="l7mp"))
        self.events: list[Event] = []
        self.journal = Journal()
        services: dict[str, Any] = {"metrics": Metrics()}
        context = Context(reactor=reactor, registry=REGISTRY, services=services)
        self.proxy = Proxy(context, [self.events.append, self.journal])
        services["controller"] = resource(self.proxy, self.journal)
        self._ends: list[End] = []
        self.upstream: Upstream | None = None
        if isinstance(back, Back):
            self.upstream = back.serve(self.folder)

    def document(self, *, idle: float | None, **route: Any) -> dict[str, Any]:
        """The configuration."""
        out: dict[str, Any] = {"name": "out"}
        others: tuple[dict[str, Any], ...] = ()
        if self.upstream is not None:
            out["spec"] = self.upstream.cluster
            if self.upstream.endpoint is not None:
                out["endpoints"] = [{"name": "e", "spec": self.upstream.endpoint}]
        elif isinstance(self.back, Inner):
            out["spec"], others = self.back.cluster, self.back.others
        listener: dict[str, Any] = {
            "name": "in",
            "spec": self.front.listener(self.folder),
            "rules": [{"action": {"route": {"destination": "out", **route}}}],
        }
        if idle is not None:
            listener["options"] = {"idle_timeout": idle}
        return {"clusters": [*others, out], "listeners": [listener]}

    async def open(self, *, idle: float | None = None, **route: Any) -> None:
        """Listen."""
        document = self.document(idle=idle, **route)
        said = declared.Config.model_validate(document, context=WORDS)

        def change(config: Config) -> edit.Change:
            for one in said.listeners:
                object.__setattr__(one, "spec", anywhere(one.spec))
            return edit.replace_all(config, WORDS, said)

        await self.proxy.edit(change)
        (self.address,) = [e.address for e in self.events if isinstance(e, Listening)]

    def dial(self) -> End:
        """A client."""
        self._ends.append(self.front.dial(self.address, self.folder))
        return self._ends[-1]

    async def accept(self) -> End:
        """The next connection at the server."""
        assert self.upstream is not None, "nothing remote is reached"
        end: End = await until(self._accept_or_poll)
        self._ends.append(end)
        return end

    def _accept_or_poll(self) -> End | None:
        assert self.upstream is not None
        for end in self._ends:
            end.poll()
        return self.upstream.accept()

    def poll(self) -> None:
        """Let everybody take what has come."""
        for end in self._ends:
            end.poll()

    async def until(self, holds: Callable[[], Any]) -> None:
        """Wait, with everybody taking what comes, until something holds."""

        def polled() -> Any:
            self.poll()
            return holds()

        await until(polled)

    async def hears(self, end: End, words: bytes) -> None:
        """Wait until that is all that ``end`` has heard."""
        await self.until(lambda: heard(end) == words)

    def ends(self) -> list[Loss]:
        """Why sessions ended, in order."""
        return [event.loss for event in self.events if isinstance(event, Ended)]

    async def quiet(self) -> None:
        """Wait until no session is left, ending those that hear of no end."""
        if not self.front.traits.has_end:
            for session in list(self.proxy.sessions.values()):
                session.end(Loss(Reason.DELETED))
        await until(lambda: self._all_left() and not self.proxy.sessions)
        for end in self._ends:
            end.close()
        self._ends.clear()
        self.events.clear()

    def _all_left(self) -> bool:
        """Let those leave whose peers have."""
        self.poll()
        for end in self._ends:
            if end.ended or end.broken:
                end.leave()
        return True

    async def close(self) -> None:
        """Let go of everything."""
        for end in self._ends:
            end.close()
        if self.upstream is not None:
            self.upstream.stop()
        await self.proxy.stopService()
        await until(lambda: not reapProcessHandlers)  # no child is left
        shutil.rmtree(self.folder, ignore_errors=True)


@asynccontextmanager
async def pair(
    front: Front, back: Back | Inner, *, idle: float | None = None, **route: Any
) -> AsyncIterator[Pair]:
    """A pair that is open, and closed in the end."""
    needs_network = front.network or (isinstance(back, Back) and back.network)
    with network() if needs_network else nullcontext():
        made = Pair(front, back)
        try:
            await made.open(idle=idle, **route)
            yield made
        finally:
            await made.close()
