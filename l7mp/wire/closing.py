"""
Why a WebSocket connection closes: its close codes and our reasons for a loss.

What a peer's close frame means (RFC 6455, section 7.4.1, and the IANA registry):

==============================  ==============  =====================================
code                            reason          detail
==============================  ==============  =====================================
1002 1003 1007 1009 1010        protocol-error  the text of the frame
1006, that is no close frame    reset           how the connection was lost; no code
any other; 1005 stands for one  fin             the text of the frame
without a code
==============================  ==============  =====================================

So 1011, 1012 and 1013 are an orderly end, too: the peer took its time to say them.

What we say, in turn: 1000 for what ended in good order or was deleted, 1001 when the
proxy goes down or nothing was heard for too long, 1012 (come back) when a new
configuration ended it, 1013 (try later) when there is no upstream just now, 1011 for
all else, a missing route included; the text says which.  A close frame of the peer at
the other end of the session is passed on as it came, but for codes that speak of the
frames of one connection.
"""

from __future__ import annotations

from l7mp.errors import Loss, Reason

MAX_TEXT = 123
"""Octets of text in a close frame (RFC 6455, section 5.5)."""

NO_CODE = 1005
"""Stands for a close frame without a code; never sent (RFC 6455, section 7.4.1)."""

INTERNAL_ERROR = 1011

_FAULTY = frozenset({1002, 1003, 1007, 1009, 1010})
_OF_ONE_HOP = frozenset({1002, 1004, NO_CODE, 1006, 1007, 1010, 1015})

_CODES = {
    Reason.FIN: 1000,
    Reason.DELETED: 1000,
    Reason.SHUTDOWN: 1001,
    Reason.IDLE: 1001,
    Reason.RECONFIGURED: 1012,
    Reason.REFUSED: 1013,
    Reason.UNREACHABLE: 1013,
    Reason.TIMEOUT: 1013,
    Reason.NO_CLUSTER: 1013,
    Reason.NO_ENDPOINT: 1013,
}


def loss_of_close(code: int | None, text: str | None) -> Loss:
    """What a close frame of the peer's means; it need not have a code, or a text."""
    known = NO_CODE if code is None else code
    reason = Reason.PROTOCOL if known in _FAULTY else Reason.FIN
    return Loss(reason, text or "", known)


def close_of_loss(loss: Loss) -> tuple[int, bytes]:
    """The code and the text, cut to what fits, of the close frame that tells ``loss``."""
    if loss.code is not None and _may_pass(loss.code):
        return loss.code, cut(loss.detail)
    code = _CODES.get(loss.reason, INTERNAL_ERROR)
    return code, b"" if loss.reason is Reason.FIN else cut(str(loss))


def _may_pass(code: int) -> bool:
    """
    Whether a code means the same at the other end of a session.

    Codes of other protocols (statuses, exit codes) are smaller than any of these.
    """
    registered = 1000 <= code <= 1013 and code not in _OF_ONE_HOP
    return registered or 3000 <= code <= 4999


def cut(text: str, limit: int = MAX_TEXT) -> bytes:
    """The longest beginning of ``text`` that has ``limit`` octets of UTF-8 at most."""
    octets = text.encode("utf-8", "replace")[:limit]
    return octets.decode("utf-8", "ignore").encode()
