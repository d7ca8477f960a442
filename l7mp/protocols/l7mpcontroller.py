"""L7mpController: the REST API, as a place where HTTP sessions end."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.web.server import Site

from l7mp.core.registry import Context, Protocol
from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import IStream, Kind, Metadata
from l7mp.model.config import EndPoint
from l7mp.model.spec import REMOTE_WORDS, Spec
from l7mp.streams.resource import ResourceStream, is_request, site_of
from l7mp.streams.stream import Stream


class L7mpControllerClusterSpec(Spec):
    """Answer requests to the REST API; only HTTP sessions have any."""

    tolerates = REMOTE_WORDS


class Unwilling(Stream):
    """Stands where a session that is no HTTP request asked for the controller."""

    kind = Kind.BYTES

    def write(self, data: bytes) -> None:
        self._drop("refused")
        self.end()

    def end(self) -> None:
        """There is nothing to answer."""
        self.abort(Loss(Reason.REFUSED, "the controller takes HTTP requests"))

    def abort(self, loss: Loss) -> None:
        self._lose(loss)


def connect(
    context: Context,
    spec: L7mpControllerClusterSpec,
    endpoint: EndPoint,
    metadata: Metadata,
) -> Deferred[IStream]:
    """The API, for one request."""
    controller = context.services.get("controller")
    if controller is None:
        why = "this proxy was put together without a controller"
        return fail(RemoteError(Loss(Reason.LOCAL, why)))
    if not is_request(metadata):
        return succeed(Unwilling())
    site: Site = context.resources.get(
        ("L7mpController", "site"), lambda: site_of(controller, context.reactor)
    )
    return succeed(ResourceStream(site, metadata, context.reactor))


protocol = Protocol(
    name="L7mpController",
    kind=Kind.BYTES,
    summary="The REST API of this proxy.",
    cluster=L7mpControllerClusterSpec,
    connect=connect,
    virtual=True,
    balanced=False,
    governs=True,
    aliases=("Controller",),
)
