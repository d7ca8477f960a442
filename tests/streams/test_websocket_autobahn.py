"""Handshakes of WebSocket, on either side."""

from __future__ import annotations

from typing import Any

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from txaio import tx

from l7mp.errors import Loss, Reason
from l7mp.streams.websocket import Settings
from l7mp.streams.websocket_autobahn import ClientFactory
from l7mp.streams.websocket_link import MAX_HEAD
from tests.streams.loopback import Collector
from tests.streams.websockets import (
    REQUEST,
    TEXT,
    Side,
    client,
    dialed,
    frame,
    head,
    request,
    response,
    served,
    server,
)

HANDSHAKE = Settings().handshake


def answer_of(side: Side) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of the complete response that a client has got."""
    reader = h11.Connection(h11.CLIENT)
    headers = [("Host", "a"), ("Upgrade", "websocket"), ("Connection", "Upgrade")]
    reader.send(h11.Request(method="GET", target="/", headers=headers))
    reader.send(h11.EndOfMessage())
    reader.receive_data(side.wire.take())
    got = reader.next_event()
    assert isinstance(got, h11.Response | h11.InformationalResponse)
    body = b""
    if isinstance(got, h11.Response):
        while isinstance(event := reader.next_event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage)
    return got.status_code, dict(got.headers), body


# -- the server's side ------------------------------------------------------------------


def test_a_client_is_let_in() -> None:
    """A handshake is accepted at once, and the request is told as metadata."""
    side = server()
    side.feed(request("/chat?room=1", X_A="1"))
    status, headers, _ = answer_of(side)
    assert status == 101
    assert headers[b"sec-websocket-accept"] == b"ICX+Yqv66kxgM0FcWaLWlFLwTAI="
    [about] = side.requests
    assert about["method"] == "GET"
    assert about["version"] == "1.1"
    assert about["url"]["path"] == "/chat?room=1"
    assert about["headers"]["x-a"] == "1"
    assert about["headers"]["host"] == REQUEST["Host"]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (head("GET /other HTTP/1.1", REQUEST), 404),
        (head("GET /path/ HTTP/1.1", REQUEST), 404),
        (head("GET //path HTTP/1.1", REQUEST), 404),
        (head("GET /path HTTP/1.1", {"Host": "a"}), 426),
        (head("POST /path HTTP/1.1", REQUEST), 405),
        (head("GET /path HTTP/1.0", REQUEST), 505),
        (head("GET /p\xe4th HTTP/1.1", REQUEST), 400),
        (head("GET", REQUEST), 400),
        (request("/path", Sec_WebSocket_Version="12"), 400),
        (request("/path", Sec_WebSocket_Key="\xe4"), 400),
        (request("/path", Host=None), 400),
        (request("/path", Connection="close"), 400),
        (b"\r\n\r\n", 400),
        (b"\0\r\n\r\n", 400),
    ],
)
def test_who_is_not_let_in(asked: bytes, status: int) -> None:
    """Whoever asks for something else gets the HTTP status that says what is wrong."""
    side = server(path="/path")
    side.feed(asked)
    got, headers, body = answer_of(side)
    assert got == status
    assert headers[b"connection"] == b"close"
    assert body
    assert side.streams == []
    side.settle()
    assert not side.clock.getDelayedCalls()


def test_what_a_refusal_must_say() -> None:
    """426 says what to upgrade to, 405 what is allowed, an unknown version the known."""
    for asked, header in (
        (head("GET / HTTP/1.1", {"Host": "a"}), (b"upgrade", b"websocket")),
        (head("POST / HTTP/1.1", REQUEST), (b"allow", b"GET")),
        (request(Sec_WebSocket_Version="99"), (b"sec-websocket-version", b"13")),
    ):
        side = server()
        side.feed(asked)
        _, headers, _ = answer_of(side)
        assert header[1] in headers[header[0]]


@pytest.mark.parametrize("target", ["/path", "/path?query", "http://a/path"])
def test_the_path_that_is_served(target: str) -> None:
    """A path is served whatever the query, and also to those who write a whole URL."""
    side = server(path="/path")
    side.feed(request(target))
    assert answer_of(side)[0] == 101


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        (None, "a, b", b"a"),
        (None, None, None),
        (["b", "a"], "c, a, b", b"a"),
        (["b"], "a", None),
        ([], "a", None),
        (["b"], None, None),
    ],
)
def test_subprotocols(wanted: Any, offered: str | None, chosen: bytes | None) -> None:
    """The first of the client's subprotocols is chosen, of those known if any are."""
    side = server(subprotocols=wanted)
    side.feed(request(Sec_WebSocket_Protocol=offered))
    status, headers, _ = answer_of(side)
    assert status == 101
    assert headers.get(b"sec-websocket-protocol") == chosen


