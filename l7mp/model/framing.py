"""How a declaration says that a stream of bytes has messages in it."""

from __future__ import annotations

from typing import Annotated, Literal, overload

from pydantic import AfterValidator, Field

from l7mp.model.base import Declared
from l7mp.model.explain import Says, complaint

Format = Literal[
    "u8", "u16be", "u16le", "u32be", "u32le", "lines", "nul", "netstring", "cobs",
    "slip", "json-lines", "rfc4571", "none",
]  # fmt: skip
"""
What tells messages apart: a length of so many bits before each, big or little endian
(rfc4571 is u16be by its name for RTP over TCP); what ends each (a line end, a NUL); a
netstring; a COBS or SLIP frame; one JSON value a line. None: nothing does, and that is
no reason to warn.
"""

MAX_MESSAGE = 1 << 20


class Framing(Declared):
    """How messages are told apart in a stream of bytes."""

    format: Format
    """The framing."""
    max_message: Annotated[
        int,
        Field(ge=1, le=1 << 28),
        Says("a number of bytes", f"must be 1 to {1 << 28} bytes"),
    ] = MAX_MESSAGE
    """How long a message may be, in bytes, in either direction."""


def _something(given: Format | Framing) -> Format | Framing:
    if (given if isinstance(given, str) else given.format) == "none":
        raise complaint("there are no frames without a framing", "leave the stage out")
    return given


RealFraming = Annotated[Format | Framing, AfterValidator(_something)]
"""Any but none."""


@overload
def framing_of(given: Framing | Format) -> Framing: ...


@overload
def framing_of(given: Framing | Format | None) -> Framing | None: ...


def framing_of(given: Framing | Format | None) -> Framing | None:
    """The long form of what can be said in one word."""
    if given is None or isinstance(given, Framing):
        return given
    return Framing(format=given)


def spoken(framing: Framing) -> Framing | Format:
    """The shortest form that says the same."""
    return framing.format if framing.max_message == MAX_MESSAGE else framing
