"""Every example under conf/ loads, and does what its comment says."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from websockets.sync.client import connect as ws_connect
from websockets.sync.server import serve as ws_serve

import l7mp.protocols
from l7mp import tap
from l7mp.core.registry import Registry

ROOT = Path(__file__).parent.parent
CONF = ROOT / "conf"
FILES = sorted(path.name for path in CONF.iterdir())
LIMIT = 8.0  # seconds for anything that should be there any moment
TRY_AGAIN = 0.02
HOST = "127.0.0.1"


@pytest.mark.parametrize("name", FILES)
def test_loads(name: str) -> None:
    """Every file in conf/ is a configuration without a single problem."""
    options = tap.Options()
    options.parseOptions(["-c", str(CONF / name)])
    config = tap.configuration(options, Registry.discover(l7mp.protocols))
    assert config.listeners


def test_ports_are_distinct() -> None:
    """Examples can run beside each other: no two listen at the same place."""
    seen: dict[tuple[str, Any], str] = {}
    for name in FILES:
        for listener in yaml.safe_load((CONF / name).read_text())["listeners"]:
            spec = listener["spec"].get("transport", listener["spec"])
            where = (spec["protocol"], spec.get("port", spec.get("filename")))
            assert where not in seen, f"{name} and {seen.get(where)}: {where}"
            seen[where] = name
            assert "filename" in spec or spec["address"] == HOST, name


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".yaml")])
def test_says_how_to_try_it(name: str) -> None:
    """An example begins with a comment that has commands to try it with."""
    lines = (CONF / name).read_text().splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
    assert any(line.startswith("#   ") for line in comment)


# -- running them -------------------------------------------------------------------


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
            key: ports[item] if key == "port" else rewritten(item, ports, folder)
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


Run = Callable[[str], Running]


@pytest.fixture
def run() -> Iterator[Run]:
    """Starts an example, on other ports, and waits until it is up."""
    folders: list[Path] = []
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> Running:
        # paths of Unix sockets are short, those of pytest are not
        folder = Path(tempfile.mkdtemp(prefix="l7mp"))
        folders.append(folder)
        ports = Ports()
        document = rewritten(yaml.safe_load((CONF / name).read_text()), ports, folder)
        copy = folder / name
        copy.write_text(json.dumps(document))  # which is YAML, too
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "l7mp", "-c", str(copy), "-l", "notice"],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        started.append(process)
        running = Running(process, folder)
        running.ports = ports
        eventually(lambda: b" is up" in log.read_bytes() or died(process, log))
        return running

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
    for process in started:
        assert process.wait(LIMIT) == 0
    for folder in folders:
        shutil.rmtree(folder)


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


def test_udp_to_websocket(run: Run) -> None:
    """Datagrams from the expected port become messages, and the other way round."""
    it = run("udp-to-websocket.yaml")
    heard: list[object] = []

    def handler(connection: Any) -> None:
        for message in connection:
            heard.append(message)
            connection.send(b"re: " + message)

    with ws_serve(handler, HOST, it.ports[16000]) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with it.udp(15000, source=15001) as sender:
            assert exchange(sender, b"one") == b"re: one"
            assert exchange(sender, b"two") == b"re: two"
        server.shutdown()
        thread.join(LIMIT)
    assert heard == [b"one", b"two"]
    assert b"onetwo" in (it.folder / "log").read_bytes()


def test_tcp_to_unix(run: Run) -> None:
    """A TCP client reaches a socket file, and its end is heard before the answer."""
    it = run("tcp-to-unix.yaml")
    with serving(bytes.upper, it.folder / "l7mp-tcp-to-unix.sock"):
        assert ask(it.tcp(17010), b"hello") == b"HELLO"


def test_unix_to_tcp(run: Run) -> None:
    """A client of the socket file reaches a TCP service."""
    it = run("unix-to-tcp.yaml")
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(LIMIT)
    with serving(bytes.upper, it.ports[17021]):
        client.connect(str(it.folder / "l7mp-unix-to-tcp.sock"))
        assert ask(client, b"hello") == b"HELLO"


def test_websocket_to_tcp(run: Run) -> None:
    """A WebSocket's messages are the bytes of a TCP connection."""
    it = run("websocket-to-tcp.yaml")
    listening = socket.create_server((HOST, it.ports[17031]))
    listening.settimeout(LIMIT)
    with listening, ws_connect(f"ws://{HOST}:{it.ports[17030]}/terminal") as client:
        client.send(b"hello")
        service, _ = listening.accept()
        service.settimeout(LIMIT)
        with service:
            assert service.recv(100) == b"hello"
            service.sendall(b"goodbye")
            assert client.recv(LIMIT) == b"goodbye"
    assert b"message boundaries are lost" in (it.folder / "log").read_bytes()


def test_udp_singleton(run: Run) -> None:
    """The one session is there before its peer: the service can speak first."""
    it = run("udp-singleton.yaml")
    listening = socket.create_server((HOST, it.ports[17042]))
    listening.settimeout(LIMIT)
    with it.udp(17040, source=17041) as peer, listening:
        service, _ = listening.accept()
        service.settimeout(LIMIT)
        with service:
            service.sendall(b"first")
            assert peer.recv(100) == b"first"
            peer.send(b"second")
            assert service.recv(100) == b"second"


def test_http_to_tcp(run: Run) -> None:
    """The body of a request goes to the service, whose answer is the response's."""
    it = run("http-to-tcp.yaml")
    with serving(bytes.upper, it.ports[17051]):
        assert it.curl(17050, "/", "--data", "hello") == "HELLO"


