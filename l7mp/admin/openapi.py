"""The OpenAPI 3.1 document of the table of operations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel

import l7mp
from l7mp.admin.operations import OPERATIONS, ROOT, Operation
from l7mp.model.shapes import ProblemShape, StatusShape
from l7mp.model.spec import Vocabulary

REF = "#/components/schemas/"

ERRORS = {
    "400": "The request cannot be read, or names what does not exist or exists already",
    "404": "There is no such operation",
    "415": "The content type is neither JSON nor YAML",
    "422": "The document has problems, all of which are listed",
}
FORMATS = ["plain", "terse", "space", "lines", "diffy"]


def document(vocabulary: Vocabulary) -> dict[str, Any]:
    """The document, for the protocols that there are."""
    models = {StatusShape, ProblemShape, *_models()}
    ordered = sorted(models, key=lambda model: model.__name__)
    schemas = vocabulary.components(REF + "{model}", ordered)
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        path = ROOT + re.sub("<(.*?)>", r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "l7mp",
            "version": l7mp.__version__,
            "description": "Configures the proxy and shows its sessions.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _models() -> Iterator[type[BaseModel]]:
    for operation in OPERATIONS:
        if operation.body is not None:
            yield operation.body
        yield _shape(operation)


def _shape(operation: Operation) -> type[BaseModel]:
    reply = operation.reply
    shape: type[BaseModel] = get_args(reply)[0] if get_origin(reply) is list else reply
    return shape


def _operation(operation: Operation) -> dict[str, Any]:
    schema: dict[str, Any] = _ref(_shape(operation))
    if get_origin(operation.reply) is list:
        schema = {"type": "array", "items": schema}
    shown: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": list(_parameters(operation)),
        "responses": {
            "200": {"description": "Done", "content": {"application/json": {"schema": schema}}},
            **{code: _error(code) for code in _errors(operation)},
        },
    }  # fmt: skip
    if operation.body is not None:
        content = {"schema": _ref(operation.body)}
        kinds = ("application/json", "application/yaml", "text/x-yaml")
        shown["requestBody"] = {
            "required": True,
            "content": {kind: content for kind in kinds},
        }
    return shown


def _errors(operation: Operation) -> Iterator[str]:
    yield "400"
    yield "404"
    if operation.body is not None:
        yield "415"
    if operation.body is not None or operation.formatted or operation.recursive:
        yield "422"


def _error(code: str) -> dict[str, Any]:
    content = {
        "application/json": {"schema": _ref(StatusShape)},
        "application/problem+json": {"schema": _ref(ProblemShape)},
    }
    return {"description": ERRORS[code], "content": content}


def _parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    for name in re.findall("<(.*?)>", operation.path):
        schema = {"type": "string", "minLength": 1}
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    if operation.recursive:
        yield _query("recursive", operation.recursive, {"enum": ["true", "false"]})
    if operation.formatted:
        yield _query("format", "How the JSON is laid out", {"enum": FORMATS})


def _query(name: str, text: str, schema: dict[str, Any]) -> dict[str, Any]:
    shown = {"type": "string", **schema}
    return {"name": name, "in": "query", "description": text, "schema": shown}


def _ref(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": REF + model.__name__}
