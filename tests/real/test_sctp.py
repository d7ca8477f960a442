"""
Our SCTP and that of a kernel, with socat and Python at the other end.

The kernel is a user-mode Linux; one boot serves every test of this file.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from l7mp.streams.kernelsctp import is_there
from tests.real.namespace import Network, until
from tests.real.uml import ALSO_THERE, HERE, ROOT, THERE, Guest, Machine

MISSING = [tool for tool in ("socat", "curl") if not shutil.which(tool)]
WHY_NOT = Machine.why_not() or (f"{MISSING} not installed" if MISSING else "")
pytestmark = [
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT),
    pytest.mark.slow,
    pytest.mark.timeout(180),  # the first test waits for a machine to boot
]
RAW = pytest.mark.skipif(
    is_there(), reason="the kernel of this machine has an SCTP of its own"
)

PEER = Path(__file__).parent / "sctp_peer.py"
START = 40.0  # seconds that Python may take on a machine inside of this one
SHOUT = 5003
"""Where socat of the machine answers in capitals."""


def rule(destination: str, **match: Any) -> dict[str, Any]:
    return {**match, "action": {"route": {"destination": destination}}}


def listener(name: str, destination: str, **spec: Any) -> dict[str, Any]:
    rules, options = [rule(destination)], {"track": 60}
    return {"name": name, "spec": spec, "rules": rules, "options": options}


def cluster(name: str, address: str, **spec: Any) -> dict[str, Any]:
    said = {"protocol": "SCTP", "port": SHOUT, **spec}
    return {"name": name, "spec": said, "endpoints": [{"spec": {"address": address}}]}


CLIENTS = [
    f"SCTP-CONNECT:{THERE}:7002",
    f"SCTP4-CONNECT:{THERE}:7002",
    "SCTP6-CONNECT:[::1]:7005",
]
"""How socat of the machine makes associations with a proxy that echoes."""

VSOCK = ["socat", "-", "VSOCK-CONNECT:1:5008"]
"""How the proxy reaches VSOCK: by a program, at the machine's own number."""

SERVERS = {
    "shout": f"SCTP-LISTEN:{SHOUT},reuseaddr,fork",
    "SCTP4-LISTEN": "SCTP4-LISTEN:5004,reuseaddr,fork",
    "SCTP6-LISTEN": "SCTP6-LISTEN:5006,reuseaddr,fork",
    "VSOCK-LISTEN": "VSOCK-LISTEN:5008,fork",
}
"""Where socat of the machine answers in capitals, by the cluster that leads there."""

ADDRESSES = [*CLIENTS, VSOCK[2], *SERVERS.values()]
"""Everything in these tables."""

SAY_46 = {"match": {"op": "test", "path": "/SCTP/ppid", "value": 46}}
ECHO = {"name": "echo", "spec": {"protocol": "Echo"}}
USER = {"protocol": "SCTP", "engine": "user", "address": HERE}
KERNEL = {"protocol": "SCTP", "engine": "kernel"}


def controlled(config: dict[str, Any]) -> dict[str, Any]:
    """The same with REST at port 1234."""
    config["listeners"].append(
        listener("control", "api", protocol="HTTP", port=1234, address="127.0.0.1")
    )
    config["clusters"].append({"name": "api", "spec": {"protocol": "L7mpController"}})
    return config


def ours(is_raw: bool) -> dict[str, Any]:
    """The proxy on this side: SCTP in user space, right on IP where that can be."""
    said = {
        "listeners": [
            listener("to-udp", "there-udp", protocol="TCP", port=6001),
            listener("udp", "echo", **USER, port=6002, encapsulation={"port": 9899}),
            {
                "name": "by-identifier",
                "spec": {
                    **USER, "port": 6003, "begin": "message", "ppid": 47,
                    "encapsulation": {"port": 9899},
                },
                "rules": [rule("echo", **SAY_46)],
                "options": {"track": 60},
            },
        ],
        "clusters": [
            ECHO,
            cluster("there-udp", THERE, engine="user", encapsulation={}),
            cluster("nobody", THERE, engine="user", encapsulation={}, port=5999),
        ],
    }  # fmt: skip
    said["listeners"].append(listener("to-nobody", "nobody", protocol="TCP", port=6006))
    if is_raw:
        said["listeners"] += [
            listener("to-raw", "there-raw", protocol="TCP", port=6004),
            listener("raw", "echo", **USER, port=6005),
        ]
        said["clusters"].append(cluster("there-raw", THERE, engine="user"))
    return controlled(said)


