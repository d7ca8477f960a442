"""
permessage-deflate (RFC 7692): compressed WebSocket messages, and who agrees to them.

Each side may be told not to let its window last from one message to the next, which
spares its peer the memory.  What is inflated is bounded: a message that would be too
long is given up on at the first octet beyond the limit, whatever its size on the wire.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

NAME = "permessage-deflate"
TAIL = b"\x00\x00\xff\xff"
"""What a message's data ends with and is sent without (section 7.2.1)."""

EMPTY = b"\x00"
"""An empty message (section 7.2.3.6), and what may follow a last block (7.2.3.4)."""

MAX_BITS = 15
MIN_BITS = 9
"""zlib has no window of 2**8 octets for raw deflate; one may be asked for (7.1.2.1)."""

Parameters = Mapping[str, str | None]

_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER = rf';\s*({_NAME})\s*(?:=\s*(?:({_NAME})|"({_NAME})")\s*)?'
_EXTENSION = re.compile(rf"\s*({_NAME})\s*((?:{_PARAMETER})*)")
_ONE_PARAMETER = re.compile(_PARAMETER)
_BITS = re.compile(r"[89]|1[0-5]")

_CONTEXT = {"server_no_context_takeover", "client_no_context_takeover"}
_WINDOWS = {"server_max_window_bits", "client_max_window_bits"}


def longest(limit: int) -> int:
    """The octets that a message of ``limit`` octets may take when it is compressed."""
    return limit + (limit >> 10) + 64


class DeflateError(Exception):
    """Compressed data that cannot be taken; ``code`` is the close code that says so."""

    code = 1007


