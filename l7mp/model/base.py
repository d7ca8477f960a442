"""The base of everything a user can write, and how a document becomes one."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from l7mp.model.document import Document
from l7mp.model.explain import nested, problems_of
from l7mp.model.problem import Invalid

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

Items = Annotated[tuple[T, ...], Field(strict=False)]
"""Any number of ``T``: a list in the document, a tuple in the model."""


class Declared(BaseModel):
    """
    What a user can write: frozen, strict, and without unknown keys.

    Strict means that nothing is converted: "80" is no number and 1 is not true.  A key
    with several spellings is a field whose ``validation_alias`` is an ``AliasChoices``
    with the field's own name first; it is dumped under that name.
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_by_name=True,
        validate_by_alias=True,
        use_attribute_docstrings=True,
    )

    def dump(self) -> dict[str, Any]:
        """What the user wrote, as JSON values, in canonical spelling."""
        return self.model_dump(mode="json", exclude_unset=True, by_alias=True)

    @classmethod
    def spellings(cls) -> dict[str, str]:
        """Every key that is understood, and the canonical one that it stands for."""
        found = {}
        for name, info in cls.model_fields.items():
            alias = info.validation_alias
            choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
            for spelling in (name, *choices):
                if isinstance(spelling, str):
                    found[spelling] = info.serialization_alias or name
        return found

    @classmethod
    def elsewhere(cls) -> dict[str, str]:
        """Keys that are none here but of something nearby, and a hint to where."""
        found: dict[str, str] = {}
        for name, info in cls.model_fields.items():
            outer = info.serialization_alias or name
            for model in _models_in(info.annotation):
                for key in model.spellings():
                    found.setdefault(key, f'it belongs in "{outer}"')
        return found

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, value: Any, handler: ModelWrapValidatorHandler[Declared]) -> Any:
        """Note, for the message about an unknown key, which keys are known."""
        try:
            return handler(value)
        except ValidationError as error:
            errors = error.errors(include_url=False)
        known = {"known": cls.spellings(), "elsewhere": cls.elsewhere()}
        raise nested(
            [
                cast(ErrorDetails, {**one, "ctx": known})
                if one["type"] == "extra_forbidden"
                else one
                for one in errors
            ]
        )


def _models_in(annotation: Any) -> Iterator[type[Declared]]:
    """The models that a field may hold itself, not in a list or a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, Declared):
        yield annotation
    elif get_origin(annotation) in (Annotated, Union, UnionType):
        for one in get_args(annotation):
            yield from _models_in(one)


def spelled(**others: str) -> BeforeValidator:
    """
    Other spellings of the words of a Literal, which are replaced.

    ``Annotated[Literal["ConsistentHash"], spelled(HashRing="ConsistentHash")]``
    """

    def replace(value: Any) -> Any:
        return others.get(value, value) if isinstance(value, str) else value

    return BeforeValidator(replace)


def validate(
    model: type[M], document: Document, context: Any = None, pointer: str = ""
) -> M:
    """
    Make a ``model`` of the part of ``document`` that ``pointer`` names.

    Raises ``Invalid`` with everything that is wrong, in the order of the text.
    """
    value = document.at(pointer)
    try:
        return model.model_validate(value, context=context)
    except ValidationError as error:
        problems = problems_of(error, pointer, value=value)
    raise Invalid(document.located(problems))
