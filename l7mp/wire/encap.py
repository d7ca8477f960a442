"""JSONEncap and JSONDecap: messages, with metadata, as JSON objects."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from l7mp.wire.json_object import ObjectScanner, read_object, skip_space

MAX_DOCUMENT = 1 << 20
"""How many bytes of an unfinished JSON object are kept."""


class Encap:
    """
    Wrap each message, with the session's metadata, in a JSON object.

    The metadata is written down once: what it is when the session is connected.
    """

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        whole = json.dumps({"metadata": metadata, "payload": ""})
        self._start, self._end = whole[:-2].encode(), b'"}'

    def feed(self, data: bytes) -> Iterable[bytes]:
        """One message in, one out."""
        return (self._start + base64.b64encode(data) + self._end,)

    def end(self) -> Iterable[bytes]:
        """Nothing was kept."""
        return ()


class Decap:
    """
    Undo ``Encap``; a stream of bytes may cut or join the JSON objects.

    What is no encapsulated message is dropped and counted in ``dropped``: a whole
    object, or what follows the last object in a piece. A piece that is a message by
    itself ends an unfinished object before it: that was a truncated datagram.
    """

    def __init__(self, limit: int = MAX_DOCUMENT) -> None:
        self._limit = limit
        self._unfinished = bytearray()
        self._scanner = ObjectScanner()
        self.dropped = 0

    def feed(self, data: bytes) -> Iterable[bytes]:
        """The messages that are complete now."""
        if not self._unfinished or (data[:1], data[-1:]) == (b"{", b"}"):
            message = _payload(data)
            if message is not None:
                self._give_up()
                return (message,)
        return self._split(data)

    def end(self) -> Iterable[bytes]:
        """An unfinished object is no message."""
        self._give_up()
        return ()

    def _give_up(self) -> None:
        if self._unfinished:
            self._unfinished.clear()
            self.dropped += 1

    def _split(self, data: bytes) -> list[bytes]:
        messages: list[bytes] = []
        at: int | None = 0
        while at is not None:
            if not self._unfinished:
                at = self._begin(data, at)
            if at is not None:
                at = self._go_on(data, at, messages)
        return messages

    def _begin(self, data: bytes, start: int) -> int | None:
        """Where the next object starts, None if there is none."""
        at = skip_space(data, start)
        if at == len(data):
            return None
        if data[at : at + 1] != b"{":
            self.dropped += 1
            return None
        self._scanner = ObjectScanner()
        return at

    def _go_on(self, data: bytes, start: int, messages: list[bytes]) -> int | None:
        """Follow an object to its end; where that is, None if further away."""
        end = self._scanner.find_end(data, start)
        self._unfinished += data[start:end]
        if end is None:
            if len(self._unfinished) > self._limit:
                self._give_up()
            return None
        message = _payload(bytes(self._unfinished))
        self._unfinished.clear()
        if message is None:
            self.dropped += 1
        else:
            messages.append(message)
        return end


def _payload(document: bytes) -> bytes | None:
    """The message in a JSON object, None if there is no such thing."""
    try:
        payload = read_object(document).get("payload")
        return base64.b64decode(payload, validate=True) if payload is not None else None
    except (ValueError, TypeError):
        return None
