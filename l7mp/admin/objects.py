"""What can be done with listeners, clusters, rulelists, rules and routes alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from l7mp.admin.operation import Call, NotFound, Operation
from l7mp.model import declared as say
from l7mp.model import edit
from l7mp.model.base import Declared
from l7mp.model.edit import Change
from l7mp.model.view import (
    ClusterView,
    ListenerView,
    RouteView,
    RuleListView,
    RuleView,
    View,
)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """
    A kind of named objects.

    Its ``word`` is also the name of their table in ``Config`` (in the plural), of the
    method of ``Viewer`` that shows one, and of the only field of ``request``.
    """

    word: str
    title: str
    view: type[View]
    request: type[Declared]
    add: Callable[..., Change]
    delete: Callable[..., Change]
    shown: str
    """What a recursive GET shows instead of names."""
    deleted: str
    """What a recursive DELETE takes along."""

    @property
    def path(self) -> str:
        """The path of the collection."""
        return f"/{self.word}s"

    def _table(self, call: Call) -> Mapping[str, Any]:
        table: Mapping[str, Any] = getattr(call.config, f"{self.word}s")
        return table

    def _show(self, call: Call) -> Callable[[Any, bool], View]:
        show: Callable[[Any, bool], View] = getattr(call.viewer, self.word)
        return show

    async def list_all(self, call: Call) -> tuple[View, ...]:
        """All of them, in the order in which they were added."""
        show = self._show(call)
        return tuple(show(one, call.recursive) for one in self._table(call).values())

    async def get(self, call: Call) -> View:
        """The one that the path names."""
        found = self._table(call).get(call.path["name"])
        if found is None:
            raise NotFound
        return self._show(call)(found, call.recursive)

    async def post(self, call: Call) -> View:
        """Add one."""
        words = call.proxy.vocabulary
        it = getattr(call.body(self.request), self.word)
        return await call.edit(lambda config: self.add(config, words, it), self.path)

    async def remove(self, call: Call) -> View:
        """Delete the one that the path names."""
        name, recursive = call.path["name"], call.recursive
        return await call.edit(lambda config: self.delete(config, name, recursive))

    def operations(self) -> Iterator[Operation]:
        """List, add, get, delete."""
        yield Operation(
            name=f"get{self.title}s",
            method="GET",
            path=self.path,
            summary=f"Get a list of {self.title}s",
            handler=self.list_all,
            reply=self.view,
            is_list=True,
            recursive=self.shown,
        )
        yield Operation(
            name=f"add{self.title}",
            method="POST",
            path=self.path,
            summary=f"Add a {self.title}, with all that is defined in it",
            handler=self.post,
            body=self.request,
        )
        yield Operation(
            name=f"get{self.title}",
            method="GET",
            path=f"{self.path}/<name>",
            summary=f"Get a named {self.title}",
            handler=self.get,
            reply=self.view,
            recursive=self.shown,
        )
        yield Operation(
            name=f"delete{self.title}",
            method="DELETE",
            path=f"{self.path}/<name>",
            summary=f"Delete a named {self.title}",
            handler=self.remove,
            recursive=self.deleted,
        )


KINDS = (
    Kind(
        word="listener",
        title="Listener",
        view=ListenerView,
        request=say.ListenerRequest,
        add=edit.add_listener,
        delete=edit.delete_listener,
        shown="Show rules, routes and clusters instead of names.",
        deleted="Delete what was defined in it, too, and end its sessions.",
    ),
    Kind(
        word="cluster",
        title="Cluster",
        view=ClusterView,
        request=say.ClusterRequest,
        add=edit.add_cluster,
        delete=edit.delete_cluster,
        shown="Show the endpoints, not how many there are.",
        deleted="End the sessions that run through it, too.",
    ),
    Kind(
        word="rulelist",
        title="RuleList",
        view=RuleListView,
        request=say.RuleListRequest,
        add=edit.add_rulelist,
        delete=edit.delete_rulelist,
        shown="Show rules, routes and clusters instead of names.",
        deleted="Delete what was defined in it, too.",
    ),
    Kind(
        word="rule",
        title="Rule",
        view=RuleView,
        request=say.RuleRequest,
        add=edit.add_rule,
        delete=edit.delete_rule,
        shown="Show routes and clusters instead of names.",
        deleted="Delete what was defined in it, too.",
    ),
    Kind(
        word="route",
        title="Route",
        view=RouteView,
        request=say.RouteRequest,
        add=edit.add_route,
        delete=edit.delete_route,
        shown="Show clusters instead of names.",
        deleted="Delete what was defined in it, too.",
    ),
)

OPERATIONS = tuple(operation for kind in KINDS for operation in kind.operations())
