"""Ends that are reached by Twisted's descriptions of endpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.conformance.ends import Back, Front, Upstream
from tests.conformance.sockets import BYTES, HOST, StreamServer, tcp_client

ENDPOINT = {"protocol": "Endpoint"}


class DescribedServer(StreamServer):
    """A TCP server that a cluster finds by a description, which is all there is."""

    def __init__(self) -> None:
        super().__init__(ENDPOINT, (HOST, 0))
        self.cluster = {**ENDPOINT, "client": f"tcp:{HOST}:{self.cluster['port']}"}
        self.endpoint = None


def _listener(folder: Path) -> dict[str, Any]:
    return {**ENDPOINT, "server": f"tcp:0:backlog=1024:interface={HOST}"}


def _serve(folder: Path) -> Upstream:
    return DescribedServer()


FRONTS = (Front("Endpoint", BYTES, _listener, tcp_client),)
BACKS = (Back("Endpoint", BYTES, _serve),)
