"""What holds for any bytes that a codec is given; the words of ``wire`` and ``model``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from l7mp.model import predicate, regex
from l7mp.model.load import decode, parse
from l7mp.model.problem import Invalid
from l7mp.model.regex_syntax import RegexError
from l7mp.wire import deflate, ethernet, httpmeta, sctp
from l7mp.wire.closing import MAX_TEXT, close_of_loss, loss_of_close
from l7mp.wire.encap import Decap, Encap
from l7mp.wire.flowkey import json_key, payload_key
from l7mp.wire.framing import FRAMINGS, Codec, codec
from l7mp.wire.http2frames import GoawaySieve
from l7mp.wire.httprequest import (
    Defaults,
    response_facts,
    trailer_facts,
    trailers_of,
    upstream_request,
)
from l7mp.wire.json_object import ObjectScanner, is_shallow, read_object
from l7mp.wire.jsonsocket import (
    Accepted,
    HeaderSplitter,
    Rejected,
    decode_request,
    decode_response,
    encode_request,
    is_response,
)
from l7mp.wire.segment import segments
from l7mp.wire.stuffing import cobs, slip, uncobs, unslip

HERE = httpmeta.Target("192.0.2.1", 80)
NAMES = sorted(FRAMINGS)
LIMIT = 64
LINE_ENDS = frozenset("\r\n\0")


def pieces(data: bytes) -> tuple[bytes, list[bytes]]:
    """Some data, and the same cut; the first byte says how."""
    size, body = 1 + data[0] % 16 if data else 1, data[1:]
    return body, [body[at : at + size] for at in range(0, len(body), size)]


def framing(data: bytes) -> None:
    """Any cut gives the same messages, drops and violations; messages come back."""
    name = NAMES[data[0] % len(NAMES)] if data else "u8"
    made = codec(name, LIMIT)
    body, cut = pieces(data[1:])
    outcomes = []
    for way in ([body], cut):
        decoder = made.decoder()
        messages = [message for piece in way for message in decoder.feed(piece)]
        if not decoder.broken:
            messages += decoder.end()
        outcomes.append((messages, bool(decoder.broken), decoder.dropped))
    assert outcomes[0] == outcomes[1], outcomes
    for message in outcomes[0][0]:
        assert _returned(made, message) in ([message], None)
    if name != "json-lines":  # which writes some JSON in another way
        assert _returned(made, body[:LIMIT]) in ([body[:LIMIT]], None)


def _returned(made: Codec, message: bytes) -> list[bytes] | None:
    """What comes of a message in a frame, None if it has none."""
    frame = made.pack(message) if len(message) <= made.most else None
    if frame is None:
        return None
    decoder = made.decoder()
    return [*decoder.feed(frame), *decoder.end()]


def stuffing(data: bytes) -> None:
    """What is stuffed has none of the bytes that end a frame, and comes back."""
    assert b"\0" not in cobs(data)
    assert uncobs(cobs(data)) == data
    assert unslip(slip(data).strip(b"\xc0")) in (data, None)
    for undo in (uncobs, unslip):
        assert isinstance(undo(data), bytes | None)


def jsonsocket(data: bytes) -> None:
    """Every message gets a verdict, and a stream the same one however it is cut."""
    body, cut = pieces(data)
    for judged in (decode_request(body), decode_response(body)):
        assert isinstance(judged, Accepted | Rejected)
    if isinstance(decode_request(body), Accepted):
        assert isinstance(decode_request(encode_request(read_object(body))), Accepted)
    assert is_response(body) in (True, False)
    if body.lstrip(b" \t\r\n")[:1] == b"{":
        assert _split([body]) == _split(cut)


def _split(cut: Iterable[bytes]) -> tuple[bytes, bytes] | None:
    splitter, found, rest = HeaderSplitter(), None, b""
    for piece in cut:
        if found is not None:
            rest += piece
        else:
            found = splitter.feed(piece)
    return None if found is None else (found[0], found[1] + rest)


def json_object(data: bytes) -> None:
    """An object ends where it ends, however it is cut, and is never too deep."""
    body, cut = pieces(data)
    if body[:1] == b"{":
        scanner, at = ObjectScanner(), 0
        ends = None
        for piece in cut:
            end = scanner.find_end(piece)
            if end is not None:
                ends = at + end
                break
            at += len(piece)
        assert ObjectScanner().find_end(body) == ends
    with suppress(ValueError):
        assert is_shallow(read_object(body))


def encap(data: bytes) -> None:
    """Nothing harms the one who unwraps, and what was wrapped comes out."""
    body, cut = pieces(data)
    decap = Decap(limit=1 << 12)
    for piece in cut:
        assert all(isinstance(message, bytes) for message in decap.feed(piece))
    decap.end()
    (wrapped,) = Encap({"a": {"b": [1]}}).feed(body)
    _, cut = pieces((data or b"0")[:1] + wrapped)
    fresh = Decap()
    assert [m for piece in cut for m in fresh.feed(piece)] == [body]
    assert fresh.dropped == 0


def ethernet_frames(data: bytes) -> None:
    """A frame is understood or refused; a checksum makes none longer."""
    with suppress(ethernet.BadFrame):
        frame = ethernet.parse(data)
        assert ethernet.HEADER <= frame.start <= len(data)
        tagged = ethernet.parse(ethernet.tagged(data, 5, 0x8100))
        assert tagged.vlan == 5
    start, offset = (data[0], data[-1]) if data else (0, 0)
    assert len(ethernet.summed(data, start, offset)) == len(data)
    cut = segments(data, offset, start)
    assert cut == [data] or all(len(one) < len(data) for one in cut)
    text = data.decode("latin-1")
    for read in (ethernet.mac, ethernet.ethertype):
        with suppress(ValueError):
            read(text)


def http_metadata(data: bytes) -> None:
    """No header of anybody's begins a header, or a request, of its own."""
    line, _, rest = data.partition(b"\n")
    about = httpmeta.request_metadata(
        "GET", line.decode("latin-1"), "1.1", httpmeta.head_fields(b"\r\n" + rest)
    )
    _outgoing({"HTTP": about})
    with suppress(ValueError):
        _outgoing({"HTTP": read_object(rest)})


