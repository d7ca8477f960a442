"""A small vocabulary, and words in it."""

from __future__ import annotations

from typing import Any

from l7mp.model import declared as say
from l7mp.model import edit
from l7mp.model.base import Declared
from l7mp.model.config import Config
from l7mp.model.spec import Spec, Vocabulary


class PortSpec(Spec):
    """For listeners and clusters that have a port."""

    port: int = 1


BYTES, MESSAGES = "byte-stream", "datagram-stream"

WORDS = Vocabulary(
    listeners={"UDP": PortSpec, "TCP": PortSpec},
    clusters={"UDP": PortSpec, "TCP": PortSpec, "Echo": Spec, "Stdio": Spec},
    virtual=frozenset({"Echo", "Stdio"}),
    unbalanced=frozenset({"Stdio"}),
    kinds={"UDP": MESSAGES, "TCP": BYTES, "Echo": None, "Stdio": BYTES},
)


def said(model: type[Declared], value: Any) -> Any:
    return model.model_validate(value, context=WORDS)


def everything(**sections: Any) -> say.Config:
    found: say.Config = said(say.Config, sections)
    return found


def built(**sections: Any) -> Config:
    return edit.build(WORDS, everything(**sections))


def cluster(protocol: str = "UDP", *addresses: str, **more: Any) -> dict[str, Any]:
    endpoints = [{"spec": {"address": address}} for address in addresses]
    listed = {"endpoints": endpoints} if addresses else {}
    return {"spec": {"protocol": protocol}, **listed, **more}


def to(destination: Any, **more: Any) -> dict[str, Any]:
    """A rule with a route."""
    return {"action": {"route": {"destination": destination, **more}}}


def listener(*rules: Any, name: str = "L", **more: Any) -> dict[str, Any]:
    return {"name": name, "spec": {"protocol": "UDP"}, "rules": [*rules], **more}
