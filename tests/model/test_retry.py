"""When to try again."""

from __future__ import annotations

import pytest

from l7mp.model.declared import Retry, RetryOn
from l7mp.model.retry import Event, attempt_limit, delays, retries


def policy(on: RetryOn, times: int = 2) -> Retry:
    return Retry(retry_on=on, num_retries=times, timeout=500)


@pytest.mark.parametrize(
    ("on", "event", "expected"),
    [
        ("never", "connect-failure", [0.0]),
        ("never", "disconnect", []),
        ("connect-failure", "connect-failure", [0.0, 0.5, 0.5]),
        ("connect-failure", "disconnect", []),
        ("disconnect", "connect-failure", [0.0]),
        ("disconnect", "disconnect", [0.0, 0.5]),
        ("always", "connect-failure", [0.0, 0.5, 0.5]),
        ("always", "disconnect", [0.0, 0.5]),
    ],
)
def test_delays(on: RetryOn, event: Event, expected: list[float]) -> None:
    """The first attempt does not count when connecting, but does after a loss."""
    assert list(delays(policy(on), event)) == expected
    assert retries(policy(on), event) == (on in (event, "always"))


def test_no_retries() -> None:
    """With no retries a lost connection is never tried again."""
    assert list(delays(policy("always", 0), "disconnect")) == []
    assert list(delays(policy("always", 0), "connect-failure")) == [0.0]


def test_attempt_limit() -> None:
    """The time-out, in milliseconds, limits an attempt, too."""
    assert attempt_limit(policy("never")) == 0.5
