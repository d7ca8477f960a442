"""The headers of JSONSocket."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.errors import LocalError
from l7mp.wire.jsonsocket import (
    Accepted,
    HeaderError,
    HeaderSplitter,
    Rejected,
    Rule,
    build_header,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    is_response,
)


def request(**header: Any) -> Accepted | Rejected | None:
    """The verdict on a client's header."""
    return decode_request(json.dumps(header).encode())


def response(**header: Any) -> Accepted | Rejected | None:
    """The verdict on a server's answer."""
    return decode_response(json.dumps(header).encode())


metadata = st.dictionaries(
    st.text(max_size=3), st.none() | st.integers() | st.text(max_size=3)
)

# -- requests -----------------------------------------------------------------


@given(metadata)
def test_request(header: dict[str, Any]) -> None:
    """A header arrives as it was sent, with the version of JSONSocket."""
    verdict = decode_request(encode_request(header))
    assert verdict == Accepted({**header, "JSONSocketVersion": 1})


def test_version_comes_last() -> None:
    """The version is ours, and comes last, whatever the header says."""
    sent = json.loads(encode_request({"JSONSocketVersion": 7, "a": 1}))
    assert list(sent.items()) == [("a", 1), ("JSONSocketVersion", 1)]


@pytest.mark.parametrize("version", [0, 1, 1.0, -0.0])
def test_versions(version: float) -> None:
    """Versions 0 and 1 are spoken, however the number is written."""
    verdict = request(JSONSocketVersion=version, a=[1])
    assert verdict == Accepted({"JSONSocketVersion": version, "a": [1]})


@pytest.mark.parametrize("version", [-1, 2, 505, 2.0, -1e300, 10**30])
def test_other_versions(version: float) -> None:
    """Any other version is answered 505."""
    verdict = request(JSONSocketVersion=version)
    assert isinstance(verdict, Rejected)
    assert verdict.status == 505


@pytest.mark.parametrize("version", [None, "1", True, False, 0.5, 1.5, -0.5, [1], {}])
def test_no_version(version: Any) -> None:
    """A version that is no whole number is answered 400, and so is none at all."""
    missing = Rejected(400, "JSONSocketVersion must be a whole number")
    assert request(JSONSocketVersion=version) == missing
    assert request(a=1) == missing


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"null",
        b"1",
        b'[{"JSONSocketVersion": 1}]',
        b'{"JSONSocketVersion": 1',
        b'{"JSONSocketVersion": 1} x',
        b'{"JSONSocketVersion": NaN}',
        b'{"JSONSocketVersion": 1, "a": "\xff"}',
        b'{"JSONSocketVersion": 1, "a": ' + b"[" * 9999 + b"]" * 9999 + b"}",
    ],
)
def test_no_header(data: bytes) -> None:
    """What is no JSON object is answered 400, null and deep nests included."""
    verdict = decode_request(data)
    assert isinstance(verdict, Rejected)
    assert verdict.status == 400
    assert verdict.message.startswith("the header is not a JSON object: ")


def test_infinite_version() -> None:
    """A number too large for a float is no whole number."""
    verdict = decode_request(b'{"JSONSocketVersion": 1e999}')
    assert isinstance(verdict, Rejected)
    assert verdict.status == 400


@given(st.binary(max_size=40))
def test_any_datagram(data: bytes) -> None:
    """Every datagram gets a verdict."""
    assert isinstance(decode_request(data), Accepted | Rejected)
    assert isinstance(decode_response(data), Accepted | Rejected)


# -- responses ----------------------------------------------------------------


@given(st.integers(300, 599), st.text(max_size=5))
def test_refusal(status: int, message: str) -> None:
    """The server's status and message are what the client learns."""
    assert decode_response(encode_response(status, message)) == Rejected(
        status, message
    )


def test_refusal_without_a_message() -> None:
    """A message is not required."""
    assert response(JSONSocketVersion=1, JSONSocketStatus=404) == Rejected(404, "")


def test_refusal_without_a_version() -> None:
    """Nor is a version, where the answer is no."""
    refused = response(JSONSocketStatus=400, JSONSocketMessage="what?")
    assert refused == Rejected(400, "what?")


@pytest.mark.parametrize("status", [200, 200.0, 204, 299])
def test_success(status: float) -> None:
    """Any status of 200 to 299 is a success, and the header may be used."""
    header = {"JSONSocketVersion": 0, "JSONSocketStatus": status, "extra": 1}
    assert response(**header) == Accepted(header)


@pytest.mark.parametrize(
    "header",
    [
        {"JSONSocketVersion": 1},
        {"JSONSocketVersion": 1, "JSONSocketStatus": "200"},
        {"JSONSocketVersion": 1, "JSONSocketStatus": True},
        {"JSONSocketVersion": 1, "JSONSocketStatus": 200.5},
        {"JSONSocketVersion": 1, "JSONSocketStatus": 100},
        {"JSONSocketVersion": 1, "JSONSocketStatus": 600},
        {"JSONSocketStatus": 200},
        {"JSONSocketVersion": "1", "JSONSocketStatus": 200},
        {"JSONSocketVersion": 2, "JSONSocketStatus": 200},
        {"JSONSocketVersion": -1, "JSONSocketStatus": 404},
    ],
)
def test_bad_response(header: dict[str, Any]) -> None:
    """An answer without a status or version that we know is a failure, too."""
    verdict = response(**header)
    assert isinstance(verdict, Rejected)
    assert verdict.status == 502
    assert "the response has" in verdict.message


