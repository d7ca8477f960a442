"""HTTP requests as metadata, and metadata as an upstream request."""

from __future__ import annotations

from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.wire.httpmeta import (
    Target,
    handshake_headers,
    head_fields,
    offered_subprotocols,
    plain_headers,
    request_metadata,
    request_path,
    upstream_headers,
    upstream_target,
    websocket_request,
    without_length,
)

DEFAULT = Target("192.0.2.1", 80, "/default")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def url_of(target: str) -> dict[str, str]:
    url: dict[str, str] = request_metadata("GET", target, "1.1", [])["url"]
    return url


def with_url(**parts: Any) -> dict[str, Any]:
    return {"HTTP": {"url": parts}}


def with_headers(headers: Any) -> dict[str, Any]:
    return {"HTTP": {"headers": headers}}


# -- from a request to metadata ---------------------------------------------------


def test_a_request() -> None:
    """A request is its version, its method, its URL and its headers in lower case."""
    headers: list[tuple[bytes | str, bytes | str]] = [(b"Host", b"a"), ("X-Y", " 1 ")]
    assert request_metadata("GET", "/x?y=1", "HTTP/1.1", headers) == {
        "version": "1.1",
        "method": "GET",
        "url": {
            "url": "/x?y=1",
            "href": "/x?y=1",
            "protocol": "",
            "host": "",
            "port": "",
            "path": "/x?y=1",
            "query": "y=1",
        },
        "headers": {"host": "a", "x-y": "1"},
    }


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/a/b", "/a/b", ""),
        ("/a?", "/a?", ""),
        ("/a?b?c", "/a?b?c", "b?c"),
        ("/a#b?c", "/a", ""),
        ("//other.example/a", "//other.example/a", ""),
        ("http://other.example:81/a?b", "/a?b", "b"),
        ("HTTP://other.example", "/", ""),
        ("http://other.example?b", "/?b", "b"),
        ("*", "*", ""),
        ("other.example:443", "", ""),
    ],
)
def test_targets(target: str, path: str, query: str) -> None:
    """The path includes the query; a request target is shown whole beside them."""
    url = url_of(target)
    assert (url["path"], url["query"]) == (path, query)
    assert url["url"] == url["href"] == target


@given(st.text())
def test_clients_cannot_aim(target: str) -> None:
    """No request target, absolute or not, says where a cluster connects."""
    url = url_of(target)
    assert url["protocol"] == url["host"] == url["port"] == ""


def test_repeated_headers() -> None:
    """Repeated headers are joined with commas, cookies with semicolons, in order."""
    headers = [(b"A", b"1"), (b"Cookie", b"x"), (b"a", b"2"), (b"cookie", b"y")]
    shown = request_metadata("GET", "/", "1.1", headers)["headers"]
    assert shown == {"a": "1, 2", "cookie": "x; y"}


@given(st.binary().filter(lambda value: value == value.strip()))
def test_header_values_lose_no_octet(value: bytes) -> None:
    """A header value of any octets is text from which they can be had back."""
    shown = request_metadata("GET", "/", "1.1", [(b"a", value)])["headers"]
    assert shown["a"].encode("latin-1") == value.strip(b" \t")


def test_head_fields() -> None:
    """The lines of a head are its headers, and what is none is left out."""
    head = b"GET / HTTP/1.1\r\nA: b:c\r\nnone\r\nD :e\r\n\r\n"
    assert head_fields(head) == [(b"A", b" b:c"), (b"D", b"e")]


# -- headers for an upstream --------------------------------------------------------


def test_headers_travel() -> None:
    """The client's headers reach the upstream, but for those of its own hop."""
    headers = {
        "host": "l7mp.example",
        "connection": "Upgrade, x-hop",
        "upgrade": "websocket",
        "x-hop": "1",
        "keep-alive": "timeout=5",
        "content-length": "0",
        "sec-websocket-key": "k",
        "sec-websocket-protocol": "chat",
        "proxy-authorization": "secret",
        "cookie": "a=b",
        "origin": "http://page.example",
    }
    assert upstream_headers(with_headers(headers)) == [
        ("cookie", "a=b"),
        ("origin", "http://page.example"),
    ]


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (1, ["1"]),
        (1.5, ["1.5"]),
        (True, ["true"]),
        (["a", 2, None], ["a", "2"]),
        (None, []),
        ({"a": 1}, []),
        ("a\r\nEvil: b\0", ["a  Evil: b"]),
        (" a ", ["a"]),
    ],
)
def test_values_that_rules_set(value: Any, sent: list[str]) -> None:
    """Rules may set numbers and lists; what has no text, and no line break, is sent."""
    assert upstream_headers(with_headers({"x": value})) == [("x", it) for it in sent]


