"""
Specifications of protocols: a union whose members are known only at run time.

Which protocols there are is a value, the ``Vocabulary``.  It is handed to a validation
as pydantic's context, where the fields of the types ``ListenerSpec`` and
``ClusterSpec`` find it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    GetCoreSchemaHandler,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, core_schema

from l7mp.model.base import Declared
from l7mp.model.components import REF_TEMPLATE, components
from l7mp.model.explain import MAPPING, complaint, nested, wrong_kind
from l7mp.model.problem import did_you_mean, quoted

Side = Literal["listener", "cluster"]

REMOTE_WORDS = frozenset({"port", "bind", "address", "connect"})
"""What the original let users say to clusters that reach nothing remote."""

_BESIDE = ("framing", "rules", "endpoints", "loadbalancer")
"""What is said of a listener or a cluster, not to its protocol."""

_LISTENER = "ListenerSpec"
_CLUSTER = "ClusterSpec"


class Spec(Declared):
    """What a listener or a cluster says to its protocol."""

    tolerates: ClassVar[frozenset[str]] = frozenset()
    """Keys of other protocols that are dropped here: the original took them, too."""

    protocol: str
    """The name of the protocol."""

    _ignored: tuple[str, ...] = PrivateAttr(default=())

    @property
    def ignored(self) -> tuple[str, ...]:
        """The keys that were given and have no effect; worth a warning."""
        return self._ignored

    @property
    def members(self) -> tuple[Any, ...]:
        """The clusters that this one stands on: names, and definitions until named."""
        return ()

    @classmethod
    def elsewhere(cls) -> dict[str, str]:
        """Among them the keys that stand beside the specification."""
        beside = dict.fromkeys(_BESIDE, 'it belongs beside "spec", not in it')
        return beside | super().elsewhere()

    def standing_on(self, names: tuple[str, ...]) -> Spec:
        """The same with its members given by name."""
        raise NotImplementedError

    def carries(self, kind_of: KindOf) -> str | None:
        """
        What streams carry, ``byte-stream`` or ``datagram-stream``, if not what the
        protocol says; ``kind_of`` tells of a specification inside this one.
        """
        return None

    @model_validator(mode="wrap")
    @classmethod
    def _tolerate(cls, value: Any, handler: ModelWrapValidatorHandler[Spec]) -> Spec:
        if not isinstance(value, Mapping):
            return handler(value)
        strange = cls.tolerates - cls.spellings().keys()
        spec = handler({key: value[key] for key in value if key not in strange})
        spec._ignored = tuple(key for key in value if key in strange)  # noqa: SLF001  # ours
        return spec

    def __eq__(self, other: object) -> bool:
        # What was ignored makes no difference to anything that runs.
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *self.__dict__.values()))


KindOf = Callable[[Spec], str | None]
"""What streams made from a specification carry; None: what they are fed."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What a stage takes and gives: ``byte-stream`` or ``datagram-stream``."""

    takes: str | None
    """None: either."""
    gives: str | None
    """None: what it is fed."""


FlowOf = Callable[[Spec], Flow]
"""What stages made from a specification take and give."""


