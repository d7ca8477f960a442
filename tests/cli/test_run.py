"""The command, as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from l7mp.cli.run import main

ROOT = Path(__file__).parent.parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def minimal(port: int, **more: Any) -> dict[str, Any]:
    to = {"destination": {"spec": {"protocol": "L7mpController"}}}
    spec = {"protocol": "HTTP", "port": port, "address": "127.0.0.1"}
    listener = {
        "name": "controller",
        "spec": spec,
        "rules": [{"action": {"route": to}}],
    }
    return {"listeners": [listener, *more.pop("listeners", [])], **more}


# What a shell runs in the background ignores SIGINT, and so do its children.
HEARING = ["env", "--default-signal=INT"]


class Proxy:
    """A running l7mp."""

    def __init__(
        self, command: list[str], config: dict[str, Any], folder: Path
    ) -> None:
        self.port: int = config["listeners"][0]["spec"]["port"]
        path = folder / "config.json"
        path.write_text(json.dumps(config))
        self.process = subprocess.Popen(
            [*HEARING, sys.executable, "-m", *command, "-c", str(path)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def get(self, path: str) -> Any:
        end = time.monotonic() + 20
        while True:
            try:
                url = f"http://127.0.0.1:{self.port}/api/v1/{path}"
                with urllib.request.urlopen(url, timeout=5) as reply:
                    return json.load(reply)
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise
                time.sleep(0.02)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, bytes, bytes]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Any]:
    running: list[Proxy] = []

    def start(*command: str, **more: Any) -> Proxy:
        running.append(Proxy(list(command), minimal(free_port(), **more), tmp_path))
        return running[-1]

    yield start
    for proxy in running:
        if proxy.process.poll() is None:
            proxy.process.kill()
            proxy.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_cleanly(started: Any, tmp_path: Path, number: int) -> None:
    """Exit status 0, nothing on standard output, no socket file left."""
    path = str(tmp_path / "socket")
    unix = {"name": "u", "spec": {"protocol": "UDS", "filename": path}, "rules": []}
    proxy = started("l7mp", listeners=[unix])
    assert proxy.get("admin")["version"]
    assert Path(path).exists()
    status, out, err = proxy.end(number)
    assert (status, out) == (0, b"")
    assert not Path(path).exists()
    assert b"listener controller listens at address=127.0.0.1" in err


@pytest.mark.parametrize(
    "command", [["twisted", "l7mp"], ["twisted", "--log-format=text", "l7mp"]]
)
def test_twist_runs_it_too(started: Any, command: list[str]) -> None:
    """The same proxy as a plugin of Twisted's."""
    proxy = started(*command)
    assert proxy.get("listeners")[0]["name"] == "controller"
    proxy.end()


def test_twistd_runs_it_too(tmp_path: Path) -> None:
    """The same proxy under twistd, in the foreground and without a pid file."""
    config = minimal(free_port())
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    start = "from twisted.scripts.twistd import run; run()"
    flags = ["-n", "--pidfile=", "l7mp", "-c", str(path)]
    proxy = Proxy.__new__(Proxy)
    proxy.port = config["listeners"][0]["spec"]["port"]
    proxy.process = subprocess.Popen(
        [sys.executable, "-c", start, *flags],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert proxy.get("listeners")[0]["name"] == "controller"
    proxy.end()


def test_mistakes_end_it_with_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One message with all that is wrong, and nothing is started."""
    path = tmp_path / "bad.yaml"
    path.write_text("listners: []\nclusters: 5\n")
    assert main(["-c", str(path)]) == 1
    errors = capsys.readouterr().err
    assert f'{path}:1:1: /listners: unknown key "listners"' in errors
    assert 'did you mean "listeners"' in errors
    assert f"{path}:2:" in errors
    assert main(["--nonsense"]) == 1
    assert "nonsense" in capsys.readouterr().err
    assert main(["-c", "/nowhere"]) == 1
    assert "/nowhere" in capsys.readouterr().err


def test_a_port_in_use_ends_it_with_status_1(started: Any) -> None:
    """The file, the place, the listener, address, port and a remedy are named."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        spec = {"protocol": "TCP", "port": port, "address": "127.0.0.1"}
        proxy = started("l7mp", listeners=[{"name": "t", "spec": spec, "rules": []}])
        _, err = proxy.process.communicate(timeout=20)
    assert proxy.process.returncode == 1
    assert f"cannot listen on TCP 127.0.0.1:{port}".encode() in err
    assert b"config.json:1:" in err
    assert b': /listeners/1: listener "t": cannot listen' in err
    assert b"choose another port" in err


def test_what_was_hardly_meant_so_is_warned_about(started: Any) -> None:
    """A REST API for everybody, and a cluster without endpoints, are worth a warning."""
    proxy = started("l7mp")
    proxy.process.kill()
    config = minimal(free_port())
    del config["listeners"][0]["spec"]["address"]
    config["clusters"] = [{"name": "c", "spec": {"protocol": "TCP", "port": 9}}]
    open_proxy = Proxy(["l7mp"], config, Path(proxy.process.args[-1]).parent)
    open_proxy.get("admin")
    _, _, err = open_proxy.end()
    proxy.process.communicate()
    assert b"without authentication" in err
    assert b'cluster "c" has no endpoints' in err
