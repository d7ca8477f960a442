"""What an operation of the REST API is, and the request that it answers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from twisted.internet.defer import Deferred

from l7mp.admin.errors import StatusView
from l7mp.core.proxy import Proxy
from l7mp.errors import LocalError
from l7mp.model.base import Declared
from l7mp.model.config import Config
from l7mp.model.document import Document
from l7mp.model.edit import Change
from l7mp.model.problem import Invalid
from l7mp.model.view import View
from l7mp.model.viewer import Viewer
from l7mp.observers.journal import Journal

D = TypeVar("D", bound=Declared)

ROOT = "/api/v1"
"""Where all paths of the table begin."""

OK = StatusView(status=200, message="OK")


class NotFound(LocalError):
    """A GET names what does not exist; its status is 400, as in the original."""

    def __init__(self) -> None:
        super().__init__("Not Found")


class Call:
    """One request, read and checked."""

    def __init__(
        self,
        proxy: Proxy,
        journal: Journal,
        path: Mapping[str, str],
        *,
        recursive: bool = False,
        said: tuple[Declared, Document] | None = None,
        session: str = "",
    ) -> None:
        self.proxy, self.journal = proxy, journal
        self.path = path
        """The parameters in the path, decoded."""
        self.recursive = recursive
        self.session = session
        """The name of the session that carries the request, if one does."""
        self.location = ""
        """Where that can be found which was added, as a relative reference."""
        self._said = said

    @property
    def config(self) -> Config:
        """The configuration as it is now."""
        return self.proxy.config

    @property
    def viewer(self) -> Viewer:
        """Shows the configuration as it is now; one is enough for a whole reply."""
        return Viewer(self.proxy.config, self.proxy.vocabulary.flow_of)

    def body(self, model: type[D]) -> D:
        """What the client said, which is a ``model``: the table declares it."""
        assert self._said is not None, "the operation has no body"
        assert isinstance(self._said[0], model), f"the body is no {model.__name__}"
        return self._said[0]

    async def edit(
        self, change: Callable[[Config], Change], added_to: str = ""
    ) -> StatusView:
        """
        Carry out a change, whole or not at all, even if the client goes away.

        ``added_to`` is the path of the collection in which it puts something.  The
        session that carries the request lives on to answer it.
        """
        try:
            done = await _shielded(self.proxy.edit(change, spare=self.session))
        except Invalid as error:
            if self._said is None:
                raise
            raise Invalid(self._said[1].located(error.problems)) from error
        if added_to:
            self.location = f"{ROOT}{added_to}/{quote(done.name, safe='')}"
        return OK


def _shielded(running: Deferred[Change]) -> Deferred[Change]:
    """Fires as ``running`` does, which goes on when the wait for it is cancelled."""
    waiting: Deferred[Change] = Deferred()
    running.addCallbacks(waiting.callback, waiting.errback)
    return waiting


Reply = View | Sequence[View]

Handler = Callable[[Call], Coroutine[Deferred[Any], Any, Reply]]
"""Answers; raises ``LocalError``, or ``Invalid``, for what cannot be done."""

Method = Literal["GET", "POST", "DELETE"]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One thing that a client can ask for."""

    name: str
    """Its operationId."""
    method: Method
    path: str
    """Below ``ROOT``, with parameters in angle brackets."""
    summary: str
    handler: Handler
    reply: type[View] = StatusView
    is_list: bool = False
    """Whether the reply is a list of ``reply``."""
    body: type[Declared] | None = None
    recursive: str = ""
    """What ``?recursive=true`` does; empty if it makes no difference."""
    position: str = ""
    """What the parameter ``position`` of the path may be, if it has one."""

    @property
    def queries(self) -> tuple[str, ...]:
        """The query parameters that are understood."""
        return _QUERIES[self.method]


_QUERIES: Mapping[Method, tuple[str, ...]] = MappingProxyType(
    {"GET": ("recursive", "format"), "POST": (), "DELETE": ("recursive",)}
)
