"""
The headers of JSONSocket, version 1: one JSON object each way, then messages.

A client's header carries ``JSONSocketVersion`` beside whatever metadata it likes; the
server's answer carries ``JSONSocketStatus``, an HTTP status. Over datagrams a header is
one message. Over a stream of bytes it is the JSON object at its start, and everything
behind the closing brace is data, see ``HeaderSplitter``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from l7mp.errors import LocalError
from l7mp.wire.json_object import ObjectScanner, read_object, skip_space

VERSION = 1
"""The highest version spoken; 0 is accepted, too."""
MAX_HEADER = 65_536
"""How long a header may be in a stream of bytes; a datagram is never longer."""

BAD_REQUEST = 400
BAD_GATEWAY = 502
VERSION_NOT_SUPPORTED = 505


@dataclass(frozen=True, slots=True)
class Accepted:
    """The peer's header was good; ``rest`` is data that came behind it."""

    header: dict[str, Any]
    rest: bytes = b""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The peer's header was not good, or it says no; ``status`` is HTTP's."""

    status: int
    message: str


class HeaderError(LocalError):
    """A header cannot be made as it is declared."""


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One step in making a header: what to put at the path ``to``.

    With an ``origin`` it is what the metadata has at that path, else ``value``. Paths
    are JSON Pointers (RFC 6901) whose outer slashes are optional.
    """

    to: str
    origin: str | None = None
    value: Any = None


def build_header(metadata: Mapping[str, Any], rules: Iterable[Rule]) -> dict[str, Any]:
    """
    The header for a session with this metadata: all rules in order, the version last.

    What the metadata does not have is skipped; null, false and empty values are copied.
    ``/`` as a target replaces the header. Nothing is shared with the metadata or the
    rules. Raises ``HeaderError`` where a target is below something that is no object.
    """
    header: dict[str, Any] = {}
    for rule in rules:
        value = rule.value
        if rule.origin is not None:
            value = _found(metadata, _steps(rule.origin))
        if value is not _NOTHING:
            header = _put(header, rule.to, deepcopy(value))
    header.pop("JSONSocketVersion", None)  # it comes last
    return {**header, "JSONSocketVersion": VERSION}


_NOTHING = object()
_INDEX = re.compile("0|[1-9][0-9]{0,8}")


def _steps(path: str) -> list[str]:
    if path in ("", "/"):
        return []
    inner = path.removeprefix("/").removesuffix("/")
    return [step.replace("~1", "/").replace("~0", "~") for step in inner.split("/")]


def _found(document: Any, steps: list[str]) -> Any:
    for step in steps:
        if isinstance(document, Mapping) and step in document:
            document = document[step]
        elif isinstance(document, list) and _is_index(step, len(document)):
            document = document[int(step)]
        else:
            return _NOTHING
    return document


def _is_index(step: str, length: int) -> bool:
    """Whether it is the number of one of ``length`` elements (RFC 6901, section 4)."""
    return bool(_INDEX.fullmatch(step)) and int(step) < length


def _put(header: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The header with ``value`` at ``path``, changed in place where that is possible."""
    top = node = {"": header}
    last = ""
    for step in _steps(path):
        node, last = node.setdefault(last, {}), step
        if not isinstance(node, dict):
            raise HeaderError(f"the header has no object above {path}")
    node[last] = value
    if not isinstance(top[""], dict):
        raise HeaderError(f"the header would not be an object with this at {path}")
    return top[""]


def encode_request(header: Mapping[str, Any]) -> bytes:
    """What a client sends first; the version comes last and is always ours."""
    rest = {key: header[key] for key in header if key != "JSONSocketVersion"}
    return json.dumps({**rest, "JSONSocketVersion": VERSION}).encode()


def encode_response(status: int, message: str) -> bytes:
    """What a server answers."""
    return json.dumps(
        {
            "JSONSocketVersion": VERSION,
            "JSONSocketStatus": status,
            "JSONSocketMessage": message,
        }
    ).encode()


def decode_request(data: bytes, *, whole: bool = True) -> Accepted | Rejected | None:
    """
    Judge the header of a client: 400 if it is none, 505 for another version.

    With ``whole`` the data is one message and nothing but the header. Without, it is
    the start of a stream of bytes: None until there is enough to judge by.
    """
    parted = (data, b"") if whole else HeaderSplitter().feed(data)
    return None if parted is None else _judge_request(*parted)


def decode_response(data: bytes, *, whole: bool = True) -> Accepted | Rejected | None:
    """
    Judge the answer of a server; ``whole`` and None are as for requests.

    A refusal has the server's own status if that is one of HTTP's for errors or
    redirections; 502 stands for an answer that cannot be understood.
    """
    parted = (data, b"") if whole else HeaderSplitter().feed(data)
    return None if parted is None else _judge_response(*parted)


def is_response(data: bytes) -> bool:
    """
    Whether a message is meant as an answer, good or bad; if not, it is data.

    Where messages overtake each other, data can come before the answer does.
    """
    try:
        return "JSONSocketStatus" in read_object(data)
    except ValueError:
        return False


def _judge_request(data: bytes, rest: bytes) -> Accepted | Rejected:
    try:
        header = read_object(data)
    except ValueError as error:
        return Rejected(BAD_REQUEST, f"the header is not a JSON object: {error}")
    version = _whole_number(header.get("JSONSocketVersion"))
    if version is None:
        return Rejected(BAD_REQUEST, "JSONSocketVersion must be a whole number")
    if not 0 <= version <= VERSION:
        return Rejected(VERSION_NOT_SUPPORTED, f"version {version} is not supported")
    return Accepted(header, rest)


def _judge_response(data: bytes, rest: bytes) -> Accepted | Rejected:
    try:
        header = read_object(data)
    except ValueError as error:
        return Rejected(BAD_GATEWAY, f"the response is not a JSON object: {error}")
    status = _whole_number(header.get("JSONSocketStatus"))
    if status is None:
        return Rejected(BAD_GATEWAY, "the response has no JSONSocketStatus")
    # A refusal need not say which version it is of.
    unsaid = None if 200 <= status <= 299 else VERSION
    version = _whole_number(header.get("JSONSocketVersion", unsaid))
    if version is None or not 0 <= version <= VERSION:
        return Rejected(BAD_GATEWAY, "the response has no JSONSocketVersion we know")
    if 200 <= status <= 299:
        return Accepted(header, rest)
    if not 300 <= status <= 599:
        return Rejected(BAD_GATEWAY, f"the response has an unknown status, {status}")
    return Rejected(status, str(header.get("JSONSocketMessage", "")))


def _whole_number(value: Any) -> int | None:
    """The integer that a JSON number is, as 1.0 is 1; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None


class HeaderSplitter:
    """
    Parts the header at the start of a stream of bytes from the data behind it.

    What can become no header is handed out as one, so that judging it refuses it.
    """

    def __init__(self, limit: int = MAX_HEADER) -> None:
        self._limit = limit
        self._header = bytearray()
        self._scanner = ObjectScanner()

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Header and data when the header is complete, None until then."""
        start = 0 if self._header else skip_space(data)
        end = None
        if self._header or data[start : start + 1] == b"{":
            end = self._scanner.find_end(data, start)
        elif start < len(data):
            end = len(data)
        self._header += data[start:end]
        if end is None and len(self._header) <= self._limit:
            return None
        return bytes(self._header), b"" if end is None else data[end:]
