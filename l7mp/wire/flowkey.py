"""What tells sessions of datagrams apart, if not the addresses: some of their content."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from l7mp.wire.json_object import read_object

KeyOf = Callable[[bytes], str | None]
"""The key of a datagram; None if it has none."""

MAX_KEY = 1024
"""Bytes in the longest key: every session keeps its own."""


def payload_key(offset: int, length: int) -> KeyOf:
    """Keys that are ``length`` bytes behind the first ``offset``, in hexadecimal."""
    end = offset + length

    def key_of(datagram: bytes) -> str | None:
        found = datagram[offset:end]
        return found.hex() if len(found) == length else None

    return key_of


def json_key(find: Callable[[dict[str, Any]], Any]) -> KeyOf:
    """
    Keys that ``find`` finds in datagrams that are JSON objects.

    A string is its own key; a number, true or false is written as JSON does.  Nothing
    else is a key, nor is what has more than ``MAX_KEY`` bytes.
    """

    def key_of(datagram: bytes) -> str | None:
        try:
            found = find(read_object(datagram))
            if not isinstance(found, (str, int, float)):
                return None
            key = found if isinstance(found, str) else json.dumps(found)
            size = len(key.encode())
        except ValueError:  # no JSON, no Unicode, or a number too long to be written
            return None
        return key if size <= MAX_KEY else None

    return key_of
