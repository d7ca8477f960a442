"""Exchanges, whatever carries them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st

from l7mp.errors import Loss, Reason
from l7mp.streams.http import Exchange, Headers, error_response, with_origin
from l7mp.wire.httpmeta import request_metadata
from tests.streams.loopback import until
from tests.streams.web import Sink, get, loss_of, post, web
from tests.streams.web2 import Client2

ensure = pytest_twisted.ensureDeferred

CHUNKED = get("/", "Transfer-Encoding: chunked", method="POST")
TRAILERS = {"HTTP": {"trailers": {"X-Sum": "1", "Content-Length": "9"}}}


class Paper:
    """A carrier that notes what it is asked."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.status = 0
        self.headers: Headers = []
        self.body = b""

    def begin(self, status: int, headers: Headers) -> None:
        self.status, self.headers = status, headers

    def send(self, data: bytes) -> None:
        self.body += data

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.said.append(name)


def exchange(method: str = "GET", **headers: str) -> tuple[Exchange, Paper]:
    paper = Paper()
    request = request_metadata(method, "/", "1.1", headers.items())
    return Exchange(paper, request), paper


def described(headers: Any, status: Any = 200, method: str = "GET") -> Paper:
    one, paper = exchange(method)
    one.describe({"HTTP": {"status": status, "headers": headers}})
    one.write(b"body")
    one.end()
    return paper


def test_status_and_headers_are_described() -> None:
    """What was described before the first byte is the head of the response."""
    paper = described({"X-One": "1", "Set-Cookie": ["a=b", "c=d"], "Age": 7}, 201)
    assert paper.status == 201
    assert paper.headers == [
        (b"x-one", b"1"),
        (b"set-cookie", b"a=b"),
        (b"set-cookie", b"c=d"),
        (b"age", b"7"),
    ]
    assert paper.body == b"body"


def test_a_description_that_comes_late_is_ignored() -> None:
    """Once the response has begun its head is what it is."""
    one, paper = exchange()
    one.write(b"x")
    one.describe({"HTTP": {"status": 500}})
    assert paper.status == 200


@pytest.mark.parametrize("status", [None, "404", 101, 0, 1000, 2.5])
def test_only_final_statuses_are_sent(status: Any) -> None:
    """A status that cannot end an exchange leaves the one there was."""
    assert described({}, status).status == 200


@pytest.mark.parametrize("facts", [{}, {"HTTP": 1}, {"HTTP": {"headers": []}}])
def test_descriptions_of_others_are_ignored(facts: Any) -> None:
    """Metadata that says nothing about a response changes nothing."""
    one, paper = exchange()
    one.describe(facts)
    one.end()
    assert paper.headers == [(b"content-length", b"0")]


def test_headers_of_the_connection_are_its_own() -> None:
    """Framing cannot be described, nor can a value begin a header of its own."""
    paper = described(
        {
            "Connection": "close",
            "Transfer-Encoding": "chunked",
            "bad name": "x",
            "x": "a\r\nSet-Cookie: b",
            "Content-Length": ["1", "2"],
        }
    )
    assert paper.headers == [(b"x", b"a  Set-Cookie: b")]


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none()))
def test_any_headers_can_be_described(headers: dict[str, Any]) -> None:
    """Whatever is described, what is sent are headers."""
    for name, value in described(headers).headers:
        assert name.strip() == name.lower() != b""
        assert not {0, 10, 13} & set(value)


def test_content_length_is_kept() -> None:
    """A body is never longer than was announced; the rest is counted."""
    one, paper = exchange()
    one.describe({"HTTP": {"headers": {"Content-Length": "3"}}})
    one.write(b"ab")
    one.write(b"cdef")
    one.write(b"g")
    one.end()
    assert (paper.body, one.drops) == (b"abc", {"content-length": 4})
    assert paper.said == ["unregisterProducer", "finish"]


def test_too_short_a_body_is_no_response() -> None:
    """A body that is shorter than announced is cut, not completed."""
    one, paper = exchange()
    one.describe({"HTTP": {"headers": {"Content-Length": "3"}}})
    one.write(b"ab")
    one.end()
    one.gone(Loss(Reason.FIN))
    assert paper.said == ["unregisterProducer", "cut"]
    assert one.loss is not None
    assert one.loss.reason is Reason.PROTOCOL


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304)])
def test_bodiless_responses_may_have_a_length(method: str, status: int) -> None:
    """The length told without a body is that which the body would have."""
    paper = described({"Content-Length": "99"}, status, method)
    assert (paper.headers, paper.body) == ([(b"content-length", b"99")], b"")
    assert paper.said[-1] == "finish"


