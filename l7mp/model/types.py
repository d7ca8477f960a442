"""The words that many declarations share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field, PlainSerializer, WrapValidator

from l7mp.model.base import Declared
from l7mp.model.explain import Says

MAX_PORT = 65535


def _as_given(value: Any, handler: Callable[[Any], Any]) -> Any:
    """Check, but leave a whole number whole."""
    handler(value)
    return value


Name = Annotated[
    str,
    Field(pattern=r"^\S+$", examples=["udp-listener"]),
    Says("a name", "must be one word without white space"),
]
"""What objects are called."""

Port = Annotated[
    int,
    Field(ge=1, le=MAX_PORT),
    Says("a port number", f"must be a port, from 1 to {MAX_PORT}"),
]
"""A port of TCP or UDP."""

AnyPort = Annotated[
    int,
    Field(ge=0, le=MAX_PORT),
    Says("a port number", f"must be a port, up to {MAX_PORT}, or 0 for any"),
]
"""A port to bind; 0 lets the system choose."""

Address = Annotated[
    str,
    Field(min_length=1, examples=["127.0.0.1", "::1", "localhost"]),
    Says("an address", "must be an address"),
]
"""An IP address, a host name, or the path of a Unix domain socket."""

Seconds = Annotated[
    float,
    Field(ge=0),
    Says("a number of seconds", "must be 0 or more seconds"),
    WrapValidator(_as_given),
    # a lambda, since an annotation would be taken for the schema of the output
    PlainSerializer(lambda value: value),
]
"""A span of time; a whole number is dumped as one."""

Milliseconds = Annotated[
    int,
    Field(ge=0),
    Says("a whole number of milliseconds", "must be 0 or more milliseconds"),
]
"""A span of time."""

Pointer = Annotated[str, Field(examples=["/IP/src_addr", "HTTP/headers/host"])]
"""A path into metadata: a JSON Pointer whose first slash may be missing."""

HeaderName = Annotated[
    str,
    Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", examples=["X-Tenant"]),
    Says("the name of a header", "must be the name of a header"),
]
"""A token of HTTP (RFC 9110, section 5.6.2)."""

HeaderValue = Annotated[
    str,
    Field(pattern=r"^[^\x00-\x08\x0a-\x1f\x7f]*$", examples=["blue"]),
    Says("text", "must be text without control characters"),
]
"""What a header can say (RFC 9110, section 5.5)."""

Headers = dict[HeaderName, HeaderValue | int | float | bool]
"""Headers to send; numbers and truth values are written as text."""

FileMode = Annotated[
    str,
    Field(pattern=r"^0?[0-7]{3}$", examples=["0660"]),
    Says("a file mode", 'must be three octal digits in quotes, as "0660"'),
]
"""Who may do what with a file, as chmod(1) has it."""

Account = Annotated[
    str | Annotated[int, Field(ge=0)],
    Field(examples=["www-data", 33]),
]
"""A user or a group of this machine, by name or by number."""


class AddressPort(Declared):
    """One side of a connection, as far as it is given."""

    address: Address | None = None
    """IP address or host name; any if missing."""
    port: Port | None = None
    """Any if missing."""
