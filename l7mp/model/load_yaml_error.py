"""PyYAML's complaints in words for people who have never read a grammar."""

from __future__ import annotations

import re
from dataclasses import dataclass

import yaml

from l7mp.model.problem import printable

_FITS = "check the indentation, and put text with special characters in quotes"


@dataclass(frozen=True, slots=True)
class _Told:
    """One way to say it; ``{0}`` is what the pattern caught, ``{line}`` the context's."""

    pattern: str
    message: str
    hint: str = ""
    at_context: bool = False
    """Whether the place to look at is where the surrounding thing began."""


_WAYS = (
    _Told(
        r"found character '\\t'",
        "a tab where only spaces can be",
        "indent with spaces",
    ),
    _Told(
        r"found character [\"'](.+)[\"'] that cannot start",
        'text cannot begin with "{0}"',
        "put it in quotes",
    ),
    _Told(
        "mapping values are not allowed",
        'unexpected ":"',
        'check the indentation, and put text with ": " in it in quotes',
    ),
    _Told(
        "sequence entries are not allowed",
        'unexpected "-"',
        "begin a list on a line of its own",
    ),
    _Told("mapping keys are not allowed", 'unexpected "?"', _FITS),
    _Told(
        "expected ',' or '(.)', but got '<stream end>'",
        'a bracket is not closed: expected "," or "{0}"',
        at_context=True,
    ),
    _Told(
        "expected ',' or '(.)'",
        'expected "," or "{0}" for the bracket of line {line}',
    ),
    _Told(
        "found unexpected end of stream",
        "the quotes that begin here are not closed",
        at_context=True,
    ),
    _Told("found unexpected document separator", "the quotes of line {line} are open"),
    _Told(
        "expected <block end>",
        "this does not fit what began in line {line}",
        _FITS,
    ),
    _Told(
        "could not find expected ':'",
        'a key without ":"',
        _FITS,
        at_context=True,
    ),
    _Told("expected '<document start>'", "this follows the end of the document", _FITS),
    _Told(
        r"found unknown escape character [\"'](.+)[\"']",
        r'the escape "\{0}" is unknown',
        r"write \\ for a backslash, or use single quotes",
    ),
    _Told("expected the node content, but found '(.+)'", 'unexpected "{0}"', _FITS),
    _Told(
        "found undefined tag handle '(.+)'",
        'the tag "{0}" is unknown',
        "put text that begins with ! in quotes",
    ),
    _Told("(?s)(.*)", "not valid YAML: {0}"),
)


def told(error: yaml.YAMLError, text: str) -> tuple[int, int, str, str]:
    """Line, column, message and hint for what PyYAML's own parser finds wrong."""
    if isinstance(error, yaml.reader.ReaderError):
        return unreadable(text, error.position)
    assert isinstance(error, yaml.MarkedYAMLError)
    problem, mark = str(error.problem), error.problem_mark
    context = error.context_mark or mark
    assert mark is not None
    assert context is not None
    way, caught = next(
        (way, found.groups())
        for way in _WAYS
        if (found := re.search(way.pattern, problem))
    )
    message = way.message.format(*caught, line=context.line + 1)
    if way.at_context:
        mark = context
    return mark.line + 1, mark.column + 1, message, way.hint


def unreadable(text: str, offset: int) -> tuple[int, int, str, str]:
    """The same for a character that may not be in a text at all."""
    before = text[:offset]
    column = offset - (before.rfind("\n") + 1) + 1
    what = f'the character "{printable(text[offset])}" is not allowed'
    hint = "write it as an escape, in double quotes"
    return before.count("\n") + 1, column, what, hint