@pytest.mark.parametrize(
    "metadata",
    [{}, {"HTTP": None}, {"HTTP": "x"}, with_headers([1]), with_headers("x")],
)
def test_metadata_without_a_request(metadata: dict[str, Any]) -> None:
    """Sessions that did not begin with a request have no headers and no target."""
    assert upstream_headers(metadata) == []
    assert offered_subprotocols(metadata) == []
    assert upstream_target(metadata, DEFAULT) == DEFAULT


def test_headers_instead() -> None:
    """Headers of the cluster replace the client's; they can set Host but no framing."""
    metadata = with_headers({"a": "1", "host": "b", "c": "3"})
    instead = {"A": 2, "Host": "d", "Upgrade": "e", "Sec-WebSocket-Key": "f"}
    assert upstream_headers(metadata, instead) == [
        ("c", "3"),
        ("A", "2"),
        ("Host", "d"),
    ]


@given(st.dictionaries(st.text(), JSON))
def test_no_header_is_forged(headers: dict[str, Any]) -> None:
    """Whatever rules put under headers, each header stays one line of its own."""
    for name, value in plain_headers(headers):
        assert name.isascii()
        assert not set(name) & set(" :\r\n\t")
        assert not set(value) & set("\r\n\0")


@pytest.mark.parametrize(
    ("value", "offered"),
    [("a", ["a"]), ("a, b,a", ["a", "b"]), ("", []), ("a b, c", ["c"]), (["a"], ["a"])],
)
def test_offered_subprotocols(value: Any, offered: list[str]) -> None:
    """The subprotocols of the client are those of its header, each once."""
    metadata = with_headers({"sec-websocket-protocol": value})
    assert offered_subprotocols(metadata) == offered


# -- where to -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ({}, DEFAULT),
        ({"host": "", "port": "", "path": ""}, DEFAULT),
        ({"host": "h"}, Target("h", 80, "/default")),
        ({"host": "h:81"}, Target("h", 81, "/default")),
        ({"host": "h:"}, Target("h", 80, "/default")),
        ({"host": "h:81", "port": 82}, Target("h", 82, "/default")),
        ({"host": "::1"}, Target("::1", 80, "/default")),
        ({"host": "[::1]:81"}, Target("::1", 81, "/default")),
        ({"port": "81"}, Target("192.0.2.1", 81, "/default")),
        ({"path": "/p?q"}, Target("192.0.2.1", 80, "/p?q")),
        ({"path": "p"}, Target("192.0.2.1", 80, "/p")),
        ({"path": "//x"}, Target("192.0.2.1", 80, "//x")),
        ({"protocol": "wss:"}, Target("192.0.2.1", 80, "/default", "wss")),
        ({"host": None, "path": {"a": 1}}, DEFAULT),
    ],
)
def test_targets_of_upstreams(url: dict[str, Any], target: Target) -> None:
    """A part of the URL that rules have set counts, the cluster says the others."""
    assert upstream_target(with_url(**url), DEFAULT) == target


@pytest.mark.parametrize(
    "url",
    [
        {"port": "x"},
        {"port": 65536},
        {"port": -1},
        {"port": 1.5},
        {"host": "a b"},
        {"host": "a:b"},
        {"host": "[::1"},
        {"host": "ä"},
        {"host": "a\r\nb"},
    ],
)
def test_impossible_targets(url: dict[str, Any]) -> None:
    """Hosts and ports that cannot be one are refused by name."""
    with pytest.raises(ValueError, match="to connect to"):
        upstream_target(with_url(**url), DEFAULT)


@pytest.mark.parametrize(
    ("target", "authority"),
    [
        (Target("h", 80), "h"),
        (Target("h", 81), "h:81"),
        (Target("h", 443, scheme="wss"), "h"),
        (Target("h", 80, scheme="wss"), "h:80"),
        (Target("::1", 80), "[::1]"),
        (Target("::1", 81), "[::1]:81"),
    ],
)
def test_authorities(target: Target, authority: str) -> None:
    """The Host header has brackets and a port where they are needed."""
    assert target.authority == authority


