"""When to try again: values, no clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from l7mp.model.declared import Retry

Event = Literal["connect-failure", "disconnect"]


def retries(policy: Retry, event: Event) -> bool:
    """Whether ``policy`` retries after ``event`` at all."""
    return policy.retry_on in (event, "always")


def delays(policy: Retry, event: Event) -> Iterator[float]:
    """
    The pause, in seconds, before each attempt to get over ``event``.

    A connection that fails is tried once and then ``num_retries`` times more, after
    a pause each.  One that was lost is tried at once, and ``num_retries`` times in
    all.  What is not retried is tried once when it connects, and never again.
    """
    pause = policy.timeout / 1000
    if event == "connect-failure":
        yield 0.0
        if retries(policy, event):
            yield from (pause for _ in range(policy.num_retries))
    elif retries(policy, event) and policy.num_retries:
        yield 0.0
        yield from (pause for _ in range(policy.num_retries - 1))


def attempt_limit(policy: Retry) -> float:
    """Seconds that one attempt may take."""
    return policy.timeout / 1000
