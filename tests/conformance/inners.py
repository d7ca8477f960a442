"""The columns of protocols that reach nothing remote."""

from __future__ import annotations

import base64
import json

from tests.conformance.ends import Inner

ENCAPSULATED = json.dumps(
    {"metadata": {}, "payload": base64.b64encode(b"inside").decode()}
).encode()


def same(data: bytes) -> bytes:
    """What goes in comes out."""
    return data


def bytes_hex(data: bytes) -> bytes:
    """What goes in comes out in hexadecimal digits."""
    return data.hex().encode()


def _is_encapsulated(want: bytes, got: bytes) -> bool:
    try:
        return base64.b64decode(json.loads(got)["payload"]) == want
    except (ValueError, KeyError):
        return False


INNERS = (
    Inner("Echo", {"protocol": "Echo"}, same),
    Inner("Discard", {"protocol": "Discard"}, lambda _: None),
    Inner("Logger", {"protocol": "Logger", "log_file": "/dev/null"}, same),
    Inner("JSONEncap", {"protocol": "JSONEncap"}, same, matches=_is_encapsulated),
    Inner("JSONDecap", {"protocol": "JSONDecap"}, lambda _: b"inside", ENCAPSULATED),
    Inner("Metric", {"protocol": "Metric"}, same),
    Inner(
        "Frame",
        {"protocol": "Frame", "framing": "netstring"},
        lambda data: b"%d:%s," % (len(data), data),
    ),
    Inner(
        "Deframe",
        {"protocol": "Deframe", "framing": "netstring"},
        lambda _: b"inside",
        b"6:inside,",
    ),
    Inner("Python", {"protocol": "Python", "call": "binascii:b2a_hex"}, bytes_hex),
    Inner("Exec", {"protocol": "Exec", "command": ["cat"]}, same),
    Inner(
        "FanOut",
        {"protocol": "FanOut", "clusters": ["echo", "hole"]},
        same,
        others=(
            {"name": "echo", "spec": {"protocol": "Echo"}},
            {"name": "hole", "spec": {"protocol": "Discard"}},
        ),
    ),
    Inner("Sync", {"protocol": "Sync", "query": "/name"}, lambda _: None),
    Inner(
        "Prometheus",
        {"protocol": "Prometheus"},
        lambda _: b"# TYPE listener_requests_total counter",
        matches=lambda want, got: want in got,
    ),
    Inner(
        "L7mpController",
        {"protocol": "L7mpController"},
        lambda _: b"",
        fronts=frozenset(),
        why_not="the controller takes requests of HTTP, which its own tests make",
    ),
    Inner(
        "Stdio",
        {"protocol": "Stdio"},
        lambda _: b"",
        fronts=frozenset(),
        why_not="there is one terminal in a process; the tests of Stdio start their own",
    ),
)
