"""
A machine with another kernel: Linux as an ordinary process, on the host's own files.

What the kernel of this machine cannot do, SCTP in the first place, Debian's package
user-mode-linux can.  The machine has one network card, a tap of a test's network.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.real.namespace import PATIENCE, Network, Running, until

ROOT = Path(__file__).parent.parent.parent
AGENT = Path(__file__).parent / "uml_agent.py"

HERE, THERE = "10.78.0.1", "10.78.0.2"
"""Our address on the tap, and the machine's."""

ALSO_HERE, ALSO_THERE = "10.78.1.1", "10.78.1.2"
"""A second pair, on the same wire."""

INIT = """\
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /run
exec {python} -S -E {agent} {folder}
"""


class Machine:
    """A user-mode Linux with SCTP, as soon as it is ``ready``."""

    def __init__(self, network: Network) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="uml-"))
        self._count = 0
        init = self._folder / "init"
        python = os.path.realpath(sys.executable)
        init.write_text(INIT.format(python=python, agent=AGENT, folder=self._folder))
        init.chmod(0o755)
        network.run(
            "ip tuntap add dev tap0 mode tap"
            f" && ip addr add {HERE}/24 dev tap0 && ip addr add {ALSO_HERE}/24 dev tap0"
            " && ip link set tap0 up"
        )
        self._running: Running = network.start(
            [
                "linux.uml", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw",
                "mem=256M", f"init={init}", "quiet", "con=null", "con0=null,fd:1",
                "vec0:transport=tap,ifname=tap0,depth=128,gro=0",
            ],
            env={**os.environ, "TMPDIR": "/dev/shm", "HOME": str(self._folder)},
        )  # fmt: skip

    @staticmethod
    def why_not() -> str:
        """Why there can be none here; empty if there can."""
        if not shutil.which("linux.uml"):
            return "user-mode-linux is not installed"
        if not os.access("/dev/net/tun", os.W_OK):
            return "/dev/net/tun cannot be opened"
        return Network.why_not()

    def wait(self) -> None:
        """Until it is up and has SCTP."""
        until(
            lambda: self._is_up() or self._has_died(), "user-mode Linux", 2 * PATIENCE
        )
        assert self._is_up(), self._running.output[-4000:]

    def _is_up(self) -> bool:
        return (self._folder / "up").exists()

    def _has_died(self) -> bool:
        return self._running.process.poll() is not None

    def start(self, command: Sequence[str], **env: str) -> Guest:
        """A process of the machine, in the root of this repository."""
        self._count += 1
        return Guest(self._folder, self._count, command, env)

    def run(self, script: str) -> str:
        """What a shell script writes, which must succeed."""
        done = self.start(["sh", "-ec", script])
        assert done.wait() == 0, (script, done.output, done.errors)
        return done.output.decode()

    def close(self) -> None:
        """Power it off."""
        (self._folder / "off").touch()
        try:
            until(self._has_died, "power off")
        finally:
            if not self._has_died():
                self._running.process.kill()
                self._running.process.wait()
            shutil.rmtree(self._folder)


class Guest:
    """A process of the machine; all we share with it are files."""

    def __init__(
        self, folder: Path, number: int, command: Sequence[str], env: dict[str, str]
    ) -> None:
        self._name = folder / str(number)
        said: dict[str, Any] = {"command": list(command), "cwd": str(ROOT), "env": env}
        self._of("new").write_text(json.dumps(said))
        self._of("new").rename(self._of("run"))

    def _of(self, what: str) -> Path:
        return self._name.with_suffix(f".{what}")

    def _read(self, what: str) -> bytes:
        return self._of(what).read_bytes() if self._of(what).exists() else b""

    @property
    def output(self) -> bytes:
        """What it wrote to standard output so far."""
        return self._read("out")

    @property
    def errors(self) -> bytes:
        """What it wrote to standard error so far."""
        return self._read("err")

    @property
    def is_over(self) -> bool:
        return self._of("rc").exists()

    def wait(self, seconds: float = 2 * PATIENCE) -> int:
        """How it ended."""
        what = f"the end of {self._read('run')!r}"
        until(lambda: self.is_over, what, seconds)
        return int(self._read("rc"))

    def end(self) -> int:
        """Ask it to end, and say how it did."""
        self._of("kill").touch()
        return self.wait()
