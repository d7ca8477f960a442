"""
A session as a request to an upstream HTTP server, and that server's answer as facts.

What a session's metadata has under ``/HTTP`` wins where the session began with an HTTP
request or where a rule has put it there; what is missing comes from the cluster.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from l7mp.wire.httpmeta import (
    HOP_BY_HOP,
    NOTHING,
    TOKEN,
    joined,
    mapping,
    named_by_connection,
    plain_headers,
    request_path,
    texts,
)

Fields = list[tuple[str, str]]
"""Names and values, in order."""

CONNECT = "connect"
"""The ``tunnel`` of a request with the method CONNECT; of others, what to upgrade to."""

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""Methods that may be tried twice (RFC 9110, section 9.2.2)."""

BODILESS = frozenset({"GET", "HEAD", "CONNECT", "TRACE"})
"""Methods whose requests have no body unless their client sent one."""

_FRAMING = frozenset({"content-length", "host", "expect", "http2-settings"})
"""Headers that depend on how the request is sent."""

_UNFIT = frozenset(
    {
        "age",
        "authorization",
        "cache-control",
        "content-encoding",
        "content-range",
        "content-type",
        "date",
        "expect",
        "host",
        "if-match",
        "if-none-match",
        "location",
        "max-forwards",
        "pragma",
        "range",
        "retry-after",
        "set-cookie",
        "vary",
        "www-authenticate",
    }
)
"""Fields that may not come behind the body (RFC 9110, section 6.5.1)."""

_HOST = re.compile(r"[!-~]+")
_HANDSHAKE = "sec-websocket-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a cluster says of its requests."""

    method: str = "POST"
    path: str = "/"
    headers: Mapping[str, Any] | None = None
    """In place of the client's of the same name."""
    forwarded: bool = False
    """Whether to add Via, X-Forwarded-For and X-Forwarded-Proto."""
    chunked: bool = False
    """Whether the length that the client announced is not that of the body."""
    scheme: str = "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to ask, without the words that depend on the version."""

    method: str
    target: str
    """Path and query; ``host:port`` for CONNECT."""
    authority: str
    """The value of ``Host``."""
    headers: tuple[tuple[str, str], ...] = ()
    """Without ``Host``, framing and what concerns one connection."""
    has_body: bool = False
    length: int | None = None
    """The length of the body, if it is known."""
    tunnel: str = ""
    """``connect``, a protocol to upgrade to, or nothing."""
    expects: bool = False
    """Whether the client waits for 100 Continue."""
    trailers: bool = False
    """Whether the client understands trailers."""
    strict: bool = False
    """Whether a body without an end must not look complete."""
    scheme: str = "http"

    @property
    def is_upgrade(self) -> bool:
        """Whether another protocol is asked for."""
        return self.tunnel not in {"", CONNECT}

    @property
    def is_idempotent(self) -> bool:
        """Whether it may be sent twice."""
        return self.method in IDEMPOTENT and not self.tunnel


def is_http(about: Mapping[Any, Any]) -> bool:
    """Whether ``/HTTP`` is that of an HTTP listener, whose body is the session's."""
    return "body" in about


def upstream_request(
    metadata: Mapping[str, Any], defaults: Defaults, authority: str
) -> Request:
    """
    What to ask the server at ``authority`` for a session with this metadata.

    Raises ``ValueError`` for what cannot be asked.
    """
    about = mapping(metadata, "HTTP")
    method = _method(about, defaults)
    tunnel = next(texts(about.get("tunnel")), "").lower()
    fields = mapping(about, "headers")
    given = defaults.headers or NOTHING
    host = _first(given, "host") or _first(fields, "host") or authority
    if not TOKEN.fullmatch(method):
        raise ValueError(f"{method!r} is no method")
    if not _HOST.fullmatch(host):
        raise ValueError(f"{host!r} is no host")
    target = _target(about, method, defaults)
    if not _HOST.fullmatch(target):
        raise ValueError(f"{target!r} is nothing to open a tunnel to")
    headers = _headers(fields, given, method)
    if defaults.forwarded:
        headers = _forwarded(headers, metadata)
    known = joined(plain_headers(fields))
    has_body = _has_body(about, method) and not tunnel
    return Request(
        method=method,
        target=target,
        authority=host,
        headers=tuple(headers),
        has_body=has_body,
        length=_length(known, method, has_body, defaults),
        tunnel=tunnel,
        expects=has_body and known.get("expect", "").lower() == "100-continue",
        trailers="trailers" in known.get("te", "").lower(),
        strict=is_http(about),
        scheme=defaults.scheme,
    )


def connect_request(host: str, port: int, headers: Mapping[str, Any]) -> Request:
    """Ask a proxy for a tunnel to somewhere (RFC 9110, section 9.3.6)."""
    target = _authority(host, str(port))
    own = {"host", *HOP_BY_HOP} - {"proxy-authorization"}
    fields = tuple(
        (name, value)
        for name, value in plain_headers(headers)
        if name.lower() not in own
    )
    return Request(
        method="CONNECT",
        target=target,
        authority=target,
        headers=fields,
        tunnel=CONNECT,
    )


def _authority(host: str, port: str) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _method(about: Mapping[Any, Any], defaults: Defaults) -> str:
    """The session's method; that of a WebSocket's handshake is not about its data."""
    method = next(texts(about.get("method")), "")
    shaken = any(
        str(name).lower().startswith(_HANDSHAKE) for name in mapping(about, "headers")
    )
    if not method or (shaken and not is_http(about)):
        return defaults.method
    return method


