"""Every framing, and what is special about some."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.wire.framing import FRAMINGS, Decoder, Packer, codec

NAMES = sorted(FRAMINGS)
LIMIT = 300
"""Bytes in a message, in these tests."""

AWKWARD = [b"\n", b"\r", b"\0", b"\xc0", b"\xdb", b"\xdc", b"\xdd", b"1:", b",", b"x"]
MESSAGES = st.lists(
    st.binary(max_size=30)
    | st.lists(st.sampled_from(AWKWARD), max_size=6).map(b"".join)
    | st.integers(240, LIMIT).map(lambda length: b"m" * length)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=4,
    ).map(lambda value: json.dumps(value, indent=1).encode()),
    max_size=8,
)
CUTS = st.lists(st.integers(1, 40), max_size=12)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """The same in pieces, some of one byte."""
    pieces = []
    for size in cuts:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


def found(decoder: Decoder, *pieces: bytes, end: bool = True) -> list[bytes]:
    messages = [message for piece in pieces for message in decoder.feed(piece)]
    return messages + (decoder.end() if end else [])


def same(name: str, message: bytes) -> bytes:
    """What comes out for a message that goes in."""
    if name != "json-lines":
        return message
    return message.strip(b" \t\r\n").replace(b"\n", b" ")


@given(messages=MESSAGES, cuts=CUTS)
def test_round_trip(messages: list[bytes], cuts: list[int]) -> None:
    """What a framing takes comes out as it went in, however the stream is cut."""
    for name in NAMES:
        one = codec(name, LIMIT)
        taken, stream = [], b""
        for message in messages:
            frame = one.pack(message) if len(message) <= one.most else None
            if frame is not None:
                taken.append(same(name, message))
                stream += frame
        decoder = one.decoder()
        assert found(decoder, *cut(stream, cuts)) == taken, name
        assert (decoder.broken, decoder.dropped) == ("", {}), name


@given(
    data=st.binary(max_size=80)
    | st.lists(st.sampled_from([*AWKWARD, b"3:abc,", b"12:", b"[1]"])).map(b"".join)
    | st.integers(LIMIT - 5, LIMIT + 5).map(lambda n: b" " * n + b"\n[2]\n\0"),
    cuts=CUTS,
)
def test_any_chunking(data: bytes, cuts: list[int]) -> None:
    """Whatever a peer sends, in whatever pieces, the same is made of it."""
    for name in NAMES:
        whole, pieces = codec(name, LIMIT).decoder(), codec(name, LIMIT).decoder()
        assert found(whole, data) == found(pieces, *cut(data, cuts)), name
        assert whole.broken == pieces.broken, name
        assert whole.dropped == pieces.dropped, name


@given(pieces=st.lists(st.binary(max_size=200), max_size=20))
def test_memory(pieces: list[bytes]) -> None:
    """No decoder keeps more than the longest frame and what came last."""
    for name in NAMES:
        decoder = codec(name, LIMIT).decoder()
        for piece in pieces:
            decoder.feed(piece)
            assert len(decoder._buffer) <= 2 * LIMIT + 5 + len(piece), name


@pytest.mark.parametrize("name", NAMES)
def test_after_the_break(name: str) -> None:
    """A frame that is too long breaks a decoder for good, after what came before."""
    small, large = codec(name, 10), codec(name, LIMIT)
    good, bad = small.pack(b"[1]"), large.pack(b'["a long message"]')
    assert good is not None
    assert bad is not None
    for pieces in ([good + bad + good], [good, bad[:-1], bad[-1:], good]):
        decoder = small.decoder()
        assert found(decoder, *pieces) == [b"[1]"]
        assert "frame" in decoder.broken
        assert decoder.dropped == {}


@pytest.mark.parametrize("name", NAMES)
def test_endless_frame(name: str) -> None:
    """A frame that does not end breaks the decoder before it is kept whole."""
    decoder = codec(name, 10).decoder()
    start = b"9" if name == "netstring" else b"\xff"
    found(decoder, *[start] * 30, end=False)
    assert decoder.broken or name == "u8"


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("u8", b"\x02hi"),
        ("u16be", b"\0\x02hi"),
        ("u16le", b"\x02\0hi"),
        ("u32be", b"\0\0\0\x02hi"),
        ("u32le", b"\x02\0\0\0hi"),
        ("rfc4571", b"\0\x02hi"),
        ("lines", b"hi\n"),
        ("nul", b"hi\0"),
        ("netstring", b"2:hi,"),
        ("cobs", b"\x03hi\0"),
        ("slip", b"\xc0hi\xc0"),
    ],
)
def test_frames(name: str, frame: bytes) -> None:
    """Each framing puts on the wire what its peers expect."""
    assert codec(name).pack(b"hi") == frame


@pytest.mark.parametrize(
    ("name", "most"),
    [("u8", 255), ("u16be", 65535), ("u32le", 1 << 20), ("nul", 1 << 20)],
)
def test_most(name: str, most: int) -> None:
    """A message is as long as the framing can say, and as was allowed."""
    assert codec(name).most == most


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lines", b"two\nlines"),
        ("lines", b"end\r"),
        ("nul", b"a\0"),
        ("slip", b""),
        ("json-lines", b""),
        ("json-lines", b"{} {}"),
        ("json-lines", b"NaN"),
        ("json-lines", b"\xff"),
        ("json-lines", b"[" * 100_000),
    ],
)
def test_refused(name: str, message: bytes) -> None:
    """A message that would come out as another is not packed at all."""
    assert codec(name).pack(message) is None


@pytest.mark.parametrize("name", ["u8", "netstring", "lines", "nul", "cobs"])
def test_empty_messages(name: str) -> None:
    """An empty message is a message where a framing has a frame for it."""
    one = codec(name)
    frame = one.pack(b"")
    assert frame is not None
    assert found(one.decoder(), frame * 2) == [b"", b""]


def test_line_ends() -> None:
    """Lines end in LF or CRLF, and the last one need not end."""
    assert found(codec("lines").decoder(), b"a\r\nb\n\nc\r") == [b"a", b"b", b"", b"c"]


def test_json_lines() -> None:
    """A JSON value is put into one line, numbers and strings as they were written."""
    frame = codec("json-lines").pack(b' {"a":\r\n 1.50e400,\n"b": "\\n"}\n')
    assert frame == b'{"a":\r  1.50e400, "b": "\\n"}\n'
    decoder = codec("json-lines").decoder()
    assert found(decoder, b'1\n \r\n{"a"}\n"x"') == [b"1", b'"x"']
    assert decoder.dropped == {"malformed": 1}


@pytest.mark.parametrize(
    ("name", "data"), [("cobs", b"\x09x\0\x02y\0"), ("slip", b"\xdbx\xc0y\xc0")]
)
def test_resynchronized(name: str, data: bytes) -> None:
    """A frame that makes no sense is dropped and counted, and the next one is found."""
    decoder = codec(name).decoder()
    assert found(decoder, data) == [b"y"]
    assert decoder.dropped == {"malformed": 1}


@pytest.mark.parametrize("data", [b"x", b":", b"03:abc,", b"3:abc;", b"1x:a,", b"-1:,"])
def test_bad_netstrings(data: bytes) -> None:
    """A netstring with another length, or another end, loses the place for good."""
    decoder = codec("netstring").decoder()
    assert found(decoder, b"2:ok," + data) == [b"ok"]
    assert decoder.broken
    assert decoder.feed(b"2:ok,") == []


@pytest.mark.parametrize("name", ["u16be", "netstring", "cobs", "slip"])
def test_truncated(name: str) -> None:
    """What the end of the stream cuts short is no message, and is counted."""
    one = codec(name)
    frame = one.pack(b"message")
    assert frame is not None
    decoder = one.decoder()
    assert found(decoder, frame + frame[:-1]) == [b"message"]
    assert decoder.dropped == {"truncated": 1}


def test_packer() -> None:
    """A transform of messages into frames counts what it cannot frame."""
    packer = Packer(codec("lines", 5))
    messages = (b"one", b"a\nb", b"too long")
    frames = [frame for message in messages for frame in packer.feed(message)]
    assert [*frames, *packer.end()] == [b"one\n"]
    assert packer.dropped == {"unframeable": 1, "oversize": 1}
