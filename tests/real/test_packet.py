"""AF_PACKET in networks of the tests' own: interfaces that go, socat, tcpdump, no rights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from l7mp.errors import Reason
from l7mp.streams.packetsocket import Wanted, open_packet_socket, why_not
from l7mp.streams.pcapfilter import ETHERNET, IP, compile_filter
from tests.real.namespace import Network, Running, until

ROOT = Path(__file__).parent.parent.parent

MISSING = ", ".join(tool for tool in ("setpriv", "socat") if not shutil.which(tool))
WHY_NOT = Network.why_not() or (f"{MISSING} not installed" if MISSING else "")
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "never")

ECHO = {
    "listeners": [
        {
            "name": "wire",
            "spec": {
                "protocol": "AF_PACKET",
                "interface": "near",
                "ethertype": "local1",
            },
            "rules": [{"action": {"route": {"destination": "echo"}}}],
        }
    ],
    "clusters": [{"name": "echo", "spec": {"protocol": "Echo"}}],
}


@pytest.fixture
def networks() -> Iterator[tuple[Network, Network]]:
    """One for the proxy and one for its peer, with a cable between them."""
    near, far = Network(), Network()
    try:
        near.link("near", far, "far")
        yield near, far
    finally:
        near.close()
        far.close()


def start(network: Network, folder: Path, *before: str) -> Running:
    """A proxy that gives frames back."""
    config = folder / "config.json"
    config.write_text(json.dumps(ECHO))
    return network.start(
        [*before, sys.executable, "-m", "l7mp", "-l", "notice", "-c", str(config)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def said(proxy: Running, words: bytes) -> bool:
    """Whether the proxy said so."""
    assert proxy.process.poll() is None, proxy.errors
    return words in proxy.output + proxy.errors


def echoes(far: Network, payload: bytes) -> None:
    """Frames that socat sends come back to it."""
    socat = far.start(["socat", "-", "INTERFACE:far"])
    frame = b"\xff" * 6 + b"\x02\0\0\0\0\x0a\x88\xb5" + payload.ljust(50, b".")

    def answered() -> bool:
        socat.type(frame)
        return frame in socat.output

    until(answered, "the frame to come back")


def test_an_interface_that_comes_and_goes(
    networks: tuple[Network, Network], tmp_path: Path
) -> None:
    """A listener hears its interface again after it was down, and after it was gone."""
    near, far = networks
    proxy = start(near, tmp_path)
    until(lambda: said(proxy, b" is up"), "the proxy")
    echoes(far, b"first")
    near.run("ip link set near down && sleep 0.1 && ip link set near up")
    echoes(far, b"after it was down")
    near.run("ip link del near")
    near.link("near", far, "far")
    echoes(far, b"after it was gone")
    assert proxy.process.poll() is None


@pytest.mark.parametrize(
    ("without", "told"),
    [
        ("ip link set near down", "interface near: it is down; bring it up"),
        ("ip link del near", "interface near: there is no such interface"),
    ],
)
def test_an_interface_that_is_not_there(
    networks: tuple[Network, Network], without: str, told: str
) -> None:
    """Of an interface that is down or missing no socket is made, and one is told why."""
    near, _ = networks
    near.run(without)
    wanted = Wanted(interface="near", ethertype=0x88B5)
    with near.entered(), pytest.raises(OSError) as info:
        open_packet_socket(wanted)
    loss = why_not(info.value, "near")
    assert loss.reason is Reason.UNREACHABLE
    assert loss.detail.startswith(told)


def test_without_the_right(networks: tuple[Network, Network], tmp_path: Path) -> None:
    """Without CAP_NET_RAW the proxy does not start, and says what it needs."""
    near, _ = networks
    proxy = start(near, tmp_path, "setpriv", "--bounding-set=-net_raw")
    until(lambda: proxy.process.poll() is not None, "the proxy to give up")
    assert proxy.process.returncode
    told = (
        b"interface near: packet sockets need privileges: run as root or with CAP_NET"
    )
    assert told in proxy.output + proxy.errors


@pytest.mark.skipif(not shutil.which("tcpdump"), reason="tcpdump is not installed")
@pytest.mark.parametrize("begins_with", [(ETHERNET, "EN10MB"), (IP, "RAW")])
@pytest.mark.parametrize(
    "text",
    ["udp port 53", "icmp or icmp6", "host 192.0.2.1 and not tcp", "tcp[13] & 2 != 0"],
)
def test_tcpdump_compiles_the_same(text: str, begins_with: tuple[int, str]) -> None:
    """A filter is the program that tcpdump itself makes of the same words."""
    linktype, name = begins_with
    command = ["tcpdump", "-ddd", "-y", name, "-s", "262144", text]
    printed = subprocess.check_output(command, timeout=10, text=True)
    count, *lines = printed.split("\n")
    program = tuple(tuple(map(int, line.split())) for line in lines if line)
    assert len(program) == int(count)
    assert compile_filter(text, linktype) == program