class TooLong(DeflateError):
    """The message is longer than the limit once it is inflated."""

    code = 1009


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both sides compress by; ``context``: whether a window outlasts a message."""

    server_context: bool = True
    client_context: bool = True
    server_bits: int = MAX_BITS
    client_bits: int = MAX_BITS


# -- agreeing -------------------------------------------------------------------


def extensions(header: str) -> list[tuple[str, Parameters]]:
    """
    The extensions that a ``Sec-WebSocket-Extensions`` header lists, with parameters.

    Raises ``ValueError`` for one that is none (RFC 6455, section 9.1), or that names
    a parameter twice.
    """
    found: list[tuple[str, Parameters]] = []
    for part in header.split(","):  # quoted values are tokens, and have no comma
        if not part.strip():
            continue
        match = _EXTENSION.fullmatch(part)
        if match is None:
            raise ValueError(f"{part.strip()!r} is no extension")
        parameters: dict[str, str | None] = {}
        for name, plain, quoted in _ONE_PARAMETER.findall(match[2]):
            if name in parameters:
                raise ValueError(f"{name} is there twice")
            parameters[name] = plain or quoted or None
        found.append((match[1], parameters))
    return found


def offer(context: bool) -> str:
    """What a client offers; without ``context`` no window is to outlast a message."""
    wish = "" if context else "; server_no_context_takeover; client_no_context_takeover"
    return f"{NAME}; client_max_window_bits{wish}"


def answer(header: str, context: bool) -> tuple[Agreement, str] | None:
    """
    What a server agrees to, and how it says so; None if nothing offered will do.

    It takes the first offer that it understands (section 5), and does not let windows
    last unless it wants ``context`` and the client does.
    """
    for offered in _offers(header):
        if not _is_valid(offered) or _is_bare(offered, "server_max_window_bits"):
            continue
        server_bits = offered.get("server_max_window_bits")
        agreed = Agreement(
            context and "server_no_context_takeover" not in offered,
            context and "client_no_context_takeover" not in offered,
            int(server_bits or MAX_BITS),
        )
        words = [NAME]
        words += [] if agreed.server_context else ["server_no_context_takeover"]
        words += [] if agreed.client_context else ["client_no_context_takeover"]
        words += [f"server_max_window_bits={server_bits}"] if server_bits else []
        return agreed, "; ".join(words)
    return None


def _offers(header: str) -> Iterator[Parameters]:
    try:
        listed = extensions(header)
    except ValueError:
        return
    yield from (parameters for name, parameters in listed if name == NAME)


def agreement(header: str) -> Agreement | None:
    """
    What a server has agreed to, as its response to ``offer`` says; None for nothing.

    Raises ``ValueError`` if it is not what was offered.
    """
    listed = extensions(header)
    if not listed:
        return None
    name, agreed = listed[0]
    if len(listed) > 1 or name != NAME:
        raise ValueError(f"the server wants extensions not offered: {header}")
    if not _is_valid(agreed) or any(_is_bare(agreed, name) for name in _WINDOWS):
        raise ValueError(f"the server's {NAME} has wrong parameters: {header}")
    return Agreement(
        "server_no_context_takeover" not in agreed,
        "client_no_context_takeover" not in agreed,
        int(agreed.get("server_max_window_bits") or MAX_BITS),
        int(agreed.get("client_max_window_bits") or MAX_BITS),
    )


def _is_valid(parameters: Parameters) -> bool:
    """Whether there is nothing unknown, and no wrong value (section 7.1)."""
    return all(
        (name in _CONTEXT and value is None)
        or (name in _WINDOWS and (value is None or _BITS.fullmatch(value) is not None))
        for name, value in parameters.items()
    )


def _is_bare(parameters: Parameters, name: str) -> bool:
    return name in parameters and parameters[name] is None


# -- compressing ----------------------------------------------------------------


class Deflate:
    """Both directions of one connection."""

    def __init__(self, agreed: Agreement, *, is_server: bool, limit: int) -> None:
        """``limit``: octets of the longest message that is inflated."""
        ours = (agreed.server_context, agreed.server_bits)
        theirs = (agreed.client_context, agreed.client_bits)
        if not is_server:
            ours, theirs = theirs, ours
        self._keeps_ours, self._our_bits = ours
        self._keeps_theirs, self._their_bits = theirs
        self._limit = self._left = limit
        self._compressor: zlib._Compress | None = None
        self._inflator: zlib._Decompress | None = None
        self._failed = False

    @property
    def compresses(self) -> bool:
        """Whether what we send can be compressed; it need not be (section 6)."""
        return self._our_bits >= MIN_BITS

    def compress(self, message: bytes) -> bytes:
        """A whole message, as it goes into frames."""
        if not message:
            return EMPTY
        compressor = self._compressor
        if compressor is None:
            compressor = zlib.compressobj(wbits=-self._our_bits)
        if self._keeps_ours:
            self._compressor = compressor
        data = compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH)
        return data.removesuffix(TAIL)

    def begin(self) -> None:
        """A compressed message begins."""
        self._left = self._limit
        if self._inflator is None or not self._keeps_theirs or self._inflator.eof:
            # A window of 2**8 is one of 2**9 of which only half is used.
            self._inflator = zlib.decompressobj(-max(self._their_bits, MIN_BITS))

    def inflate(self, piece: bytes) -> bytes:
        """The next of its data, in pieces of any size; after an error that is nothing."""
        inflator = self._inflator
        if self._failed or inflator is None:
            return b""
        try:
            data = inflator.decompress(piece, self._left + 1)
        except zlib.error as error:
            self._failed = True
            raise DeflateError(f"the message cannot be inflated: {error}") from error
        self._failed = True
        if len(data) > self._left:
            raise TooLong(f"the message is longer than {self._limit} octets")
        if inflator.unused_data not in (b"", EMPTY):
            raise DeflateError("the message has data behind its last block")
        self._failed = False
        self._left -= len(data)
        return data

    def finish(self) -> None:
        """The message has ended."""
        if self._inflator is not None and not self._inflator.eof and self.inflate(TAIL):
            self._failed = True
            raise DeflateError("the message ends amid its data")
