"""What OpenSSL says, in words for people."""

from __future__ import annotations

import pytest
from OpenSSL import SSL

from l7mp.errors import Loss, Reason
from l7mp.streams.tls_words import certificate_problem, reason_in_words, tls_loss


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("sslv3 alert certificate expired", "the peer says: certificate expired"),
        ("ssl/tls alert bad certificate", "the peer says: bad certificate"),
        ("tlsv13 alert certificate required", "the peer says: certificate required"),
        ("wrong version number", "the peer does not speak TLS"),
        ("http request", "the peer speaks plain HTTP"),
        ("unsupported protocol", "no shared version of TLS"),
        ("no shared cipher", "no shared cipher"),
        ("something new", "something new"),
        ("", "broken TLS"),
    ],
)
def test_reasons(said: str, words: str) -> None:
    """Alerts are the peer's words; what we found out ourselves has plain ones."""
    assert reason_in_words(said) == words


def test_errors_become_losses() -> None:
    """The last entry of OpenSSL's queue tells the most."""
    error = SSL.Error([("SSL routines", "", "first"), ("SSL", "", "no shared cipher")])
    assert tls_loss(error) == Loss(Reason.TLS, "no shared cipher")
    hung_up = SSL.SysCallError(-1, "Unexpected EOF")
    assert tls_loss(hung_up) == Loss(Reason.TLS, "the peer hung up")
    assert tls_loss(SSL.Error()).reason is Reason.TLS
    broken = SSL.Error([("SSL routines", "", "record layer failure")])
    assert tls_loss(broken).detail == "the peer does not speak TLS"
    assert tls_loss(broken, established=True).detail == "damaged data"


def test_certificates() -> None:
    """What is wrong with a certificate is said; the rare cases by their number."""
    assert certificate_problem(10) == "certificate expired"
    assert "47" in certificate_problem(47)