def test_transforms(run: Run) -> None:
    """A datagram is logged, wrapped, unwrapped, echoed and wrapped for the way back."""
    it = run("transforms.yaml")
    with it.udp(17060) as sender:
        answer = json.loads(exchange(sender, b"hello"))
    assert base64.b64decode(answer["payload"]) == b"hello"
    assert answer["metadata"]["IP"]["src_addr"] == HOST
    log = (it.folder / "log").read_text()
    assert "in: hello" in log
    assert "wrapped: 00000000  7b 22" in log


def test_remote_transform(run: Run) -> None:
    """What a cluster in ingress sends back is what goes on to the destination."""
    it = run("remote-transform.yaml")
    with serving(bytes.upper, it.ports[17071]):
        assert ask(it.tcp(17070), b"hello") == b"HELLO"


def test_echo_discard(run: Run) -> None:
    """Echo sends everything back, Discard nothing; a file in JSON does the same."""
    json_example = run("echo.json")
    assert ask(json_example.tcp(17180), b"hello") == b"hello"
    it = run("echo-discard.yaml")
    assert ask(it.tcp(17080), b"hello") == b"hello"
    with it.udp(17080) as sender:
        assert exchange(sender, b"hello") == b"hello"
    assert ask(it.tcp(17081), b"hello") == b""


def test_load_balancing(run: Run) -> None:
    """A client address always gets the same endpoint, and all have their share."""
    it = run("load-balancing.yaml")
    clients = [(f"127.0.0.{n}", 0) for n in range(2, 42)]

    def answers() -> list[bytes]:
        return [ask(it.tcp(17090, source_address=one), b"") for one in clients]

    with (
        serving(lambda _: b"1", it.ports[17091]),
        serving(lambda _: b"2", it.ports[17092]),
        serving(lambda _: b"3", it.ports[17093]),
    ):
        found = answers()
        assert answers() == found
    assert set(found) == {b"1", b"2", b"3"}
    assert found.count(b"1") > max(found.count(b"2"), found.count(b"3"))


def test_retry(run: Run) -> None:
    """A client that came first is served when the service comes."""
    it = run("retry.yaml")
    with it.tcp(17100) as client:
        client.sendall(b"early")
        client.shutdown(socket.SHUT_WR)
        with serving(bytes.upper, it.ports[17101]):
            # an ended service is retried, too, so the session never ends by itself
            assert client.recv(100) == b"EARLY"


def test_rules(run: Run) -> None:
    """Path and method choose the route, apply defers, rewrite shows in metadata."""
    it = run("rules.yaml")
    data = ("--data", "hello")
    assert it.curl(17110, "/echo", *data) == "hello"
    wrapped = json.loads(it.curl(17110, "/api/users", *data))
    assert wrapped["metadata"]["labels"] == {"tier": "api"}
    assert it.curl(17110, "/api/", "-X", "PUT", *data) == "hello"
    assert it.curl(17110, "/nowhere", "-i").startswith("HTTP/1.1 404 ")


def test_stdio(run: Run) -> None:
    """What clients send is on the proxy's standard output."""
    it = run("stdio.yaml")
    with it.tcp(17120) as client, it.udp(17121) as sender:
        client.sendall(b"over TCP")
        sender.send(b"over UDP")
        log = it.folder / "log"
        eventually(lambda: b"over TCP" in log.read_bytes())
        eventually(lambda: b"over UDP" in log.read_bytes())


def test_jsonsocket(run: Run) -> None:
    """A header opens the way to the echo; one that no rule matches gets a 404."""
    it = run("jsonsocket.yaml")
    with it.udp(17130) as plain:
        assert exchange(plain, b"hello") == b"hello"
    header = {"JSONSocketVersion": 1, "tenant": "blue"}
    with it.udp(17131) as client:
        answer = json.loads(exchange(client, json.dumps(header).encode()))
        assert answer["JSONSocketStatus"] == 200
        assert exchange(client, b"hello") == b"hello"
    with it.udp(17131) as client:
        answer = json.loads(exchange(client, b'{"JSONSocketVersion": 1}'))
        assert answer["JSONSocketStatus"] == 404


def test_sync(run: Run) -> None:
    """Those who asked for the same path hear each other, and nobody else."""
    it = run("sync.yaml")
    url = f"ws://{HOST}:{it.ports[17140]}"
    with (
        ws_connect(f"{url}/kitchen") as one,
        ws_connect(f"{url}/kitchen") as other,
        ws_connect(f"{url}/garden") as stranger,
    ):
        one.send("hello")
        assert other.recv(LIMIT) in ("hello", b"hello")
        with pytest.raises(TimeoutError):
            stranger.recv(TRY_AGAIN)


def test_prometheus(run: Run) -> None:
    """The counters have what passed."""
    it = run("prometheus.yaml")
    assert ask(it.tcp(17150), b"hello") == b"hello"
    shown = it.curl(17151, "/metrics")
    assert 'service_bytes_total{clusterName="incoming"} 5\n' in shown
    assert 'listener_requests_total{listenerName="service",protocol="TCP"} 1' in shown


def test_ingress_gateway(run: Run) -> None:
    """The gateway offers the REST API, its description, and nothing else."""
    it = run("ingress-gw.yaml")
    config = json.loads(it.curl(17160, "/api/v1/config"))
    assert [one["name"] for one in config["listeners"]] == ["controller-listener"]
    assert json.loads(it.curl(17160, "/openapi.json"))["openapi"].startswith("3.")


def test_named_objects(run: Run) -> None:
    """Two listeners share a rulelist, which the API shows by its name."""
    it = run("named-objects.yaml")
    assert ask(it.tcp(17170), b"hello") == b"hello"
    assert it.curl(17171, "/", "--data", "hello") == "hello"
    shown = json.loads(it.curl(17172, "/api/v1/rulelists/shared-rules"))
    assert shown["rules"] == ["from-here", "from-elsewhere"]
