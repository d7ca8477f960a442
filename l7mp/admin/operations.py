"""
The table of operations, from which Klein's routes and OpenAPI's paths both come.

A handler gets a ``Call`` and returns what to show; it raises ``LocalError`` (or
``Invalid``) for what cannot be done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import l7mp
from l7mp.admin.sessions import session_view
from l7mp.core.proxy import Proxy
from l7mp.errors import LocalError, Loss, Reason
from l7mp.model import declared as say
from l7mp.model import edit, shapes
from l7mp.model.config import Config
from l7mp.model.edit import Change, Unknown
from l7mp.model.view import Viewer
from l7mp.observers.journal import Journal

ROOT = "/api/v1"

OK = {"status": 200, "message": "OK"}


class NotFound(LocalError):
    """The object that a GET names does not exist; 400, as in the original."""

    def __init__(self) -> None:
        super().__init__("Not Found")


@dataclass
class Call:
    """One request, read and checked."""

    proxy: Proxy
    journal: Journal
    path: Mapping[str, str]
    recursive: bool = False
    body: Any = None
    session: str = ""
    """The name of the session that carries the request."""
    location: str = field(default="", init=False)
    """Where what was added can be found."""

    @property
    def config(self) -> Config:
        """The configuration as it is now."""
        return self.proxy.config

    @property
    def viewer(self) -> Viewer:
        """Shows it."""
        return Viewer(self.proxy.config, self.proxy.vocabulary)

    async def edit(self, change: Callable[[Config], Change], where: str = "") -> Any:
        """Carry out an edit; ``where`` is the collection that it adds to."""
        done = await self.proxy.edit(change, self.session)
        if where and done.name:
            self.location = f"{ROOT}/{where}/{done.name}"
        return OK


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One thing that a client can ask for."""

    name: str
    method: str
    path: str
    """Below ``ROOT``, with parameters in angle brackets."""
    summary: str
    handler: Handler
    reply: Any
    """What is shown: a shape, or a list of one."""
    body: type[say.Declared] | None = None
    recursive: str = ""
    """What ``?recursive=true`` does; empty if nothing."""

    @property
    def formatted(self) -> bool:
        """Whether ``?format=`` is understood."""
        return self.method == "GET"


Table = tuple[Operation, ...]


# -- the whole, and the proxy itself -------------------------------------------------


def _sessions(call: Call) -> list[dict[str, Any]]:
    every = call.proxy.sessions.values()
    return [session_view(one, call.config, call.journal) for one in every]


async def _get_config(call: Call) -> Any:
    return call.viewer.config(l7mp.__version__, _sessions(call), call.recursive)


async def _set_config(call: Call) -> Any:
    words = call.proxy.vocabulary
    return await call.edit(lambda config: edit.replace_all(config, words, call.body))


async def _get_admin(call: Call) -> Any:
    return call.viewer.admin(l7mp.__version__)


async def _set_admin(call: Call) -> Any:
    return await call.edit(lambda config: edit.set_admin(config, call.body.admin))


# -- sessions --------------------------------------------------------------------------


async def _get_sessions(call: Call) -> Any:
    return _sessions(call)


async def _get_session(call: Call) -> Any:
    session = call.proxy.sessions.get(call.path["name"])
    if session is None:
        raise NotFound
    return session_view(session, call.config, call.journal)


async def _delete_session(call: Call) -> Any:
    name = call.path["name"]
    session = call.proxy.sessions.get(name)
    if session is None:
        raise Unknown(f'Cannot delete session: Unknown session "{name}"')
    if name != call.session:  # that one ends with this reply
        session.end(Loss(Reason.DELETED, "deleted over REST"))
    return OK


# -- endpoints and positions in rulelists -------------------------------------------------


async def _get_endpoints(call: Call) -> Any:
    cluster = call.config.clusters.get(call.path["name"])
    if cluster is None:
        raise NotFound
    return [call.viewer.endpoint(endpoint) for endpoint in cluster.endpoints]


