"""The REST API as a resource of twisted.web, by way of Klein."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from klein import Klein
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource

from l7mp.admin.docs import add_docs
from l7mp.admin.errors import (
    PROBLEM,
    Refusal,
    content_of,
    original_form,
    problem_form,
    status_of,
)
from l7mp.admin.openapi import document
from l7mp.admin.operations import OPERATIONS, ROOT, Call, Operation
from l7mp.core.proxy import Proxy
from l7mp.model.base import validate
from l7mp.model.load import decode, parse_json, parse_yaml
from l7mp.model.problem import Invalid
from l7mp.observers.journal import Journal
from l7mp.streams.resource import ISessionName

JSON = "application/json"
JSON_TYPES = frozenset({JSON, "application/x-json", "text/json", "text/x-json"})
YAML_TYPES = frozenset(
    {"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"}
)

FORMATS: dict[str, dict[str, Any]] = {
    "plain": {"indent": 2},
    "terse": {"separators": (",", ":")},
    "space": {"separators": (", ", ": ")},
    "lines": {"indent": 0},
    "diffy": {"indent": 4},
}

Serve = Callable[..., Awaitable[bytes]]


def resource(proxy: Proxy, journal: Journal) -> IResource:
    """What ``L7mpController`` clusters serve."""
    found: IResource = application(proxy, journal).resource()
    return found


def application(proxy: Proxy, journal: Journal) -> Klein:
    """The Klein application: operations, document and documentation."""
    app = Klein()
    for operation in OPERATIONS:
        route = app.route(
            f"{ROOT}{operation.path}",
            methods=[operation.method],
            endpoint=operation.name,
        )
        route(_serve(operation, proxy, journal))
    described = json.dumps(document(proxy.vocabulary), indent=2).encode()
    add_docs(app, described)
    _add_fallback(app)
    return app


def _add_fallback(app: Klein) -> None:
    """Whatever is no operation: the original answers 404, whatever the method."""

    @app.route("/", branch=True, methods=["GET", "POST", "PUT", "DELETE", "PATCH"])
    def unknown(request: IRequest) -> bytes:
        return refuse(request, Refusal(404, "Unknown API operation"))

    @app.handle_errors(Exception)
    def wrong(request: IRequest, failure: Any) -> bytes:
        code = getattr(failure.value, "code", None)
        if code in (404, 405):
            return refuse(request, Refusal(code, "Unknown API operation"))
        return refuse(request, failure.value)


def _serve(operation: Operation, proxy: Proxy, journal: Journal) -> Serve:
    async def serve(request: IRequest, **path: str) -> bytes:
        try:
            style = _choice(request, "format", "plain", FORMATS)
            call = Call(
                proxy,
                journal,
                path,
                _choice(request, "recursive", "false", ("true", "false")) == "true",
                _body(request, operation, proxy),
                str(ISessionName(request, "")),
            )
            shown = await operation.handler(call)
        except Exception as error:
            return refuse(request, error)
        request.setHeader(b"content-type", JSON.encode())
        if call.location:
            request.setHeader(b"location", call.location.encode())
        return render(shown, style)

    return serve


def render(shown: Any, style: str = "plain") -> bytes:
    """JSON in one of the ``FORMATS``."""
    return (json.dumps(shown, ensure_ascii=False, **FORMATS[style]) + "\n").encode()


def refuse(request: IRequest, error: Exception) -> bytes:
    """Answer with an error, in the form that the client asks for."""
    status, content = status_of(error), content_of(error)
    request.setResponseCode(status)
    accepted = request.getHeader("accept") or ""
    if PROBLEM in accepted:
        request.setHeader(b"content-type", PROBLEM.encode())
        return render(problem_form(status, content))
    request.setHeader(b"content-type", JSON.encode())
    body = json.dumps(original_form(status, content), ensure_ascii=False, indent=4)
    return body.encode()


def _choice(request: Any, name: str, default: str, words: Any) -> str:
    values = request.args.get(name.encode())
    if not values:
        return default
    word: str = values[-1].decode("utf-8", "replace")
    if word not in words:
        raise Refusal(422, f'{name} is one of {", ".join(words)}, not "{word}"')
    return word


def _body(request: Any, operation: Operation, proxy: Proxy) -> Any:
    """The body, read and checked; its problems have status 422, its syntax 400."""
    if operation.body is None:
        return None
    kind = (request.getHeader("content-type") or "").partition(";")[0].strip().lower()
    if kind not in JSON_TYPES | YAML_TYPES:
        known = ", ".join(sorted(JSON_TYPES | YAML_TYPES))
        raise Refusal(415, f'the content type is "{kind}", but must be one of {known}')
    text = decode(request.content.read(), "body")
    read = parse_yaml if kind in YAML_TYPES else parse_json
    found = read(text, "body")
    try:
        return validate(operation.body, found, proxy.vocabulary)
    except Invalid as error:
        error.status = 422
        raise


