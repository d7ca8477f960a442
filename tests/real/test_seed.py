"""The walk-through of the readme, command by command, with its fixed ports."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.namespace import Network, Running, until

ROOT = Path(__file__).parent.parent.parent
API = "http://localhost:1234/api/v1"

POST = "curl -iX POST --header 'Content-Type:text/x-yaml' --data-binary @- <<EOF "

ADD_CLUSTER = f"""
{POST} http://localhost:1234/api/v1/clusters
cluster:
  name: ws-cluster
  spec: {{ protocol: "WebSocket", port: 16000 }}
  endpoints:
    - spec: {{ address:  "127.0.0.1" }}
EOF
"""

ADD_STICKY_CLUSTER = f"""
{POST} http://localhost:1234/api/v1/clusters
cluster:
  name: ws-cluster-with-sticky-sessions
  spec: {{ protocol: "WebSocket", port: 16000 }}
  endpoints:
    - spec: {{ address:  "127.0.0.1" }}
      weight: 3
    - spec: {{ address:  "127.0.0.2" }}
    - spec: {{ address:  "127.0.0.3" }}
  loadbalancer:
    policy: "ConsistentHash"
    key: "IP/src_addr"
EOF
"""

ADD_LISTENER = f"""
{POST} http://localhost:1234/api/v1/listeners
listener:
  name: udp-listener
  spec: {{ protocol: UDP, port: 15000, connect: {{port: 15001}} }}
  rules:
    - action:
        route:
          destination: ws-cluster
          ingress:
            - spec: {{ protocol: Logger }}
          retry: {{retry_on: always, num_retries: 3, timeout: 2000}}
EOF
"""

ADD_LOGGER = f"""
{POST} http://localhost:1234/api/v1/clusters
cluster:
  name: logger-cluster
  spec: {{ protocol: "Logger" }}
EOF
"""

ADD_SECOND_LISTENER = f"""
{POST} http://localhost:1234/api/v1/listeners
listener:
  name: udp-listener-with-no-embedded-cluster-def
  spec: {{ protocol: UDP, port: 15000, connect: {{port: 15001}} }}
  rules:
    - action:
        route:
          destination: ws-cluster
          ingress:
            - logger-cluster
          retry: {{retry_on: always, num_retries: 3, timeout: 2000}}
EOF
"""

SENDER = "socat - udp:localhost:15000,sourceport=15001"

NEEDED = Network.why_not()

pytestmark = [
    pytest.mark.skipif(bool(NEEDED), reason=NEEDED or "there is nothing to skip"),
    pytest.mark.timeout(90),
]


class Walk:
    """Somebody who follows the readme."""

    def __init__(self, network: Network) -> None:
        self.network = network
        flags = ["-c", "conf/l7mp-minimal.yaml", "-l", "warn", "-s"]
        self.proxy = network.start([sys.executable, "-m", "l7mp", *flags], cwd=ROOT)
        until(self.answers, "the REST API")

    def answers(self) -> bool:
        try:
            self.network.run(f"curl -sf {API}/admin")
        except AssertionError:
            return False
        return True

    def get(self, path: str) -> Any:
        return json.loads(self.network.run(f"curl -s '{API}/{path}'"))

    def do(self, command: str) -> None:
        """A command with ``curl -i``, which must be answered with 200."""
        assert self.network.run(command).startswith("HTTP/1.1 200 "), command

    def delete(self, path: str) -> None:
        self.do(f"curl -iX DELETE '{API}/{path}'")

    def receiver(self, host: str = "127.0.0.1") -> Running:
        script = str(Path(__file__).parent / "receiver.py")
        receiver = self.network.start([sys.executable, script, host, "16000"])
        until(lambda: b"ready" in receiver.errors, "the receiver")
        return receiver

    def names(self, kind: str) -> list[str]:
        return [one["name"] for one in self.get(kind)]

    def sessions(self) -> list[Any]:
        """The sessions beside the one that asks."""
        every = self.get("sessions")
        return [s for s in every if s["source"]["origin"] != "controller-listener"]


@pytest.fixture
def walk() -> Iterator[Walk]:
    network = Network()
    try:
        yield Walk(network)
    finally:
        network.close()


def test_query_configuration(walk: Walk) -> None:
    """The dump shows everything; the only session is the request's own."""
    config = walk.get("config")
    assert [one["name"] for one in config["listeners"]] == ["controller-listener"]
    (session,) = walk.get("sessions")
    assert session["metadata"]["HTTP"]["url"]["path"] == "/api/v1/sessions"
    assert len(config["sessions"]) == 1


