"""Routes, document and replies are held to each other."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import pytest_twisted
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode, checks
from twisted.internet import reactor, threads
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from l7mp.admin.api import application
from l7mp.admin.openapi import document
from l7mp.admin.operations import OPERATIONS
from l7mp.core.proxy import Proxy
from l7mp.core.registry import Context, Registry
from l7mp.interfaces import IListening
from l7mp.observers.journal import Journal
from tests.admin.served import REGISTRY, Served

DOCUMENT = document(REGISTRY.vocabulary())


# -- the document ------------------------------------------------------------------------


def test_the_document_is_one() -> None:
    """It is an OpenAPI 3.1 document, down to its defaults and references."""
    problems = list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors())
    assert problems == []


def test_the_schemas_are_schemas() -> None:
    """They are JSON Schemas of the draft that OpenAPI 3.1 is about, 2020-12."""
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_routes_and_paths_are_the_same() -> None:
    """What is served below the root, by path and method, is what the document has."""
    proxy = Proxy(Context(reactor=None, registry=REGISTRY))
    routes = {
        (re.sub("<(.*?)>", r"{\1}", rule.rule), method)
        for rule in application(proxy, Journal()).url_map.iter_rules()
        for method in rule.methods or ()
        if rule.rule.startswith("/api/v1") and method != "HEAD"
    }
    described = {
        (path, method.upper())
        for path, methods in DOCUMENT["paths"].items()
        for method in methods
    }
    assert routes == described
    assert len(described) == len(OPERATIONS)


def test_every_protocol_is_described() -> None:
    """A specification is one of those of the protocols, told apart by their name."""
    schemas = DOCUMENT["components"]["schemas"]
    for side in ("listener", "cluster"):
        known = {p.name for p in REGISTRY.protocols.values() if getattr(p, side)}
        union = schemas[f"{side.capitalize()}Spec"]
        assert union["discriminator"]["mapping"].keys() == known


def test_operations_are_grouped() -> None:
    """An operation is shown among those whose paths begin alike."""
    for path, methods in DOCUMENT["paths"].items():
        for about in methods.values():
            (group,) = about["tags"]
            assert path.startswith(f"/api/v1/{group}")


def test_errors_are_described_in_both_forms() -> None:
    """Every operation tells its errors, as the original did and as RFC 9457 does."""
    for methods in DOCUMENT["paths"].values():
        for about in methods.values():
            errors = {k: v for k, v in about["responses"].items() if k != "200"}
            assert {"400", "404", "500"} <= errors.keys()
            assert ("415" in errors) == ("requestBody" in about)
            for error in errors.values():
                assert error["content"].keys() == {
                    "application/json",
                    "application/problem+json",
                }


# -- replies -----------------------------------------------------------------------------


@implementer(IListening)
class Nowhere:
    """A listener that nobody can reach."""

    def address(self) -> dict[str, Any]:
        return {"port": 0}

    def stop(self) -> Deferred[None]:
        return succeed(None)


def listen_nowhere(context: Context, spec: Any, accept: Any) -> Deferred[IListening]:
    return succeed(Nowhere())


# Whatever is declared is declared in earnest, but no port is taken.
HARMLESS = Registry.of(
    replace(protocol, listen=protocol.listen and listen_nowhere)
    for protocol in REGISTRY.protocols.values()
)

CONFORMANCE = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]

BOUNDED = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(300)
@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("mode", list(GenerationMode))
async def test_whatever_is_sent_the_reply_is_described(mode: GenerationMode) -> None:
    """To what the document allows, and to what it does not, replies are as it says."""
    api = Served(reactor, HARMLESS)
    described = document(HARMLESS.vocabulary())
    # what is ignored on input is ignored whatever it is
    described["components"]["schemas"]["Admin"]["properties"]["version"] = {}
    schema = schemathesis.openapi.from_dict(described)
    schema.config.update(base_url=api.base)
    try:
        for operation in operations_of(schema):
            await threads.deferToThread(probe, operation, mode)
    finally:
        await api.close()


def operations_of(schema: Any) -> list[Any]:
    """The operations, all of which schemathesis can read."""
    return [found.ok() for found in schema.get_all_operations()]


def probe(operation: Any, mode: GenerationMode) -> None:
    """Send some requests of a kind."""
    also = [checks.negative_data_rejection] if mode.is_negative else []

    @BOUNDED
    @given(case=operation.as_strategy(generation_mode=mode))
    def try_it(case: Any) -> None:
        case.call_and_validate(checks=[*CONFORMANCE, *also])

    try_it()


EVERYTHING: dict[str, Any] = {
    "admin": {"log_level": "warn", "log_file": "stdout", "offload_ifs": "a,b"},
    "clusters": [
        {
            "name": "x",
            "spec": {"protocol": "UDP", "port": 9},
            "endpoints": [{"name": "x", "spec": {"address": "127.0.0.1", "port": 7}}],
            "loadbalancer": {"policy": "ConsistentHash", "key": "/a"},
        },
        {"name": "bytes", "spec": {"protocol": "TCP", "port": 9}},
        {"name": "y", "spec": {"protocol": "Logger", "log_prefix": "y"}},
    ],
    "routes": [
        {"name": "x", "destination": "x", "ingress": ["y", "bytes"]},
        {"name": "y", "destination": "y", "retry": {"retry_on": "always"}},
    ],
    "rules": [
        {
            "name": "x",
            "match": {"op": "defined", "path": "/a"},
            "action": {"route": "x", "rewrite": [{"path": "/b", "value": None}]},
        },
        {"name": "y", "action": {"apply": "y"}},
    ],
    "rulelists": [{"name": "x", "rules": ["x", "y"]}, {"name": "y", "rules": []}],
    "listeners": [
        {"name": "x", "spec": {"protocol": "UDP", "port": 0}, "rules": "x"},
        {
            "name": "y",
            "spec": {"protocol": "UDP", "port": 0, "options": {"idle_timeout": 0.5}},
            "rules": [],
            "options": {"track": 60},
        },
    ],
}


@pytest_twisted.ensureDeferred
async def test_whatever_is_shown_is_described() -> None:
    """All that GET shows of a proxy that has everything is as the document says."""
    api = Served(reactor)
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    schema.config.update(base_url=api.base)
    try:
        await api.apply(EVERYTHING)
        for operation in operations_of(schema):
            if operation.method == "get":
                await threads.deferToThread(look, operation)
    finally:
        await api.close()


def look(operation: Any) -> None:
    """Ask for objects that are there, one that is not, in either form."""
    for name in ("x", "y", "none"):
        for recursive in (False, True):
            path = {"name": name, "position": 0}
            case = operation.Case(
                path_parameters={
                    one.name: path[one.name] for one in operation.path_parameters
                },
                query={"recursive": recursive},
            )
            case.call_and_validate(checks=CONFORMANCE)
