"""What happens is told as values."""

from __future__ import annotations

import dataclasses

import pytest

from l7mp.core import events


@pytest.mark.parametrize(
    "kind",
    [kind for kind in vars(events).values()
     if isinstance(kind, type) and issubclass(kind, events.Event)],
)  # fmt: skip
def test_events_are_frozen(kind: type[events.Event]) -> None:
    """An observer cannot change what the next one hears."""
    event = kind(*[None] * len(dataclasses.fields(kind)))
    with pytest.raises((AttributeError, TypeError)):
        setattr(event, "session", "other")  # noqa: B010  # frozen, says the type
