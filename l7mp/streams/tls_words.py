"""Why a handshake failed, in words for people."""

from __future__ import annotations

from collections.abc import Iterable

from OpenSSL import SSL

from l7mp.errors import Loss, Reason

CERTIFICATE = {
    9: "certificate not yet valid",
    10: "certificate expired",
    18: "self-signed certificate of an unknown authority",
    19: "unknown CA",
    20: "unknown CA",
    21: "unknown CA",
    23: "certificate revoked",
    24: "a certificate in the chain is no authority's",
    26: "certificate not meant for this use",
    28: "certificate rejected",
}
"""By the codes of X.509 verification in OpenSSL's x509_vfy.h."""

_NO_TLS = "the peer does not speak TLS"
_DAMAGED = "damaged data"

_WORDS = (
    ("wrong version number", _NO_TLS),
    ("http request", "the peer speaks plain HTTP"),
    ("packet length too long", _NO_TLS),
    ("record layer failure", _NO_TLS),
    ("unsupported protocol", "no shared version of TLS"),
    ("no protocols available", "no shared version of TLS"),
    ("version too low", "no shared version of TLS"),
    ("no shared cipher", "no shared cipher"),
    ("no suitable signature algorithm", "no shared signature algorithm"),
    ("peer did not return a certificate", "the peer shows no certificate"),
    ("unexpected eof", "the peer hung up"),
    ("decryption failed or bad record mac", _DAMAGED),
)
"""Parts of OpenSSL's reasons."""


def certificate_problem(code: int) -> str:
    """What an error of verification means."""
    return CERTIFICATE.get(code, f"certificate refused (OpenSSL verify error {code})")


def tls_loss(error: BaseException, *, established: bool = False) -> Loss:
    """What an exception of OpenSSL's means, in a handshake or behind it."""
    reasons = list(_reasons(error))
    words = reason_in_words(reasons[-1] if reasons else str(error))
    if established and words == _NO_TLS:
        words = _DAMAGED
    return Loss(Reason.TLS, words)


def reason_in_words(reason: str) -> str:
    """OpenSSL's reason; what begins with "the peer says" came as an alert."""
    lowered = reason.lower()
    _, alert, said = lowered.partition(" alert ")
    if alert:
        return f"the peer says: {said}"
    for part, words in _WORDS:
        if part in lowered:
            return words
    return reason or "broken TLS"


def _reasons(error: BaseException) -> Iterable[str]:
    if isinstance(error, SSL.SysCallError):
        yield str(error.args[-1])
    elif isinstance(error, SSL.Error) and error.args:
        yield from (str(one[-1]) for one in error.args[0])
