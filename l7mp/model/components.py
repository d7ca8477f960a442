"""JSON Schemas for the components of an OpenAPI 3.1 document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

REF_TEMPLATE = "#/components/schemas/{model}"
"""How the schemas of an OpenAPI document refer to one another."""

Schemas = dict[str, Any]


def components(
    unions: Mapping[str, Mapping[str, type[BaseModel]]],
    models: Iterable[type[BaseModel]] = (),
    ref_template: str = REF_TEMPLATE,
) -> Schemas:
    """
    Schemas of ``unions``, of ``models``, and of what these refer to, by name.

    The members of a union ``ListenerSpec`` are given by the value of ``protocol`` that
    tells them apart: ``UDP`` is a component ``UDPListenerSpec``.  Only schemas that
    are made together can share components, hence ``models``.
    """
    every = [*(model for union in unions.values() for model in union.values()), *models]
    wanted = [(model, "validation") for model in dict.fromkeys(every)]
    refs, top = models_json_schema(wanted, ref_template=ref_template)  # type: ignore[arg-type]  # invariance
    found: Schemas = top.get("$defs", {})
    made = {ref_template.format(model=name): name for name in found}
    names = {model: made[ref["$ref"]] for (model, _), ref in refs.items()}
    told = dict(found)
    for union, members in unions.items():
        for tag, model in members.items():
            told[tag + union] = _tagged(found[names[model]], tag + union, tag)
        told[union] = _union(union, members, ref_template)
    return _reachable(
        told, [*unions, *(names[model] for model in models)], ref_template
    )


def _tagged(schema: Schemas, title: str, tag: str) -> Schemas:
    """The schema of one member, which knows the value of its tag."""
    properties = dict(schema["properties"])
    properties["protocol"] = {**properties["protocol"], "const": tag}
    return {**schema, "title": title, "properties": properties}


def _union(union: str, tags: Iterable[str], ref_template: str) -> Schemas:
    mapping = {tag: ref_template.format(model=tag + union) for tag in tags}
    if not mapping:
        return {"title": union, "not": {}}
    return {
        "title": union,
        "oneOf": [{"$ref": ref} for ref in mapping.values()],
        "discriminator": {"propertyName": "protocol", "mapping": mapping},
    }


def _reachable(schemas: Schemas, names: Iterable[str], ref_template: str) -> Schemas:
    """What ``names`` refer to, directly or not, themselves included."""
    by_ref = {ref_template.format(model=name): name for name in schemas}
    found: set[str] = set()
    ahead = list(names)
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += [by_ref[ref] for ref in _refs(schemas[name])]
    return {name: schemas[name] for name in sorted(found)}


def _refs(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(ref := schema.get("$ref"), str):
            yield ref
        schema = list(schema.values())
    if isinstance(schema, list):
        for inner in schema:
            yield from _refs(inner)
