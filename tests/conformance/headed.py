"""Ends that speak JSONSocket: a JSON header each way, then messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.conformance.ends import Back, End, Front, Upstream
from tests.conformance.sockets import (
    BRIEF,
    DATAGRAMS,
    HOST,
    DatagramEnd,
    DatagramServer,
    _Shared,
    udp_client,
)

REQUEST = json.dumps({"JSONSocketVersion": 1, "who": "somebody"}).encode()
RESPONSE = json.dumps(
    {"JSONSocketVersion": 1, "JSONSocketStatus": 200, "JSONSocketMessage": "OK"}
).encode()


class _Client:
    """Says its header, and what it has to say when that was answered."""

    def __init__(self, under: End) -> None:
        self._under = under
        self._unsaid: list[bytes] = []
        self._open = False
        self.chunks: list[bytes] = []
        self.ended = self.broken = False
        self.finish, self.leave = under.finish, under.leave
        self.drop, self.close = under.drop, under.close
        under.say(REQUEST)

    def poll(self) -> None:
        self._under.poll()
        while self._under.chunks:
            message = self._under.chunks.pop(0)
            if self._open:
                self.chunks.append(message)
            elif json.loads(message)["JSONSocketStatus"] == 200:
                self._open = True
                for waiting in self._unsaid:
                    self._under.say(waiting)
            else:
                self.broken = True

    def say(self, data: bytes) -> None:
        if self._open:
            self._under.say(data)
        else:
            self._unsaid.append(data)


class _Serving(_Shared):
    """A peer whose first message is a header."""

    chunks: list[bytes]

    def __init__(self, server: DatagramServer, peer: Any) -> None:
        super().__init__(server, peer)
        self._greeted = False

    def poll(self) -> None:
        super().poll()
        while self.chunks and json_header(self.chunks[0]):
            self.chunks.pop(0)
            super().say(RESPONSE)


def json_header(data: bytes) -> bool:
    """Whether this is the header of a client."""
    try:
        return "JSONSocketVersion" in json.loads(data)
    except (ValueError, TypeError):
        return False


class _Server(DatagramServer):
    def _new(self, peer: Any) -> _Shared:
        return _Serving(self, peer)

    def accept(self) -> End | None:
        end = super().accept()
        if end is not None:
            end.poll()
        return end


def _dial(address: dict[str, Any], folder: Path) -> End:
    client = udp_client(address, folder)
    assert isinstance(client, DatagramEnd)
    return _Client(client)


def _listener(folder: Path) -> dict[str, Any]:
    transport = {"protocol": "UDP", "port": 1, "address": HOST}
    return {"protocol": "JSONSocket", "transport": transport}


def _serve(folder: Path) -> Upstream:
    server = _Server({"protocol": "UDP", "options": BRIEF}, (HOST, 0))
    server.cluster = {"protocol": "JSONSocket", "transport": server.cluster}
    return server


FRONTS = (Front("JSONSocket", DATAGRAMS, _listener, _dial),)
BACKS = (Back("JSONSocket", DATAGRAMS, _serve),)