def _outgoing(metadata: dict[str, Any]) -> None:
    headers = httpmeta.upstream_headers(metadata)
    offered = httpmeta.offered_subprotocols(metadata)
    for text in [text for header in headers for text in header] + offered:
        assert not LINE_ENDS & set(text), text
    try:
        target = httpmeta.upstream_target(metadata, HERE)
    except ValueError:
        return
    said = httpmeta.websocket_request(target, "a2V5", headers, offered)
    head, end, body = said.partition(b"\r\n\r\n")
    assert end
    assert not body, said
    assert len(head.split(b"\r\n")) <= 6 + len(headers) + bool(offered)


def http_requests(data: bytes) -> None:
    """Whatever rules have made of metadata, what is asked is one request."""
    with suppress(ValueError):
        request = upstream_request({"HTTP": read_object(data)}, Defaults(), "a.example")
        words = [request.method, request.target, request.authority, request.tunnel]
        words += [text for header in request.headers for text in header]
        assert not any(LINE_ENDS & set(word) for word in words), request
        assert " " not in request.method + request.target + request.authority
    fields = httpmeta.head_fields(b"\r\n" + data)
    assert response_facts(200, fields)["HTTP"]["status"] == 200
    trailers = trailers_of(trailer_facts(fields))
    assert trailers is not None
    assert not any(LINE_ENDS & set(text) for field in trailers for text in field)


def http2_frames(data: bytes) -> None:
    """What passes is the frames that came, in any cut, and farewells are found."""
    body, cut = pieces(data)
    outcomes = []
    for way in ([body], cut):
        sieve = GoawaySieve()
        fed = [sieve.feed(piece) for piece in way]
        passed = b"".join(one for one, _ in fed)
        outcomes.append((passed, [found for _, some in fed for found in some]))
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0][0]) <= len(body)


def closing(data: bytes) -> None:
    """Any close is a loss, and any loss a close that fits into its frame."""
    code = int.from_bytes(data[:2], "big") if data else None
    loss = loss_of_close(code, data[2:].decode("latin-1") if data[2:] else None)
    number, text = close_of_loss(loss)
    assert 1000 <= number < 5000
    assert len(text) <= MAX_TEXT
    text.decode()


def compression(data: bytes) -> None:
    """What cannot be inflated is refused, what was deflated comes back."""
    header = data.decode("latin-1")
    for read in (deflate.extensions, deflate.agreement):
        with suppress(ValueError):
            read(header)
    deflate.answer(header, True)
    body, cut = pieces(data)
    near, far = (
        deflate.Deflate(deflate.Agreement(), is_server=is_server, limit=4096)
        for is_server in (True, False)
    )
    with suppress(deflate.DeflateError):
        far.begin()
        assert sum(len(far.inflate(piece)) for piece in cut) <= 4096
        far.finish()
    far = deflate.Deflate(deflate.Agreement(), is_server=False, limit=len(body))
    for _ in range(2):
        far.begin()
        assert far.inflate(near.compress(body)) == body
        far.finish()