@dataclass(frozen=True)
class Vocabulary:
    """Which protocols there are, and what can be said to each."""

    listeners: Mapping[str, type[Spec]]
    """By the canonical name of the protocol."""
    clusters: Mapping[str, type[Spec]]
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other spellings, in lower case, and the canonical names they stand for."""
    virtual: frozenset[str] = frozenset()
    """Protocols whose clusters reach nothing remote and so have no endpoints."""
    unbalanced: frozenset[str] = frozenset()
    """Those of them that show their load balancer as None."""
    kinds: Mapping[str, str | None] = field(default_factory=dict)
    """What streams of a protocol carry; None if they keep the kind they are fed."""
    takes: Mapping[str, str | None] = field(default_factory=dict)
    """What has to be written to them, where it is not the same; None: either."""

    def __post_init__(self) -> None:
        for alias, name in self.aliases.items():
            if name not in self.listeners and name not in self.clusters:
                raise ValueError(f"{alias} stands for {name}, which does not exist")

    @cached_property
    def _names(self) -> Mapping[str, str]:
        every = {**self.listeners, **self.clusters}
        return {**self.aliases, **{name.lower(): name for name in every}}

    def canonical(self, word: str) -> str | None:
        """The name of the protocol that ``word``, in any case, stands for, if any."""
        return self._names.get(word.lower())

    def kind_of(self, spec: Spec) -> str | None:
        """What streams of ``spec`` carry; None if they keep what they are fed."""
        return spec.carries(self.kind_of) or self.kinds.get(spec.protocol)

    def flow_of(self, spec: Spec) -> Flow:
        """What stages of ``spec`` take and give."""
        gives = self.kind_of(spec)
        return Flow(self.takes.get(spec.protocol, gives), gives)

    def listener(self, data: object) -> Spec:
        """
        What a listener says to its protocol, which is the value of ``protocol``.

        Raises pydantic's ``ValidationError``; see ``problems_of``.
        """
        return self._spec(data, "listener", self.listeners)

    def cluster(self, data: object) -> Spec:
        """The same for a cluster."""
        return self._spec(data, "cluster", self.clusters)

    def _spec(self, data: object, side: Side, models: Mapping[str, type[Spec]]) -> Spec:
        if not isinstance(data, Mapping):
            raise _error(side, wrong_kind(MAPPING), data)
        if "protocol" not in data:
            raise _error(side, "missing", data, "protocol")
        word = data["protocol"]
        if not isinstance(word, str):
            raise _error(side, wrong_kind("a protocol's name"), word, "protocol")
        name = self.canonical(word)
        if name is None or name not in models:
            what = f"unknown protocol {quoted(word)}"
            if name is not None:
                what = f"protocol {quoted(name)} is not for a {side}"
            question = "" if name else did_you_mean(word, models)
            hint = f"{question} known are {', '.join(sorted(models))}".strip()
            raise _error(side, complaint(what, hint), word, "protocol")
        return models[name].model_validate({**data, "protocol": name}, context=self)

    def components(
        self,
        ref_template: str = REF_TEMPLATE,
        models: Iterable[type[BaseModel]] = (),
    ) -> dict[str, Any]:
        """
        JSON Schemas of every specification and of ``models``, see ``components``.

        ``ListenerSpec`` and ``ClusterSpec`` are the unions that fields refer to.
        """
        unions = {_LISTENER: self.listeners, _CLUSTER: self.clusters}
        return components(unions, models, ref_template)


def _error(side: Side, kind: Any, data: object, *location: str) -> ValidationError:
    """The validation error with this only error."""
    error = InitErrorDetails(type=kind, loc=location, input=data)
    return ValidationError.from_exception_data(f"{side} spec", [error])


@dataclass(frozen=True, slots=True)
class _Open:
    """Marks a field for a specification: which one is found in the vocabulary."""

    component: str
    read: Callable[[Vocabulary, object], Spec]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Anything, checked by us; a component of its own in JSON Schema."""
        # The inner schema "any" makes pydantic dump all fields of whatever it finds.
        return core_schema.with_info_after_validator_function(
            self._check, core_schema.any_schema(), ref=self.component
        )

    def _check(self, value: object, info: ValidationInfo) -> Spec:
        if isinstance(value, Spec):
            return value
        if not isinstance(info.context, Vocabulary):
            raise TypeError("a specification is validated with a Vocabulary as context")
        try:
            return self.read(info.context, value)
        except ValidationError as error:
            errors = error.errors(include_url=False)
        raise nested(errors)


ListenerSpec = Annotated[Spec, _Open(_LISTENER, Vocabulary.listener)]
"""A field for what a listener says to its protocol."""

ClusterSpec = Annotated[Spec, _Open(_CLUSTER, Vocabulary.cluster)]
"""A field for what a cluster says to its protocol."""