def _target(about: Mapping[Any, Any], method: str, defaults: Defaults) -> str:
    url = mapping(about, "url")
    if method == "CONNECT":
        host, port = (next(texts(url.get(part)), "") for part in ("host", "port"))
        return _authority(host, port)
    path = next(texts(url.get("path")), "")
    if path == "*" and method == "OPTIONS":
        return path
    return request_path(path or defaults.path)


def _has_body(about: Mapping[Any, Any], method: str) -> bool:
    if is_http(about):
        return about["body"] is True
    return method not in BODILESS


def _length(
    known: Mapping[str, str], method: str, has_body: bool, defaults: Defaults
) -> int | None:
    """The length to announce, none for what is chunked or has nothing to announce."""
    if not has_body:
        return None if method in BODILESS | {"DELETE", "OPTIONS"} else 0
    text = known.get("content-length", "")
    chunked = defaults.chunked or "transfer-encoding" in known
    if chunked or not (text.isascii() and text.isdigit()):
        return None
    return int(text)


def _first(fields: Mapping[Any, Any], name: str) -> str:
    """The first value of a field."""
    values = (v for n, v in plain_headers(fields) if n.lower() == name)
    return next(values, "")


def _headers(
    fields: Mapping[Any, Any], instead: Mapping[Any, Any], method: str
) -> Fields:
    """End-to-end headers, in order; those of ``instead`` take the place of theirs."""
    hidden = HOP_BY_HOP | _FRAMING | named_by_connection(fields)
    given = {str(name).lower() for name in instead}
    passed = [
        (name, value)
        for name, value in plain_headers(fields)
        if name.lower() not in hidden | given
    ]
    if method == "CONNECT":
        hidden -= {"proxy-authorization"}
    own = [
        (name, value)
        for name, value in plain_headers(instead)
        if name.lower() not in hidden
    ]
    return passed + own


def _forwarded(headers: Fields, metadata: Mapping[str, Any]) -> Fields:
    """Who asked, and how (RFC 9110, section 7.6.3, and what everybody else sends)."""
    source = next(texts(mapping(metadata, "IP").get("src_addr")), "")
    version = next(texts(mapping(metadata, "HTTP").get("version")), "1.1")
    scheme = "https" if "TLS" in metadata else "http"
    headers = [header for header in headers if header[0].lower() != "x-forwarded-proto"]
    headers = _appended(headers, "via", f"{version} l7mp")
    if source:
        headers = _appended(headers, "x-forwarded-for", source)
    return [*headers, ("x-forwarded-proto", scheme)]


def _appended(headers: Fields, name: str, value: str) -> Fields:
    before = [text for known, text in headers if known.lower() == name]
    others = [header for header in headers if header[0].lower() != name]
    return [*others, (name, ", ".join((*before, value)))]


def has_body(headers: Mapping[str, str]) -> bool:
    """Whether a request of HTTP/1.1 with these headers has a body."""
    length = headers.get("content-length", "0")
    return "transfer-encoding" in headers or bool(length.strip("0"))


def upgrade_of(headers: Mapping[str, str]) -> str:
    """
    The protocol that a client would rather speak (RFC 9110, section 7.8), if any.

    Not HTTP/2, which nothing obliges us to change to (RFC 9113, section 3.1).
    """
    if "upgrade" not in named_by_connection(headers):
        return ""
    wish = headers.get("upgrade", "").partition(",")[0].strip(" \t").lower()
    return "" if wish == "h2c" or not TOKEN.fullmatch(wish) else wish


# -- answers ------------------------------------------------------------------


def response_facts(
    status: int, headers: Iterable[tuple[bytes, bytes]], tunnel: str = ""
) -> dict[str, Any]:
    """
    The head of a response as metadata that travels with its body.

    ``begin`` asks whoever sends it on not to wait for the body.  Headers of one
    connection are left out, and a length that chunks make meaningless (RFC 9112,
    section 6.3).
    """
    fields: dict[str, str | list[str]] = {}
    for name, value in _decoded(headers):
        known = fields.get(name)
        if known is None:
            fields[name] = value
        elif isinstance(known, list):
            known.append(value)
        else:
            fields[name] = [known, value]
    hidden = HOP_BY_HOP | named_by_connection(fields)
    if "transfer-encoding" in fields:
        hidden |= {"content-length"}
    shown = {name: value for name, value in fields.items() if name not in hidden}
    return {"HTTP": {"status": status, "headers": shown, "begin": True}}


def _decoded(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[str, str]]:
    for name, value in headers:
        yield name.decode("latin-1").lower(), value.decode("latin-1")


def trailer_facts(trailers: Iterable[tuple[bytes, bytes]]) -> dict[str, Any]:
    """Fields that came behind a body, as metadata."""
    return {"HTTP": {"trailers": joined(_decoded(trailers))}}


def trailers_of(facts: Mapping[str, Any]) -> Fields | None:
    """What may be sent behind a body of such facts; None if they do not tell."""
    about = mapping(facts, "HTTP")
    if "trailers" not in about:
        return None
    hidden = HOP_BY_HOP | _UNFIT | {"content-length"}
    return [
        (name.lower(), value)
        for name, value in plain_headers(mapping(about, "trailers"))
        if name.lower() not in hidden
    ]
