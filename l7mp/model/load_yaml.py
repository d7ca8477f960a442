"""
YAML 1.2 (its core schema) as far as it is JSON: what JSON cannot say is refused.

So ``yes``, ``on``, ``12:30`` and ``2024-01-01`` are text.  PyYAML finds the structure;
what the parts mean is decided here.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from l7mp.model.document import MAX_DEPTH, Document, Place, syntax_error
from l7mp.model.load_yaml_error import told, unreadable
from l7mp.model.load_yaml_scalar import SCALAR_TAGS, ScalarError, meaning
from l7mp.model.problem import Invalid, quoted

MAX_REPEATED = 100_000
"""
How many values all aliases of a document may repeat, a text counting once for every
hundred characters: a few lines of aliases of aliases would otherwise fill the memory.
"""

_FAST: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_MAP = "tag:yaml.org,2002:map"
_SEQ = "tag:yaml.org,2002:seq"
_TAG_HINT = "only JSON's own types can be told by a tag, such as !!str"
_BREAKS = re.compile("[\x85\u2028\u2029]")
_NOTHING: Mapping[str, Place] = {}


def parse_yaml(text: str, source: str = "") -> Document:
    """
    Read one YAML document, or raise ``Invalid``; an empty one has the value None.

    Duplicate keys, keys that are no text, tags beyond the core schema, numbers JSON
    does not have, and further documents are refused.
    """
    text = text.removeprefix("\ufeff")
    if found := _BREAKS.search(text):
        # Line breaks to YAML 1.1 and PyYAML, but not to YAML 1.2, JSON and people.
        raise syntax_error(source, *unreadable(text, found.start()))
    try:
        return _document(text, source, _FAST)
    except (yaml.YAMLError, UnicodeEncodeError):
        # libyaml is fast but terse: PyYAML's own parser knows what is wrong.
        pass
    try:
        return _document(text, source, yaml.SafeLoader)
    except yaml.YAMLError as error:
        problem = told(error, text)
    raise syntax_error(source, *problem)


def _document(text: str, source: str, loader: type[Any]) -> Document:
    return _Builder(yaml.parse(text, Loader=loader), source).document()


@dataclass(frozen=True, slots=True)
class _Node:
    """A value with its places, and what repeating it would cost."""

    value: Any
    place: Place
    size: int = 1
    height: int = 0


class _Builder:
    """Makes a document of the parser's events."""

    def __init__(self, events: Iterator[Any], source: str) -> None:
        self._events = events
        self._source = source
        self._anchors: dict[str, _Node | None] = {}  # None: not complete yet
        self._repeated = 0

    def document(self) -> Document:
        """The only document there is."""
        next(self._events)  # the stream begins
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return Document(None, self._source, lambda: Place(1, 1))
        node = self._node(next(self._events), 0)
        next(self._events)  # the document ends
        following = next(self._events)
        if not isinstance(following, yaml.StreamEndEvent):
            what = "a second document begins here"
            raise self._error(following, what, "only one is expected: remove the ---")
        return Document(node.value, self._source, lambda: node.place)

    def _error(self, event: Any, message: str, hint: str = "") -> Invalid:
        place = _place(event)
        return syntax_error(self._source, place.line, place.column, message, hint)

    def _node(self, event: Any, depth: int) -> _Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event)
        else:
            self._check_depth(event, depth + 1)
            is_list = isinstance(event, yaml.SequenceStartEvent)
            self._check_tag(event, _SEQ if is_list else _MAP)
            node = self._list(event, depth) if is_list else self._mapping(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _check_depth(self, event: Any, depth: int) -> None:
        if depth > MAX_DEPTH:
            what = f"more than {MAX_DEPTH} lists and mappings inside one another"
            raise self._error(event, what)

    def _check_tag(self, event: Any, *fitting: str) -> None:
        if event.tag not in (None, "!", *fitting):
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise self._error(
                event, f"the tag {quoted(tag)} has no meaning here", _TAG_HINT
            )

    def _alias(self, event: Any, depth: int) -> _Node:
        name = event.anchor
        if name not in self._anchors:
            what = f"the alias {quoted('*' + name)} repeats nothing"
            raise self._error(event, what, f"no value before it is marked &{name}")
        node = self._anchors[name]
        if node is None:
            raise self._error(
                event, f"the alias {quoted('*' + name)} is inside of itself"
            )
        self._check_depth(event, depth + node.height)
        self._repeated += node.size
        if self._repeated > MAX_REPEATED:
            raise self._error(
                event, f"aliases repeat more than {MAX_REPEATED:,} values"
            )
        place = _place(event, node.place.inner)
        return _Node(copy.deepcopy(node.value), place, node.size, node.height)

    def _scalar(self, event: Any) -> _Node:
        self._check_tag(event, *SCALAR_TAGS)
        tag = None if event.tag == "!" else event.tag
        try:
            value = meaning(event.value, tag, plain=not event.style)
        except ScalarError as error:
            raise self._error(event, error.message, error.hint) from None
        return _Node(value, _place(event), 1 + len(event.value) // 100)

    def _list(self, event: Any, depth: int) -> _Node:
        start = event
        value: list[Any] = []
        inner: dict[str, Place] = {}
        size = height = 1
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            node = self._node(event, depth + 1)
            inner[str(len(value))] = node.place
            value.append(node.value)
            size += node.size
            height = max(height, node.height + 1)
        return _Node(value, _place(start, inner), size, height)

    def _mapping(self, event: Any, depth: int) -> _Node:
        start = event
        value: dict[str, Any] = {}
        inner: dict[str, Place] = {}
        size = height = 1
        bases: list[_Node] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            merges = self._merges(event)
            key = self._key(event, depth)
            if key in inner:
                raise self._duplicate(event, key, inner[key])
            node = self._node(next(self._events), depth + 1)
            inner[key] = _place(event, node.place.inner)
            size += node.size + 1 + len(key) // 100
            height = max(height, node.height + 1)
            if merges:
                bases = self._bases(event, node)
            else:
                value[key] = node.value
        for base in bases:
            value = base.value | value
            inner = {**base.place.inner, **inner}
        return _Node(value, _place(start, inner), size, height)

    def _key(self, event: Any, depth: int) -> str:
        if not isinstance(event, yaml.ScalarEvent | yaml.AliasEvent):
            raise self._error(event, "a key must be text, not a list or a mapping")
        key = self._node(event, depth).value
        if isinstance(key, str):
            return key
        if isinstance(event, yaml.AliasEvent):
            raise self._error(
                event, "a key must be text, which this alias does not repeat"
            )
        what = f"the key {event.value} is not text" if event.value else "a key is empty"
        raise self._error(event, what, f'write it in quotes: "{event.value}"')

    def _duplicate(self, event: Any, key: str, earlier: Place) -> Invalid:
        where = f"first in line {earlier.line}, column {earlier.column}"
        return self._error(event, f"the key {quoted(key)} is given twice", where)

    @staticmethod
    def _merges(event: Any) -> bool:
        """Whether this is the key of YAML 1.1 that merges other mappings into one."""
        scalar = isinstance(event, yaml.ScalarEvent)
        return scalar and event.value == "<<" and not event.style and not event.tag

    def _bases(self, event: Any, node: _Node) -> list[_Node]:
        """The mappings to merge, the most important first."""
        bases = [node]
        if isinstance(node.value, list):
            places = node.place.inner
            bases = [
                _Node(value, places[str(index)])
                for index, value in enumerate(node.value)
            ]
        if not all(isinstance(base.value, dict) for base in bases):
            raise self._error(event, "<< merges mappings, and this is none")
        return bases


def _place(event: Any, inner: Mapping[str, Place] = _NOTHING) -> Place:
    """Where ``event`` is, and what is inside of it."""
    return Place(event.start_mark.line + 1, event.start_mark.column + 1, inner)
