"""The fuzzers' targets hold for their examples, for mutations of them, and for old finds."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz import codecs, engines

ROOT = Path(__file__).parent.parent.parent
FOUND = Path(__file__).parent / "found"
TARGETS = {**codecs.TARGETS, **engines.TARGETS}
SECONDS = int(os.environ.get("L7MP_FUZZ_SECONDS", "0"))
"""How long each target is fuzzed; 0: two of them, for a moment, to see that it works."""
GUIDED = list(TARGETS) if SECONDS else ["jsonsocket", "framed"]

fuzzer = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris is not installed (extra fuzz)",
)


@pytest.mark.parametrize("name", TARGETS)
def test_examples(name: str) -> None:
    """A target holds for what its fuzzing begins with, and for every beginning of it."""
    run, seeds = TARGETS[name]
    for seed in seeds:
        for end in range(len(seed) + 1):
            run(seed[:end])


@pytest.mark.parametrize("path", sorted(FOUND.glob("*/*")), ids=lambda path: path.name)
def test_what_was_found(path: Path) -> None:
    """What a fuzzer has found once holds now."""
    TARGETS[path.parent.name][0](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_anything(name: str) -> None:
    """A target holds for any bytes, and for parts of its examples among any bytes."""
    run, seeds = TARGETS[name]
    seed = st.sampled_from(seeds)
    part = st.tuples(seed, st.integers(0, 80), st.integers(0, 80)).map(
        lambda it: it[0][it[1] : it[1] + it[2]]
    )
    mixed = st.lists(part | st.binary(max_size=8), max_size=5).map(b"".join)

    @given(st.binary(max_size=80) | mixed)
    @example(b"")
    def holds(data: bytes) -> None:
        run(data)

    holds()


@fuzzer
@pytest.mark.parametrize("name", GUIDED)
def test_guided(name: str, tmp_path: Path) -> None:
    """Guided by coverage, the fuzzer finds nothing in the time that it has here."""
    # Two that instrument the same code are one too many.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz", name, str(tmp_path / "corpus")),
            f"-max_total_time={SECONDS or 1}",
            f"-artifact_prefix={tmp_path}/",
            "-max_len=512",
        ],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=SECONDS + 50,
        check=False,
    )
    said = done.stderr.decode(errors="replace")
    assert done.returncode == 0, said + done.stdout.decode(errors="replace")
    assert "Done " in said
