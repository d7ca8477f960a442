"""Ends that speak HTTP and WebSocket, by libraries that the proxy does not use so."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Any

import h11
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from l7mp.interfaces import Kind
from tests.conformance.ends import Back, End, Front, Traits, Upstream
from tests.conformance.sockets import BYTES, HOST, SocketEnd, StreamServer


class Spoken:
    """An end that speaks a protocol on top of a stream of bytes."""

    def __init__(self, under: SocketEnd) -> None:
        self.under = under
        self.chunks: list[bytes] = []
        self.ended = self.broken = False

    def poll(self) -> None:
        """Read, and let the protocol make of it what it will."""
        before = len(self.under.chunks)
        self.under.poll()
        for data in self.under.chunks[before:]:
            self.received(data)
        if self.under.ended or self.under.broken:
            self.lost()

    def received(self, data: bytes) -> None:
        """Bytes came."""
        raise NotImplementedError

    def lost(self) -> None:
        """The connection is no more."""
        if not self.ended:
            self.broken = True

    def drop(self) -> None:
        self.under.drop()

    def close(self) -> None:
        self.under.close()


class HTTPEnd(Spoken):
    """The client of one request, or the server of one."""

    def __init__(self, under: SocketEnd, role: type[h11.CLIENT | h11.SERVER]) -> None:
        super().__init__(under)
        self._http = h11.Connection(our_role=role)
        self._is_client = role is h11.CLIENT
        self._begun = False
        self.status = 0
        if self._is_client:
            self._begin()

    def _begin(self) -> None:
        self._begun = True
        chunked = [("Transfer-Encoding", "chunked")]
        if self._is_client:
            head = [("Host", HOST), *chunked]
            self._send(h11.Request(method="POST", target="/", headers=head))
        else:
            self._send(h11.Response(status_code=200, headers=chunked))

    def _send(self, event: Any) -> None:
        data = self._http.send(event)
        if data:
            self.under.say(data)

    def received(self, data: bytes) -> None:
        if self._http.their_state in (h11.DONE, h11.ERROR, h11.MUST_CLOSE):
            return
        self._http.receive_data(data)
        self._take()

    def _take(self) -> None:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                self.broken = True
                return
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return
            if isinstance(event, h11.Response):
                self.status = event.status_code
                self.broken = self.broken or self.status >= 400
            elif isinstance(event, h11.Data) and self.status < 400:
                self.chunks.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                self.ended = self.ended or not self.broken
                return

    def say(self, data: bytes) -> None:
        if not self._begun:
            self._begin()
        self._send(h11.Data(data=data))

    def finish(self) -> None:
        if not self._begun:
            self._begin()
        if self._http.our_state is h11.SEND_BODY:
            self._send(h11.EndOfMessage())

    def leave(self) -> None:
        """The end of one's message is all that there is."""
        self.finish()
        if self._is_client:
            self.under.leave()


def _http_client(address: dict[str, Any], folder: Path) -> End:
    sock = socket.create_connection((HOST, address["port"]))
    return HTTPEnd(SocketEnd(sock), h11.CLIENT)


class WebSocketEnd(Spoken):
    """A client or a server of WebSocket."""

    def __init__(self, under: SocketEnd, protocol: Protocol) -> None:
        super().__init__(under)
        self._ws = protocol
        self._unsaid: list[bytes] = []
        self._parts: list[bytes] = []
        self._leaving = False
        if isinstance(protocol, ClientProtocol):
            protocol.send_request(protocol.connect())
            self._flush()

    def _flush(self) -> None:
        for data in self._ws.data_to_send():
            if data:
                self.under.say(data)

    def received(self, data: bytes) -> None:
        self._ws.receive_data(data)
        for event in self._ws.events_received():
            if isinstance(event, Request) and isinstance(self._ws, ServerProtocol):
                self._ws.send_response(self._ws.accept(event))
            elif isinstance(event, Frame):
                self._frame(event)
        self._flush()
        if self._ws.state is State.OPEN:
            for message in self._unsaid:
                self._ws.send_binary(message)
            self._unsaid.clear()
            if self._leaving:
                self._ws.send_close(1000)
            self._flush()

    def _frame(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._parts.append(bytes(frame.data))
            if frame.fin:
                self.chunks.append(b"".join(self._parts))
                self._parts.clear()
        elif frame.opcode is Opcode.CLOSE:
            code = self._ws.close_rcvd.code if self._ws.close_rcvd else 1006
            self.ended, self.broken = code == 1000, code != 1000

    def lost(self) -> None:
        with contextlib.suppress(InvalidHandshake):
            self._ws.receive_eof()
        super().lost()

    def say(self, data: bytes) -> None:
        if self._ws.state is State.OPEN:
            self._ws.send_binary(data)
            self._flush()
        else:
            self._unsaid.append(data)

    def finish(self) -> None:
        self.leave()

    def leave(self) -> None:
        self._leaving = True
        if self._ws.state is State.OPEN:
            self._ws.send_close(1000)
            self._flush()


def _ws_client(address: dict[str, Any], folder: Path) -> End:
    sock = socket.create_connection((HOST, address["port"]))
    url = f"ws://{HOST}:{address['port']}/"
    protocol = ClientProtocol(parse_uri(url), max_size=1 << 22)
    return WebSocketEnd(SocketEnd(sock), protocol)


class Served:
    """A server of a stream of bytes whose connections are spoken on."""

    def __init__(self, server: StreamServer, speak: Any) -> None:
        self._tcp = server
        self._speak = speak
        self.cluster, self.endpoint = self._tcp.cluster, self._tcp.endpoint
        self.stop, self.start = self._tcp.stop, self._tcp.start

    def accept(self) -> End | None:
        end = self._tcp.accept()
        made: End | None = self._speak(end) if end is not None else None
        return made


def _http_server(folder: Path) -> Upstream:
    return Served(
        StreamServer({"protocol": "HTTP"}, (HOST, 0)),
        lambda end: HTTPEnd(end, h11.SERVER),
    )


def _ws_server(folder: Path) -> Upstream:
    return Served(
        StreamServer({"protocol": "WebSocket"}, (HOST, 0)),
        lambda end: WebSocketEnd(end, ServerProtocol(max_size=1 << 22)),
    )


def _here(protocol: str) -> Any:
    return lambda folder: {"protocol": protocol, "port": 1, "address": HOST}


MESSAGES = Traits(Kind.DATAGRAMS, half_close=False)

FRONTS = (
    Front("HTTP", BYTES, _here("HTTP"), _http_client),
    Front("WebSocket", MESSAGES, _here("WebSocket"), _ws_client),
)
BACKS = (
    Back("HTTP", BYTES, _http_server),
    Back("WebSocket", MESSAGES, _ws_server),
)
