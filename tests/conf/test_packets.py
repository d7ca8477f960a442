"""The examples that speak Ethernet, as root, between hosts of the test's own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conf.running import CONF, ROOT, Run, eventually
from tests.real.namespace import Network, Running, until

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
TOOLS = ("arping", "ping", "socat", "ss", "tcpdump")
MISSING = ", ".join(tool for tool in TOOLS if not shutil.which(tool, path=PATH))
WHY_NOT = Network.why_not() or (f"{MISSING} not installed" if MISSING else "")
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "never")

SIDES = ("left", "right")
PROXY = [sys.executable, "-m", "l7mp", "-l", "notice", "-c"]


class Tunnel:
    """Two hosts, and a third where both ends of the tunnel run."""

    def __init__(self) -> None:
        self.between = Network()
        self.hosts = {side: Network() for side in SIDES}
        self.ends: dict[str, Running] = {}

    def open(self) -> None:
        """Lay the cables, and start both ends."""
        for number, side in enumerate(SIDES, start=1):
            host = self.hosts[side]
            self.between.link(f"l2-{side}", host, "wire")
            host.run(f"ip address add 10.99.0.{number}/24 dev wire")
        self.ends = {side: self.start(side) for side in reversed(SIDES)}

    def start(self, side: str) -> Running:
        """One end of the tunnel."""
        command = [*PROXY, str(CONF / f"l2-tunnel-{side}.yaml")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        end = self.between.start(command, cwd=ROOT, env=environment)
        until(lambda: b" is up" in end.output + end.errors, f"the {side} end")
        return end

    def close(self) -> None:
        for network in (self.between, *self.hosts.values()):
            network.close()


@pytest.fixture(scope="module")
def tunnel() -> Iterator[Tunnel]:
    made = Tunnel()
    try:
        made.open()
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("size", [56, 1400])
def test_ping(tunnel: Tunnel, size: int) -> None:
    """Hosts on either side find and answer each other."""
    said = tunnel.hosts["left"].run(f"ping -c 3 -i 0.1 -W 5 -s {size} 10.99.0.2")
    assert " 3 received" in said
    assert " 1 received" in tunnel.hosts["right"].run("ping -c 1 -W 5 10.99.0.1")


def test_tags(tunnel: Tunnel) -> None:
    """A frame in a VLAN comes out in that VLAN, as tcpdump sees it."""
    left, right = tunnel.hosts["left"], tunnel.hosts["right"]
    command = [
        "tcpdump",
        "-n",
        "-e",
        "-l",
        "-c",
        "1",
        "-i",
        "wire",
        "ether proto 0x88b5",
    ]
    seen = right.start(command)
    until(lambda: b"listening on" in seen.errors, "tcpdump")
    with left.entered():
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with wire:
        wire.bind(("wire", 0))
        tag, kind = b"\x81\x00\x60\x05", b"\x88\xb5"
        wire.send(b"\xff" * 6 + b"\x02\0\0\0\0\x0a" + tag + kind + bytes(50))
    until(lambda: b"vlan 5, p 3" in seen.output, "the frame")


def test_other_protocols(tunnel: Tunnel) -> None:
    """IPv6 and ARP, with their multicasts and broadcasts, cross as IPv4 does."""
    right = tunnel.hosts["right"].run("ip -6 -br address show wire scope link").split()
    local = right[2].partition("/")[0]
    said = tunnel.hosts["left"].run(f"ping -6 -c 1 -W 5 {local}%wire")
    assert " 1 received" in said
    said = tunnel.hosts["left"].run("arping -c 2 -I wire 10.99.0.2")
    assert "10.99.0.2" in said
    assert "Received 2" in said or "2 packets received" in said


def test_tcp(tunnel: Tunnel) -> None:
    """TCP crosses, although hosts leave checksums and cutting to their interfaces."""
    left, right = tunnel.hosts["left"], tunnel.hosts["right"]
    size = 3_000_000
    local = right.run("ip -6 -br address show wire scope link").split()[2]
    for number, to in enumerate(("10.99.0.2", f"[{local.partition('/')[0]}%wire]")):
        port = 7000 + number
        server = right.start(["socat", "-u", f"TCP6-LISTEN:{port}", "STDOUT"])
        until(lambda: str(port) in right.run("ss -tln"), "the server")  # noqa: B023
        left.run(f"head -c {size} /dev/zero | socat -u STDIN TCP:{to}:{port}")
        until(lambda: len(server.output) == size, "all of it")  # noqa: B023


def test_an_end_that_comes_back(tunnel: Tunnel) -> None:
    """With the far end started anew the tunnel works again, by itself."""
    left = tunnel.hosts["left"]
    tunnel.ends["right"].end()
    left.run("ping -c 1 -W 0.2 10.99.0.2 || true")
    tunnel.ends["right"] = tunnel.start("right")
    assert " 0% packet loss" in left.run("ping -c 2 -i 0.2 -W 5 10.99.0.2")


def test_packet_log(run: Run) -> None:
    """The pings on the loopback are written down, and nothing but they."""
    example = run("packet-log.yaml")
    log = example.folder / "l7mp-pings.log"
    subprocess.run(
        ["ping", "-c", "1", "-p", "6c376d70", "127.0.0.1"],
        check=True,
        capture_output=True,
    )
    whole = "l7mp" * 4
    eventually(lambda: log.exists() and log.read_text().count(whole) == 4)
    assert log.read_text().count("00000000  45 00 00 54") == 2
