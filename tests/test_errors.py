"""What can go wrong, as values and exceptions."""

from __future__ import annotations

import pytest

from l7mp.errors import LocalError, Loss, Reason, RemoteError


@pytest.mark.parametrize("reason", Reason)
def test_status_is_an_error(reason: Reason) -> None:
    """Every reason has a status of RFC 9110 that says an error."""
    assert Loss(reason).status in (404, 500, 502, 503, 504)


def test_status_by_default() -> None:
    """What the network or the peer did is a bad gateway."""
    assert Loss(Reason.REFUSED).status == 502
    assert Loss(Reason.NO_ROUTE).status == 404


def test_only_a_reset_is_disorderly() -> None:
    """After all but a reset, what was under way is delivered."""
    assert [one for one in Reason if not Loss(one).orderly] == [Reason.RESET]


def test_loss_as_text() -> None:
    """A loss reads as its reason, with the peer's code and the detail behind it."""
    assert str(Loss(Reason.FIN)) == "fin"
    assert str(Loss(Reason.LOCAL, "disk full")) == "local-error: disk full"
    assert str(Loss(Reason.FIN, "kicked", 4000)) == "fin 4000: kicked"
    assert str(Loss(Reason.FIN, code=0)) == "fin 0"


def test_remote_error_tells_its_loss() -> None:
    """A remote error has its loss and reads as it does."""
    loss = Loss(Reason.TIMEOUT, "2 s")
    assert RemoteError(loss).loss is loss
    assert str(RemoteError(loss)) == str(loss)


def test_local_error_is_a_bad_request() -> None:
    """A request that cannot be carried out is a bad one, unless it says else."""
    assert LocalError("no").status == 400
