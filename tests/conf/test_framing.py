"""The examples of framings and transforms do what their comments say."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.conf.running import HOST, LIMIT, Run, ask, exchange


class _Frames(socketserver.StreamRequestHandler):
    """Answers each frame, one byte at a time so that it arrives in pieces."""

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while head := self.rfile.read(2):
            answer = b"re: " + self.rfile.read(*struct.unpack(">H", head))
            for byte in struct.pack(">H", len(answer)) + answer:
                self.wfile.write(bytes([byte]))


class _Threading(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


@contextmanager
def answering(handler: Any, port: int) -> Iterator[None]:
    with _Threading((HOST, port), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join(LIMIT)


def test_framing(run: Run) -> None:
    """Datagrams cross a stream of bytes whole, and lines become datagrams."""
    it = run("framing.yaml")
    with answering(_Frames, it.ports[18301]), it.udp(18300) as client:
        for message in (b"one", b"", b"x" * 9000):
            assert exchange(client, message) == b"re: " + message
        for _ in range(50):
            client.send(b"burst")
        assert [client.recv(99) for _ in range(50)] == [b"re: burst"] * 50

    with there(it.ports[18303]) as service, it.tcp(18302) as client:
        client.sendall(b"a line\r\nand ano")
        assert service.recv(99) == b"a line"
        client.sendall(b"ther\nlast")
        message, back = service.recvfrom(99)
        assert message == b"and another"
        service.sendto(b"answer", back)
        assert client.recv(99) == b"answer\n"
        client.shutdown(socket.SHUT_WR)
        assert service.recv(99) == b"last"


def test_python_transform(run: Run) -> None:
    """A function of Python's changes each message; one it fails for is dropped."""
    it = run("python-transform.yaml")
    with it.udp(18310) as client:
        assert exchange(client, b"hello") == b"68656c6c6f"
    with it.udp(18311) as client:
        client.send(b"no digits")
        assert exchange(client, b"68656c6c6f") == b"hello"


def test_exec_transform(run: Run) -> None:
    """A program changes each message, in a process of its own for each session."""
    it = run("exec-transform.yaml")
    with it.udp(18320) as one, it.udp(18320) as two:
        assert exchange(one, b"The cat sat") == b"The dog sat"
        assert exchange(two, b"concatenate") == b"condogenate"
        assert exchange(one, b"") == b""


def there(port: int) -> socket.socket:
    """A service that hears datagrams at a port."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(LIMIT)
    sock.bind((HOST, port))
    return sock


def test_fanout(run: Run) -> None:
    """A copy harms nobody, there or not; and of two services the first to answer wins."""
    it = run("fanout.yaml")
    with there(it.ports[18332]) as service, it.udp(18330) as client:
        client.send(b"one")  # nobody is there to get the copy
        heard, back = service.recvfrom(99)
        service.sendto(b"re: " + heard, back)
        assert client.recv(99) == b"re: one"
        with there(it.ports[18333]) as copy, it.udp(18330) as another:
            another.send(b"two")
            assert copy.recv(99) == b"two"
            heard, back = service.recvfrom(99)
            service.sendto(b"re: " + heard, back)
            assert another.recv(99) == b"re: two"

            with it.udp(18331) as racer:
                racer.send(b"who?")
                heard, back = copy.recvfrom(99)
                copy.sendto(b"me", back)
                assert racer.recv(99) == b"me"
                assert service.recv(99) == b"who?"
                racer.send(b"you")
                assert copy.recv(99) == b"you"
                client.send(b"last")  # nothing of "you" is before it
                assert service.recv(99) == b"last"


def test_frame(run: Run) -> None:
    """Datagrams pass through lines and come back, and lines become netstrings."""
    it = run("frame.yaml")
    with it.udp(18340) as client:
        assert exchange(client, b"hello") == b"hello"
        assert exchange(client, b"again") == b"again"
    assert ask(it.tcp(18341), b"one\ntwo\n") == b"3:one,3:two,"
