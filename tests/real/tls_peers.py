"""Programs that speak TLS, and talk with us while they run."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.streams.certs import Certs
from tests.streams.loopback import until
from tests.streams.secure import HOST


class Talking:
    """A program whose input and output are ours."""

    def __init__(self, command: Sequence[str]) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._stdin, self._stdout = self.process.stdin, self.process.stdout
        os.set_blocking(self._stdout.fileno(), False)
        self.output = b""

    def say(self, data: bytes) -> None:
        self._stdin.write(data)
        self._stdin.flush()

    def finish(self) -> None:
        """There is nothing more to say."""
        self._stdin.close()

    def listen(self) -> bytes:
        """Everything it has put out so far."""
        self.output += self._stdout.read() or b""
        return self.output

    async def says(self, words: bytes) -> None:
        """Wait until it has said that."""
        await until(lambda: words in self.listen(), 5)

    async def exits(self) -> int:
        """Its status, when it is done."""
        await until(lambda: self.process.poll() is not None)
        self.listen()
        status: int = self.process.returncode
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self._stdin, self._stdout):
            pipe.close()


@contextmanager
def talking(*command: str) -> Iterator[Talking]:
    """One that is ended in the end."""
    made = Talking(command)
    try:
        yield made
    finally:
        made.close()


def unused_port() -> int:
    """A TCP port where nobody listens."""
    with socket.create_server((HOST, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


async def listens(port: int) -> None:
    """Wait until somebody listens at a TCP port."""
    own = f":{port:04X} 00000000:0000 0A"  # proc(5): the state LISTEN
    await until(lambda: own in Path("/proc/net/tcp").read_text())


def s_client(certs: Certs, port: int, *more: str) -> list[str]:
    """OpenSSL's client, which trusts our authority only."""
    return [
        "openssl", "s_client", "-brief", "-no_ign_eof", "-verify_return_error",
        "-CAfile", certs.ca, "-connect", f"{HOST}:{port}", *more,
    ]  # fmt: skip


def s_server(cert: str, port: int, *more: str) -> list[str]:
    """OpenSSL's server, which says what it hears and sends what it is told."""
    return [
        "openssl", "s_server", "-brief", "-cert", cert, "-accept", f"{HOST}:{port}",
        *more,
    ]  # fmt: skip
