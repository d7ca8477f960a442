"""
Message boundaries in a stream of bytes.

A ``Codec`` puts messages into frames and makes ``Decoder``s, which find them again
however the stream is cut. A message that a framing cannot tell from two, or from none,
is refused; it is never changed to fit.

A decoder that can find the next frame by itself (lines, NUL, COBS, SLIP, JSON lines)
drops a frame that makes no sense, counts it and goes on. One that lives by counting
(lengths, netstrings) has lost its place and is ``broken`` for good, as is every decoder
that meets a frame which is too long.
"""

from __future__ import annotations

import json
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from l7mp.wire.stuffing import BLOCK, END, cobs, slip, uncobs, unslip

MAX_MESSAGE = 1 << 20
"""How long a message may be unless told otherwise, in bytes."""

_SPACE = b" \t\r\n"
_DIGITS = b"0123456789"


class Decoder(ABC):
    """Finds the messages in one stream of bytes."""

    def __init__(self) -> None:
        self.broken = ""
        """What the peer did wrong; nothing more will be found."""
        self.dropped: dict[str, int] = {}
        """Frames of which no message could be made, by ``malformed`` or ``truncated``."""
        self._buffer = bytearray()

    @abstractmethod
    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete now."""

    def end(self) -> list[bytes]:
        """The last message, if the end of the stream completes it."""
        if self._buffer:
            self._drop("truncated")
            self._buffer.clear()
        return []

    def _drop(self, why: str) -> None:
        self.dropped[why] = self.dropped.get(why, 0) + 1

    def _break(self, what: str) -> None:
        self.broken = what
        self._buffer.clear()


@dataclass(frozen=True)
class Codec:
    """One framing."""

    most: int
    """How many bytes a message can have."""
    pack: Callable[[bytes], bytes | None]
    """The frame of a message no longer than that; None if it has none."""
    decoder: Callable[[], Decoder]
    """Makes what undoes it."""


class Packer:
    """
    The other way round: a frame for each message.

    What has none is counted in ``dropped``, by ``unframeable`` or ``oversize``.
    """

    def __init__(self, framing: Codec) -> None:
        self._most, self._pack = framing.most, framing.pack
        self.dropped: dict[str, int] = {}

    def feed(self, data: bytes) -> Iterable[bytes]:
        """The frame of a message, if it has one."""
        frame = self._pack(data) if len(data) <= self._most else None
        if frame is not None:
            return (frame,)
        why = "oversize" if len(data) > self._most else "unframeable"
        self.dropped[why] = self.dropped.get(why, 0) + 1
        return ()

    def end(self) -> Iterable[bytes]:
        """Nothing was kept."""
        return ()


# -- a length ahead of each message -----------------------------------------------


class _Bad(Exception):
    """A header that no peer who speaks this framing sends."""


class _Counted(Decoder):
    """Frames that begin with the length of the message."""

    def __init__(self, limit: int, trailer: bytes = b"") -> None:
        super().__init__()
        self._limit, self._trailer = limit, trailer
        self._need = 0  # bytes in the buffer below which it is not worth to look

    @abstractmethod
    def _header(self, data: bytes, at: int) -> tuple[int, int] | None:
        """Where the message begins and its length; None if that is not there yet."""

    def feed(self, data: bytes) -> list[bytes]:
        if self.broken:
            return []
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._need:
                return []
            data = bytes(self._buffer)
            self._buffer.clear()
        messages: list[bytes] = []
        try:
            at = self._split(data, messages)
        except _Bad as bad:
            self._break(str(bad))
        else:
            self._buffer += data[at:]
        return messages

    def _split(self, data: bytes, messages: list[bytes]) -> int:
        """Append what is complete; where the rest begins."""
        at, total, trailer = 0, len(data), self._trailer
        while (header := self._header(data, at)) is not None:
            start, length = header
            if length > self._limit:
                raise _Bad(f"a frame of {length} bytes, over {self._limit}")
            end = start + length
            after = end + len(trailer)
            if after > total:
                self._need = after - at
                return at
            if trailer and data[end:after] != trailer:
                raise _Bad(f"a frame that does not end in {trailer.decode()!r}")
            messages.append(data[start:end])
            at = after
        self._need = 0
        return at


class _Prefixed(_Counted):
    """A binary length."""

    def __init__(self, prefix: struct.Struct, limit: int) -> None:
        super().__init__(limit)
        self._size, self._read = prefix.size, prefix.unpack_from

    def _header(self, data: bytes, at: int) -> tuple[int, int] | None:
        start = at + self._size
        return (start, self._read(data, at)[0]) if start <= len(data) else None


def _prefixed(layout: str, limit: int) -> Codec:
    prefix = struct.Struct(layout)
    write = prefix.pack
    most = min(limit, (1 << 8 * prefix.size) - 1)
    return Codec(
        most,
        lambda message: write(len(message)) + message,
        lambda: _Prefixed(prefix, most),
    )


class _Netstrings(_Counted):
    """``5:hello,``: the length in decimal, without leading zeros."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit, b",")
        self._digits = len(str(limit))

    def _header(self, data: bytes, at: int) -> tuple[int, int] | None:
        colon = data.find(b":", at, at + self._digits + 1)
        digits = data[at : colon if colon >= 0 else at + self._digits + 1]
        if digits.strip(_DIGITS) or colon == at:
            raise _Bad("a length that is not a number")
        if digits[:1] == b"0" and len(digits) > 1:
            raise _Bad("a length that begins with a zero")
        if len(digits) > self._digits:
            raise _Bad(f"a frame of more than {self._limit} bytes")
        return None if colon < 0 else (colon + 1, int(digits))


