"""Changes of metadata: each sets what is at one path, creating the way there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from l7mp.errors import LocalError
from l7mp.model.pointer import MISSING, Parts, format_pointer, get, index


class RewriteError(LocalError):
    """A value cannot be put where a rewrite wants it; ``path`` says where."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"cannot rewrite {path or '/'}: {message}")
        self.path = path


def apply(
    metadata: Mapping[str, Any], rewrites: Iterable[tuple[Parts, Any]]
) -> dict[str, Any]:
    """
    The metadata after all rewrites, in order.

    The given metadata is not touched: containers on the way to a change are copied,
    values are copied each time they are used. Missing containers become objects; an
    object is replaced, not merged; an element of an array is replaced, or appended
    when its index is the array's length; ``()`` replaces everything, by an object.
    Raises ``RewriteError`` for a path that leads through a scalar or beside an array.
    """
    result = dict(metadata)
    for parts, value in rewrites:
        if parts:
            _put(result, parts, value)
        elif isinstance(value, dict):
            result = deepcopy(value)
        else:
            raise RewriteError("", "metadata can only be replaced by an object")
    return result


def _put(root: dict[str, Any], parts: Parts, value: Any) -> None:
    node: Any = root
    for depth, part in enumerate(parts[:-1], start=1):
        child = _copied(get(node, (part,)), parts[:depth])
        _store(node, part, child, parts[:depth])
        node = child
    _store(node, parts[-1], deepcopy(value), parts)


def _copied(child: Any, where: Parts) -> Any:
    """A shallow copy of a container on the way; a new object if there is none."""
    if child is MISSING:
        return {}
    if isinstance(child, (dict, list)):
        return child.copy()
    path = format_pointer(where)
    raise RewriteError(path, f"its value is {_kind(child)} and has no members")


def _store(node: Any, part: str, value: Any, where: Parts) -> None:
    if isinstance(node, dict):
        node[part] = value
        return
    position = index(part, len(node) + 1)
    if position is None:
        what = f"an array of {len(node)} has no element {part!r}"
        raise RewriteError(format_pointer(where), what)
    node[position : position + 1] = [value]


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    return "a string" if isinstance(value, str) else "a number"
