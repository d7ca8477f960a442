"""L7mpController: where sessions meet the REST API."""

from __future__ import annotations

import pytest
from twisted.web.resource import Resource
from twisted.web.server import Request

from l7mp.errors import LocalError, Loss, Reason, RemoteError
from l7mp.protocols import l7mpcontroller
from tests.protocols.one import One


class Api(Resource):
    isLeaf = True

    def render(self, request: Request) -> bytes:
        return b"answer to " + request.path


REQUEST = {"HTTP": {"method": "GET", "url": {"path": "/x"}, "headers": {}}}


def test_requests_are_answered() -> None:
    """An HTTP session gets the answer of the resource that was lent."""
    stream, sink = One(l7mpcontroller, controller=Api()).connect(REQUEST)
    stream.end()
    assert b"".join(sink.written) == b"answer to /x"
    assert stream.loss == Loss(Reason.FIN)


def test_other_sessions_are_refused() -> None:
    """A session that is no request is refused as soon as it says anything."""
    stream, sink = One(l7mpcontroller, controller=Api()).connect({})
    stream.write(b"hello")
    assert stream.loss.reason is Reason.REFUSED
    assert stream.drops == {"refused": 1}
    assert sink.written == []


def test_without_a_controller_there_is_nobody_to_ask() -> None:
    """A proxy put together without a controller says so."""
    with pytest.raises((LocalError, RemoteError), match="without a controller"):
        One(l7mpcontroller).connect(REQUEST)