@pytest.mark.parametrize("origin", ["null", "http://page.example", "file:///page"])
def test_origins(origin: str) -> None:
    """Pages from anywhere are let in; rules can tell them apart."""
    side = server()
    side.feed(request(Origin=origin))
    assert answer_of(side)[0] == 101
    assert side.requests[0]["headers"]["origin"] == origin


def test_headers_of_the_listener() -> None:
    """The response has the listener's own headers, once."""
    side = server(headers=[("Server", "here"), ("X-A", "1")])
    side.feed(request())
    _, headers, _ = answer_of(side)
    assert (headers[b"server"], headers[b"x-a"]) == (b"here", b"1")


@pytest.mark.parametrize(
    ("offered", "context", "agreed"),
    [
        (None, True, None),
        ("x-webkit-deflate-frame", True, None),
        ("permessage-deflate; unheard_of", True, None),
        ("permessage-deflate; a b", True, None),
        ("permessage-deflate; client_max_window_bits", True, b"permessage-deflate"),
        (
            "permessage-deflate",
            False,
            b"permessage-deflate; server_no_context_takeover;"
            b" client_no_context_takeover",
        ),
    ],
)
def test_compression_of_a_listener(
    offered: str | None, context: bool, agreed: bytes | None
) -> None:
    """Where a listener may compress, it takes the first offer that it understands."""
    side = server(Settings(deflate=True, deflate_context=context))
    side.feed(request(Sec_WebSocket_Extensions=offered))
    status, headers, _ = answer_of(side)
    assert status == 101
    assert headers.get(b"sec-websocket-extensions") == agreed


def test_no_compression() -> None:
    """Compression is not agreed to."""
    side = server()
    side.feed(request(Sec_WebSocket_Extensions="permessage-deflate"))
    assert b"sec-websocket-extensions" not in answer_of(side)[1]