def test_no_content_has_no_length() -> None:
    """A response 204 has neither a body nor a length (RFC 9110, section 8.6)."""
    paper = described({"Content-Length": "99"}, 204)
    assert (paper.headers, paper.body, paper.said[-1]) == ([], b"", "finish")


def test_an_empty_response() -> None:
    """Ending without having written is an empty response, once."""
    one, paper = exchange()
    one.end()
    one.end()
    assert (paper.status, paper.headers) == (200, [(b"content-length", b"0")])
    assert paper.said == ["unregisterProducer", "finish"]
    assert one.loss is None
    one.gone(Loss(Reason.FIN))
    assert one.loss == Loss(Reason.FIN)


@pytest.mark.parametrize("reason", list(Reason))
def test_closing_before_the_response(reason: Reason) -> None:
    """A stream closed too early tells the client why, in JSON."""
    one, paper = exchange()
    one.close(Loss(reason, "so be it"))
    assert paper.status == Loss(reason).status
    said = json.loads(paper.body)
    assert said["status"] == paper.status
    assert said["message"]
    assert "so be it" in said["content"]
    one.gone(Loss(Reason.FIN))
    assert one.loss == Loss(reason, "so be it")


@pytest.mark.parametrize("reason", list(Reason))
def test_closing_amid_the_response(reason: Reason) -> None:
    """Only a response that was meant to end here is completed."""
    one, paper = exchange()
    one.write(b"x")
    one.close(Loss(reason))
    complete = reason in (Reason.FIN, Reason.DELETED)
    assert paper.said[1] == ("finish" if complete else "cut")
    assert paper.said[-1] == "hurry"
    assert paper.body == b"x"


def test_closing_after_the_response() -> None:
    """A response that is complete is only hurried."""
    one, paper = exchange()
    one.end()
    one.close(Loss(Reason.IDLE))
    assert paper.said == ["unregisterProducer", "finish", "hurry"]
    one.write(b"late")
    assert (paper.body, one.drops) == (b"", {"closing": 4})


def test_aborting_after_the_response() -> None:
    """A complete response that has not left yet is dropped."""
    one, paper = exchange()
    one.end()
    one.abort(Loss(Reason.RESET))
    one.abort(Loss(Reason.IDLE))
    assert paper.said == ["unregisterProducer", "finish", "drop"]
    assert one.loss == Loss(Reason.RESET)


def test_nothing_is_read_after_the_response() -> None:
    """What comes of a request after its response is dropped, held or not."""
    one, paper = exchange("POST")
    one.end()
    assert one.wants_data
    one.release("sink")
    one.hold("x")
    one.body(b"abc")
    one.body_ended()
    one.registerProducer(None, True)  # type: ignore[arg-type]
    assert (one.bytes_in, one.drops, one.read_ended) == (0, {"closing": 3}, True)
    assert paper.said == ["unregisterProducer", "finish"]


def test_problem_details() -> None:
    """A client that accepts RFC 9457 gets errors in its form."""
    one, paper = exchange(accept="application/problem+json, */*;q=0.1")
    one.close(Loss(Reason.TIMEOUT, "too slow"))
    assert (b"content-type", b"application/problem+json") in paper.headers
    assert json.loads(paper.body) == {
        "type": "about:blank",
        "title": "Gateway Timeout",
        "status": 504,
        "detail": "timeout: too slow",
    }


def test_errors_count_octets() -> None:
    """The length of an error's body is counted in octets."""
    headers, body = error_response(599, "árvíztűrő ☃")
    assert dict(headers)[b"content-length"] == b"%d" % len(body)
    assert json.loads(body)["message"] == ""


