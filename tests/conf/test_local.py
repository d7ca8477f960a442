"""The examples of what is local to a machine do what their comments say."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conf.running import HOST, LIMIT, Run, read_all

ROOT_ONLY = pytest.mark.skipif(
    os.geteuid() != 0, reason="the example tells root from others"
)


def unix(kind: int, at: Path | None = None) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.settimeout(LIMIT)
    if at is not None:
        sock.bind(str(at))
    return sock


def test_unix_dgram(run: Run) -> None:
    """Each sender's datagrams go to the service, and the answers come back to it."""
    it = run("unix-dgram.yaml")
    there = str(it.folder / "l7mp-unix-dgram.sock")
    with (
        unix(socket.SOCK_DGRAM, it.folder / "l7mp-unix-dgram-service.sock") as service,
        unix(socket.SOCK_DGRAM, it.folder / "one") as one,
        unix(socket.SOCK_DGRAM, it.folder / "two") as two,
    ):
        for client, name in ((one, b"one"), (two, b"two")):
            client.sendto(name, there)
            data, source = service.recvfrom(100)
            service.sendto(b"re: " + data, source)
            assert client.recv(100) == b"re: " + name
        with unix(socket.SOCK_DGRAM) as nobody:
            nobody.sendto(b"no answer", there)
        assert service.recv(100) == b"no answer"


CLIENT = """
import os, socket, sys
sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
os.setuid(65534)
sock.connect(sys.argv[1])
sock.send(b"one")
sock.send(b"two")
assert (sock.recv(9), sock.recv(9)) == (b"one", b"two")
"""


@ROOT_ONLY
def test_unix_seqpacket(run: Run) -> None:
    """Root's messages go to the service whole, those of others come back."""
    it = run("unix-seqpacket.yaml")
    there = str(it.folder / "l7mp-unix-seqpacket.sock")
    it.folder.chmod(0o755)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service,
        unix(socket.SOCK_SEQPACKET) as client,
    ):
        service.settimeout(LIMIT)
        service.bind((HOST, it.ports[18200]))
        client.connect(there)
        client.send(b"one")
        client.send(b"two")
        assert service.recv(100) == b"one"
        data, source = service.recvfrom(100)
        service.sendto(b"re: " + data, source)
        assert client.recv(100) == b"re: two"
    subprocess.run([sys.executable, "-c", CLIENT, there], check=True, timeout=LIMIT)


def test_pipe(run: Run) -> None:
    """Each writer of a FIFO is a session, and datagrams wait for who reads another."""
    it = run("pipe.yaml")
    with socket.create_server((HOST, it.ports[18211])) as service:
        service.settimeout(LIMIT)
        for words in (b"hello\n", b"again\n"):
            (it.folder / "l7mp-pipe-in").write_bytes(words)
            client, _ = service.accept()
            with client:
                client.settimeout(LIMIT)
                assert read_all(client) == words
    os.mkfifo(it.folder / "l7mp-pipe-out")
    with it.udp(18210) as sender:
        sender.send(b"early")
        with (it.folder / "l7mp-pipe-out").open("rb", buffering=0) as reader:
            assert reader.read(100) == b"early"


def test_stdio_fork(run: Run) -> None:
    """A program answers as it goes, one at the end, and a shell at a terminal."""
    it = run("stdio-fork.yaml")
    with it.tcp(18220) as client:
        client.sendall(b"hello\n")
        assert client.recv(100) == b"HELLO\n"
        client.sendall(b"again\n")
        assert client.recv(100) == b"AGAIN\n"
    checksum = hashlib.sha256(b"hello").hexdigest()
    assert it.curl(18221, "/", "--data", "hello") == f"{checksum}  -\n"
    with it.tcp(18222) as client:
        client.sendall(b"pwd; tty; exit\n")
        said = read_all(client)
        assert b"/\r\n/dev/pts/" in said
