"""The REST API as a resource of twisted.web, by way of Klein."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from klein import Klein
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from werkzeug.exceptions import MethodNotAllowed, NotFound

from l7mp.admin import body
from l7mp.admin.docs import add_docs
from l7mp.admin.errors import (
    JSON,
    PROBLEM_JSON,
    Refusal,
    note_fault,
    original_form,
    prefers_problem,
    problem_form,
    status_of,
)
from l7mp.admin.layout import FORMATS, laid_out
from l7mp.admin.openapi import document
from l7mp.admin.operation import ROOT, Call, Operation
from l7mp.admin.operations import OPERATIONS
from l7mp.core.proxy import Proxy
from l7mp.errors import LocalError
from l7mp.model.problem import quoted
from l7mp.model.view import View
from l7mp.observers.journal import Journal
from l7mp.streams.resource import ISessionName

UNKNOWN = "Unknown API operation"
"""What the original says, whether it is the path or the method."""

BOOLEANS = ("false", "true")

Serve = Callable[..., Awaitable[bytes]]


def resource(proxy: Proxy, journal: Journal) -> IResource:
    """What ``L7mpController`` clusters serve."""
    found: IResource = _Segments(application(proxy, journal).resource())
    return found


class _Segments(Resource):
    """
    Keeps the segments of a path apart.

    Klein joins them after they were decoded, when a slash in a name looks like one
    between names; so they are encoded again, and decoded by whoever reads them.
    """

    isLeaf = True

    def __init__(self, inner: IResource) -> None:
        super().__init__()
        self._inner = inner

    def render(self, request: Any) -> Any:
        """See ``IResource``."""
        request.postpath = [quote(part, safe="").encode() for part in request.postpath]
        return self._inner.render(request)


def application(proxy: Proxy, journal: Journal) -> Klein:
    """The Klein application: operations, document and pages."""
    app = Klein()
    app.url_map.merge_slashes = False  # no path stands for another
    for operation in OPERATIONS:
        route = app.route(
            f"{ROOT}{operation.path}",
            methods=[operation.method],
            endpoint=operation.name,
        )
        route(_serve(operation, proxy, journal))
    add_docs(app, lambda: laid_out(document(proxy.vocabulary)))
    app.handle_errors(Exception)(_refuse)
    return app


def _serve(operation: Operation, proxy: Proxy, journal: Journal) -> Serve:
    async def serve(request: Any, **path: str) -> bytes:
        ask = partial(_query, request) if operation.queries else _default
        style = ask("format", "plain", FORMATS)
        call = Call(
            proxy,
            journal,
            {name: _decoded(word) for name, word in path.items()},
            recursive=ask("recursive", "false", BOOLEANS) == "true",
            said=_said(request, operation, proxy),
            session=str(ISessionName(request, "")),
        )
        reply = await operation.handler(call)
        if call.location:
            request.setHeader(b"location", call.location.encode())
        shown = reply.dump() if isinstance(reply, View) else [v.dump() for v in reply]
        return _answer(request, JSON, laid_out(shown, style))

    return serve


def _decoded(word: str) -> str:
    try:
        return unquote_to_bytes(word).decode("utf-8")
    except UnicodeDecodeError:
        raise LocalError("the path is not UTF-8") from None


def _default(name: str, default: str, words: Collection[str]) -> str:
    return default


def _query(request: Any, name: str, default: str, words: Collection[str]) -> str:
    """The value of a query parameter, of which the last one counts."""
    values = request.args.get(name.encode())
    if not values:
        return default
    word: str = values[-1].decode("utf-8", "replace")
    if word not in words:
        raise Refusal(422, f"{name} is one of {', '.join(words)}, not {quoted(word)}")
    return word


def _said(request: Any, operation: Operation, proxy: Proxy) -> Any:
    if operation.body is None:
        return None
    found = body.read(request.content.read(), request.getHeader("content-type"))
    return body.said(found, operation.body, proxy.vocabulary)


def _refuse(request: Any, failure: Failure) -> bytes:
    """Answer with an error, in the form that the client asks for."""
    error = failure.value
    assert isinstance(error, Exception), "what Klein was told to hand over"
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted({*(error.valid_methods or ()), "OPTIONS"}))
        request.setHeader(b"allow", allowed.encode())
        if request.method == b"OPTIONS":
            request.setResponseCode(204)
            return b""
        error = Refusal(405, UNKNOWN)
    elif isinstance(error, NotFound):
        error = Refusal(404, UNKNOWN)
    elif not isinstance(error, LocalError):
        note_fault(failure)
    request.setResponseCode(status_of(error))
    if prefers_problem(request.getHeader("accept")):
        return _answer(request, PROBLEM_JSON, laid_out(problem_form(error).dump()))
    return _answer(request, JSON, laid_out(original_form(error).dump()))


def _answer(request: Any, kind: str, data: bytes) -> bytes:
    request.setHeader(b"content-type", kind.encode())
    request.setHeader(b"content-length", b"%d" % len(data))
    return data