def test_the_origin_is_named_unless_it_named_itself() -> None:
    """Date and server are ours where the response brings none along."""
    assert with_origin([(b"server", b"theirs")], 0) == [
        (b"date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
        (b"server", b"theirs"),
    ]


@ensure
async def test_trailers_of_http1() -> None:
    """Trailers of a request are told, those of a response go behind its chunks."""
    async with web() as host:
        client = host.client(CHUNKED + b"1\r\nx\r\n0\r\nX-Got: a\r\n\r\n")
        exchange = await host.exchange()
        sink = Sink(exchange)
        await until(lambda: sink.ended)
        assert sink.facts == [{"HTTP": {"trailers": {"x-got": "a"}}}]
        exchange.write(b"x")
        exchange.describe(TRAILERS)
        exchange.end()
        got = await client.hears(b"0\r\nx-sum: 1\r\n\r\n")
        assert b"ontent-Length" not in got.partition(b"\r\n\r\n")[2]


@ensure
@pytest.mark.parametrize(
    ("said", "headers"),
    [
        (get(), {"Content-Length": "1"}),
        (b"GET / HTTP/1.0\r\n\r\n", {}),
        (get(method="HEAD"), {}),
    ],
)
async def test_where_there_is_no_place_for_trailers(
    said: bytes, headers: dict[str, str]
) -> None:
    """Without chunks nothing can be behind a body, and the response is whole."""
    async with web() as host:
        client = host.client(said + get("/next"))
        exchange = await host.exchange()
        Sink(exchange)
        exchange.describe({"HTTP": {"status": 200, "headers": headers}})
        exchange.write(b"x")
        exchange.describe(TRAILERS)
        exchange.end()
        await until(lambda: loss_of(exchange) == "fin")
        assert b"x-sum" not in client.pull()


@ensure
async def test_trailers_of_http2() -> None:
    """The same in frames."""
    async with web() as host:
        client = Client2(host)
        number = client.request("POST", end=False)
        client.data(number, b"x")
        client.wire.send_headers(number, [("x-got", "a")], end_stream=True)
        client.push()
        exchange = await host.exchange()
        sink = Sink(exchange)
        await until(lambda: sink.ended)
        assert sink.facts == [{"HTTP": {"trailers": {"x-got": "a"}}}]
        exchange.write(b"x")
        exchange.describe(TRAILERS)
        exchange.end()
        assert (await client.reply(number)).trailers == {"x-sum": "1"}


@ensure
async def test_whether_there_is_a_body() -> None:
    """Metadata says of every request whether it has a body."""
    async with web() as host:
        host.client(get() + post(b"x") + post(b"") + CHUNKED)
        client = Client2(host)
        client.request()
        client.request("POST", end=False)
        for number in range(6):
            exchange = await host.exchange(number)
            Sink(exchange)
            exchange.end()
        found = sorted(exchange.request["body"] for exchange in host.exchanges)
        assert found == [False] * 3 + [True] * 3


@ensure
async def test_interim_responses() -> None:
    """Interim responses reach clients that know them, and say nothing of the rest."""
    hints = {"HTTP": {"status": 103, "headers": {"Link": "</a>"}, "begin": True}}
    async with web() as host:
        client = host.client(get())
        old = host.client(b"GET / HTTP/1.0\r\n\r\n")
        await until(lambda: len(host.exchanges) == 2)
        two = Client2(host)
        number = two.request()
        await host.exchange(2)
        for exchange in host.exchanges:
            exchange.describe(hints)
            exchange.describe({"HTTP": {"status": 100}})
            exchange.write(b"x")
            exchange.describe(hints)
            exchange.end()
        reply = await client.response()
        assert (reply.informed, reply.status) == ([103], 200)
        assert (await two.reply(number)).informed == [103]
        assert b"103" not in await old.rest()


@ensure
async def test_a_head_that_does_not_wait() -> None:
    """A head that is told to begin leaves before there is any body."""
    async with web() as host:
        client = host.client(get())
        exchange = await host.exchange()
        exchange.describe({"HTTP": {"status": 404, "headers": {}, "begin": True}})
        assert (await client.hears(b"\r\n\r\n")).startswith(b"HTTP/1.1 404")
        assert not exchange.is_over


@ensure
async def test_two_responses_are_none() -> None:
    """A second head cuts off what the first has begun: what follows is another body."""
    head = {"HTTP": {"status": 200, "headers": {}, "begin": True}}
    async with web() as host:
        client = host.client(get())
        exchange = await host.exchange()
        exchange.describe(head)
        exchange.write(b"half")
        exchange.describe(head)
        exchange.write(b"again")
        got = await client.rest()
        assert got.endswith(b"4\r\nhalf\r\n")
        client.close()
        host.clients.clear()
        await until(lambda: loss_of(exchange) == "protocol-error")
