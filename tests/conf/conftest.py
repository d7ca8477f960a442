"""The fixture that starts an example."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.conf.running import (
    CONF,
    LIMIT,
    ROOT,
    Ports,
    Prepare,
    Run,
    Running,
    died,
    eventually,
    rewritten,
)


@pytest.fixture
def run() -> Iterator[Run]:
    """Starts an example, on other ports, and waits until it is up."""
    folders: list[Path] = []
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, prepare: Prepare = lambda _: None) -> Running:
        # paths of Unix sockets are short, those of pytest are not
        folder = Path(tempfile.mkdtemp(prefix="l7mp"))
        folders.append(folder)
        prepare(folder)
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
