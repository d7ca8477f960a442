"""
The header that a JSONSocket cluster sends, made from a session's metadata.

Entries are carried out in order: ``{"path": {"from": ..., "to": ...}}`` copies what the
metadata has at one path to another in the header, ``{"path": "<from>"}`` makes it the
header, and ``{"set": {"key": ..., "value": ...}}`` puts a constant there. What is
missing in the metadata is skipped; what is null, false or empty is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from l7mp.errors import LocalError
from l7mp.model.pointer import MISSING, Parts, format_pointer, get, parse
from l7mp.model.rewrite import apply

VERSION_KEY = "JSONSocketVersion"
VERSION = 1

_Step = Callable[[Mapping[str, Any]], tuple[Parts, Any]]
"""Gives, for some metadata, where in the header to put what, be it MISSING."""


class HeaderError(LocalError):
    """An entry that cannot be meant; ``path`` is the JSON Pointer to the fault."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


def build_header(
    metadata: Mapping[str, Any], rules: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """
    The header for a session with this metadata, the version of JSONSocket last.

    Shares nothing with the metadata or the rules. Raises ``HeaderError`` for an entry
    that cannot be meant and ``RewriteError`` for one that leads through a scalar or
    would make the header something else than an object.
    """
    return compile_header(rules)(metadata)


def compile_header(
    rules: Iterable[Mapping[str, Any]],
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """A function that builds the header, for rules that are used more than once."""
    steps = [_step(rule, number) for number, rule in enumerate(rules)]

    def build(metadata: Mapping[str, Any]) -> dict[str, Any]:
        changes = [step(metadata) for step in steps]
        header = apply({}, [change for change in changes if change[1] is not MISSING])
        header.pop(VERSION_KEY, None)  # it comes last
        return {**header, VERSION_KEY: VERSION}

    return build


def _step(rule: Mapping[str, Any], number: int) -> _Step:
    match rule:
        case {"path": str(origin), **rest} if not rest:
            return _copy(origin, "/")
        case {"path": {"from": str(origin), **inner}, **rest} if not rest:
            return _copy_to(origin, inner, number)
        case {"set": {"key": str(key), "value": value, **inner}, **rest} if not (
            inner or rest
        ):
            target = parse(key)
            return lambda _metadata: (target, value)
    what = 'a header entry is {"path": {"from", "to"}} or {"set": {"key", "value"}}'
    raise HeaderError(format_pointer((number,)), what)


def _copy_to(origin: str, inner: Mapping[Any, Any], number: int) -> _Step:
    match inner:
        case {"to": str(target), **rest} if not rest:
            return _copy(origin, target)
        case {**rest} if not rest:
            return _copy(origin, "/")
    what = '"path" of a header entry has "from" and, if need be, "to"'
    raise HeaderError(format_pointer((number, "path")), what)


def _copy(origin: str, target: str) -> _Step:
    source, sink = parse(origin), parse(target)
    return lambda metadata: (sink, get(metadata, source))
