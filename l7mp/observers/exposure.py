"""Warns of a REST API that anybody on the network can reach."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from l7mp.model.config import Config, Listener
from l7mp.model.lint import routes_of

LOOPBACK = ("127.", "::1", "localhost")


def exposed_controllers(config: Config, governing: Collection[str]) -> Iterator[str]:
    """
    A sentence for every listener that lets anybody change the proxy.

    ``governing`` names the protocols whose sessions can.
    """
    for listener in config.listeners.values():
        if _is_local(listener) or not _controls(config, listener, governing):
            continue
        where = getattr(listener.spec, "address", None) or "all addresses"
        yield (
            f'listener "{listener.name}" offers the REST API at {where}, to anybody and'
            " without authentication: bind it to 127.0.0.1"
        )


def _is_local(listener: Listener) -> bool:
    address = getattr(listener.spec, "address", None)
    if address is None:
        return not hasattr(listener.spec, "port")
    return str(address).startswith(LOOPBACK)


def _controls(config: Config, listener: Listener, governing: Collection[str]) -> bool:
    routes = (config.routes.get(name) for name in routes_of(config, listener.rules))
    clusters = (config.clusters.get(route.destination) for route in routes if route)
    return any(found and found.spec.protocol in governing for found in clusters)
