"""permessage-deflate: who agrees to what, and messages there and back."""

from __future__ import annotations

import os
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.wire.deflate import (
    EMPTY,
    TAIL,
    Agreement,
    Deflate,
    DeflateError,
    TooLong,
    agreement,
    answer,
    extensions,
    longest,
    offer,
)

LIMIT = 1 << 16
USUAL = Agreement()
HELLO = bytes.fromhex("f248cdc9c90700")  # RFC 7692, section 7.2.3.1

agreements = st.builds(
    Agreement, st.booleans(), st.booleans(), st.integers(8, 15), st.integers(8, 15)
)


def both(agreed: Agreement = USUAL, limit: int = LIMIT) -> tuple[Deflate, Deflate]:
    """A client and a server that have agreed."""
    return (
        Deflate(agreed, is_server=False, limit=limit),
        Deflate(agreed, is_server=True, limit=limit),
    )


def inflated(by: Deflate, data: bytes, size: int = LIMIT) -> bytes:
    """A message that comes in pieces of ``size`` octets."""
    by.begin()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    message = b"".join(map(by.inflate, pieces))
    by.finish()
    return message


# -- the header ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "listed"),
    [
        ("", []),
        ("a", [("a", {})]),
        (" a ;b ; c = 1,, d", [("a", {"b": None, "c": "1"}), ("d", {})]),
        ('a; b="10"', [("a", {"b": "10"})]),
    ],
)
def test_extensions(header: str, listed: object) -> None:
    """Extensions are read as RFC 6455, section 9.1 has them, quoted values too."""
    assert extensions(header) == listed


@pytest.mark.parametrize(
    "header", ["a b", ";a", "a;", "a; b; b", "a; b=", 'a; b="', "\xe4"]
)
def test_no_extensions(header: str) -> None:
    """What is no list of extensions is told so."""
    with pytest.raises(ValueError, match=r"no extension|twice"):
        extensions(header)


@given(st.text(), st.booleans())
def test_any_header(header: str, context: bool) -> None:
    """Whatever a peer writes there is answered, read, or refused as a ValueError."""
    answer(header, context)
    with suppress(ValueError):
        agreement(header)


# -- agreeing -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "agreed", "words"),
    [
        ("permessage-deflate", Agreement(), ""),
        ("other, permessage-deflate; client_max_window_bits", Agreement(), ""),
        ("permessage-deflate; client_max_window_bits=10", Agreement(), ""),
        (
            "permessage-deflate; server_no_context_takeover",
            Agreement(server_context=False),
            "; server_no_context_takeover",
        ),
        (
            "permessage-deflate; client_no_context_takeover",
            Agreement(client_context=False),
            "; client_no_context_takeover",
        ),
        (
            "permessage-deflate; server_max_window_bits=10",
            Agreement(server_bits=10),
            "; server_max_window_bits=10",
        ),
        (  # the first offer that will do
            "permessage-deflate; unheard_of, permessage-deflate; "
            'server_max_window_bits="8"',
            Agreement(server_bits=8),
            "; server_max_window_bits=8",
        ),
    ],
)
def test_what_a_server_agrees_to(header: str, agreed: Agreement, words: str) -> None:
    """A server takes what the client wants, and says so."""
    assert answer(header, context=True) == (agreed, f"permessage-deflate{words}")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "other",
        "permessage-deflate; a b",
        "permessage-deflate; unheard_of",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=010",
        "permessage-deflate; client_max_window_bits=0",
        "permessage-deflate; server_no_context_takeover=1",
    ],
)
def test_what_a_server_declines(header: str) -> None:
    """What cannot be understood is declined, and the connection goes on without."""
    assert answer(header, context=True) is None


def test_a_server_without_memory() -> None:
    """A server that does not want windows to last says so for both directions."""
    assert answer("permessage-deflate", context=False) == (
        Agreement(server_context=False, client_context=False),
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    )


@pytest.mark.parametrize(
    ("header", "agreed"),
    [
        ("", None),
        ("permessage-deflate", Agreement()),
        (
            "permessage-deflate; server_no_context_takeover; "
            "client_no_context_takeover; server_max_window_bits=9; "
            "client_max_window_bits=8",
            Agreement(False, False, 9, 8),
        ),
    ],
)
def test_what_a_client_agrees_to(header: str, agreed: Agreement | None) -> None:
    """A client does as the server says."""
    assert agreement(header) == agreed


@pytest.mark.parametrize(
    "header",
    [
        "other",
        "permessage-deflate, permessage-deflate",
        "permessage-deflate; unheard_of",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=16",
    ],
)
def test_what_a_client_refuses(header: str) -> None:
    """What was not offered cannot be agreed to."""
    with pytest.raises(ValueError, match="the server"):
        agreement(header)


