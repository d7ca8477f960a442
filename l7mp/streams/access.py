"""Who may use a file that a listener makes: its mode, its owner and its group."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Callable
from dataclasses import dataclass

from l7mp.errors import LocalError

UNCHANGED = -1
"""The owner or group of a file that stays as it was made (chown(2))."""


def umask() -> int:
    """Which permissions this process takes from what it makes; it can only be set."""
    current = os.umask(0o077)
    os.umask(current)
    return current


def uid_of(user: str | int) -> int:
    """The number of a user by name; raises ``LocalError``."""
    return _number(user, "user", lambda name: pwd.getpwnam(name).pw_uid)


def gid_of(group: str | int) -> int:
    """The number of a group by name; raises ``LocalError``."""
    return _number(group, "group", lambda name: grp.getgrnam(name).gr_gid)


def _number(word: str | int, noun: str, find: Callable[[str], int]) -> int:
    if isinstance(word, int):
        return word
    if word.isdecimal():
        return int(word)
    try:
        return find(word)
    except KeyError:
        raise LocalError(f'this machine has no {noun} "{word}"') from None


@dataclass(frozen=True)
class Access:
    """What a file shall be in the end."""

    mode: int | None = None
    uid: int = UNCHANGED
    gid: int = UNCHANGED

    @classmethod
    def of(
        cls,
        mode: str | None = None,
        owner: str | int | None = None,
        group: str | int | None = None,
    ) -> Access:
        """The same in a user's words; raises ``LocalError`` for an unknown name."""
        return cls(
            None if mode is None else int(mode, 8),
            UNCHANGED if owner is None else uid_of(owner),
            UNCHANGED if group is None else gid_of(group),
        )

    @property
    def is_default(self) -> bool:
        """Whether the file may be made as any other."""
        return self == Access()

    def give(self, path: str, default: int) -> None:
        """
        Open a file that was made with no permissions at all.

        ``default`` is the mode of one for which none was asked, before the umask.
        The owner comes first, so that the file is at no time more open than in the
        end.  Raises ``LocalError`` that says what this process may not do.
        """
        mode = default & ~umask() if self.mode is None else self.mode
        try:
            if (self.uid, self.gid) != (UNCHANGED, UNCHANGED):
                os.chown(path, self.uid, self.gid)
            os.chmod(path, mode)
        except OSError as error:
            what = f"cannot give {path} to {self._whom()}: {error.strerror}"
            raise LocalError(f"{what}; only root may give files away") from error

    def _whom(self) -> str:
        named = (("user", self.uid), ("group", self.gid))
        return " and ".join(f"{n} {i}" for n, i in named if i != UNCHANGED)


@dataclass(frozen=True)
class Made:
    """A file that we made, as long as it is that one."""

    path: str
    device: int
    inode: int

    @classmethod
    def at(cls, path: str) -> Made:
        """What is there now."""
        found = os.lstat(path)
        return cls(path, found.st_dev, found.st_ino)

    def remove(self) -> None:
        """Take it away, unless another is in its place."""
        try:
            if Made.at(self.path) == self:
                os.unlink(self.path)
        except OSError:
            return


def kind_at(path: str) -> int | None:
    """The type of the file at ``path``, as ``stat.S_IFMT`` gives it; None: no file."""
    try:
        return stat.S_IFMT(os.stat(path).st_mode)
    except OSError:
        return None
