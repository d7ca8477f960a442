"""
HTTP requests as metadata of a session, and metadata as an upstream HTTP request.

A request is shown under ``/HTTP``; rules match it and rewrite it; what is there in
the end decides where a WebSocket cluster connects and what it says first.  Header
values are text in ISO 8859-1, which loses no octet (RFC 9110, section 5.5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""
Headers that concern one connection and are never forwarded (RFC 9110, section 7.6.1).

Whatever the ``Connection`` header names is hop-by-hop, too.
"""

_OURS = frozenset({"content-length", "host"})
"""Headers that every request has its own of."""

NOTHING: Mapping[str, Any] = {}
"""No headers."""
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::(\d*))?")
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes."""

    host: str
    """A host name or an IP address, the latter without brackets."""
    port: int
    path: str = "/"
    """Path and query, as on the request line."""
    scheme: str = "ws"

    @property
    def authority(self) -> str:
        """What the ``Host`` header says; ports that go without saying are left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self.scheme in {"wss", "https"} else 80
        return host if self.port == usual else f"{host}:{self.port}"


# -- from a request to metadata -----------------------------------------------


def head_fields(head: bytes) -> list[tuple[bytes, bytes]]:
    """The headers of a request head, in order; lines that are none are left out."""
    lines = head.split(b"\r\n")[1:]
    fields = (line.partition(b":") for line in lines)
    return [(name.strip(), value) for name, colon, value in fields if colon]


def request_metadata(
    method: str,
    target: str,
    version: str,
    headers: Iterable[tuple[bytes | str, bytes | str]],
) -> dict[str, Any]:
    """
    What metadata has under ``/HTTP`` for one request.

    ``version`` is ``"1.1"``, with or without ``HTTP/`` before it.  Repeated headers
    are joined as RFC 9110, section 5.3 allows, cookies as RFC 6265, section 5.4 wants.
    """
    return {
        "version": version.removeprefix("HTTP/"),
        "method": method,
        "url": _connect_url(target) if method == "CONNECT" else _url(target),
        "headers": joined(headers),
    }


def _url(target: str) -> dict[str, str]:
    """
    The parts of a request target (RFC 9112, section 3.2).

    Protocol, host and port stay empty even where the target has them: the WebSocket
    cluster connects where ``/HTTP/url/host`` says when a rewrite rule has set it, and
    a client must not be able to aim the proxy by writing an absolute URL.  They are
    what CONNECT asks for, and where its method is CONNECT nothing is aimed by them.
    """
    path, _, _ = target.partition("#")
    absolute = _ABSOLUTE.match(path)
    if absolute:
        path = path[absolute.end() :]
        path = path if path.startswith("/") else f"/{path}"
    elif not path.startswith(("/", "*")):
        path = ""
    return {
        "url": target,
        "href": target,
        "protocol": "",
        "host": "",
        "port": "",
        "path": path,
        "query": path.partition("?")[2],
    }


def _connect_url(target: str) -> dict[str, str]:
    """The same of a request for a tunnel, whose target is what it asks for."""
    try:
        host, port = _host_and_port(target)
    except ValueError:
        host, port = "", ""
    return {**_url(target), "host": host, "port": port, "path": ""}


def _text(octets: bytes | str) -> str:
    return octets if isinstance(octets, str) else octets.decode("latin-1")


def joined(headers: Iterable[tuple[bytes | str, bytes | str]]) -> dict[str, str]:
    """Headers by name in lower case; repeated ones are one (RFC 9110, section 5.3)."""
    known: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = _text(raw_name).lower(), _text(raw_value).strip(" \t")
        if name in known:
            value = ("; " if name == "cookie" else ", ").join((known[name], value))
        known[name] = value
    return known


# -- from metadata to a request -----------------------------------------------


def upstream_headers(
    metadata: Mapping[str, Any], instead: Mapping[str, Any] = NOTHING
) -> list[tuple[str, str]]:
    """
    The headers under ``/HTTP/headers`` that an upstream should see, in order.

    Those of ``instead`` take the place of theirs.  Left out are those of the client's
    own hop, those that every request has its own of (``Host``, ``Content-Length``,
    ``Sec-WebSocket-…``; the first may be given ``instead``), and what cannot be a
    header.  Rules may have set numbers and lists: those are written as JSON and as
    several headers.  Metadata without ``/HTTP`` has none.
    """
    headers = mapping(mapping(metadata, "HTTP"), "headers")
    named = named_by_connection(headers)
    given = {str(name).lower() for name in instead}
    passed = _except(plain_headers(headers), HOP_BY_HOP | _OURS | named | given)
    return passed + _except(plain_headers(instead), HOP_BY_HOP)


