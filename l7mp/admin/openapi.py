"""The OpenAPI 3.1 document of the table of operations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

import l7mp
from l7mp.admin.body import JSON_TYPES, YAML_TYPES
from l7mp.admin.errors import JSON, PROBLEM_JSON, ProblemDetailsView, StatusView
from l7mp.admin.layout import FORMATS
from l7mp.admin.operation import ROOT, Operation
from l7mp.admin.operations import OPERATIONS
from l7mp.model.components import REF_TEMPLATE
from l7mp.model.spec import Vocabulary

Object = dict[str, Any]
"""One of the specification's objects, which are JSON objects."""

ALWAYS: Mapping[int, str] = MappingProxyType(
    {
        400: "The request cannot be read, or names what is not there, or is already.",
        404: "There is no such operation.",
        500: "A fault of the proxy, of which its log tells more.",
    }
)
"""Errors of every operation."""

OF_BODIES: Mapping[int, str] = MappingProxyType(
    {
        413: "The body is too large.",
        415: "The body is neither JSON nor YAML.",
        422: "The body, or a parameter, breaks its schema.",
    }
)
"""Errors of operations that have a body."""

OF_QUERIES: Mapping[int, str] = MappingProxyType(
    {422: "A parameter breaks its schema."}
)
"""Errors of operations that have query parameters."""

PARAMETER = re.compile("<(.*?)>")
"""A parameter in the path of an operation."""


def document(words: Vocabulary) -> Object:
    """The document for a proxy with these words of configuration."""
    paths: Object = {}
    for operation in OPERATIONS:
        path = ROOT + PARAMETER.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "l7mp",
            "version": l7mp.__version__,
            "description": "Configure the proxy and watch its sessions.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "This proxy."}],
        "paths": paths,
        "components": {"schemas": words.components(models=_models())},
    }


def _models() -> list[type[BaseModel]]:
    found: dict[type[BaseModel], None] = {StatusView: None, ProblemDetailsView: None}
    for operation in OPERATIONS:
        found[operation.reply] = None
        if operation.body is not None:
            found[operation.body] = None
    return list(found)


def _operation(operation: Operation) -> Object:
    shown: Object = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.path.split("/")[1]],
        "parameters": [*_path_parameters(operation), *_queries(operation)],
        "responses": {
            "200": _success(operation),
            **{str(status): _error(why) for status, why in _errors(operation).items()},
        },
    }
    if operation.body is not None:
        content = {"schema": _ref(operation.body)}
        shown["requestBody"] = {
            "required": True,
            "content": dict.fromkeys((*JSON_TYPES, *YAML_TYPES), content),
        }
    return shown


def _path_parameters(operation: Operation) -> Iterator[Object]:
    for name in PARAMETER.findall(operation.path):
        shown = {"name": name, "in": "path", "required": True}
        if name == "position":
            number = {"type": "integer", "minimum": 0}
            word = {"type": "string", "minLength": 1}
            takes_both = operation.method != "POST"
            schema = {"anyOf": [number, word]} if takes_both else number
            yield {**shown, "description": operation.position, "schema": schema}
        else:
            yield {**shown, "schema": {"type": "string", "minLength": 1}}


def _queries(operation: Operation) -> Iterator[Object]:
    about = {
        "recursive": operation.recursive or "Makes no difference here.",
        "format": "How the JSON is laid out; its meaning is the same.",
    }
    schemas: Object = {
        "recursive": {"type": "boolean", "default": False},
        "format": {"type": "string", "enum": list(FORMATS), "default": "plain"},
    }
    for name in operation.queries:
        yield {
            "name": name,
            "in": "query",
            "description": about[name],
            "schema": schemas[name],
        }


def _success(operation: Operation) -> Object:
    schema = _ref(operation.reply)
    if operation.is_list:
        schema = {"type": "array", "items": schema}
    shown: Object = {"description": "Done.", "content": {JSON: {"schema": schema}}}
    if operation.name.startswith("add"):
        where = {"schema": {"type": "string", "format": "uri-reference"}}
        shown["headers"] = {"Location": {"description": "What was added.", **where}}
    return shown


def _errors(operation: Operation) -> Mapping[int, str]:
    found = dict(ALWAYS)
    if operation.body is not None:
        found |= OF_BODIES
    if operation.queries:
        found |= OF_QUERIES
    return dict(sorted(found.items()))


def _error(why: str) -> Object:
    forms: dict[str, type[BaseModel]]
    forms = {JSON: StatusView, PROBLEM_JSON: ProblemDetailsView}
    content = {kind: {"schema": _ref(form)} for kind, form in forms.items()}
    return {"description": why, "content": content}


def _ref(model: type[BaseModel]) -> Object:
    return {"$ref": REF_TEMPLATE.format(model=model.__name__)}
