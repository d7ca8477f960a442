"""
The reference of the configuration, written from the models that read it.

Pure: models in, reStructuredText out.  Nothing that a user can write is described
anywhere but in the docstring of its field.
"""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from l7mp.model import declared
from l7mp.model.explain import Says
from l7mp.model.spec import ClusterSpec, ListenerSpec, Spec, Vocabulary

SECTIONS: tuple[type[BaseModel], ...] = (
    declared.Config,
    declared.Admin,
    declared.Listener,
    declared.ListenerOptions,
    declared.RuleList,
    declared.Rule,
    declared.Action,
    declared.Rewrite,
    declared.Route,
    declared.Retry,
    declared.Cluster,
    declared.EndPoint,
    declared.EndPointSpec,
    declared.LoadBalancer,
)
"""What is described first, from the whole to its parts."""

HEAD = """\
.. Made by ``make reference`` from the models; do not edit.

=======================
Configuration reference
=======================

A file is YAML if its name ends in ``.yaml`` or ``.yml``, else JSON. Nothing is
converted (``"80"`` is no number), unknown keys are refused, and every error is shown
with its line, column and path. Wherever an object can be named it can also be defined
on the spot; it then gets a generated name unless it has one.
"""

PAGE_HEAD = """\
.. Made by ``make reference`` from the models and ``parts/``; do not edit.
"""

_LINK = re.compile(r"`(\w+)`_(?!\w)")

_WORDS: Mapping[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Any: "any value",
}
_SPECS = {ListenerSpec: "listener", ClusterSpec: "cluster"}


def reference(words: Vocabulary) -> str:
    """All that can be written, as one document."""
    known = list(SECTIONS)
    parts = [HEAD, *(_object(model) for model in SECTIONS)]
    for name in sorted({*words.listeners, *words.clusters}, key=str.lower):
        parts.append(_protocol(name, words))
        sides = (words.listeners, words.clusters)
        known += [side[name] for side in sides if name in side]
    parts.append(_title("Other parts", "="))
    parts += [_object(model) for model in _parts(known) if not issubclass(model, Spec)]
    return "\n".join(parts)


def page(words: Vocabulary, name: str, summary: str, told: str) -> str:
    """
    The page of one protocol: its summary, ``told`` by hand, and what it can be told.
    """
    models = [side[name] for side in (words.listeners, words.clusters) if name in side]
    described = [*models, *SECTIONS]
    parts = [PAGE_HEAD, _title(name, "="), f"{summary}\n", _about(name, words)]
    parts += [told, *_sides(name, words)]
    parts += [
        _object(model) for model in _parts(described) if not issubclass(model, Spec)
    ]
    text = "\n".join(part.rstrip("\n") + "\n" for part in parts)
    return _LINK.sub(lambda link: _reachable(link, text), text)


def _reachable(link: re.Match[str], text: str) -> str:
    """A link within a page, or the name of what is described elsewhere."""
    name = link[1]
    return link[0] if f".. _{name}:" in text else f"``{name}`` (see the configuration)"


def _parts(known: list[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """What the known models refer to and has not been described."""
    ahead = list(known)
    while ahead:
        for _, hint, _ in _fields(ahead.pop(0)):
            for found in _models(hint):
                if found not in known:
                    known.append(found)
                    ahead.append(found)
                    yield found


def _models(hint: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(hint) and issubclass(hint, BaseModel):
        yield hint
    for inner in get_args(hint):
        yield from _models(inner)


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, Any, FieldInfo]]:
    """Name as written, type and the rest of every field."""
    hints = get_type_hints(model, include_extras=True)
    for name, info in model.model_fields.items():
        yield info.alias or name, hints[name], info


def _title(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n"


def _object(model: type[BaseModel]) -> str:
    return f".. _{model.__name__}:\n\n{_title(model.__name__, '-')}\n{_body(model)}"


def _protocol(name: str, words: Vocabulary) -> str:
    sides = "".join(f"\n{side}" for side in _sides(name, words))
    return f"{_title(name, '=')}\n{_about(name, words)}{sides}"


def _about(name: str, words: Vocabulary) -> str:
    kind = words.kinds.get(name) or "keeps the kind of what it is fed"
    aliases = sorted(alias for alias, of in words.aliases.items() if of == name)
    text = f"Kind: {kind}."
    if aliases:
        text += f" Also spelled (in any case): {', '.join(aliases)}."
    return f"{text}\n"


def _sides(name: str, words: Vocabulary) -> Iterator[str]:
    for side, of in (("listener", words.listeners), ("cluster", words.clusters)):
        if name in of:
            yield f"{_title(f'{name} {side} spec', '-')}\n{_body(of[name])}"


def _body(model: type[BaseModel]) -> str:
    lines = [inspect.getdoc(model) or "", ""]
    for name, hint, info in _fields(model):
        if name == "protocol" and issubclass(model, Spec):
            continue
        lines.append(f"``{name}``: {_type(hint)}; {_default(info)}")
        described = inspect.cleandoc(info.description or "")
        lines += [f"    {line}".rstrip() for line in described.splitlines()]
        lines.append("")
    if issubclass(model, Spec) and model.tolerates:
        dropped = ", ".join(f"``{key}``" for key in sorted(model.tolerates))
        lines += [f"Taken and ignored, as the original did: {dropped}.", ""]
    return "\n".join(lines)


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.default
    if value is None or value is PydanticUndefined:
        return "optional"
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_unset=True)
    return f"default ``{json.dumps(value)}``" if value not in ((), {}) else "optional"


def _type(hint: Any) -> str:
    for spec, side in _SPECS.items():
        if hint == spec:
            return f"the protocol and what it is told, see the {side} specs below"
    if hint in _WORDS:
        return _WORDS[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is None:
        return f"`{hint.__name__}`_"
    if origin is Annotated:
        says = [one for one in inner[1:] if isinstance(one, Says)]
        return says[0].noun if says else _type(inner[0])
    return _composed(origin, inner)


def _composed(origin: Any, inner: tuple[Any, ...]) -> str:
    if origin is Literal:
        return " or ".join(f"``{json.dumps(word)}``" for word in inner)
    if origin is tuple:
        return f"a list of: {_type(inner[0])}"
    if origin is dict:
        return f"a mapping of {_type(inner[0])} to {_type(inner[1])}"
    options = [_type(one) for one in inner if one is not types.NoneType]
    return " or ".join(dict.fromkeys(options))
