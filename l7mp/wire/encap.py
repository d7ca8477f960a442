"""JSONEncap and JSONDecap: messages, with metadata, as JSON objects."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from json import JSONDecodeError, JSONDecoder
from typing import Any

MAX_DOCUMENT = 1 << 20
"""How many bytes of an unfinished JSON object are kept."""


class Encap:
    """Wrap each message, with the session's metadata, in a JSON object."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        start = json.dumps({"metadata": metadata, "payload": ""})
        self._start, self._end = start[:-2].encode(), b'"}'

    def feed(self, data: bytes) -> Iterable[bytes]:
        """One message in, one out."""
        return (self._start + base64.b64encode(data) + self._end,)

    def end(self) -> Iterable[bytes]:
        """Nothing was kept."""
        return ()


class Decap:
    """
    Undo ``Encap``; a stream of bytes may split or join the JSON objects.

    What is no encapsulated message is dropped and counted in ``dropped``.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._decoder = JSONDecoder()
        self.dropped = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Whatever messages are complete now."""
        self._rest = text = (self._rest + data).lstrip()
        while text:
            found = self._first(text)
            if found is None:
                break
            value, length = found
            self._rest = text = text[length:].lstrip()
            payload = _payload(value)
            if payload is None:
                self.dropped += 1
            else:
                yield payload

    def end(self) -> Iterable[bytes]:
        """An unfinished object is no message."""
        if self._rest:
            self.dropped += 1
            self._rest = b""
        return ()

    def _first(self, data: bytes) -> tuple[Any, int] | None:
        """The first JSON value and its length, None if there is none (yet)."""
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            if error.end < len(data):
                self._forget()
                return None
            text = data[: error.start].decode()
        try:
            value, end = self._decoder.raw_decode(text)
        except (JSONDecodeError, RecursionError):
            if not text.startswith("{") or len(data) > MAX_DOCUMENT or _closed(text):
                self._forget()
            return None
        return value, len(text[:end].encode())

    def _forget(self) -> None:
        self.dropped += 1
        self._rest = b""


def _closed(text: str) -> bool:
    """Whether it ends like an object, and so will not become a valid one."""
    try:
        json.loads(text)
    except JSONDecodeError as error:
        return error.pos < len(text.rstrip()) - 1 and text.rstrip().endswith("}")
    except RecursionError:
        return True
    return False


def _payload(value: Any) -> bytes | None:
    payload = value.get("payload") if isinstance(value, dict) else None
    if not isinstance(payload, str):
        return None
    try:
        return base64.b64decode(payload, validate=True)
    except ValueError:
        return None
