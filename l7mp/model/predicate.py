"""
JSON predicates (draft-snell-json-test-07): conditions on a session's metadata.

Beside the draft's operators there are ``contained`` and ``intersects``, and the member
``ignore_case``, all as in the original; the draft's own spelling of the latter is a
hyphen after the operator, such as ``test-``, which is accepted, too. Paths are read as
leniently as all metadata paths, see ``pointer``. Values are JSON's: ``true`` is not 1,
but 1 is 1.0. Operators for strings are false for anything else.

What cannot be meant is refused when it is declared, never found out by a session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from l7mp.errors import LocalError
from l7mp.model import regex
from l7mp.model.formats import TYPES
from l7mp.model.pointer import MISSING, Parts, format_pointer, get, parse
from l7mp.model.problem import did_you_mean, quoted
from l7mp.model.regex_syntax import RegexError

Check = Callable[[Any], bool]
"""Says whether it holds for a document, which may be MISSING."""

MAX_NESTING = 64
"""How deep predicates, and values in them, may nest."""


class PredicateError(LocalError):
    """
    A predicate that cannot be meant.

    ``path`` is the JSON Pointer to the fault within the predicate, ``hint`` a remedy.
    """

    def __init__(self, path: str, message: str, hint: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.path = path
        self.hint = hint


def compile(predicate: Any) -> Check:  # noqa: A001
    """
    A function that says whether the predicate holds for a document.

    None, ``"*"`` and ``{"match": "*"}`` give ``match_all``. Raises ``PredicateError``.
    """
    if predicate is None or predicate in ("*", {"match": "*"}):
        return match_all
    return _compile(predicate, ())


def match_all(_document: Any) -> bool:
    """The predicate that holds always."""
    return True


# -- values -------------------------------------------------------------------


def equal(left: Any, right: Any, *, ignore_case: bool = False) -> bool:
    """Whether two JSON values are the same; keys of objects always have their case."""
    if isinstance(left, str) and isinstance(right, str):
        return left == right or (ignore_case and left.lower() == right.lower())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(
            equal(one, other, ignore_case=ignore_case)
            for one, other in zip(left, right, strict=True)
        )
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(
            equal(left[key], right[key], ignore_case=ignore_case) for key in left
        )
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def _is_shallow(value: Any, depth: int = 0) -> bool:
    if isinstance(value, dict):
        value = [*value.values()]
    if not isinstance(value, list):
        return True
    return depth < MAX_NESTING and all(_is_shallow(item, depth + 1) for item in value)


# -- first order: about what is at a path -------------------------------------


def _contains(sought: str) -> Check:
    return lambda found: isinstance(found, str) and sought in found


def _starts(sought: str) -> Check:
    return lambda found: isinstance(found, str) and found.startswith(sought)


def _ends(sought: str) -> Check:
    return lambda found: isinstance(found, str) and found.endswith(sought)


def _less(limit: float) -> Check:
    is_number = TYPES["number"]
    return lambda found: is_number(found) and found < limit


def _more(limit: float) -> Check:
    is_number = TYPES["number"]
    return lambda found: is_number(found) and found > limit


def _test(value: Any, ignore_case: bool) -> Check:
    return lambda found: equal(found, value, ignore_case=ignore_case)


def _in(values: list[Any], ignore_case: bool) -> Check:
    if all(isinstance(value, str) for value in values):
        return _in_strings(values, ignore_case)
    checks = [_test(value, ignore_case) for value in values]
    return lambda found: any(check(found) for check in checks)


def _in_strings(values: list[str], ignore_case: bool) -> Check:
    """The usual case, such as a long list of addresses: one look-up."""
    if ignore_case:
        lowered = frozenset(value.lower() for value in values)
        return lambda found: isinstance(found, str) and found.lower() in lowered
    exact = frozenset(values)
    return lambda found: isinstance(found, str) and found in exact


def _any_element(check: Check) -> Check:
    return lambda found: isinstance(found, list) and any(map(check, found))


def _contained(value: Any, ignore_case: bool) -> Check:
    return _any_element(_test(value, ignore_case))


def _intersects(values: list[Any], ignore_case: bool) -> Check:
    return _any_element(_in(values, ignore_case))


def _matches(pattern: str, ignore_case: bool) -> Check:
    search = regex.compile(pattern, ignore_case=ignore_case)
    return lambda found: isinstance(found, str) and search(found)


def _lowering(build: Callable[[str], Check]) -> Callable[[str, bool], Check]:
    """For operators on strings: compare in lower case if case is to be ignored."""

    def built(sought: str, ignore_case: bool) -> Check:
        if not ignore_case:
            return build(sought)
        check = build(sought.lower())
        return lambda found: isinstance(found, str) and check(found.lower())

    return built


def _caseless(build: Callable[[Any], Check]) -> Callable[[Any, bool], Check]:
    """For operators to which case means nothing."""
    return lambda value, _ignore_case: build(value)


_Wanted = tuple[Check, str]
_STRING: _Wanted = (TYPES["string"], "a string")
_NUMBER: _Wanted = (TYPES["number"], "a number")
_ARRAY: _Wanted = (TYPES["array"], "an array")
_ANYTHING: _Wanted = (match_all, "a value")

_FIRST: Mapping[str, tuple[_Wanted, Callable[[Any, bool], Check]]] = {
    "contained": (_ANYTHING, _contained),
    "contains": (_STRING, _lowering(_contains)),
    "ends": (_STRING, _lowering(_ends)),
    "in": (_ARRAY, _in),
    "intersects": (_ARRAY, _intersects),
    "less": (_NUMBER, _caseless(_less)),
    "matches": (_STRING, _matches),
    "more": (_NUMBER, _caseless(_more)),
    "starts": (_STRING, _lowering(_starts)),
    "test": (_ANYTHING, _test),
    "type": (_STRING, _caseless(lambda name: TYPES[name])),
}
"""What kind of value each operator needs, and how its check is made from it."""
_PRESENCE: Mapping[str, Check] = {
    "defined": lambda found: found is not MISSING,
    "undefined": lambda found: found is MISSING,
}
_HYPHENATED = frozenset(
    f"{name}-" for name in ("contains", "ends", "in", "matches", "starts", "test")
)

# -- second order: about other predicates -------------------------------------


def _and(checks: list[Check]) -> Check:
    return lambda root: all(check(root) for check in checks)


def _or(checks: list[Check]) -> Check:
    if not checks:  # as in the original
        return match_all
    return lambda root: any(check(root) for check in checks)


def _not(checks: list[Check]) -> Check:
    return lambda root: not any(check(root) for check in checks)


_SECOND: Mapping[str, Callable[[list[Check]], Check]] = {
    "and": _and,
    "or": _or,
    "not": _not,
}

OPERATORS = (*_FIRST, *_PRESENCE, *_SECOND)
"""The names of all operators."""

# -- compiling ----------------------------------------------------------------

_Where = tuple[str | int, ...]


def _refuse(where: _Where, message: str, hint: str = "") -> PredicateError:
    return PredicateError(format_pointer(where), message, hint)


def _compile(predicate: Any, where: _Where) -> Check:
    if not isinstance(predicate, dict):
        hint = "" if where else 'leave it out, or write "*", to match everything'
        raise _refuse(where, "a predicate must be an object", hint)
    if len(where) > 2 * MAX_NESTING:  # two steps, apply and a position, per level
        raise _refuse(where, f"predicates nested more than {MAX_NESTING} deep")
    op = _operator(predicate, where)
    if op in _SECOND:
        _check_members(predicate, ("op", "path", "apply"), where)
        check = _SECOND[op](_applied(predicate, where))
    else:
        _check_members(predicate, ("op", "path", "value", "ignore_case"), where)
        check = _PRESENCE[op] if op in _PRESENCE else _first(op, predicate, where)
    return _at(_path(predicate, where), check)


def _operator(predicate: dict[str, Any], where: _Where) -> str:
    op = predicate.get("op", MISSING)
    if op is MISSING:
        raise _refuse(where, '"op" is missing', f"use one of {', '.join(OPERATORS)}")
    if not isinstance(op, str):
        raise _refuse((*where, "op"), '"op" must be a string')
    if op not in OPERATORS and op not in _HYPHENATED:
        hint = did_you_mean(op, OPERATORS) or f"use one of {', '.join(OPERATORS)}"
        raise _refuse((*where, "op"), f"unknown operator {quoted(op)}", hint)
    return op


def _check_members(
    predicate: dict[str, Any], known: tuple[str, ...], where: _Where
) -> None:
    for member in predicate:
        if member not in known:
            name = str(member)
            hint = did_you_mean(name, known) or f"use one of {', '.join(known)}"
            raise _refuse((*where, name), f"unknown member {quoted(name)}", hint)


def _first(op: str, predicate: dict[str, Any], where: _Where) -> Check:
    ignore_case = predicate.get("ignore_case", False)
    if not isinstance(ignore_case, bool):
        raise _refuse((*where, "ignore_case"), '"ignore_case" must be true or false')
    if op in _HYPHENATED:
        op, ignore_case = op[:-1], True
    (is_wanted, kind), build = _FIRST[op]
    value = predicate.get("value", MISSING)
    if value is MISSING:
        raise _refuse(where, f'"value" is missing: {op} needs {kind}')
    inside = (*where, "value")
    if not is_wanted(value):
        raise _refuse(inside, f'"value" of {op} must be {kind}')
    if not _is_shallow(value):
        raise _refuse(inside, f"a value nested more than {MAX_NESTING} deep")
    if op == "type" and value not in TYPES:
        hint = did_you_mean(value, TYPES) or f"use one of {', '.join(TYPES)}"
        raise _refuse(inside, f"unknown type {quoted(value)}", hint)
    try:
        return build(value, ignore_case)
    except RegexError as error:
        raise _refuse(inside, str(error)) from error


def _applied(predicate: dict[str, Any], where: _Where) -> list[Check]:
    inner = predicate.get("apply", MISSING)
    if inner is MISSING:
        raise _refuse(where, f'"apply" is missing: {predicate["op"]} needs an array')
    inside = (*where, "apply")
    if not isinstance(inner, list):
        raise _refuse(inside, '"apply" must be an array of predicates')
    return [_compile(one, (*inside, number)) for number, one in enumerate(inner)]


def _path(predicate: dict[str, Any], where: _Where) -> Parts:
    path = predicate.get("path", "")
    if not isinstance(path, str):
        raise _refuse((*where, "path"), '"path" must be a string')
    return parse(path)


def _at(parts: Parts, check: Check) -> Check:
    """``check`` of what is found at ``parts``, be it MISSING."""
    if not parts:
        return check
    return lambda root: check(get(root, parts))
