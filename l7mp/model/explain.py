"""
From pydantic's errors to problems a person can act on.

A validator has three ways to say more than ``ValueError`` can: ``complaint`` has a
hint, ``wrong_kind`` takes part in the choice among the arms of a union, and ``nested``
hands on all errors of a validation that ran inside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from pydantic import GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema

from l7mp.model.problem import Problem, did_you_mean, pointer_to, quoted

_COMPLAINT = "l7mp_complaint"
_KIND = "l7mp_kind"
_NESTED = "l7mp_nested"

MAPPING = "a mapping"


# -- what validators raise -------------------------------------------------------


def complaint(message: str, hint: str = "") -> PydanticCustomError:
    """An error in our own words."""
    told = {"message": message, "hint": hint}
    return PydanticCustomError(_COMPLAINT, "{message}", told)


def wrong_kind(noun: str) -> PydanticCustomError:
    """The value is of another kind than ``noun`` says, such as "a name"."""
    return PydanticCustomError(_KIND, "must be {noun}", {"noun": noun})


def nested(errors: Sequence[ErrorDetails]) -> PydanticCustomError:
    """The errors of another validation, whose locations are inside of this one's."""
    message = "; ".join(f"{pointer_to(one['loc'])}: {one['msg']}" for one in errors)
    told = {"message": message, "errors": list(errors)}
    return PydanticCustomError(_NESTED, "{message}", told)