def test_no_response() -> None:
    """An answer that is no JSON object is a failure."""
    verdict = decode_response(b"hello")
    assert isinstance(verdict, Rejected)
    assert verdict.status == 502


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (encode_response(200, "OK"), True),
        (b'{"JSONSocketStatus": null}', True),
        (encode_request({}), False),
        (b'{"JSONSocketStatus": 200', False),
        (b"data", False),
        (b"[]", False),
    ],
)
def test_answers_are_told_from_data(data: bytes, verdict: bool) -> None:
    """What has a status is an answer, however bad; anything else is data."""
    assert is_response(data) is verdict


@given(st.binary(max_size=40))
def test_any_data_is_told_from_answers(data: bytes) -> None:
    """Nothing that comes instead of an answer is an error."""
    assert is_response(data) in (False, True)


# -- over streams of bytes ----------------------------------------------------


def split(*pieces: bytes) -> tuple[bytes, bytes]:
    """Header and data in a stream."""
    splitter = HeaderSplitter()
    for number, piece in enumerate(pieces, start=1):
        parted = splitter.feed(piece)
        if parted is not None:
            return parted[0], b"".join([parted[1], *pieces[number:]])
    pytest.fail("the header did not end")


@given(
    metadata,
    st.sampled_from([b"", b" \n"]),
    st.binary(max_size=20),
    st.lists(st.integers(0, 80), max_size=5),
)
def test_split(
    header: dict[str, Any], space: bytes, data: bytes, places: list[int]
) -> None:
    """However a stream is cut, the first object is the header and the rest is data."""
    sent = encode_request({"s": '}"\\', **header})
    stream = space + sent + data
    ends = [*sorted(places), len(stream)]
    pieces = [stream[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    assert split(*pieces) == (sent, data)


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1", b"[{}]", b" null", b"}"])
def test_no_header_in_a_stream(garbage: bytes) -> None:
    """What cannot become a header is handed out at once, and refused."""
    header, data = split(garbage)
    assert (header, data) == (garbage.lstrip(), b"")
    assert isinstance(decode_request(header), Rejected)


def test_header_without_end() -> None:
    """A header that goes on for ever is handed out at the limit, and refused."""
    splitter = HeaderSplitter(limit=8)
    assert splitter.feed(b'{"a": "') is None
    assert splitter.feed(b"x") is None
    parted = splitter.feed(b"x")
    assert parted == (b'{"a": "xx', b"")
    assert isinstance(decode_request(parted[0]), Rejected)


def test_white_space_without_end() -> None:
    """White space before a header is not kept."""
    splitter = HeaderSplitter(limit=8)
    assert all(splitter.feed(b" " * 100) is None for _ in range(100))
    assert splitter.feed(b"{}x") == (b"{}", b"x")


def test_white_space_alone() -> None:
    """A stream of nothing but white space has no header yet."""
    assert decode_request(b" \n", whole=False) is None
    assert decode_response(b"", whole=False) is None


@given(metadata, st.binary(max_size=20), st.integers(1, 100))
def test_judging_a_stream(header: dict[str, Any], data: bytes, size: int) -> None:
    """Asked with more and more of a stream, judging waits for the header's end."""
    stream = encode_request(header) + data
    end = len(stream) - len(data)
    size = min(size, len(stream))
    verdict = decode_request(stream[:size], whole=False)
    assert (verdict is None) == (size < end)
    whole = decode_request(stream, whole=False)
    assert whole == Accepted({**header, "JSONSocketVersion": 1}, data)


@given(
    st.binary(max_size=40) | st.text('{}"\\\\JSO:1 ', max_size=40).map(str.encode),
    st.lists(st.integers(0, 40), max_size=5),
)
def test_any_stream(data: bytes, places: list[int]) -> None:
    """Whatever follows a brace is parted alike, however it is cut, and judged."""
    stream = b" {" + data
    ends = [*sorted(places), len(stream)]
    splitter, header, rest = HeaderSplitter(), None, b""
    for a, b in zip([0, *ends], ends, strict=False):
        if header is not None:
            rest += stream[a:b]
        elif (parted := splitter.feed(stream[a:b])) is not None:
            header, rest = parted
    whole = HeaderSplitter().feed(stream)
    assert whole == (None if header is None else (header, rest))
    for judge in (decode_request, decode_response):
        verdict = judge(stream, whole=False)
        assert (verdict is None) == (whole is None)


def test_judging_the_stream_of_a_server() -> None:
    """A response may be followed by data at once, and refused at once."""
    accepted = decode_response(encode_response(200, "OK") + b"data", whole=False)
    assert isinstance(accepted, Accepted)
    assert accepted.rest == b"data"
    assert decode_response(encode_response(404, "no"), whole=False) == Rejected(
        404, "no"
    )
    garbage = decode_response(b"HTTP/1.1 400 Bad Request", whole=False)
    assert isinstance(garbage, Rejected)


# -- making a header ----------------------------------------------------------

METADATA: dict[str, Any] = {
    "IP": {"src_addr": "10.0.0.1", "dst_addr": "10.0.0.2"},
    "labels": {"null": None, "no": False, "zero": 0, "empty": "", "list": []},
    "a/b~": [1, {"x": 2}],
}


def built(*rules: Rule) -> dict[str, Any]:
    """The header by these rules, having checked that nothing else changes."""
    before = copy.deepcopy((METADATA, rules))
    header = build_header(METADATA, rules)
    assert (METADATA, rules) == before
    assert list(header)[-1] == "JSONSocketVersion"
    assert header.pop("JSONSocketVersion") == 1
    return header


def test_bare() -> None:
    """Without rules the header is the version."""
    assert built() == {}


@pytest.mark.parametrize("origin", ["IP/src_addr", "/IP/src_addr", "/IP/src_addr/"])
@pytest.mark.parametrize("to", ["from/address", "/from/address", "/from/address/"])
def test_copy(origin: str, to: str) -> None:
    """Metadata is copied to a path in the header; outer slashes are optional."""
    assert built(Rule(to, origin)) == {"from": {"address": "10.0.0.1"}}


@pytest.mark.parametrize(
    ("origin", "value"),
    [("/a~1b~0/0", 1), ("/a~1b~0/1/x", 2), ("/IP", METADATA["IP"]), ("/", METADATA)],
)
def test_origins(origin: str, value: Any) -> None:
    """A path has the escapes of RFC 6901, and numbers for elements of an array."""
    assert built(Rule("/x~1y", origin)) == {"x/y": value}


@pytest.mark.parametrize("to", ["/", ""])
def test_copy_as_the_header(to: str) -> None:
    """With a slash as the target, what is copied becomes the header."""
    assert built(Rule("/a", value=1), Rule(to, "/IP")) == METADATA["IP"]


@pytest.mark.parametrize(
    "origin",
    ["/no", "/IP/no", "/IP/src_addr/0", "/a~1b~0/2", "/a~1b~0/01", "/a~1b~0/x"],
)
def test_missing_is_skipped(origin: str) -> None:
    """What the metadata does not have leaves the header as it is."""
    assert built(Rule("/a", value=1), Rule("/a", origin), Rule("/", origin)) == {"a": 1}


@pytest.mark.parametrize("name", METADATA["labels"])
def test_falsy_values_are_copied(name: str) -> None:
    """Null, false, zero and empty values are copied like any other."""
    assert built(Rule("/x", f"/labels/{name}")) == {"x": METADATA["labels"][name]}


@pytest.mark.parametrize("value", ["text", 5, None, {"x": [1]}])
def test_set(value: Any) -> None:
    """A constant is put at a path of the header."""
    assert built(Rule("a/b", value=value)) == {"a": {"b": value}}


def test_order() -> None:
    """Rules are carried out in order, later ones on top of earlier ones."""
    assert built(
        Rule("/", "/IP"),
        Rule("/src_addr", value="hidden"),
        Rule("/zero", "/labels/zero"),
    ) == {"src_addr": "hidden", "dst_addr": "10.0.0.2", "zero": 0}


def test_version_is_ours() -> None:
    """No rule can claim another version."""
    assert built(Rule("JSONSocketVersion", value=7)) == {}


def test_nothing_is_shared() -> None:
    """What later rules and readers do to a header stays in that header."""
    value = {"n": [0]}
    rules = [Rule("/a", value=value), Rule("/a/x", value=1), Rule("/b", "/IP")]
    for _ in range(2):
        header = build_header(METADATA, rules)
        assert header["a"] == {"n": [0], "x": 1}
        assert header["b"] == METADATA["IP"]
        header["a"]["n"].clear()
        header["b"].clear()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule("/", value=1), "would not be an object with this at /"),
        (Rule("", "/IP/src_addr"), "would not be an object"),
        (Rule("/", value=[]), "would not be an object"),
        (Rule("/a/b", value=1), "no object above /a/b"),
        (Rule("/l/0", value=1), "no object above /l/0"),
        (Rule("/a/b/c", value=1), "no object above /a/b/c"),
    ],
)
def test_no_way(rule: Rule, message: str) -> None:
    """A header stays an object, and what is below a scalar or an array is refused."""
    rules = [Rule("/a", value="scalar"), Rule("/l", value=[1]), rule]
    with pytest.raises(HeaderError, match=message) as info:
        build_header(METADATA, rules)
    assert isinstance(info.value, LocalError)


@given(metadata)
def test_everything(header: dict[str, Any]) -> None:
    """The whole metadata can be sent, and arrives as it was."""
    made = build_header(header, [Rule("/", "/")])
    assert made == {**header, "JSONSocketVersion": 1}
    assert decode_request(encode_request(made)) == Accepted(made)
