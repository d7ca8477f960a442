"""What tests of the REST API share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_twisted

from tests.admin.served import Served


@pytest_twisted.async_yield_fixture
async def api() -> AsyncIterator[Served]:
    """A proxy without any configuration, and its API."""
    from twisted.internet import reactor

    served = Served(reactor)
    yield served
    await served.close()
