"""The handshake of WebSocket is answered as RFC 6455 wants."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from l7mp.wire.httpwebsocket import accept_headers, accept_of


def test_the_example_of_the_standard() -> None:
    """The key of RFC 6455, section 1.3 has the answer that it has there."""
    assert accept_of("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_only_a_key_is_answered() -> None:
    """Who wants another protocol gets no such header."""
    assert accept_headers({"upgrade": "foo"}) == []
    assert accept_headers({"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}) == [
        (b"sec-websocket-accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    ]


@given(st.text())
def test_any_key_has_an_answer(key: str) -> None:
    """A client may send what it likes; the answer is 20 octets in base64."""
    assert len(accept_of(key)) == 28
