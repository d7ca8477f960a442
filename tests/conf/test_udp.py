"""The examples of UDP do what their comments say."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conf.running import HOST, LIMIT, Run, eventually

MISSING = [tool for tool in ("dig", "dnsmasq") if not shutil.which(tool)]
needs_dns = pytest.mark.skipif(bool(MISSING), reason=f"{MISSING} not installed")


@contextmanager
def process(*command: str) -> Iterator[None]:
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as running:
        try:
            yield
        finally:
            running.terminate()


def accepts(port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection((HOST, port), LIMIT).close()
    except ConnectionRefusedError:
        return False
    return True


def dig(port: int, *question: str) -> str:
    """What dig says; it gives up early, and tries once."""
    at = [f"@{HOST}", "-p", str(port), "+tries=1", f"+time={LIMIT:.0f}", "+short"]
    done = subprocess.run(["dig", *at, *question], capture_output=True, check=True)
    return done.stdout.decode().strip()


@needs_dns
def test_dns(run: Run) -> None:
    """dig asks by UDP, dnsmasq answers by TCP, framed as RFC 7766 says."""
    it = run("dns-udp-to-tcp.yaml")
    long = "x" * 200
    arguments = [
        "-k", "-p", str(it.ports[18151]), "-a", HOST, "--bind-interfaces", "-R", "-h",
        "-C", "/dev/null", "--pid-file", "-u", "root", "--local-ttl=60",
        "--address=/example.test/192.0.2.53", f"--txt-record=long.test,{long},{long}",
        "--edns-packet-max=4096",
    ]  # fmt: skip
    with process("dnsmasq", *arguments):
        eventually(lambda: accepts(it.ports[18151]))
        port = it.ports[18150]
        for _ in range(3):
            assert dig(port, "example.test") == "192.0.2.53"
        assert dig(port, "long.test", "TXT").replace('" "', "").count("x") == 400
        assert dig(port, "+notcp", "example.test", "AAAA") == ""


def test_session_key(run: Run) -> None:
    """All that is said of one game comes from one port, and is answered to the last."""
    it = run("udp-session-key.yaml")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.settimeout(LIMIT)
        service.bind((HOST, it.ports[18153]))
        sources = []
        with it.udp(18152) as one, it.udp(18152) as two:
            said = [(one, b"7"), (two, b"7"), (one, b"8"), (two, b'"x"'), (one, b"7")]
            for client, game in said:
                data = b'{"game": %s}' % game
                client.send(b"nonsense")
                client.send(data)
                got, source = service.recvfrom(100)
                assert got == data
                service.sendto(b"answer", source)
                assert client.recv(100) == b"answer"
                sources.append(source)
    assert sources[0] == sources[1] == sources[4]
    assert len(set(sources)) == 3


def test_limits(run: Run) -> None:
    """One address has three sessions; who is refused is counted."""
    it = run("udp-limits.yaml")
    clients = [it.udp(18154) for _ in range(4)]
    for client in clients[:3]:
        client.send(b"hello")
        assert client.recv(100) == b"hello"
    clients[3].send(b"hello")
    labels = 'listenerName="guarded",reason="max-sessions-per-source"'
    counted = f"listener_drops_total{{{labels}}} 1"
    eventually(lambda: counted in it.curl(18155, "/"))
    for client in clients:
        client.close()


def test_multicast(run: Run) -> None:
    """What is sent to one group reaches the other, and its members' answers come back."""
    it = run("udp-multicast.yaml")
    lo = socket.inet_aton(HOST)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as member,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        member.bind(("", it.ports[18157]))
        member.setsockopt(
            socket.IPPROTO_IP,
            socket.IP_ADD_MEMBERSHIP,
            socket.inet_aton("239.255.18.2") + lo,
        )
        client.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, lo)
        for sock in (member, client):
            sock.settimeout(LIMIT)
        client.sendto(b"hello", ("239.255.18.1", it.ports[18156]))
        data, source = member.recvfrom(100)
        assert data == b"hello"
        member.sendto(b"HELLO", source)
        assert client.recvfrom(100) == (b"HELLO", (HOST, it.ports[18156]))