@given(st.text())
def test_paths_are_visible(path: str) -> None:
    """A path on a request line is rooted, ASCII and without white space."""
    shown = request_path(path)
    assert shown.startswith("/")
    assert shown.isascii()
    assert shown.isprintable()
    assert not set(shown) & set(" #")
    assert request_path(shown) == shown


# -- the handshake --------------------------------------------------------------------


def test_the_handshake() -> None:
    """A handshake asks for the path, names the host and offers the subprotocols."""
    target = Target("h", 81, "/p?q")
    request = websocket_request(target, "nonce", [("a", "1"), ("a", "2")], ["x", "y"])
    assert request == (
        b"GET /p?q HTTP/1.1\r\nHost: h:81\r\na: 1\r\na: 2\r\n"
        b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: nonce\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: x, y\r\n\r\n"
    )


def test_the_handshake_with_extensions() -> None:
    """Extensions are offered in a header of their own."""
    request = websocket_request(Target("h", 80), "n", extensions="deflate; a=1")
    assert b"\r\nSec-WebSocket-Extensions: deflate; a=1\r\n" in request


def test_headers_of_a_server() -> None:
    """A server may add any header to its handshake that is not the handshake's own."""
    given = {"Server": "us", "X-N": 1, "Upgrade": "h2", "Sec-WebSocket-Accept": "no"}
    assert handshake_headers({**given, "Content-Length": 5, "a b": "no name"}) == [
        ("Server", "us"),
        ("X-N", "1"),
    ]


def test_a_host_of_the_cluster() -> None:
    """There is one Host header, also if the cluster sets it."""
    request = websocket_request(Target("h", 80), "nonce", [("host", "other")])
    assert request.lower().count(b"host:") == 1
    assert b"host: other\r\n" in request


def test_octets_of_headers() -> None:
    """What came as octets goes as the same octets, and other text as UTF-8."""
    request = websocket_request(Target("h", 80), "n", [("a", "\xe9"), ("b", "\u0151")])
    assert b"a: \xe9\r\nb: \xc5\x91\r\n" in request


@given(
    st.dictionaries(st.text(), JSON, max_size=5), JSON, st.lists(st.text(), max_size=3)
)
def test_every_handshake_is_a_request(
    headers: dict[str, Any], path: Any, offered: list[str]
) -> None:
    """Whatever rules do to metadata, the handshake is one well-formed request."""
    metadata = {
        "HTTP": {
            "url": {"path": path},
            "headers": {**headers, "sec-websocket-protocol": offered},
        }
    }
    target = upstream_target(metadata, DEFAULT)
    request = websocket_request(
        target, "nonce", upstream_headers(metadata), offered_subprotocols(metadata)
    )
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(request)
    event = parser.next_event()
    assert isinstance(event, h11.Request)
    assert parser.trailing_data[0] == b""


@given(st.binary(max_size=80), st.text(max_size=20), st.text(max_size=5))
def test_any_head(head: bytes, target: str, method: str) -> None:
    """Whatever a client sends for a head becomes metadata, and all of it is text."""
    fields = head_fields(b"line\r\n" + head)
    about = request_metadata(method, target, "1.1", fields)
    assert (about["method"], about["url"]["url"]) == (method, target)
    assert all(
        isinstance(text, str) for field in about["headers"].items() for text in field
    )
    assert {name.decode("latin-1").lower() for name, _ in fields} == set(
        about["headers"]
    )


def test_another_length() -> None:
    """What changes a body takes the length away that was announced, and nothing else."""
    headers = {"Content-Length": "3", "x": "1"}
    facts = {"HTTP": {"status": 200, "headers": headers}, "a": 1}
    assert without_length(facts) == {
        "HTTP": {"status": 200, "headers": {"x": "1"}},
        "a": 1,
    }
    assert without_length({"a": 1}) == {"a": 1}
    assert without_length({"HTTP": {"status": 200}}) == {"HTTP": {"status": 200}}


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        ("example.org:443", "example.org", "443"),
        ("[::1]:22", "::1", "22"),
        ("a b:1", "", ""),
        ("/path", "/path", ""),
    ],
)
def test_what_connect_asks_for(target: str, host: str, port: str) -> None:
    """Host and port of CONNECT are told, and aim nothing at all."""
    about = request_metadata("CONNECT", target, "1.1", [])
    assert (about["url"]["host"], about["url"]["port"]) == (host, port)
    assert about["url"]["path"] == ""
    default = Target("fixed.example", 1)
    assert upstream_target({"HTTP": about}, default) == default
