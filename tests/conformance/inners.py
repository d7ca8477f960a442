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
