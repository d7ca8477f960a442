"""Sessions as requests, responses as facts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.wire.httpmeta import request_metadata
from l7mp.wire.httprequest import (
    Defaults,
    Request,
    connect_request,
    has_body,
    response_facts,
    trailer_facts,
    trailers_of,
    upgrade_of,
    upstream_request,
)
from tests.model.json_values import json_values, texts

AT = "up.example:8080"


def session(
    method: str = "GET",
    target: str = "/a?b=c",
    version: str = "1.1",
    body: bool = False,
    **headers: Any,
) -> dict[str, Any]:
    """The metadata of a session of an HTTP listener's."""
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    about = request_metadata(method, target, version, named)
    return {"HTTP": {**about, "body": body}, "IP": {"src_addr": "192.0.2.7"}}


def asked(metadata: dict[str, Any], **defaults: Any) -> Request:
    return upstream_request(metadata, Defaults(**defaults), AT)


def test_a_request_is_passed_on() -> None:
    """Method, path and end-to-end headers are the client's, and so is Host."""
    request = asked(
        session("PUT", body=True, host="www", x_one="1", content_length="7")
    )
    assert request == Request(
        method="PUT",
        target="/a?b=c",
        authority="www",
        headers=(("x-one", "1"),),
        has_body=True,
        length=7,
        strict=True,
    )


def test_a_session_of_another_kind_has_what_the_cluster_says() -> None:
    """Without a request, method, path, headers and Host are the cluster's own."""
    request = asked({"IP": {}}, method="PUT", path="/in", headers={"X-One": 1})
    assert request == Request(
        method="PUT",
        target="/in",
        authority=AT,
        headers=(("X-One", "1"),),
        has_body=True,
    )
    assert asked({}, headers={"Host": "www"}).authority == "www"


def test_rules_have_the_last_word() -> None:
    """What a rule has put into the metadata of any session is asked."""
    about = {"method": "PATCH", "url": {"path": "/x y"}, "headers": {"Host": "w"}}
    request = asked({"HTTP": about})
    assert (request.method, request.target, request.authority) == (
        "PATCH",
        "/x%20y",
        "w",
    )


def test_headers_of_one_connection_stay_there() -> None:
    """Hop-by-hop headers, those named by Connection, and framing are not passed on."""
    hidden: dict[str, Any] = {
        "connection": "x-mine, close",
        "x_mine": "1",
        "keep_alive": "5",
        "te": "gzip",
        "transfer_encoding": "chunked",
        "upgrade": "foo",
        "http2_settings": "x",
        "proxy_authorization": "secret",
    }
    request = asked(session("GET", "/", "1.1", True, **hidden))
    assert request.headers == ()
    assert (request.has_body, request.length, request.trailers) == (True, None, False)


def test_the_clusters_headers_replace_the_clients() -> None:
    """A header that the cluster names is sent once, and with the cluster's value."""
    headers = {"X-One": "ours", "Connection": "close"}
    request = asked(session(x_one="theirs", x_two="2"), headers=headers)
    assert request.headers == (("x-two", "2"), ("X-One", "ours"))


def test_who_asked_is_told_where_it_is_wanted() -> None:
    """Via, X-Forwarded-For and -Proto are appended to those of proxies before us."""
    before: dict[str, Any] = {"via": "1.0 a", "x_forwarded_for": "198.51.100.1"}
    request = asked(
        session(version="2.0", x_forwarded_proto="ftp", **before), forwarded=True
    )
    assert dict(request.headers) == {
        "via": "1.0 a, 2.0 l7mp",
        "x-forwarded-for": "198.51.100.1, 192.0.2.7",
        "x-forwarded-proto": "http",
    }
    fields = dict(asked({"TLS": {}}, forwarded=True).headers)
    assert fields == {"via": "1.1 l7mp", "x-forwarded-proto": "https"}


@pytest.mark.parametrize(
    ("method", "body", "length", "said"),
    [
        ("GET", False, "", None),
        ("DELETE", False, "", None),
        ("POST", False, "", 0),
        ("POST", True, "12", 12),
        ("POST", True, "twelve", None),
        ("POST", True, "12, 12", None),
        ("GET", True, "", None),
    ],
)
def test_how_long_the_body_is(
    method: str, body: bool, length: str, said: int | None
) -> None:
    """A length is announced where it is known, and where its absence would puzzle."""
    request = asked(session(method, body=body, content_length=length))
    assert (request.has_body, request.length) == (body, said)


def test_a_length_that_transforms_change_is_not_announced() -> None:
    """With ``chunked`` no notice is taken of the length that the client knows."""
    metadata = session("POST", body=True, content_length="12")
    assert asked(metadata, chunked=True).length is None


@pytest.mark.parametrize(("method", "body"), [("GET", False), ("POST", True)])
def test_some_methods_have_no_body(method: str, body: bool) -> None:
    """What is no request of a client's has a body, if its method has one."""
    assert asked({}, method=method).has_body is body


def test_what_shook_hands_for_websocket_is_no_request() -> None:
    """The method of a WebSocket's handshake says nothing about its messages."""
    about = request_metadata("GET", "/ws", "1.1", [("Sec-WebSocket-Key", "x")])
    request = asked({"HTTP": about})
    assert (request.method, request.target) == ("POST", "/ws")


