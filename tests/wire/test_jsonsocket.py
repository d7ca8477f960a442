"""The headers of JSONSocket."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.wire.jsonsocket import (
    Accepted,
    HeaderSplitter,
    Rejected,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)


def request(**header: Any) -> Accepted | Rejected:
    """The verdict on a client's header."""
    return decode_request(json.dumps(header).encode())


def response(**header: Any) -> Accepted | Rejected:
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
