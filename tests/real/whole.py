"""Whole proxies in the test's reactor, and the programs that are their peers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from websockets.sync.server import ServerConnection, serve

import l7mp.protocols
from l7mp.core.events import Ended, Event, Listening
from l7mp.core.proxy import Proxy
from l7mp.core.registry import Context, Registry
from l7mp.errors import Loss
from l7mp.model import declared, edit
from l7mp.model.config import Config
from tests.protocols.real import anywhere

HOST = "127.0.0.1"
NODE = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "l7mp" / "node"
)
"""Where scripts/node-packages puts what it installs."""

Words = dict[str, Any]


async def until(ready: Callable[[], Any], seconds: float = 25) -> Any:
    """What ``ready`` gives, when it is true; leaves the processor to the peers."""
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        await deferLater(reactor, 0.005)
    return found


class Whole:
    """A proxy with every protocol, and what it said."""

    def __init__(self) -> None:
        self.registry = Registry.discover(l7mp.protocols)
        self.events: list[Event] = []
        context = Context(reactor=reactor, registry=self.registry)
        self.proxy = Proxy(context, [self.events.append])

    async def serve(self, listener: Words, *stages: Words, **route: Any) -> int:
        """
        One listener whose route has these stages, the destination last.

        A stage is the specification of a cluster, with an ``address`` for the
        endpoint of one that has any; ``match`` and ``rewrite`` are those of the rule,
        ``options`` the listener's. Returns the port, which the kernel chose.
        """
        port: int = (await self.listen(listener, *stages, **route))["port"]
        return port

    async def listen(self, listener: Words, *stages: Words, **route: Any) -> Words:
        """The same for what may have no port: where it is bound."""
        words = self.registry.vocabulary()
        clusters = [_cluster(at, dict(stage)) for at, stage in enumerate(stages)]
        names = [cluster["name"] for cluster in clusters]
        action = {"destination": names[-1], "ingress": names[:-1], **route}
        rule: Words = {"action": {"route": action}}
        options = {"options": action.pop("options")} if "options" in route else {}
        if "rewrite" in route:
            rule["action"]["rewrite"] = action.pop("rewrite")
        if "match" in route:
            rule["match"] = action.pop("match")
        said = declared.Config.model_validate(
            {
                "clusters": clusters,
                "listeners": [
                    {"name": "in", "spec": listener, "rules": [rule], **options}
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

    async def losses(self, count: int = 1) -> list[Loss]:
        """Why the first sessions to end have ended."""

        def ends() -> list[Loss] | None:
            found = [event.loss for event in self.events if isinstance(event, Ended)]
            return found if len(found) >= count else None

        found: list[Loss] = await until(ends)
        return found


def _cluster(number: int, spec: Words) -> Words:
    cluster: Words = {"name": f"stage-{number}", "spec": spec}
    address = spec.pop("address", None)
    if address is not None:
        cluster["endpoints"] = [{"name": "e", "spec": {"address": address}}]
    return cluster


@asynccontextmanager
async def whole() -> AsyncIterator[Whole]:
    """A proxy that is stopped in the end."""
    made = Whole()
    try:
        yield made
    finally:
        await made.proxy.stopService()


@asynccontextmanager
async def upstream(
    handler: Callable[[ServerConnection], None], **how: Any
) -> AsyncIterator[int]:
    """The port of a server of the websockets package, in threads of its own."""
    server = serve(handler, HOST, 0, max_size=None, **how)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.socket.getsockname()[1]
    finally:
        # Its threads wait for the ends of connections, which are here.
        await deferToThread(server.shutdown)
        thread.join()


class Program:
    """A process whose output is read as it grows, and still after its end."""

    def __init__(self, command: Sequence[str], folder: str, **environment: str) -> None:
        self._files = [Path(folder) / name for name in ("out", "err")]
        self._last: list[str] | None = None
        with self._files[0].open("wb") as out, self._files[1].open("wb") as err:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=folder,
                env={**os.environ, **environment},
            )

    def _texts(self) -> list[str]:
        return self._last or [file.read_text() for file in self._files]

    @property
    def output(self) -> str:
        return self._texts()[0]

    @property
    def errors(self) -> str:
        return self._texts()[1]

    def end(self) -> None:
        """End it, if it has not, and keep what it wrote."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self._last = self._texts()

    @property
    def events(self) -> list[Words]:
        """The whole lines of JSON that it wrote."""
        lines = self.output.split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def happened(self, event: str) -> list[Words]:
        """What it told of one kind."""
        return [one for one in self.events if one["event"] == event]

    async def tells(self, event: str, count: int = 1) -> list[Words]:
        """The same, as soon as there are so many."""

        def told() -> list[Words] | None:
            found = self.happened(event)
            if len(found) >= count:
                return found
            assert self.process.poll() is None, (self.output, self.errors)
            return None

        found: list[Words] = await until(told)
        return found

    async def exits(self, seconds: float = 30) -> int:
        """Its status, when it is done."""
        await until(lambda: self.process.poll() is not None, seconds)
        status: int = self.process.returncode
        return status


@contextmanager
def program(command: Sequence[str], **environment: str) -> Iterator[Program]:
    """A program in a folder of its own, which is ended in the end."""
    with tempfile.TemporaryDirectory(prefix="l7mp-") as folder:
        running = Program(command, folder, **environment)
        try:
            yield running
        finally:
            running.end()


def node(script: str, *arguments: str) -> Any:
    """A script of this folder, run by Node with the packages for tests."""
    path = Path(__file__).parent / script
    modules = str(NODE / "node_modules")
    return program(["node", str(path), *arguments], NODE_PATH=modules)


def python(module: str, *arguments: str) -> Any:
    """A module of the tests, run by a Python of its own."""
    root = str(Path(__file__).parent.parent.parent)
    return program([sys.executable, "-m", module, *arguments], PYTHONPATH=root)
