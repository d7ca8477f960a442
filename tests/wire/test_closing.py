"""Close codes of WebSocket as losses, and losses as close codes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7mp.errors import Loss, Reason
from l7mp.wire.closing import MAX_TEXT, close_of_loss, cut, loss_of_close


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (None, Reason.FIN),
        (1000, Reason.FIN),
        (1001, Reason.FIN),
        (1002, Reason.PROTOCOL),
        (1003, Reason.PROTOCOL),
        (1007, Reason.PROTOCOL),
        (1008, Reason.FIN),
        (1009, Reason.PROTOCOL),
        (1010, Reason.PROTOCOL),
        (1011, Reason.FIN),
        (1012, Reason.FIN),
        (1013, Reason.FIN),
        (3000, Reason.FIN),
        (4999, Reason.FIN),
    ],
)
def test_codes_of_peers(code: int | None, reason: Reason) -> None:
    """A close frame is an orderly end unless its code tells of a fault in what we said."""
    assert loss_of_close(code, None).reason is reason


@pytest.mark.parametrize(
    ("code", "text", "known", "detail"),
    [
        (1000, "bye", 1000, "bye"),
        (1000, None, 1000, ""),
        (1000, "", 1000, ""),
        (None, None, 1005, ""),
        (4000, "two words", 4000, "two words"),
    ],
)
def test_words_of_peers(
    code: int | None, text: str | None, known: int, detail: str
) -> None:
    """The loss has the code and the text; 1005 stands for a frame without a code."""
    loss = loss_of_close(code, text)
    assert (loss.code, loss.detail) == (known, detail)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.FIN, 1000),
        (Reason.DELETED, 1000),
        (Reason.SHUTDOWN, 1001),
        (Reason.IDLE, 1001),
        (Reason.RECONFIGURED, 1012),
        (Reason.REFUSED, 1013),
        (Reason.UNREACHABLE, 1013),
        (Reason.TIMEOUT, 1013),
        (Reason.NO_CLUSTER, 1013),
        (Reason.NO_ENDPOINT, 1013),
        (Reason.NO_ROUTE, 1011),
        (Reason.RESET, 1011),
        (Reason.PROTOCOL, 1011),
        (Reason.TLS, 1011),
        (Reason.LOCAL, 1011),
    ],
)
def test_codes_of_ours(reason: Reason, code: int) -> None:
    """The code that we close with says whether to be content, to come back or neither."""
    assert close_of_loss(Loss(reason, "why"))[0] == code


@given(
    st.sampled_from(Reason),
    st.text(max_size=200),
    st.none() | st.integers() | st.integers(990, 1020) | st.integers(2990, 5010),
)
def test_every_loss_can_be_told(
    reason: Reason, detail: str, number: int | None
) -> None:
    """Whatever the loss, the frame has a code that may be sent and 123 octets at most."""
    code, text = close_of_loss(Loss(reason, detail, number))
    assert 1000 <= code <= 1013 or 3000 <= code <= 4999
    assert code not in {1004, 1005, 1006}
    assert len(text) <= MAX_TEXT
    text.decode()


def test_words_of_ours() -> None:
    """The text of a close is the loss, and nothing where all is well."""
    assert close_of_loss(Loss(Reason.NO_ROUTE, "no rule"))[1] == b"no-route: no rule"
    assert close_of_loss(Loss(Reason.FIN, "whatever")) == (1000, b"")


@given(
    st.sampled_from([1000, 1001, 1003, 1008, 1009, 1011, 1013, 3000, 4001, 4999]),
    st.text(st.characters(codec="utf-8"), max_size=30),
)
def test_closes_are_passed_on(code: int, text: str) -> None:
    """What the peer at one end of a session closed with is what the other end hears."""
    assert close_of_loss(loss_of_close(code, text)) == (code, text.encode())


@pytest.mark.parametrize("code", [1002, 1007, 1010])
def test_faults_of_one_connection_stay_there(code: int) -> None:
    """A code that speaks of the frames of one connection means nothing at another."""
    assert close_of_loss(loss_of_close(code, "what?"))[0] == 1011


@pytest.mark.parametrize(
    "code", [0, 200, 999, 1004, 1005, 1006, 1014, 1015, 2000, 5000]
)
def test_codes_that_may_not_be_sent(code: int) -> None:
    """Codes that must not be on the wire are replaced (RFC 6455, section 7.4.1)."""
    assert close_of_loss(Loss(Reason.FIN, "", code)) == (1000, b"")


def test_words_are_no_codes() -> None:
    """A detail that reads like a close of a peer's is not taken for one."""
    assert close_of_loss(Loss(Reason.FIN, "close 4000 kicked")) == (1000, b"")


@given(st.text(max_size=60), st.integers(0, 200))
def test_cut(text: str, limit: int) -> None:
    """Text is cut between characters, and only if it must be."""
    whole = text.encode("utf-8", "replace")
    octets = cut(text, limit)
    assert whole.startswith(octets)
    assert len(octets) <= limit
    assert octets == whole or limit - len(octets) < 4
    octets.decode()
