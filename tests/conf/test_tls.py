"""The examples of TLS and of Twisted's endpoints do what their comments say."""

from __future__ import annotations

import socket
import subprocess
import threading
from pathlib import Path

from tests.conf.running import HOST, LIMIT, Run, Running, read_all
from tests.streams.certs import Certs


def certificates(folder: Path) -> None:
    """What the comments of the example make, by other means."""
    certs = Certs(folder)
    certs.pem("localhost", file="l7mp-localhost.pem")
    certs.pem("alice.example.org", file="l7mp-alice.pem", cn="alice")
    certs.pem("bob.example.org", file="l7mp-bob.pem", cn="bob")
    Path(certs.ca).rename(folder / "l7mp-ca.pem")


def s_client(it: Running, said: str, port: int, *more: str) -> str:
    command = [
        "openssl", "s_client", "-quiet", "-no_ign_eof", "-verify_return_error",
        "-CAfile", f"{it.folder}/l7mp-ca.pem", "-connect", f"{HOST}:{it.ports[port]}",
        *more,
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(said.encode())
        process.stdin.flush()
        heard = process.stdout.readline()
        process.stdin.close()
        process.wait(LIMIT)
        return heard.decode()


def test_tls(run: Run) -> None:
    """HTTPS answers, and only the client called Alice comes through to the service."""
    it = run("tls.yaml", certificates)
    url = f"https://localhost:{it.ports[18000]}"
    command = [
        "curl",
        "-sS",
        "--cacert",
        f"{it.folder}/l7mp-ca.pem",
        "-d",
        "hello",
        url,
    ]
    got = subprocess.run(command, capture_output=True, check=True, timeout=LIMIT)
    assert got.stdout == b"hello"
    for name, answer in (("alice", "hello\n"), ("bob", "")):
        shown = ("-cert", f"{it.folder}/l7mp-{name}.pem")
        assert s_client(it, "hello\n", 18001, *shown) == answer


def test_dtls(run: Run) -> None:
    """What a client says over DTLS reaches the plain service, and the answer returns."""
    it = run("dtls.yaml", certificates)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.settimeout(LIMIT)
        service.bind((HOST, it.ports[18021]))

        def serve() -> None:
            data, peer = service.recvfrom(99)
            service.sendto(data.upper(), peer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert s_client(it, "hello\n", 18020, "-dtls1_2") == "HELLO\n"
        thread.join(LIMIT)


def test_endpoint(run: Run) -> None:
    """The header of the PROXY protocol decides whose connection it is."""
    run("endpoint.yaml")
    # the numbers are in the midst of descriptions, so they are those of the file
    with socket.create_server((HOST, 18011)) as service:
        service.settimeout(LIMIT)
        with calling("192.0.2.8") as stranger:
            assert read_all(stranger) == b""
        with calling("192.0.2.7") as client, service.accept()[0] as peer:
            peer.settimeout(LIMIT)
            assert peer.recv(99) == b"hello"
            peer.sendall(b"answer")
            assert client.recv(99) == b"answer"


def calling(source: str) -> socket.socket:
    """A client that a load balancer says to be ``source``."""
    client = socket.create_connection((HOST, 18010), LIMIT)
    client.sendall(b"PROXY TCP4 %b 198.51.100.1 5 80\r\nhello" % source.encode())
    return client
