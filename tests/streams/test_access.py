"""Who may use a file that a listener makes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from l7mp.errors import LocalError
from l7mp.streams.access import UNCHANGED, Access, Made, gid_of, kind_at, uid_of, umask

NOBODY = 65534


@contextmanager
def masked(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def as_nobody() -> Iterator[None]:
    """What this process does, it does as somebody without privileges."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_umask_is_told_and_kept() -> None:
    """Asking for it does not change it."""
    with masked(0o027):
        assert umask() == umask() == 0o027


def test_accounts_have_names_or_numbers() -> None:
    """A number, also in quotes, stands for itself; unknown names are named."""
    assert (uid_of("root"), uid_of(7), uid_of("7"), gid_of("root")) == (0, 7, 7, 0)
    with pytest.raises(LocalError, match='no user "nosuchuser"'):
        uid_of("nosuchuser")
    with pytest.raises(LocalError, match='no group "nosuchgroup"'):
        Access.of(group="nosuchgroup")


def test_words_become_numbers() -> None:
    """Modes are octal; what is not said is not changed."""
    assert Access.of("0640", "root", 5) == Access(0o640, 0, 5)
    assert Access.of() == Access(None, UNCHANGED, UNCHANGED)
    assert Access.of().is_default
    assert not Access.of("0777").is_default


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_is_given_away(tmp_path: Path) -> None:
    """Owner, group and mode are as asked for; without a mode the umask decides."""
    path = tmp_path / "f"
    path.touch(0)
    Access(0o606, NOBODY, 7).give(str(path), 0o777)
    found = path.stat()
    assert (found.st_uid, found.st_gid, mode_of(path)) == (NOBODY, 7, 0o606)
    with masked(0o026):
        Access(gid=8).give(str(path), 0o777)
    assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY, 8)
    assert mode_of(path) == 0o751


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_who_may_not_give_is_told(tmp_path: Path) -> None:
    """Without privileges, a file cannot be given to another user."""
    path = tmp_path / "f"
    path.touch(0)
    os.chown(path, NOBODY, NOBODY)
    with as_nobody(), pytest.raises(LocalError, match=r"to user 7.*only root"):
        Access(0o600, 7).give(str(path), 0o777)


def test_only_ours_is_removed(tmp_path: Path) -> None:
    """A file that has taken the place of ours stays."""
    path = tmp_path / "f"
    path.touch()
    made = Made.at(str(path))
    path.rename(tmp_path / "g")
    path.write_text("precious")
    made.remove()
    assert path.exists()
    ours = Made.at(str(path))
    ours.remove()
    assert not path.exists()
    ours.remove()


def test_kinds_of_files(tmp_path: Path) -> None:
    """What is there, if anything."""
    os.mkfifo(tmp_path / "p")
    assert kind_at(str(tmp_path / "p")) == stat.S_IFIFO
    assert kind_at(str(tmp_path)) == stat.S_IFDIR
    assert kind_at(str(tmp_path / "missing")) is None