def _netstring(limit: int) -> Codec:
    return Codec(
        limit,
        lambda message: b"%d:%s," % (len(message), message),
        lambda: _Netstrings(limit),
    )


# -- a delimiter behind each message -----------------------------------------------


class _Delimited(Decoder):
    """Frames that end in a byte which is not inside of them."""

    def __init__(
        self,
        delimiter: bytes,
        unpack: Callable[[bytes], bytes | None],
        limit: int,
        longest: int,
        *,
        blank: bool,
        tail: bool,
    ) -> None:
        """
        ``longest`` is how long the frame of a message of ``limit`` bytes can be, its
        delimiter apart. An empty frame is a message if ``blank``, and so is what is
        behind the last delimiter, at the end, if ``tail``.
        """
        super().__init__()
        self._delimiter, self._unpack = delimiter, unpack
        self._limit, self._longest = limit, longest
        self._blank, self._tail = blank, tail

    def feed(self, data: bytes) -> list[bytes]:
        if self.broken:
            return []
        frames = data.split(self._delimiter)
        rest = frames.pop()
        messages: list[bytes] = []
        if frames and self._buffer:
            frames[0] = bytes(self._buffer) + frames[0]
            self._buffer.clear()
        for frame in frames:
            if not self._take(frame, messages):
                return messages
        self._buffer += rest
        if len(self._buffer) > self._longest:
            self._too_long()
        return messages

    def end(self) -> list[bytes]:
        messages: list[bytes] = []
        if self._tail and self._buffer:
            self._take(bytes(self._buffer), messages)
            self._buffer.clear()
        super().end()
        return messages

    def _take(self, frame: bytes, messages: list[bytes]) -> bool:
        """Append the message in a frame; whether to go on."""
        if not frame and not self._blank:
            return True
        message = self._unpack(frame) if len(frame) <= self._longest else frame
        if message is None:
            self._drop("malformed")
        elif len(message) > self._limit:
            self._too_long()
            return False
        else:
            messages.append(message)
        return True

    def _too_long(self) -> None:
        self._break(f"a frame of more than {self._limit} bytes")


def _line(message: bytes) -> bytes | None:
    if b"\n" in message or message.endswith(b"\r"):
        return None  # it would come out as two, or shorter
    return message + b"\n"


def _unline(frame: bytes) -> bytes:
    return frame.removesuffix(b"\r")


def _lines(limit: int) -> Codec:
    return Codec(
        limit,
        _line,
        lambda: _Delimited(b"\n", _unline, limit, limit + 1, blank=True, tail=True),
    )


def _nul(limit: int) -> Codec:
    def pack(message: bytes) -> bytes | None:
        return None if b"\0" in message else message + b"\0"

    return Codec(
        limit,
        pack,
        lambda: _Delimited(b"\0", bytes, limit, limit, blank=True, tail=True),
    )


def _cobs(limit: int) -> Codec:
    longest = limit + limit // BLOCK + 1
    return Codec(
        limit,
        lambda message: cobs(message) + b"\0",
        lambda: _Delimited(b"\0", uncobs, limit, longest, blank=False, tail=False),
    )


def _slip(limit: int) -> Codec:
    def pack(message: bytes) -> bytes | None:
        return END + slip(message) + END if message else None

    return Codec(
        limit,
        pack,
        lambda: _Delimited(END, unslip, limit, 2 * limit, blank=False, tail=False),
    )


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _json(text: bytes) -> bytes | None:
    """The text, without white space around it, if it is a JSON value (RFC 8259)."""
    try:
        json.loads(
            text.decode(), parse_constant=_refuse, parse_int=str, parse_float=str
        )
    except (ValueError, RecursionError):
        return None
    return text.strip(_SPACE)


class _JSONLines(_Delimited):
    """Lines of white space are no messages."""

    def _take(self, frame: bytes, messages: list[bytes]) -> bool:
        is_blank = len(frame) <= self._longest and not frame.strip(_SPACE)
        return is_blank or super()._take(frame, messages)


def _json_lines(limit: int) -> Codec:
    def pack(message: bytes) -> bytes | None:
        text = _json(message)
        # what breaks a line of JSON is white space: inside strings it is escaped
        return None if text is None else text.replace(b"\n", b" ") + b"\n"

    def decoder() -> Decoder:
        return _JSONLines(b"\n", _json, limit, limit + 1, blank=False, tail=True)

    return Codec(limit, pack, decoder)


# -- all of them ---------------------------------------------------------------------

FRAMINGS: Mapping[str, Callable[[int], Codec]] = {
    "u8": lambda limit: _prefixed(">B", limit),
    "u16be": lambda limit: _prefixed(">H", limit),
    "u16le": lambda limit: _prefixed("<H", limit),
    "u32be": lambda limit: _prefixed(">I", limit),
    "u32le": lambda limit: _prefixed("<I", limit),
    "rfc4571": lambda limit: _prefixed(">H", limit),
    "lines": _lines,
    "nul": _nul,
    "netstring": _netstring,
    "cobs": _cobs,
    "slip": _slip,
    "json-lines": _json_lines,
}
"""By name; made for messages of at most so many bytes."""


def codec(name: str, limit: int = MAX_MESSAGE) -> Codec:
    """The framing called ``name``, a key of ``FRAMINGS``."""
    return FRAMINGS[name](limit)