def test_a_request_without_an_end() -> None:
    """Who sends more header than anybody needs is refused before memory is short."""
    side = server()
    side.feed(b"GET / HTTP/1.1\r\n")
    line = b"X: " + b"x" * 1000 + b"\r\n"
    for _ in range(MAX_HEAD // len(line) + 2):
        side.feed(line)
    assert answer_of(side)[0] == 431
    side.feed(line)
    assert len(side.link.data) <= MAX_HEAD + 2 * len(line)


def test_a_client_that_takes_its_time() -> None:
    """Who does not shake hands in time is dropped."""
    side = server()
    side.feed(b"GET / HTTP/1.1\r\n")
    side.clock.advance(HANDSHAKE)
    assert side.wire.aborted
    side.settle()
    assert not side.clock.getDelayedCalls()


def test_a_server_that_stops() -> None:
    """Who has not shaken hands when the server stops is dropped; others stay."""
    side = server()
    side.factory.stop()
    assert side.wire.aborted
    side = served()
    side.factory.stop()
    assert not side.wire.aborted


# -- the client's side --------------------------------------------------------------------


def test_the_request() -> None:
    """The request has the headers given, the subprotocols, and nothing of autobahn's."""
    side = client(headers=[("x-a", "1")], subprotocols=["chat"])
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(side.wire.take())
    asked = reader.next_event()
    assert isinstance(asked, h11.Request)
    assert asked.target == b"/path"
    headers = dict(asked.headers)
    assert len(headers.pop(b"sec-websocket-key")) == 24
    assert headers == {
        b"host": b"192.0.2.2:5000",
        b"x-a": b"1",
        b"upgrade": b"websocket",
        b"connection": b"Upgrade",
        b"sec-websocket-version": b"13",
        b"sec-websocket-protocol": b"chat",
    }


@pytest.mark.parametrize(
    ("context", "offered"),
    [
        (True, b"permessage-deflate; client_max_window_bits"),
        (
            False,
            b"permessage-deflate; client_max_window_bits;"
            b" server_no_context_takeover; client_no_context_takeover",
        ),
    ],
)
def test_compression_of_a_cluster(context: bool, offered: bytes) -> None:
    """Where a cluster may compress, it offers to, and its server need not agree."""
    side = client(Settings(deflate=True, deflate_context=context))
    asked = side.wire.take()
    assert b"\r\nSec-WebSocket-Extensions: " + offered + b"\r\n" in asked
    side.feed(response(asked))
    side.stream.write(b"plain")
    assert side.said() == [(2, b"plain")]


@pytest.mark.parametrize(
    "agreed",
    [
        "other",
        "permessage-deflate; unheard_of",
        "permessage-deflate, permessage-deflate",
        "permessage-deflate; server_max_window_bits=16",
    ],
)
def test_compression_that_was_not_offered(agreed: str) -> None:
    """A server that compresses in another way than offered breaks the protocol."""
    side = client(Settings(deflate=True))
    side.feed(response(side.wire.take(), Sec_WebSocket_Extensions=agreed))
    assert [loss.reason for loss in side.refused] == [Reason.PROTOCOL]
    assert side.streams == []


@pytest.mark.parametrize(
    ("answer", "loss"),
    [
        (
            head("HTTP/1.1 404 Not Found", {}),
            Loss(Reason.REFUSED, "HTTP 404 Not Found"),
        ),
        (head("HTTP/1.1 503 ", {}), Loss(Reason.REFUSED, "HTTP 503")),
        (head("HTTP/1.1 200 \xe4", {"X": "\xe4"}), Loss(Reason.REFUSED, "HTTP 200 ?")),
    ],
)
def test_a_server_that_refuses(answer: bytes, loss: Loss) -> None:
    """A status other than 101 is a refusal, and the loss says which."""
    side = client()
    side.feed(answer)
    assert side.refused == [loss]
    assert side.wire.aborted
    side.settle()
    assert not side.clock.getDelayedCalls()


@pytest.mark.parametrize(
    "wrong",
    [
        {"Sec_WebSocket_Accept": "AAAA"},
        {"Sec_WebSocket_Accept": None},
        {"Upgrade": None},
        {"Connection": "close"},
        {"Sec_WebSocket_Protocol": "unasked"},
        {"Sec_WebSocket_Extensions": "permessage-deflate"},
    ],
)
def test_a_server_that_errs(wrong: dict[str, str | None]) -> None:
    """A server that does not do as the client asked breaks the protocol."""
    side = client()
    side.feed(response(side.wire.take(), **wrong))
    assert [loss.reason for loss in side.refused] == [Reason.PROTOCOL]
    assert side.wire.aborted
    assert side.streams == []


def test_headers_in_other_tongues() -> None:
    """A response with octets that are no ASCII in its headers is a response."""
    side = client()
    side.feed(response(side.wire.take(), Server="\xe4"))
    assert len(side.streams) == 1


def test_a_response_without_an_end() -> None:
    """A server that sends header without end is given up."""
    side = client()
    for _ in range(MAX_HEAD // 1000 + 2):
        side.feed(b"x" * 1000)
    assert [loss.reason for loss in side.refused] == [Reason.PROTOCOL]
    assert side.wire.aborted


def test_a_server_that_takes_its_time() -> None:
    """A server that does not shake hands in time is given up."""
    side = client()
    side.clock.advance(HANDSHAKE)
    assert [loss.reason for loss in side.refused] == [Reason.TIMEOUT]
    assert side.wire.aborted


@pytest.mark.parametrize("error", [None, ConnectionLost])
def test_a_server_that_hangs_up(error: type[BaseException] | None) -> None:
    """A connection that goes during the handshake was reset."""
    side = client()
    side.vanish(error) if error else side.vanish()
    assert [loss.reason for loss in side.refused] == [Reason.RESET]
    assert side.refused[0].detail
    assert not side.clock.getDelayedCalls()


def test_hanging_up() -> None:
    """A handshake can be given up at any time, also before there is a connection."""
    side = client()
    side.factory.hang_up()
    assert side.wire.aborted
    target = side.factory._target
    ClientFactory(side.clock, target, side.born, side.refused.append).hang_up()


# -- both -------------------------------------------------------------------------------


MESSAGES = st.lists(
    st.tuples(st.sampled_from([TEXT, 2]), st.text(max_size=150).map(str.encode)),
    max_size=5,
)


@settings(max_examples=40)
@given(MESSAGES, st.booleans(), st.data())
def test_chunks_make_no_difference(
    messages: list[tuple[int, bytes]], is_server: bool, data: st.DataObject
) -> None:
    """However the octets arrive, the messages are the same, those with the head too."""
    side = server() if is_server else client()
    first = request() if is_server else response(side.wire.take())
    wire = first + b"".join(
        frame(payload, opcode, masked=is_server) for opcode, payload in messages
    )
    while wire:
        size = data.draw(st.integers(1, len(wire)))
        side.feed(wire[:size])
        wire = wire[size:]
    assert Collector(side.stream).got == [payload for _, payload in messages]
    assert side.losses == []
    assert not side.clock.getDelayedCalls()


def test_no_clock_but_ours() -> None:
    """No timer of autobahn's ever runs: they would not run on the reactor handed in."""
    tx.config.loop, loop = None, tx.config.loop
    try:
        for side in (served(Settings(ping_interval=1)), dialed()):
            side.stream.end()
            side.clock.pump([0, 1, 1])
            side.closes(1000)
            side.vanish()
        assert tx.config.loop is None
    finally:
        tx.config.loop = loop
