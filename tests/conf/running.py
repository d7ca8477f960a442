"""What the tests of the examples need: an example as it runs, and peers for it."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
CONF = ROOT / "conf"
FILES = sorted(path.name for path in CONF.iterdir())
LIMIT = 8.0  # seconds for anything that should be there any moment
TRY_AGAIN = 0.02
HOST = "127.0.0.1"


class Ports:
    """Free numbers in place of those in the file, the same for the same one."""

    def __init__(self) -> None:
        self._held: dict[int, int] = {}

    def __getitem__(self, number: int) -> int:
        if number not in self._held:
            self._held[number] = _free()
        return self._held[number]


def _free() -> int:
    """A port that nobody uses, of TCP and of UDP."""
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        ):
            stream.bind((HOST, 0))
            port: int = stream.getsockname()[1]
            try:
                datagrams.bind((HOST, port))
            except OSError:
                continue
            return port


def rewritten(value: Any, ports: Ports, folder: Path) -> Any:
    """The document with other ports, and other places for what it writes."""
    if isinstance(value, list):
        return [rewritten(item, ports, folder) for item in value]
    if isinstance(value, dict):
        return {
            key: ports[item]
            if key in ("port", "remote_port")
            else rewritten(item, ports, folder)
            for key, item in value.items()
        }
    if isinstance(value, str) and value.startswith("/tmp/"):
        return str(folder / Path(value).name)
    return value


class Running:
    """An example as it runs; ``ports`` are looked up by the numbers in the file."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process, self.folder = process, folder
        self.ports = Ports()

    def tcp(self, number: int, **others: Any) -> socket.socket:
        return socket.create_connection((HOST, self.ports[number]), LIMIT, **others)

    def udp(self, number: int, source: int | None = None) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(LIMIT)
        sock.bind((HOST, self.ports[source] if source else 0))
        sock.connect((HOST, self.ports[number]))
        return sock

    def curl(self, number: int, path: str, *arguments: str) -> str:
        url = f"http://{HOST}:{self.ports[number]}{path}"
        command = ["curl", "-sS", "--max-time", str(LIMIT), *arguments, url]
        return subprocess.run(command, capture_output=True, check=True).stdout.decode()


Prepare = Callable[[Path], None]
"""Makes the files that an example needs."""

Run = Callable[..., Running]
"""Starts an example by its name; what has to be there before may be made first."""


def died(process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    return False


def eventually(holds: Callable[[], bool]) -> None:
    """Poll until it holds, up to a deadline."""
    deadline = time.monotonic() + 2 * LIMIT
    while not holds():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(TRY_AGAIN)


@contextmanager
def serving(answer: Callable[[bytes], bytes], where: int | Path) -> Iterator[None]:
    """A service at a port or a socket file that reads to the end, then answers."""
    family = socket.AF_UNIX if isinstance(where, Path) else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(str(where) if isinstance(where, Path) else (HOST, where))
    listening.listen()

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            with client:
                client.settimeout(LIMIT)
                client.sendall(answer(read_all(client)))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(LIMIT)


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def ask(sock: socket.socket, question: bytes) -> bytes:
    """Say everything, end, and hear everything."""
    with sock:
        sock.sendall(question)
        sock.shutdown(socket.SHUT_WR)
        return read_all(sock)


def exchange(sock: socket.socket, message: bytes) -> bytes:
    """One datagram there and one back."""
    sock.send(message)
    return sock.recv(65536)