def handshake_headers(headers: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Those of ``headers`` that a server may add to its side of the handshake."""
    return _except(plain_headers(headers), HOP_BY_HOP | _OURS)


def named_by_connection(headers: Mapping[Any, Any]) -> set[str]:
    """Names of headers that ``Connection`` says to be of one connection only."""
    return {
        name.strip().lower()
        for key, value in headers.items()
        if str(key).lower() == "connection"
        for text in texts(value)
        for name in text.split(",")
    }


def without_length(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata about a message of HTTP whose body will have another length."""
    about = mapping(facts, "HTTP")
    headers = about.get("headers")
    if not isinstance(headers, Mapping):
        return dict(facts)
    kept = {k: v for k, v in headers.items() if str(k).lower() != "content-length"}
    return {**facts, "HTTP": {**about, "headers": kept}}


def _except(
    headers: Iterable[tuple[str, str]], names: Set[str]
) -> list[tuple[str, str]]:
    return [
        (name, value)
        for name, value in headers
        if name.lower() not in names and not name.lower().startswith("sec-websocket-")
    ]


def plain_headers(headers: Mapping[Any, Any]) -> list[tuple[str, str]]:
    """
    Any mapping as headers, without what cannot be one.

    Control characters in a value become spaces, as RFC 9110, section 5.5 demands:
    a value from elsewhere must not begin a header, or a request, of its own.
    """
    return [
        (str(name), text)
        for name, value in headers.items()
        if TOKEN.fullmatch(str(name))
        for text in texts(value)
    ]


def texts(value: Any) -> Iterator[str]:
    """A header's values as text; null and objects have no text."""
    if isinstance(value, str):
        yield _CONTROLS.sub(" ", value).strip(" \t")
    elif isinstance(value, bool):
        yield str(value).lower()
    elif isinstance(value, int | float):
        yield str(value)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from texts(one)


def offered_subprotocols(metadata: Mapping[str, Any]) -> list[str]:
    """The subprotocols that the client of a session offered (RFC 6455, section 1.9)."""
    headers = mapping(mapping(metadata, "HTTP"), "headers")
    offered: dict[str, None] = {}
    for key, value in headers.items():
        if str(key).lower() == "sec-websocket-protocol":
            for text in texts(value):
                offered |= {name.strip(): None for name in text.split(",")}
    return [name for name in offered if TOKEN.fullmatch(name)]


def upstream_target(metadata: Mapping[str, Any], default: Target) -> Target:
    """
    Where ``/HTTP/url`` says to connect, and ``default`` where it says nothing.

    The host may bring its port along (``"example.org:8080"``).  Raises ``ValueError``
    for a host or a port that cannot be one.
    """
    about = mapping(metadata, "HTTP")
    url = mapping(about, "url")
    if about.get("method") == "CONNECT":  # the client's wish, and no rule's
        url = NOTHING

    def part(name: str) -> str:
        return next(texts(url.get(name)), "")

    host, port = _host_and_port(part("host"))
    path = part("path")
    return Target(
        host=host or default.host,
        port=_port(part("port") or port) or default.port,
        path=request_path(path) if path else default.path,
        scheme=part("protocol").rstrip(":/").lower() or default.scheme,
    )


def request_path(path: str) -> str:
    """``path`` as a request line may show it: rooted, and only visible characters."""
    rooted = path if path.startswith("/") else f"/{path}"
    return quote(rooted.partition("#")[0], safe=_VISIBLE, errors="replace")


def _host_and_port(authority: str) -> tuple[str, str]:
    if authority.count(":") > 1 and not authority.startswith("["):
        return authority, ""  # an IPv6 address of its own
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None or any(not " " < letter < "\x7f" for letter in authority):
        raise ValueError(f"{authority!r} is no host to connect to")
    return parts[1].strip("[]"), parts[2] or ""


def _port(text: str) -> int:
    """A port number, 0 for none."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 16):
        raise ValueError(f"{text!r} is no port to connect to")
    return int(text)


def websocket_request(
    target: Target,
    key: str,
    headers: Sequence[tuple[str, str]] = (),
    subprotocols: Sequence[str] = (),
    extensions: str = "",
) -> bytes:
    """
    The client's opening handshake (RFC 6455, section 4.1).

    ``key`` is the nonce in base64.  A ``Host`` among ``headers`` replaces ours.
    """
    own = [("Host", target.authority)]
    if any(name.lower() == "host" for name, _ in headers):
        own = []
    lines = [
        *own,
        *headers,
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", "13"),
    ]
    if subprotocols:
        lines.append(("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
    if extensions:
        lines.append(("Sec-WebSocket-Extensions", extensions))
    head = [f"GET {target.path} HTTP/1.1", *(f"{n}: {v}" for n, v in lines)]
    return b"\r\n".join(map(_octets, (*head, "", "")))


def _octets(text: str) -> bytes:
    """Text that came from ISO 8859-1 returns to it; any other goes as UTF-8."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def mapping(value: Any, key: str) -> Mapping[Any, Any]:
    """The mapping at ``key``, an empty one where rules have put something else."""
    inner = value.get(key) if isinstance(value, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}
