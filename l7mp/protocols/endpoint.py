"""
Endpoint: whatever Twisted's endpoint descriptions can say, plugins included.

See https://docs.twisted.org/en/stable/core/howto/endpoints.html for what they say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import Field
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.error import CannotListenError
from twisted.python.failure import Failure
from zope.interface import implementer

from l7mp.core.registry import Accept, Context, Protocol
from l7mp.errors import LocalError
from l7mp.interfaces import IListening, IStream, Kind, Metadata
from l7mp.model.config import EndPoint
from l7mp.model.explain import Says
from l7mp.model.spec import Spec
from l7mp.streams.endpoint import factory_of, tcp_metadata
from l7mp.streams.foreign import ForeignPlumbing, connect_foreign
from l7mp.streams.transport import TransportStream

T = TypeVar("T")

Description = Annotated[
    str,
    Field(min_length=1, examples=["tcp:8000:interface=127.0.0.1", "unix:/run/x"]),
    Says("a description of an endpoint", "must be a description of an endpoint"),
]
"""As Twisted's, for example ``tcp:8000``."""


class EndpointListenerSpec(Spec):
    """Accept connections wherever Twisted can listen; each is a session."""

    server: Description
    """Where, as a server endpoint's description: ``systemd:domain=INET:index=0``."""


class EndpointClusterSpec(Spec):
    """Connect to whatever Twisted can connect to, for each session."""

    client: Description
    """Where to, as a client endpoint's description: ``tls:example.org:443``."""


@implementer(IListening)
class _Listening:
    def __init__(self, port: Any, description: str) -> None:
        self._port, self._description = port, description

    def address(self) -> dict[str, Any]:
        host: Any = self._port.getHost() if hasattr(self._port, "getHost") else None
        if isinstance(host, UNIXAddress):
            return {"filename": _path(host)}
        if hasattr(host, "host"):
            return {"address": host.host, "port": host.port}
        return {"endpoint": self._description}

    def stop(self) -> Deferred[None]:
        return maybeDeferred(getattr(self._port, "stopListening", lambda: None))


def _path(address: UNIXAddress) -> str:
    name = address.name or b""
    return name.decode(errors="surrogateescape") if isinstance(name, bytes) else name


def _known_of(stream: TransportStream, description: str) -> tuple[Metadata, str]:
    """What is known of a connection, and what tells it apart."""
    facts: Metadata = {"Endpoint": {"server": description}}
    own, peer = stream.transport.getHost(), stream.transport.getPeer()
    if isinstance(own, UNIXAddress):
        return {**facts, "UNIX": {"filename": _path(own)}}, ""
    if hasattr(own, "host") and hasattr(peer, "host"):
        metadata, words = tcp_metadata(stream.transport)
        return {**facts, **metadata}, words
    return facts, ""


def _parse(parse: Callable[[Any, str], T], reactor: Any, what: str) -> T:
    """The endpoint of a description; a parser's complaint becomes ours."""
    try:
        return parse(reactor, what)
    except Exception as error:  # plugins raise what they like
        raise LocalError(
            f'"{what}" describes no endpoint: {error or type(error).__name__};'
            " see Twisted's documentation of endpoints"
        ) from error


def listen(
    context: Context, spec: EndpointListenerSpec, accept: Accept
) -> Deferred[IListening]:
    """Listen as the description says."""

    def ready(stream: TransportStream) -> None:
        accept(stream, *_known_of(stream, spec.server))

    def failed(failure: Failure) -> IListening:
        error = failure.value
        assert error is not None, "a failure without an error"
        why = error.socketError if isinstance(error, CannotListenError) else error
        raise LocalError(f'cannot listen at "{spec.server}": {why}') from error

    try:
        endpoint = _parse(serverFromString, context.reactor, spec.server)
    except LocalError as error:
        return fail(error)
    factory = factory_of(lambda: ForeignPlumbing(context.reactor, ready))
    listening: Deferred[Any] = maybeDeferred(endpoint.listen, factory)
    return listening.addCallbacks(lambda port: _Listening(port, spec.server), failed)


def connect(
    context: Context, spec: EndpointClusterSpec, endpoint: EndPoint, metadata: Metadata
) -> Deferred[IStream]:
    """Connect as the description says."""
    to = _parse(clientFromString, context.reactor, spec.client)
    return connect_foreign(context.reactor, to)


def prepare(context: Context, spec: EndpointClusterSpec) -> None:
    """Refuse what describes no endpoint before it is in effect."""
    _parse(clientFromString, context.reactor, spec.client)


protocol = Protocol(
    name="Endpoint",
    kind=Kind.BYTES,
    summary="Whatever Twisted's endpoint descriptions can say.",
    listener=EndpointListenerSpec,
    listen=listen,
    cluster=EndpointClusterSpec,
    connect=connect,
    prepare=prepare,
    virtual=True,
)