def test_what_a_client_expects() -> None:
    """100 Continue is asked for if the client asks, and there is a body to wait for."""
    assert asked(session(body=True, expect="100-Continue")).expects
    assert not asked(session(body=False, expect="100-continue")).expects
    assert asked(session(te="trailers, deflate")).trailers


def test_everything_of_a_server() -> None:
    """An asterisk is a target for OPTIONS only."""
    assert asked(session("OPTIONS", "*")).target == "*"
    assert asked(session("GET", "*")).target == "/*"


@pytest.mark.parametrize(
    "about",
    [
        {"method": "GET IT"},
        {"headers": {"host": "a b"}},
        {"method": "GÉT"},
        {"method": "CONNECT", "url": {"host": "a b", "port": 1}},
    ],
)
def test_what_cannot_be_asked(about: dict[str, Any]) -> None:
    """A method or a host that could not be sent is an error, and named."""
    with pytest.raises(ValueError, match="is no"):
        asked({"HTTP": about})


def test_tunnels_pass_through() -> None:
    """CONNECT goes on with its target, an upgrade with its protocol."""
    connect = session("CONNECT", "example.org:443")
    connect["HTTP"]["tunnel"] = "connect"
    request = asked(connect, headers={"Proxy-Authorization": "secret"})
    assert (request.target, request.tunnel, request.has_body) == (
        "example.org:443",
        "connect",
        False,
    )
    assert request.headers == (("Proxy-Authorization", "secret"),)
    assert not request.is_upgrade
    upgrade = session(upgrade="websocket", sec_websocket_key="k")
    upgrade["HTTP"]["tunnel"] = "WebSocket"
    request = asked(upgrade)
    assert (request.tunnel, request.is_upgrade) == ("websocket", True)
    assert request.headers == (("sec-websocket-key", "k"),)
    assert not request.is_idempotent
    assert asked(session()).is_idempotent


def test_a_tunnel_of_ones_own() -> None:
    """A proxy is asked for a host and a port, IPv6 in brackets."""
    request = connect_request("::1", 22, {"Proxy-Authorization": "x", "Host": "y"})
    assert (request.method, request.target) == ("CONNECT", "[::1]:22")
    assert request.headers == (("Proxy-Authorization", "x"),)
    assert connect_request("a", 1, {}).authority == "a:1"


ABOUT = st.fixed_dictionaries(
    {},
    optional={
        "method": json_values | st.sampled_from(["GET", "CONNECT", "OPTIONS"]),
        "url": json_values | st.fixed_dictionaries({"path": json_values}),
        "headers": json_values | st.dictionaries(texts, json_values, max_size=4),
        "tunnel": json_values,
        "body": json_values,
        "version": json_values,
    },
)


@given(ABOUT | json_values, json_values)
def test_rules_may_put_anything_anywhere(about: Any, source: Any) -> None:
    """Whatever metadata is, there is a request that can be sent, or a ``ValueError``."""
    metadata = {"HTTP": about, "IP": source, "TLS": {}}
    try:
        request = upstream_request(metadata, Defaults(forwarded=True), AT)
    except ValueError:
        return
    assert request.target.isascii()
    assert not set("\r\n") & set("".join(map("".join, request.headers)))


@pytest.mark.parametrize(
    ("headers", "whether"),
    [
        ({}, False),
        ({"content-length": "0"}, False),
        ({"content-length": "10"}, True),
        ({"transfer-encoding": "chunked"}, True),
    ],
)
def test_bodies_of_requests(headers: dict[str, str], whether: bool) -> None:
    """Only a length or chunks make a body."""
    assert has_body(headers) is whether


@pytest.mark.parametrize(
    ("connection", "upgrade", "found"),
    [
        ("Upgrade", "WebSocket", "websocket"),
        ("keep-alive, upgrade", "foo, bar", "foo"),
        ("close", "websocket", ""),
        ("upgrade, http2-settings", "h2c", ""),
        ("upgrade", "", ""),
        ("upgrade", "a b", ""),
    ],
)
def test_wishes_to_upgrade(connection: str, upgrade: str, found: str) -> None:
    """An upgrade is asked for by two headers, and never to HTTP/2."""
    assert upgrade_of({"connection": connection, "upgrade": upgrade}) == found


def test_a_response_as_facts() -> None:
    """Status and end-to-end headers travel; what is repeated is a list."""
    headers = [
        (b"Set-Cookie", b"a"),
        (b"Set-Cookie", b"b"),
        (b"Set-Cookie", b"c"),
        (b"Connection", b"x-hop"),
        (b"X-Hop", b"1"),
        (b"Content-Length", b"3"),
    ]
    assert response_facts(201, headers) == {
        "HTTP": {
            "status": 201,
            "headers": {"set-cookie": ["a", "b", "c"], "content-length": "3"},
            "begin": True,
        }
    }
    chunked = [*headers[5:], (b"transfer-encoding", b"chunked")]
    assert response_facts(200, chunked)["HTTP"]["headers"] == {}


def test_trailers_as_facts_and_back() -> None:
    """Trailers survive the way through metadata, but for what may not be one."""
    facts = trailer_facts([(b"X-Sum", b"1"), (b"x-sum", b"2"), (b"Host", b"evil")])
    assert trailers_of(facts) == [("x-sum", "1, 2")]
    assert trailers_of({"HTTP": {"status": 200}}) is None
    assert trailers_of({}) is None
