"""
Fuzz one target, guided by coverage, until told to stop or something does not hold.

``python -m tests.fuzz TARGET [CORPUS] [options of libFuzzer]``; see scripts/fuzz.
``--list`` in place of a target lists them.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    import atheris

    with atheris.instrument_imports(include=["l7mp"]):
        from tests.fuzz import codecs, engines

    targets = {**codecs.TARGETS, **engines.TARGETS}
    target, *more = sys.argv[1:]
    if target == "--list":
        sys.stdout.write("".join(f"{name}\n" for name in targets))
        return
    run, seeds = targets[target]
    if more and not more[0].startswith("-"):
        corpus = Path(more[0])
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds):
            (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *more], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