async def _get_endpoint(call: Call) -> Any:
    found = call.config.endpoint(call.path["name"])
    if found is None:
        raise NotFound
    return call.viewer.endpoint(found[1])


async def _add_endpoint(call: Call) -> Any:
    words, cluster = call.proxy.vocabulary, call.path["name"]
    it = call.body.endpoint
    return await call.edit(
        lambda config: edit.add_endpoint(config, words, cluster, it), "endpoints"
    )


async def _delete_endpoint(call: Call) -> Any:
    name, recursive = call.path["name"], call.recursive
    return await call.edit(lambda c: edit.delete_endpoint(c, name, recursive))


async def _get_rule_at(call: Call) -> Any:
    rulelist = call.config.rulelists.get(call.path["name"])
    if rulelist is None:
        raise NotFound
    name = rulelist.rules[edit.rule_position(rulelist, call.path["position"])]
    rule = call.config.rules.get(name)
    if rule is None:
        raise NotFound
    return call.viewer.rule(rule, call.recursive)


async def _insert_rule(call: Call) -> Any:
    words, rulelist = call.proxy.vocabulary, call.path["name"]
    position = call.path["position"]
    if not (position.isascii() and position.isdigit()):
        raise LocalError(f'Cannot add rule: "{position}" is no position')
    it = call.body.rule
    return await call.edit(
        lambda config: edit.insert_rule(config, words, rulelist, int(position), it),
        "rules",
    )


async def _remove_rule(call: Call) -> Any:
    rulelist, which = call.path["name"], call.path["position"]
    recursive = call.recursive
    return await call.edit(lambda c: edit.remove_rule(c, rulelist, which, recursive))


# -- what all kinds of named objects have in common ----------------------------------------


@dataclass(frozen=True)
class _Kind:
    """A kind of named objects."""

    word: str
    title: str
    shape: Any
    body: type[say.Declared]
    add: Callable[..., Change]
    delete: Callable[..., Change]
    inside: str
    """What recursive views and deletes take in."""

    @property
    def plural(self) -> str:
        return f"{self.word}s"

    async def list(self, call: Call) -> Any:
        show = getattr(call.viewer, self.word)
        every = getattr(call.config, self.plural).values()
        return [show(one, call.recursive) for one in every]

    async def get(self, call: Call) -> Any:
        found = getattr(call.config, self.plural).get(call.path["name"])
        if found is None:
            raise NotFound
        return getattr(call.viewer, self.word)(found, call.recursive)

    async def post(self, call: Call) -> Any:
        words, it = call.proxy.vocabulary, getattr(call.body, self.word)
        return await call.edit(lambda c: self.add(c, words, it), self.plural)

    async def remove(self, call: Call) -> Any:
        name, recursive = call.path["name"], call.recursive
        return await call.edit(lambda c: self.delete(c, name, recursive))

    def operations(self) -> Iterator[Operation]:
        """List, add, get, delete."""
        title, path = self.title, f"/{self.plural}"
        show = f"Show {self.inside} instead of names"
        yield Operation(
            name=f"get{title}s", method="GET", path=path, reply=list[self.shape],
            summary=f"Get a list of {title}s", handler=self.list, recursive=show,
        )  # fmt: skip
        yield Operation(
            name=f"add{title}", method="POST", path=path, body=self.body,
            summary=f"Add a {title}, with all that is defined in it",
            handler=self.post, reply=shapes.StatusShape,
        )  # fmt: skip
        yield Operation(
            name=f"get{title}", method="GET", path=f"{path}/<name>", reply=self.shape,
            summary=f"Get a named {title}", handler=self.get, recursive=show,
        )  # fmt: skip
        yield Operation(
            name=f"delete{title}", method="DELETE", path=f"{path}/<name>",
            summary=f"Delete a named {title}", handler=self.remove,
            reply=shapes.StatusShape,
            recursive=f"Delete {self.inside} that were defined in it, too",
        )  # fmt: skip


