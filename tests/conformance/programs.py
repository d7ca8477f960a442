"""Ends that are reached through a program: socat, which connects to the test."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.ends import Back, Upstream
from tests.conformance.sockets import LOCAL_BYTES, StreamServer

PATIENCE = "0.5"
"""Seconds for which the program still waits for answers when all was said."""


def _serve(folder: Path) -> Upstream:
    path = str(folder / "program")
    server = StreamServer({"protocol": "STDIO-fork"}, path)
    command = ["socat", "-t", PATIENCE, "STDIO", f"UNIX-CONNECT:{path}"]
    server.cluster = {"protocol": "STDIO-fork", "command": command}
    server.endpoint = None
    return server


BACKS = (Back("STDIO-fork", LOCAL_BYTES, _serve),)
