"""Files that change while we run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from l7mp.errors import LocalError
from l7mp.streams.tls_files import PATIENCE, Reloaded


class Watched:
    """A number in a file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "number"
        self.path.write_text("1")
        self.warnings: list[str] = []
        self.clock = Clock()
        self.reads = 0
        self.it = Reloaded(
            [str(self.path)], self._read, self.warnings.append, self.clock
        )

    def _read(self) -> int:
        self.reads += 1
        try:
            return int(self.path.read_text())
        except (OSError, ValueError) as error:
            raise LocalError(f"no number: {error}") from error

    def write(self, text: str) -> None:
        """Put another file in its place, as renewing a certificate does."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text)
        os.replace(fresh, self.path)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_nothing_is_read_twice(watched: Watched) -> None:
    """As long as no file changes the value is the one that was made."""
    assert [watched.it.current() for _ in range(3)] == [1, 1, 1]
    assert watched.reads == 1


def test_a_change_is_seen_at_once(watched: Watched) -> None:
    """Who asks after a change gets the new value."""
    watched.write("2")
    assert watched.it.current() == 2


def test_a_broken_file_changes_nothing(watched: Watched) -> None:
    """The old value stays in use; there is one warning, once it is no passing state."""
    watched.write("two")
    assert watched.it.current() == 1
    assert watched.warnings == []
    watched.clock.advance(PATIENCE)
    assert [watched.it.current() for _ in range(2)] == [1, 1]
    (warning,) = watched.warnings
    assert "no number" in warning
    assert "stays in use" in warning
    assert watched.reads == 2


def test_a_passing_state_is_not_told(watched: Watched) -> None:
    """Files that fit again a moment later are worth no warning."""
    watched.write("two")
    watched.it.current()
    watched.write("2")
    assert watched.it.current() == 2
    watched.clock.advance(PATIENCE)
    assert watched.it.current() == 2
    assert watched.warnings == []


def test_a_missing_file_changes_nothing(watched: Watched) -> None:
    """A file that went away is as one that is broken, and can come back."""
    watched.path.unlink()
    assert watched.it.current() == 1
    watched.clock.advance(PATIENCE)
    watched.it.current()
    assert len(watched.warnings) == 1
    watched.write("3")
    assert watched.it.current() == 3


def test_what_is_wrong_from_the_start_fails(tmp_path: Path) -> None:
    """There is no old value at first, so the error is the caller's."""

    def make() -> int:
        raise LocalError("no")

    with pytest.raises(LocalError):
        Reloaded([str(tmp_path / "x")], make, print, Clock())
