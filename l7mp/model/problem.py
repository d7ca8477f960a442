"""What is wrong with something a user wrote, where, and what would help."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from l7mp.errors import LocalError

LONGEST_SHOWN = 60
"""Characters of a user's own text that a message repeats."""

LONGEST_WORD = 64
"""Characters beyond which a word is no slip of the pen: comparing is quadratic."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; as text, one line for people."""

    path: str
    """JSON Pointer (RFC 6901) into the document; empty for the whole of it."""
    message: str
    hint: str = ""
    """The remedy, such as ``did you mean "port"?``."""
    source: str = ""
    """Name of the file."""
    line: int = 0
    """Counted from 1; 0 if unknown."""
    column: int = 0
    """In characters, counted from 1; 0 if unknown."""

    def __str__(self) -> str:
        parts = (self._where(), printable(self.path), printable(self.message))
        told = ": ".join(part for part in parts if part)
        return f"{told}; {printable(self.hint)}" if self.hint else told

    def _where(self) -> str:
        source = printable(self.source)
        if not self.line:
            return source
        if not source:
            return f"line {self.line}, column {self.column}"
        return f"{source}:{self.line}:{self.column}"


class Invalid(LocalError):
    """Everything that is wrong with a document, all at once; one line each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """
    A question that names the known word nearest to ``word``, or nothing.

    Case, underscores and hyphens count for nothing: ``numRetries`` is ``num_retries``.
    """
    spellings = {_bare(one): one for one in known}
    if len(word) > LONGEST_WORD:
        return ""
    near = get_close_matches(_bare(word), spellings, n=1)
    return f"did you mean {quoted(spellings[near[0]])}?" if near else ""


def _bare(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "")


def quoted(text: str) -> str:
    """``text`` in quotes, made fit for one line of a message."""
    short = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
    mark = "'" if '"' in short else '"'
    return f"{mark}{printable(short)}{mark}"


def printable(text: str) -> str:
    """``text`` with escapes for what would disturb a line of a log or a terminal."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def pointer_to(tokens: Iterable[str | int]) -> str:
    """The JSON Pointer (RFC 6901, section 3) that takes these steps."""
    return "".join(
        "/" + str(token).replace("~", "~0").replace("/", "~1") for token in tokens
    )


def steps_of(pointer: str) -> list[str]:
    """The steps of a JSON Pointer, unescaped (RFC 6901, section 4)."""
    return [
        token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]
    ]