@dataclass(frozen=True, slots=True)
class Says:
    """
    Marks a scalar type, behind its constraints, with the words for its errors.

    ``noun`` is for values of another kind, ``message`` for those that break a
    constraint; both are followed by what was found instead: "must be a name, not 5".
    """

    noun: str
    message: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """The type's own schema, with its errors replaced."""
        return core_schema.no_info_wrap_validator_function(self._check, handler(source))

    def _check(self, value: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            strange = all(map(_noun, error.errors(include_url=False)))
        if strange:
            raise wrong_kind(self.noun)
        raise complaint(f"{self.message}, not {shown(value)}")


# -- from errors to problems -----------------------------------------------------


def problems_of(
    error: ValidationError, prefix: str = "", *, value: Any
) -> list[Problem]:
    """
    Everything ``error`` says about ``value``, which was validated.

    ``prefix`` is the JSON Pointer of ``value`` in its document.  Of a union, only the
    arm that fits the value best is told about.
    """
    tree = _Tree()
    for one in _flat(error.errors(include_url=False)):
        tree.add(one, value)
    return list(dict.fromkeys(tree.problems(prefix)))


def _flat(errors: Iterable[ErrorDetails]) -> Iterator[ErrorDetails]:
    for one in errors:
        if one["type"] != _NESTED:
            yield one
            continue
        for inner in _flat(one["ctx"]["errors"]):
            located = {**inner, "loc": (*one["loc"], *inner["loc"])}
            yield cast(ErrorDetails, located)


@dataclass(slots=True)
class _Tree:
    """
    Errors in the shape of the value they are about.

    A location of pydantic's mixes steps into the value with names of union arms and
    of validators; what is no step into the value is such a name.
    """

    errors: list[ErrorDetails] = field(default_factory=list)
    inside: dict[str | int, _Tree] = field(default_factory=dict)
    arms: dict[str | int, _Tree] = field(default_factory=dict)

    def add(self, error: ErrorDetails, value: Any) -> None:
        """Take an error in where it belongs."""
        tree, location = self, list(error["loc"])
        if error["type"] == "missing":
            location.pop()  # what is missing is told about what it is missing from
        for step in location:
            if _has(value, step):
                value = value[step]
                tree = tree.inside.setdefault(step, _Tree())
            else:
                tree = tree.arms.setdefault(step, _Tree())
        tree.errors.append(error)

    def problems(self, path: str) -> list[Problem]:
        """The problems from here downwards."""
        found = [_problem(path, error) for error in self.errors]
        for step, inner in self.inside.items():
            found += inner.problems(path + pointer_to([step]))
        return found + self._of_arms(path)

    def _of_arms(self, path: str) -> list[Problem]:
        meant = [arm for arm in self.arms.values() if not arm.nouns()]
        if meant:
            return min((arm.problems(path) for arm in meant), key=len)
        errors = [error for arm in self.arms.values() for error in arm.leaves()]
        return [_misfit(path, errors)] if errors else []

    def leaves(self) -> Iterator[ErrorDetails]:
        """The errors here, whatever arm of the union they come from."""
        yield from self.errors
        for arm in self.arms.values():
            yield from arm.leaves()

    def nouns(self) -> list[str]:
        """What kinds of values would fit, if that is all that is wrong here."""
        nouns = [_noun(error) for error in self.errors]
        if self.inside or not all(nouns):
            return []
        for arm in self.arms.values():
            inner = arm.nouns()
            if not inner:
                return []
            nouns += inner
        return nouns


def _has(value: Any, step: str | int) -> bool:
    if isinstance(value, Mapping):
        return step in value
    is_list = isinstance(value, list | tuple)
    return is_list and isinstance(step, int) and 0 <= step < len(value)


# -- one error -------------------------------------------------------------------

_NOUNS = {
    "bool_type": "true or false",
    "dict_type": MAPPING,
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "mapping_type": MAPPING,
    "model_attributes_type": MAPPING,
    "model_type": MAPPING,
    "none_required": "null",
    "string_type": "text",
    "tuple_type": "a list",
}

_BOUNDS = {
    "finite_number": "must be a finite number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "string_pattern_mismatch": "must match the pattern {pattern}",
}

_LENGTHS = {
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
}

_YES_OR_NO = {"yes": "true", "on": "true", "no": "false", "off": "false"}


def _problem(path: str, error: ErrorDetails) -> Problem:
    kind, context = error["type"], error.get("ctx", {})
    if _noun(error):
        return _misfit(path, [error])
    if kind == "missing":
        return Problem(path, f"the key {quoted(str(error['loc'][-1]))} is missing")
    if kind == "extra_forbidden":
        return _unknown_key(path, str(error["loc"][-1]), context)
    if kind == "literal_error":
        hint = did_you_mean(str(error["input"]), _words(error))
        return Problem(path, f"must be {_choice(error)}, {_not(error)}", hint)
    return Problem(path, _message(error), context.get("hint", ""))


def _unknown_key(path: str, word: str, context: Mapping[str, Any]) -> Problem:
    """
    ``known`` of the context has every spelling of every key, and what the key is
    called; ``elsewhere`` says of keys that are none where they belong.
    """
    known = context.get("known", {})
    if word in known:
        same = f"means the same as another key here ({quoted(known[word])})"
        return Problem(path, f"the key {quoted(word)} {same}", "remove one of them")
    hint = context.get("elsewhere", {}).get(word) or did_you_mean(word, known)
    return Problem(path, f"unknown key {quoted(word)}", hint)


def _message(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in _BOUNDS:
        return f"{_BOUNDS[kind].format(**context)}, {_not(error)}"
    if context.get("min_length") == 1:
        return "must not be empty"
    if kind in _LENGTHS:
        return _LENGTHS[kind].format(**context)
    if kind in ("value_error", "assertion_error"):
        return str(context["error"])
    if kind == _COMPLAINT:
        return str(context["message"])
    plain = re.sub(r"^(Input|String|Value) should ", "must ", error["msg"])
    return plain[:1].lower() + plain[1:]


def _misfit(path: str, errors: Sequence[ErrorDetails]) -> Problem:
    """The problem of a value that is of none of the kinds it could be."""
    nouns = list(dict.fromkeys(noun for error in errors if (noun := _noun(error))))
    if "a name" in nouns:
        nouns = ["a definition" if noun == MAPPING else noun for noun in nouns]
    value = errors[0]["input"]
    hint = ""
    if isinstance(value, str) and "true or false" in nouns:
        hint = (
            _YES_OR_NO.get(value.lower(), "") and f"write {_YES_OR_NO[value.lower()]}"
        )
    elif isinstance(value, str) and "a list" in nouns:
        hint = "write a list, even of one: [ … ]"
    elif isinstance(value, bool | int | float) and "text" in nouns:
        hint = f'if it is text, write it in quotes: "{shown(value)}"'
    elif value is True and nouns == [MAPPING]:
        hint = "say in { … } how, or {} if nothing else need be said"
    return Problem(path, f"must be {listed(nouns)}, {_not(errors[0])}", hint)


def _noun(error: ErrorDetails) -> str:
    """What kind of value was wanted, if the error is that it is of another kind."""
    if error["type"] == _KIND:
        return str(error["ctx"]["noun"])
    if error["type"] == "literal_error" and not isinstance(error["input"], str):
        return _choice(error)
    return _NOUNS.get(error["type"], "")


def _words(error: ErrorDetails) -> list[str]:
    """The words that a Literal allows; pydantic gives them as 'a', 'b' or 'c'."""
    return re.findall(r"'([^']*)'", error["ctx"]["expected"])


def _choice(error: ErrorDetails) -> str:
    """The words, or the numbers: pydantic gives these as 1 or 2."""
    words = [quoted(word) for word in _words(error)]
    words = words or re.findall(r"-?\d+", error["ctx"]["expected"])
    return f"one of {listed(words)}" if len(words) > 1 else "".join(words)


def _not(error: ErrorDetails) -> str:
    return f"not {shown(error['input'])}"


def shown(value: Any) -> str:
    """A value of the user's in a few words."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int | float):
        return str(value)
    return MAPPING if isinstance(value, Mapping) else "a list"


def listed(words: Sequence[str], conjunction: str = "or") -> str:
    """The words as a sentence lists them: a, b or c."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {conjunction} {words[-1]}"