def sctp_events(data: bytes) -> None:
    """Whatever a stack says is understood or nothing to us."""
    for dialect in (sctp.LINUX, sctp.USRSCTP):
        sctp.notification(data, dialect)
    for found in sctp.sockaddrs(data):
        assert 0 <= found.port < 1 << 16
    assert sctp.plausible(data) in (True, False)


def flow_keys(data: bytes) -> None:
    """A datagram has a key or none."""
    for key_of in (payload_key(2, 4), json_key(lambda found: found.get("k"))):
        assert isinstance(key_of(data), str | None)


def expressions(data: bytes) -> None:
    """A pattern is refused or answers, whatever it is asked."""
    pattern, _, text = data.decode("utf-8", "replace").partition("\n")
    for ignore_case in (False, True):
        with suppress(RegexError):
            assert regex.compile(pattern, ignore_case=ignore_case)(text) in (
                True,
                False,
            )


def predicates(data: bytes) -> None:
    """A predicate is refused or answers, whatever it is asked."""
    condition, _, document = data.partition(b"\n")
    asked: dict[str, Any] = {"a": {"b": ["c", 1, None]}}
    with suppress(ValueError):
        asked = read_object(document)
    with suppress(ValueError, predicate.PredicateError):
        assert predicate.compile(read_object(condition))(asked) in (True, False)


def documents(data: bytes) -> None:
    """What is posted is a document or refused with places, in JSON as in YAML."""
    for name in ("it.json", "it.yaml"):
        with suppress(Invalid):
            parse(decode(data, name), name)


TARGETS: dict[str, tuple[Callable[[bytes], None], tuple[bytes, ...]]] = {
    "framing": (
        framing,
        tuple(
            bytes([number, 3]) + seed
            for number in range(len(NAMES))
            for seed in (b"\x05hello\x00\x05hello", b"5:hello,", b'{"a": 1}\n[]\r\n')
        ),
    ),
    "stuffing": (stuffing, (b"\x01\x01\x02", b"\xc0\xdb\xdc\xdd", bytes(300))),
    "jsonsocket": (
        jsonsocket,
        (
            b'3{"JSONSocketVersion": 1, "a": "}\\""}data',
            b'9 {"JSONSocketVersion": 1, "JSONSocketStatus": 404}',
        ),
    ),
    "json_object": (json_object, (b'1{"a": [{"b": "\\"}"}]}', b'2{"a":[[[]]]} x')),
    "encap": (encap, (b'4{"payload": "aGVsbG8=", "metadata": {}}', b"5hello")),
    "ethernet": (
        ethernet_frames,
        (
            bytes(12) + b"\x81\x00\x00\x05\x08\x00abc",
            b"\x07" * 12 + b"\x08\x00" + b"\x45" * 32 + b"\x50" + bytes(30) + b"\x22",
        ),
    ),
    "httpmeta": (
        http_metadata,
        (
            b"http://a/b?c#d\nConnection: x, close\r\nX: 1\r\nCookie: a=b",
            b'/\n{"url": {"host": "[::1]:80", "path": "/ x"}, "headers": {"a": ["b"]}}',
        ),
    ),
    "httprequest": (
        http_requests,
        (
            b'{"method": "PUT", "url": {"path": "/ x"}, "headers": {"host": "b", "a": [1]}}',
            b'{"tunnel": "connect", "method": "CONNECT", "url": {"url": "a:1"}, "body": 1}',
            b"A: b\r\nTransfer-Encoding: x\r\nSet-Cookie: c\r\nset-cookie: d",
        ),
    ),
    "http2frames": (
        http2_frames,
        (b"\x04\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\x01\0\0\0\0\0\x01x",),
    ),
    "closing": (closing, (b"\x03\xe8bye", b"\x03\xf3refused: x", b"")),
    "deflate": (
        compression,
        (
            b"permessage-deflate; client_max_window_bits=8",
            b"7\xf2H\xcd\xc9\xc9\x07\x00",
        ),
    ),
    "sctp": (sctp_events, (b"\x01\x80\0\0\x14\0\0\0" + bytes(20), b"\x02\0" * 40)),
    "flowkey": (flow_keys, (b'{"k": "me"}', b'{"k": 5}')),
    "regex": (expressions, (b"^(a|b)*[^c-e]{2,3}$\nabab", b"(?=x)\\bx+?\nxx")),
    "predicate": (
        predicates,
        (
            b'{"op": "and", "apply": [{"op": "test", "path": "/a", "value": 1}]}\n{}',
            b'{"op": "matches", "path": "/a/b/0", "value": "c+"}\n{"a": {"b": ["c"]}}',
        ),
    ),
    "documents": (documents, (b"a: [1, {b: &x c}]\nd: *x\n", b'{"a": [1, "\\u0041"]}')),
}
"""What is to hold, and examples to begin with, by name."""