@pytest.mark.parametrize("context", [True, False])
def test_our_server_takes_our_offer(context: bool) -> None:
    """Both sides of ours come to terms, which are those that both have in mind."""
    answered = answer(offer(context), context=True)
    assert answered is not None
    assert answered == (Agreement(context, context), answered[1])
    assert agreement(answered[1]) == answered[0]


# -- messages -----------------------------------------------------------------


@given(agreements, st.lists(st.binary(max_size=300)), st.integers(1, 50), st.booleans())
def test_there_and_back(
    agreed: Agreement, messages: list[bytes], size: int, from_server: bool
) -> None:
    """Every message arrives as it was, whatever was agreed, in pieces of any size."""
    sender, receiver = both(agreed)[:: -1 if from_server else 1]
    for message in messages:
        if sender.compresses:
            assert inflated(receiver, sender.compress(message), size) == message


@given(st.lists(st.binary(max_size=60), max_size=5), st.integers(0, 100))
def test_any_data(pieces: list[bytes], limit: int) -> None:
    """Whatever a peer sends is data within the limit or an error, and then nothing."""
    _, server = both(limit=limit)
    for _ in range(3):
        got = b""
        try:
            server.begin()
            for piece in pieces:
                got += server.inflate(piece)
            server.finish()
        except DeflateError:
            assert server.inflate(HELLO) == b""
        assert len(got) <= limit


def test_the_rfc() -> None:
    """The examples of RFC 7692, section 7.2.3 are understood."""
    _, server = both()
    assert inflated(server, HELLO) == b"Hello"
    assert inflated(server, bytes.fromhex("f200110000")) == b"Hello"  # 7.2.3.2
    assert inflated(server, bytes.fromhex("000500faff48656c6c6f00")) == (
        b"Hello"  # 7.2.3.3, a block without compression
    )
    last = bytes.fromhex("f348cdc9c9070000")  # 7.2.3.4, a last block
    assert inflated(server, last) == b"Hello"
    assert inflated(server, last, 1) == b"Hello"
    assert inflated(server, HELLO) == b"Hello"
    assert inflated(server, EMPTY) == b""  # 7.2.3.6


def test_memory() -> None:
    """What was said before makes a message shorter, unless that was not agreed to."""
    message = os.urandom(1000)
    client, _ = both()
    forgetful, _ = both(Agreement(client_context=False))
    assert len(client.compress(message)) > 1000
    assert len(client.compress(message)) < 100
    assert len(forgetful.compress(message)) == len(forgetful.compress(message))


def test_empty_messages() -> None:
    """An empty message is one octet, also after others."""
    client, server = both()
    for message in (b"", b"x", b"", b""):
        assert inflated(server, client.compress(message)) == message


def test_windows_that_zlib_has_not() -> None:
    """Whoever may use no more than 2**8 octets of a window sends without compression."""
    client, server = both(Agreement(server_bits=8))
    assert client.compresses
    assert not server.compresses


# -- limits -------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_longest_message(size: int) -> None:
    """A message as long as the limit is taken, and one octet more is too long."""
    client, server = both(limit=1000)
    assert inflated(server, client.compress(bytes(1000)), size) == bytes(1000)
    with pytest.raises(TooLong, match="1000 octets") as caught:
        inflated(server, client.compress(bytes(1001)), size)
    assert caught.value.code == 1009


def test_a_bomb() -> None:
    """Of a message that would be a thousand times as long only the limit is inflated."""
    compressor = zlib.compressobj(wbits=-15)
    bomb = compressor.compress(bytes(100 << 20)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert len(bomb) < 200 << 10
    _, server = both(limit=1 << 20)
    server.begin()
    with pytest.raises(TooLong):
        server.inflate(bomb)
    assert server.inflate(bomb) == b""


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff\xff", "cannot be inflated"),
        (bytes.fromhex("f348cdc9c90700") + b"xx", "behind its last block"),
        (HELLO[:3], "amid its data"),
    ],
)
def test_data_that_is_none(data: bytes, why: str) -> None:
    """What cannot be inflated is told so, with the close code for invalid data."""
    _, server = both()
    with pytest.raises(DeflateError, match=why) as caught:
        inflated(server, data)
    assert caught.value.code == 1007


def test_nothing_has_begun() -> None:
    """Data without a message is none."""
    _, server = both()
    assert server.inflate(HELLO) == b""
    server.finish()


@given(st.integers(0, 1 << 15))
def test_room_on_the_wire(size: int) -> None:
    """Data that cannot be compressed stays within what may come for its length."""
    client, _ = both()
    assert len(client.compress(os.urandom(size))) <= longest(size)
    assert TAIL not in client.compress(b"x")[-4:]
