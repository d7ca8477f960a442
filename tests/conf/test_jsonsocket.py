"""The examples of JSONSocket do what their comments say."""

from __future__ import annotations

import json

from tests.conf.running import Run, exchange

HEADER = b'{"JSONSocketVersion": 1}\n'


def test_jsonsocket_framed(run: Run) -> None:
    """Header, answer and messages are lines, and datagrams go through as such."""
    it = run("jsonsocket-framed.yaml")
    with it.tcp(18360) as sock, sock.makefile("rb") as lines:
        sock.sendall(HEADER)
        assert json.loads(lines.readline())["JSONSocketStatus"] == 200
        sock.sendall(b"hello\nagain\n")
        assert [lines.readline() for _ in range(2)] == [b"hello\n", b"again\n"]
    with it.udp(18361) as sock:
        assert exchange(sock, b"one") == b"one"
        assert exchange(sock, b"two") == b"two"