def test_every_command_of_the_readme(walk: Walk) -> None:
    """All of it in one go: add, send, log, retry, and clean up by name."""
    for command in (
        ADD_CLUSTER,
        ADD_STICKY_CLUSTER,
        ADD_LISTENER,
        ADD_LOGGER,
        ADD_SECOND_LISTENER,
    ):
        walk.do(command)
    sender = walk.network.start(SENDER.split())
    sender.type(b"typed before there is a receiver\n")
    until(walk.sessions, "the session")
    receiver = walk.receiver()
    until(lambda: b"before there is a receiver\n" in receiver.output, "the message")
    sender.type(b"and now\n")
    until(lambda: b"and now\n" in receiver.output, "the second message")
    receiver.type(b"the other way\n")
    until(lambda: b"the other way\n" in sender.output, "the answer")
    logged = walk.proxy.output
    assert b"typed before there is a receiver\n" in logged
    assert b"and now\n" in logged
    assert b"the other way" not in logged
    (session,) = walk.sessions()
    assert session["metadata"]["UDP"]["src_port"] == 15001
    assert "ERROR" in [event["event"] for event in session["events"]]
    walk.delete(f"sessions/{session['name']}")
    until(lambda: not walk.sessions(), "the end of the session")
    walk.delete("listeners/udp-listener")
    walk.delete("clusters/ws-cluster")
    assert "udp-listener-RuleList-1" in walk.names("rulelists")
    assert walk.proxy.end() == 0


def test_a_receiver_that_restarts(walk: Walk) -> None:
    """The sender's session outlives its receiver, and its events tell the story."""
    walk.do(ADD_CLUSTER)
    walk.do(ADD_LISTENER)
    receiver = walk.receiver()
    sender = walk.network.start(SENDER.split())
    sender.type(b"one\n")
    until(lambda: b"one\n" in receiver.output, "the first message")
    receiver.process.kill()
    until(lambda: walk.sessions()[0]["status"] == "DISCONNECTED", "the disconnect")
    sender.type(b"two\n")
    receiver = walk.receiver()
    until(lambda: b"two\n" in receiver.output, "what was sent meanwhile")
    (session,) = walk.sessions()
    assert session["status"] == "CONNECTED"
    words = [event["event"] for event in session["events"]]
    assert words[:3] == ["INIT", "LOOKUP SUCCESS", "CONNECT"]
    assert words.index("DISCONNECT") > 2
    assert words[-1] == "CONNECT"


def test_recursive_clean_up(walk: Walk) -> None:
    """Recursively, everything that was defined on the way goes, and the sessions."""
    before = walk.get("config")
    walk.do(ADD_CLUSTER)
    walk.do(ADD_LISTENER)
    walk.receiver()
    walk.network.start(SENDER.split()).type(b"hello\n")
    until(walk.sessions, "the session")
    walk.delete("listeners/udp-listener?recursive=true")
    walk.delete("clusters/ws-cluster?recursive=true")
    until(lambda: not walk.sessions(), "the end of the session")
    after = walk.get("config")
    for kind in ("listeners", "clusters", "rulelists", "rules", "routes", "endpoints"):
        assert after[kind] == before[kind]


def test_only_the_given_source_port_is_accepted(walk: Walk) -> None:
    """A sender that is bound elsewhere gets no session."""
    walk.do(ADD_CLUSTER)
    walk.do(ADD_LISTENER)
    walk.network.run("echo x | socat -t0 - udp:localhost:15000,sourceport=15009")
    assert not walk.sessions()


def test_sticky_sessions(walk: Walk) -> None:
    """One client address stays with one of the three endpoints."""
    receivers = [walk.receiver(f"127.0.0.{n}") for n in (1, 2, 3)]
    walk.do(ADD_STICKY_CLUSTER)
    to = "destination: ws-cluster-with-sticky-sessions"
    anybody = ADD_LISTENER.replace("destination: ws-cluster", to)
    walk.do(anybody.replace(", connect: {port: 15001}", ""))
    for port in range(15001, 15006):
        socat = f"socat -t0 - udp:127.0.0.1:15000,sourceport={port}"
        walk.network.run(f"echo {port} | {socat}")
    until(lambda: sum(r.output.count(b"\n") for r in receivers) == 5, "five messages")
    assert sorted(r.output.count(b"\n") for r in receivers) == [0, 0, 5]
