"""
The first process of a user-mode Linux: loads SCTP and VSOCK, and runs what it finds.

It runs with nothing but Python's own library, and speaks to the test in files: the
root of the machine is the root of the host.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from pathlib import Path

FINIT_MODULE = 313
EEXIST = 17
POWER_OFF = 0x4321FEDC
MODULES = Path("/usr/lib/uml/modules") / os.uname().release
NETWORK = """
ip link set lo up
ip addr add 10.78.0.2/24 dev vec0
ip addr add 10.78.1.2/24 dev vec0
ip link set vec0 gso_max_size 1500 up
ip netns add far
for n in 0 1; do
    ip link add near$n type veth peer name far$n netns far
    ip addr add 10.79.$n.1/24 dev near$n
    ip link set near$n up
    ip -n far addr add 10.79.$n.2/24 dev far$n
    ip -n far link set far$n up
done
"""
# A card to the test, and a network of the machine's own that is reached by two others.
# Linux 6.1 loses most of what it segments late of SCTP in UDP, so there is nothing late.

libc = ctypes.CDLL(None, use_errno=True)


def insert(path: Path) -> None:
    """Load a module that lies here; there is no modprobe for this kernel's."""
    descriptor = os.open(path, os.O_RDONLY)
    failed = libc.syscall(FINIT_MODULE, descriptor, b"", 0)
    code = ctypes.get_errno()
    os.close(descriptor)
    if failed and code != EEXIST:
        raise OSError(code, os.strerror(code), str(path))


def load(name: str) -> None:
    """Load a module and what it needs."""
    for line in (MODULES / "modules.dep").read_text().splitlines():
        path, _, needed = line.partition(":")
        if path.endswith(f"/{name}.ko"):
            for one in [*reversed(needed.split()), path]:
                insert(MODULES / one)


class Runner:
    """Starts what is asked for, and tells how it went."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def look(self) -> None:
        """What is new, and what is over."""
        for path in self._folder.glob("*.run"):
            if path.stem not in self._processes:
                self._start(path)
        for stem, process in self._processes.items():
            if (self._folder / f"{stem}.kill").exists() and process.poll() is None:
                process.terminate()
            code, rc = process.poll(), self._folder / f"{stem}.rc"
            if code is not None and not rc.exists():
                fresh = rc.with_suffix(".done")
                fresh.write_text(str(code))
                fresh.rename(rc)

    def _start(self, path: Path) -> None:
        said = json.loads(path.read_text())
        with (
            path.with_suffix(".out").open("wb") as out,
            path.with_suffix(".err").open("wb") as err,
        ):
            self._processes[path.stem] = subprocess.Popen(
                said["command"],
                cwd=said["cwd"],
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **said["env"]},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )


def main(folder: Path) -> None:
    try:
        for name in ("hmac", "sctp", "veth", "vsock_loopback"):
            load(name)
        subprocess.run(["/bin/sh", "-ec", NETWORK], check=True)
        runner = Runner(folder)
        (folder / "up").touch()
        while not (folder / "off").exists():
            runner.look()
            time.sleep(0.02)
    finally:
        libc.reboot(POWER_OFF)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