KINDS = (
    _Kind("listener", "Listener", shapes.ListenerShape, say.ListenerRequest,
          edit.add_listener, edit.delete_listener,
          "rules, routes and clusters (and end the sessions)"),
    _Kind("cluster", "Cluster", shapes.ClusterShape, say.ClusterRequest,
          edit.add_cluster, edit.delete_cluster,
          "endpoints (and end the sessions)"),
    _Kind("rulelist", "RuleList", shapes.RuleListShape, say.RuleListRequest,
          edit.add_rulelist, edit.delete_rulelist, "rules, routes and clusters"),
    _Kind("rule", "Rule", shapes.RuleShape, say.RuleRequest,
          edit.add_rule, edit.delete_rule, "routes and clusters"),
    _Kind("route", "Route", shapes.RouteShape, say.RouteRequest,
          edit.add_route, edit.delete_route, "clusters"),
)  # fmt: skip

_RULE_AT = "/rulelists/<name>/rules/<position>"

OPERATIONS: Table = (
    Operation(
        name="getConf", method="GET", path="/config", handler=_get_config,
        summary="Get the full configuration", reply=shapes.ConfigShape,
        recursive="Show the endpoints of clusters",
    ),
    Operation(
        name="setConf", method="POST", path="/config", handler=_set_config,
        summary="Replace the full configuration", body=say.Config,
        reply=shapes.StatusShape,
    ),
    Operation(
        name="getAdmin", method="GET", path="/admin", handler=_get_admin,
        summary="Get the settings of the proxy", reply=shapes.AdminShape,
    ),
    Operation(
        name="applyAdmin", method="POST", path="/admin", handler=_set_admin,
        summary="Change settings of the proxy", body=say.AdminRequest,
        reply=shapes.StatusShape,
    ),
    *(operation for kind in KINDS for operation in kind.operations()),
    Operation(
        name="getEndPoints", method="GET", path="/clusters/<name>/endpoints",
        summary="Get the EndPoints of a Cluster", handler=_get_endpoints,
        reply=list[shapes.EndPointShape],
    ),
    Operation(
        name="addEndPoint", method="POST", path="/clusters/<name>/endpoints",
        summary="Add an EndPoint to a Cluster", handler=_add_endpoint,
        body=say.EndPointRequest, reply=shapes.StatusShape,
    ),
    Operation(
        name="getEndPoint", method="GET", path="/endpoints/<name>",
        summary="Get a named EndPoint", handler=_get_endpoint,
        reply=shapes.EndPointShape,
    ),
    Operation(
        name="deleteEndPoint", method="DELETE", path="/endpoints/<name>",
        summary="Delete a named EndPoint", handler=_delete_endpoint,
        reply=shapes.StatusShape,
        recursive="Disconnect the sessions that use it; they may retry elsewhere",
    ),
    Operation(
        name="getRuleFromRuleList", method="GET", path=_RULE_AT,
        summary="Get the Rule at a position of a RuleList", handler=_get_rule_at,
        reply=shapes.RuleShape, recursive="Show routes and clusters instead of names",
    ),
    Operation(
        name="addRuleToRuleList", method="POST", path=_RULE_AT,
        summary="Insert a Rule at a position of a RuleList", handler=_insert_rule,
        body=say.RuleReferenceRequest, reply=shapes.StatusShape,
    ),
    Operation(
        name="deleteRuleFromRuleList", method="DELETE", path=_RULE_AT,
        summary="Take a Rule, by position or name, out of a RuleList",
        handler=_remove_rule, reply=shapes.StatusShape,
        recursive="Delete the Rule itself, too",
    ),
    Operation(
        name="getSessions", method="GET", path="/sessions", handler=_get_sessions,
        summary="Get a list of Sessions", reply=list[shapes.SessionShape],
    ),
    Operation(
        name="getSession", method="GET", path="/sessions/<name>",
        summary="Get a named Session", handler=_get_session, reply=shapes.SessionShape,
    ),
    Operation(
        name="deleteSession", method="DELETE", path="/sessions/<name>",
        summary="End a named Session", handler=_delete_session,
        reply=shapes.StatusShape,
    ),
)  # fmt: skip
