"""What README.md tells people to type does what it says there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import l7mp.protocols
from l7mp import tap
from l7mp.core.registry import Registry

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)

# Blocks that are not executed here, by how they begin, each with the reason.
NOT_RUN = {
    "make run": "installs from the network; .ci does",
    "l7mp -c conf/l7mp-minimal.yaml  ": "runs until it is stopped; see test_start",
    "l7mp -c conf/l7mp-minimal.yaml -l warn -s": "started for all the others",
    "websocat ": "waits for people to type; tests/conf drives the same route",
}

# The rest need port 1234 of the minimal configuration: they run one after the other,
# as a reader would, in a network namespace of their own.
RUN = [block for block in BLOCKS if not block.startswith(tuple(NOT_RUN))]

SCRIPT = """
set -eu
ip link set lo up 2>/dev/null || true
"$PYTHON" -m l7mp -c conf/l7mp-minimal.yaml -l warn -s &
proxy=$!
trap 'kill $proxy; wait $proxy' EXIT
curl -sS -o /dev/null --retry 80 --retry-delay 0 --retry-connrefused \\
    --retry-max-time 20 http://localhost:1234/api/v1/admin
"""


def test_exceptions_are_still_needed() -> None:
    """Each block that is not run is still in the README."""
    for start in NOT_RUN:
        assert any(block.startswith(start) for block in BLOCKS), start


def isolated() -> str | None:
    """Why there can be no network namespace, None if there can."""
    missing = [name for name in ("unshare", "ip", "curl") if not shutil.which(name)]
    if missing:
        return f"missing: {', '.join(missing)}"
    if os.geteuid() != 0:
        return "needs root: the commands use the fixed port 1234"
    tried = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False)
    return tried.stderr.decode() if tried.returncode else None


def test_walk_through() -> None:
    """The commands of the walk-through succeed, in order, and clean up."""
    reason = isolated()
    if reason is not None:
        pytest.skip(reason)
    steps = []
    for number, block in enumerate(RUN):
        block = block.replace("<session-name>", "no-such-session")
        steps.append(f"echo; echo '== {number}'\n{block}")
    last = "echo; echo '== end'\ncurl -sS http://localhost:1234/api/v1/listeners\n"
    done = subprocess.run(
        ["unshare", "-n", "bash", "-c", SCRIPT + "".join(steps) + last],
        cwd=ROOT,
        env={**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        timeout=45,
    )
    said = done.stdout.decode()
    assert done.returncode == 0, said + done.stderr.decode()
    answers = re.split(r"\n== (?:\d+|end)\n", said)[1:]
    for block, answer in zip(RUN, answers, strict=False):
        statuses = re.findall(r"^HTTP/1\.1 (\d+)", answer, re.MULTILINE)
        if "<session-name>" in block:
            assert statuses[-1] == "400", answer  # there is no such session
        else:
            assert all(status == "200" for status in statuses if status != "100")
            assert statuses or answer.lstrip().startswith(("{", "[")), answer
    assert "controller-listener" in answers[-1]
    assert "udp-listener" not in answers[-1]


def test_start() -> None:
    """Each way to start is a command that knows the options it is given."""
    block = next(one for one in BLOCKS if one.startswith("l7mp -c conf/l7mp-minimal"))
    for line in block.splitlines():
        command, _, arguments = line.partition("#")[0].strip().partition(" -c ")
        assert command in ("l7mp", "python -m l7mp", "twistd l7mp", "twist l7mp")
        options = tap.Options()
        options.parseOptions(["-c", str(ROOT / arguments.split()[0])])
        assert tap.configuration(options, Registry.discover(l7mp.protocols)).listeners


def test_files_exist() -> None:
    """Every link into the tree leads to a file, and every example is listed."""
    links = [one for one in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in one]
    assert not [link for link in links if not (ROOT / link).exists()]
    assert {path.name for path in (ROOT / "conf").iterdir()} <= {
        Path(link).name for link in links
    }


def test_declarations_are_yaml() -> None:
    """What is posted in the README is YAML with one object."""
    posted = re.findall(r"<<EOF[^\n]*\n(.*?)\nEOF", TEXT, re.DOTALL)
    assert posted
    assert all(len(yaml.safe_load(text)) == 1 for text in posted)