def theirs() -> dict[str, Any]:
    """The proxy on the machine: the kernel's SCTP."""
    both = [THERE, ALSO_THERE]
    return controlled(
        {
            "listeners": [
                listener("echoes", "echo", **KERNEL, port=7002, address=both, ppid=9),
                listener("to-user", "user", protocol="TCP", port=7003),
                listener(
                    "two-ways", "echo", **KERNEL, port=7004,
                    address=["10.79.0.1", "10.79.1.1"],
                    options={"heartbeat": 0.5, "retransmissions": 6},
                ),
                listener("six", "echo", **KERNEL, port=7005, address="::1"),
                *(
                    listener(f"to-{name}", name, protocol="TCP", port=7100 + number)
                    for number, name in enumerate(SERVERS)
                ),
            ],
            "clusters": [
                ECHO,
                cluster("shout", f"{THERE},{ALSO_THERE}", engine="kernel"),
                cluster("user", HERE, engine="kernel", port=6005),
                cluster("SCTP4-LISTEN", THERE, engine="kernel", port=5004),
                cluster("SCTP6-LISTEN", "::1", engine="kernel", port=5006),
                {
                    "name": "VSOCK-LISTEN",
                    "spec": {"protocol": "STDIO-fork", "command": VSOCK},
                },
            ],
        }
    )  # fmt: skip


class World:
    """A machine of its own, a proxy on either side, and socat on the other."""

    def __init__(self, folder: Path) -> None:
        self.network = Network()
        self.machine = Machine(self.network)
        for name, config in (("ours", ours(not is_there())), ("theirs", theirs())):
            (folder / name).write_text(json.dumps(config))
        command = [sys.executable, "-m", "l7mp", "-l", "verbose", "-c"]
        self.ours = self.network.start([*command, str(folder / "ours")], cwd=ROOT)
        self.machine.wait()
        self.theirs = self.machine.start([*command, str(folder / "theirs")])
        for server in SERVERS.values():
            self.machine.start(["socat", server, "SYSTEM:stdbuf -o0 tr a-z A-Z"])
        self.machine.run("echo 9899 > /proc/sys/net/sctp/udp_port")

    def wait(self) -> None:
        """Until the proxy of the machine is up, which takes it some seconds."""
        end = time.monotonic() + START
        while not self.is_up(self.theirs):
            assert time.monotonic() < end, (self.theirs.output, self.theirs.errors)
            assert not self.theirs.is_over, self.theirs.errors
            time.sleep(0.05)
        until(lambda: b"control listens" in self.ours.errors, "our proxy")

    @staticmethod
    def is_up(proxy: Guest) -> bool:
        return b"control listens" in proxy.errors

    def sessions(self, at: str) -> list[dict[str, Any]]:
        """What REST says of them, on one side."""
        run = self.network.run if at == "ours" else self.machine.run
        said = run("curl -sS http://127.0.0.1:1234/api/v1/sessions")
        found: list[dict[str, Any]] = json.loads(said)
        return found

    def close(self) -> None:
        self.machine.close()
        self.network.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("sctp"))
    try:
        made.wait()
        yield made
    finally:
        made.close()


def ask(world: World, place: str, question: bytes) -> bytes:
    """What comes back through a proxy when socat says something to it."""
    client = world.network.start(["socat", "-", f"TCP:{place}"])
    client.type(question)
    until(lambda: len(client.output) >= len(question), f"an answer from {place}")
    assert client.process.stdin is not None
    client.process.stdin.close()
    assert client.process.wait(15) == 0
    return client.output


def say(world: World, *words: str, port: int = 0) -> Guest:
    """Python on the machine says something; encapsulated if a port of UDP is given."""
    setting = "/proc/sys/net/sctp/encap_port"
    command = " ".join([sys.executable, "-S", "-E", str(PEER), *words])
    script = f"echo {port} > {setting}; {command}; code=$?; echo 0 > {setting}"
    return world.machine.start(["sh", "-c", f"{script}; exit $code"])


def answer(guest: Guest) -> dict[str, Any]:
    """What Python heard."""
    assert guest.wait() == 0, guest.errors
    found: dict[str, Any] = json.loads(guest.output)
    return found


def session(world: World, at: str, name: str) -> dict[str, Any]:
    """The latest session of a listener, as REST shows it."""
    every = [one for one in world.sessions(at) if one["source"]["origin"] == name]
    return every[-1]


def words_of(shown: dict[str, Any]) -> list[str]:
    """What happened in a session."""
    return [event["event"] for event in shown["events"]]


# -- the kernel's SCTP -----------------------------------------------------------


def test_every_promise_of_the_kernel_s_sctp(world: World) -> None:
    """What tests/streams proves of it is proved on the machine, none left out."""
    pytest_there = world.machine.start(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         "-p", "pytest_twisted", "-p", "pytest_timeout",
         "tests/streams/test_kernelsctp.py"],
        PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
        PYTHONPATH=str(ROOT),
    )  # fmt: skip
    assert pytest_there.wait(START) == 0, pytest_there.output.decode()
    assert b"skipped" not in pytest_there.output


@pytest.mark.parametrize("client", CLIENTS)
def test_a_kernel_listener_with_socat(world: World, client: str) -> None:
    """socat makes an association, says something, and hears it again."""
    script = f"""
heard=$(mktemp)
until_heard() {{ for _ in $(seq 100); do test -s $heard && break; sleep 0.1; done; }}
{{ echo hello; until_heard; }} | socat - {client} > $heard
cat $heard
"""
    assert world.machine.run(script) == "hello\n"


