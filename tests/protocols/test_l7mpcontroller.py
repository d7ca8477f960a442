"""The REST API as a cluster."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Request

from l7mp.core.registry import VIRTUAL, Context, Registry
from l7mp.errors import Reason, RemoteError
from l7mp.interfaces import IStream, Metadata
from l7mp.model.config import EndPoint
from l7mp.protocols.l7mpcontroller import L7mpControllerClusterSpec, protocol
from l7mp.streams.resource import ISessionName, ResourceStream
from l7mp.wire.httpmeta import request_metadata
from tests.protocols.test_http import listener
from tests.streams.web import post

ensure = pytest_twisted.ensureDeferred


class Controller(Resource):
    """Answers with the name of the session that asks, and what it said."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        assert request.content is not None
        return b"%s: %s" % (
            str(ISessionName(request, "")).encode(),
            request.content.read(),
        )


def context(**services: object) -> Context:
    return Context(reactor=reactor, registry=Registry({}), services=services)


async def connect(world: Context, metadata: Metadata) -> IStream:
    assert protocol.connect is not None
    spec = L7mpControllerClusterSpec(protocol="L7mpController")
    return await protocol.connect(world, spec, EndPoint("c", VIRTUAL), metadata)


@ensure
async def test_the_api_answers_a_session() -> None:
    """A request of an HTTP listener is answered by the controller that was lent."""
    world = context(controller=Controller())
    async with listener(address="127.0.0.1") as host:
        client = host.client(post(b"hello") + post(b"again"))
        for word in (b"hello", b"again"):
            exchange, metadata, words = await host.session()
            stage = await connect(world, {**metadata, "name": f"HTTP:{words}"})
            exchange.deliver_to(stage)
            stage.deliver_to(exchange)
            stage.release("sink")
            exchange.release("sink")
            reply = await client.response()
            assert reply.status == 200
            assert reply.body == f"HTTP:{words}: ".encode() + word
            assert "transfer-encoding" not in reply.headers
            assert reply.headers["server"] == "l7mp"
            assert isinstance(stage, ResourceStream)
            assert stage.loss is not None
            assert stage.loss.reason is Reason.FIN


@ensure
async def test_there_may_be_no_controller() -> None:
    """A proxy without a controller says so."""
    request = {"HTTP": request_metadata("GET", "/", "1.1", ())}
    with pytest.raises(RemoteError, match="without a controller") as caught:
        await connect(context(), request)
    assert caught.value.loss.reason is Reason.LOCAL


@ensure
async def test_other_sessions_get_no_answer() -> None:
    """A session that is no HTTP request is refused when it says something."""
    stage = await connect(context(controller=Controller()), {"TCP": {}})
    stage.write(b"hello")
    assert stage.loss is not None
    assert stage.loss.reason is Reason.REFUSED
    assert stage.drops == {"refused": 1}
    stage = await connect(context(controller=Controller()), {"TCP": {}})
    stage.end()
    assert stage.loss is not None


def test_how_it_is_spelled() -> None:
    """The cluster has no endpoints, and is known by two names."""
    assert protocol.virtual
    words = Registry.of([protocol]).vocabulary()
    for name in ("L7mpController", "L7MPController", "Controller", "controller"):
        assert words.cluster({"protocol": name}).protocol == "L7mpController"
