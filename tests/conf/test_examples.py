"""The examples under conf/ do what their comments say."""

from __future__ import annotations

import base64
import json
import socket
import threading
from typing import Any

import pytest
from websockets.sync.client import connect as ws_connect
from websockets.sync.server import serve as ws_serve

from tests.conf.running import (
    HOST,
    LIMIT,
    TRY_AGAIN,
    Run,
    ask,
    eventually,
    exchange,
    serving,
)


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