@pytest.mark.parametrize("number", range(len(SERVERS)), ids=SERVERS)
def test_a_kernel_cluster_with_socat(world: World, number: int) -> None:
    """At an address of two, by either version of IP, and by VSOCK, which takes a program."""
    assert ask(world, f"{THERE}:{7100 + number}", b"hello\n") == b"HELLO\n"


def test_a_multihomed_peer_of_the_kernel(world: World) -> None:
    """All addresses of both are metadata; the answer has the listener's identifier."""
    both = [THERE, ALSO_THERE]
    heard = answer(say(world, "bind", *both, "connect", *both, "7002", "3", "46", "hi"))
    assert heard == {"data": "hi", "stream": 3, "ppid": 9}
    about = session(world, "theirs", "echoes")["metadata"]["SCTP"]
    assert sorted(about["src_addrs"]) == sorted(about["dst_addrs"]) == both


def test_an_address_of_the_peer_fails(world: World) -> None:
    """The association goes on by the other, and the session's events tell."""
    ours, theirs = ["10.79.0.1", "10.79.1.1"], ["10.79.0.2", "10.79.1.2"]
    words = ["bind", *theirs, "down", "far0", "connect", *ours, "7004", "1", "46", "hi"]
    command = ["ip", "netns", "exec", "far", sys.executable, "-S", "-E", str(PEER)]
    peer = world.machine.start([*command, *words])
    assert peer.wait() == 0, peer.errors
    assert peer.output.count(b'"data": "hi"') == 17
    events = session(world, "theirs", "two-ways")["events"]
    gone = [e["content"] for e in events if e["event"] == "ADDR_UNREACHABLE"]
    assert [one["address"] for one in gone] == ["10.79.0.2"], events


# -- ours and the kernel's ---------------------------------------------------------


@pytest.mark.parametrize("port", [6001, pytest.param(6004, marks=RAW)])
def test_user_space_calls_the_kernel(world: World, port: int) -> None:
    """In UDP and right on IP: socat on the kernel's SCTP shouts back a MiB."""
    assert ask(world, f"127.0.0.1:{port}", b"hello\n") == b"HELLO\n"
    text = b"".join(b"line %d of many\n" % number for number in range(60_000))
    assert ask(world, f"127.0.0.1:{port}", text) == text.upper()


@pytest.mark.parametrize(
    ("port", "udp"), [(6002, 9899), pytest.param(6005, 0, marks=RAW)]
)
def test_the_kernel_calls_user_space(world: World, port: int, udp: int) -> None:
    """In UDP and right on IP: the answer comes on the same stream."""
    text = "x" * 60_000
    heard = answer(say(world, "connect", HERE, str(port), "5", "46", text, port=udp))
    assert heard == {"data": text, "stream": 5, "ppid": 46}


@RAW
def test_a_proxy_calls_a_proxy(world: World) -> None:
    """The kernel's SCTP of one, and the other's in user space."""
    assert ask(world, f"{THERE}:7003", b"there and back\n") == b"there and back\n"


def test_rules_know_the_first_message(world: World) -> None:
    """By its identifier a peer is let in or not; events tell of both."""
    heard = answer(say(world, "connect", HERE, "6003", "7", "46", "me", port=9899))
    assert heard == {"data": "me", "stream": 7, "ppid": 47}
    shown = session(world, "ours", "by-identifier")
    about = shown["metadata"]["SCTP"]
    assert (about["stream"], about["ppid"]) == (7, 46)
    assert about["src_addrs"] == [THERE]
    assert about["encapsulation"] == {"src_port": 9899, "dst_port": 9899}
    until(
        lambda: "SHUTDOWN_COMP" in words_of(session(world, "ours", "by-identifier")),
        "the end of the association",
    )
    assert "COMM_UP" in words_of(session(world, "ours", "by-identifier"))
    other = say(world, "connect", HERE, "6003", "7", "45", "me", port=9899)
    assert other.wait() != 0


def test_the_kernel_refuses(world: World) -> None:
    """An ABORT to our INIT is a refusal, at once."""
    client = world.network.start(["socat", "-", "TCP:127.0.0.1:6006"])
    client.process.wait(15)
    shown = session(world, "ours", "to-nobody")
    assert "refused" in str(shown["events"])


def test_the_kernel_aborts(world: World) -> None:
    """A peer that is killed with data unread resets the session, with its cause."""
    script = f"""
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)
s.connect(("{HERE}", 6002))
s.send(b"hello")
s.recv(10)
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
s.close()
"""
    setting = "/proc/sys/net/sctp/encap_port"
    world.machine.run(
        f"echo 9899 > {setting}; {sys.executable} -S -E -c '{script}';"
        f" echo 0 > {setting}"
    )
    until(lambda: "COMM_LOST" in words_of(session(world, "ours", "udp")), "the abort")
    ends = [e for e in session(world, "ours", "udp")["events"] if e["event"] == "END"]
    assert ends[0]["content"]["reason"] == "reset"
