"""
Whether a regular expression is found in a string, in bounded time.

What is matched here comes from strangers: paths, headers, JSONSocket metadata. A
backtracking matcher such as ``re`` can be made to work for hours by a few dozen
characters, and the whole proxy with it. So all ways to match are followed at once
(Thompson's construction), one character after the other: the time grows with the
length of the string times the size of the pattern, whatever they are. What was
learned about a character in a state is remembered, up to a limit, which makes the
common case one look-up per character.

The price is that groups capture nothing, which nobody asks for in a predicate, and
that there are no back references.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from l7mp.model import regex_syntax as syntax
from l7mp.model.regex_syntax import RegexError

MAX_SIZE = 2000
"""How large a pattern may become when its counts are written out."""
MAX_REMEMBERED = 4096
"""How many steps a pattern remembers before it starts afresh."""


class _Kind(IntEnum):
    """What stands at one side of a place in a string."""

    NOTHING = 0
    OTHER = 1
    WORD = 2


class _Op(IntEnum):
    MATCH = 0
    CHAR = 1
    JUMP = 2
    ASSERT = 3
    LOOK = 4


@dataclass(frozen=True, slots=True)
class _Instruction:
    op: _Op
    targets: tuple[int, ...] = ()
    accepts: Callable[[str], bool] | None = None
    assertion: syntax.Assertion | None = None
    look: int = 0


@dataclass(slots=True)
class _State:
    """Where all ways to match have got to, and what precedes that place."""

    kernel: frozenset[int]
    past: _Kind
    edges: dict[str, tuple[bool, _State]] = field(default_factory=dict)


def compile(pattern: str, *, ignore_case: bool = False) -> Callable[[str], bool]:  # noqa: A001
    """
    A function that says whether the pattern is found anywhere in a string.

    Raises ``RegexError`` for a pattern that is wrong, not supported or too large.
    """
    machine = _Builder(ignore_case=ignore_case).machine(syntax.parse(pattern))
    return machine.search


class _Machine:
    """
    Runs over a string and says at each place whether a match ends there.

    A match may begin anywhere. ``backward`` machines run from the end to the start:
    that is how it is known of all places at once what follows them.
    """

    def __init__(
        self,
        code: Sequence[_Instruction],
        start: int,
        looks: Sequence[tuple[_Machine, bool]],
        *,
        backward: bool,
    ) -> None:
        self._code = code
        self._start = start
        self._looks = looks
        self._backward = backward
        self._states: dict[tuple[frozenset[int], _Kind], _State] = {}
        self._remembered = 0

    def search(self, text: str) -> bool:
        """Whether there is a match anywhere."""
        return any(self._scan(text))

    def marks(self, text: str) -> list[bool]:
        """For each place, from before the first to after the last character."""
        found = list(self._scan(text))
        return found[::-1] if self._backward else found

    def _scan(self, text: str) -> Iterator[bool]:
        looks = [(machine.marks(text), negated) for machine, negated in self._looks]
        state = self._state(frozenset(), _Kind.NOTHING)
        for place, coming in self._walk(text):
            edge = state.edges.get(coming)
            if edge is None:
                holds = [marks[place] != negated for marks, negated in looks]
                edge = self._step(state, coming, holds)
                if not looks:
                    self._remember(state, coming, edge)
            found, state = edge
            yield found

    def _walk(self, text: str) -> Iterable[tuple[int, str]]:
        """All places with the character that comes next, nothing after the last."""
        size = len(text)
        if self._backward:
            yield from zip(range(size, 0, -1), reversed(text), strict=True)
            yield 0, ""
        else:
            yield from enumerate(text)
            yield size, ""

    def _step(
        self, state: _State, coming: str, holds: Sequence[bool]
    ) -> tuple[bool, _State]:
        kind = _kind(coming)
        found, reached = self._closure(state, kind, holds)
        kernel = frozenset(
            step.targets[0]
            for step in reached
            if coming and step.accepts is not None and step.accepts(coming)
        )
        return found, self._state(kernel, kind)

    def _closure(
        self, state: _State, coming: _Kind, holds: Sequence[bool]
    ) -> tuple[bool, list[_Instruction]]:
        """Whether a match ends here, and the characters that would lead on."""
        before, after = state.past, coming
        if self._backward:
            before, after = after, before
        waiting = [*state.kernel, self._start]
        seen = set(waiting)
        found, reached = False, []
        while waiting:
            step = self._code[waiting.pop()]
            if step.op is _Op.MATCH:
                found = True
            elif step.op is _Op.CHAR:
                reached.append(step)
            elif _passes(step, before, after, holds):
                fresh = [target for target in step.targets if target not in seen]
                seen.update(fresh)
                waiting += fresh
        return found, reached

    def _state(self, kernel: frozenset[int], past: _Kind) -> _State:
        state = self._states.get((kernel, past))
        if state is None:
            state = self._states[kernel, past] = _State(kernel, past)
        return state

    def _remember(self, state: _State, coming: str, edge: tuple[bool, _State]) -> None:
        if self._remembered == MAX_REMEMBERED:
            self._states.clear()
            self._remembered = 0
        self._remembered += 1
        state.edges[coming] = edge


def _kind(char: str) -> _Kind:
    if not char:
        return _Kind.NOTHING
    word = char == "_" or (char.isascii() and char.isalnum())
    return _Kind.WORD if word else _Kind.OTHER


def _passes(
    step: _Instruction, before: _Kind, after: _Kind, holds: Sequence[bool]
) -> bool:
    if step.op is _Op.LOOK:
        return holds[step.look]
    if step.assertion is None:
        return True
    if step.assertion is syntax.Assertion.START:
        return before is _Kind.NOTHING
    if step.assertion is syntax.Assertion.END:
        return after is _Kind.NOTHING
    boundary = (before is _Kind.WORD) != (after is _Kind.WORD)
    return boundary == (step.assertion is syntax.Assertion.BOUNDARY)


class _Builder:
    """Writes the instructions of one machine, last things first."""

    def __init__(self, *, ignore_case: bool, backward: bool = False) -> None:
        self._ignore_case = ignore_case
        self._backward = backward
        self._code = [_Instruction(_Op.MATCH)]
        self._looks: list[tuple[_Machine, bool]] = []
        self._work = 0

    def machine(self, node: syntax.Node) -> _Machine:
        """The machine for a pattern."""
        start = self._write(node, 0)
        return _Machine(self._code, start, self._looks, backward=self._backward)

    def _add(self, instruction: _Instruction) -> int:
        self._code.append(instruction)
        return len(self._code) - 1

    def _spend(self) -> None:
        """Count work, not instructions: a repeated nothing adds none."""
        self._work += 1
        if self._work > MAX_SIZE:
            what = f"more than {MAX_SIZE} steps, all counts written out,"
            raise RegexError(what, 0)

    def _write(self, node: syntax.Node, then: int) -> int:
        """Write ``node`` to be followed by ``then``; returns where it begins."""
        self._spend()
        match node:
            case syntax.Chars():
                accepts = _acceptor(node, ignore_case=self._ignore_case)
                return self._add(_Instruction(_Op.CHAR, (then,), accepts=accepts))
            case syntax.Sequence(items):
                for item in items if self._backward else reversed(items):
                    then = self._write(item, then)
                return then
            case syntax.Either(options):
                entries = tuple(self._write(option, then) for option in options)
                return self._add(_Instruction(_Op.JUMP, entries))
            case syntax.Repeat():
                return self._write_repeat(node, then)
            case syntax.Assertion():
                return self._add(_Instruction(_Op.ASSERT, (then,), assertion=node))
            case _:
                return self._write_look(node, then)

    def _write_repeat(self, node: syntax.Repeat, then: int) -> int:
        entry = then
        if node.high is None:
            entry = self._add(_Instruction(_Op.JUMP))
            body = self._write(node.body, entry)
            self._code[entry] = _Instruction(_Op.JUMP, (body, then))
        else:
            for _ in range(node.high - node.low):
                body = self._write(node.body, entry)
                entry = self._add(_Instruction(_Op.JUMP, (body, then)))
        for _ in range(node.low):
            entry = self._write(node.body, entry)
        return entry

    def _write_look(self, node: syntax.Look, then: int) -> int:
        inner = _Builder(ignore_case=self._ignore_case, backward=not node.behind)
        inner._work = self._work
        self._looks.append((inner.machine(node.body), node.negated))
        self._work = inner._work
        look = len(self._looks) - 1
        return self._add(_Instruction(_Op.LOOK, (then,), look=look))


def _acceptor(chars: syntax.Chars, *, ignore_case: bool) -> Callable[[str], bool]:
    ranges, negated = chars.ranges, chars.negated
    if not ignore_case:

        def accepts(char: str) -> bool:
            code = ord(char)
            return any(low <= code <= high for low, high in ranges) != negated

        return accepts

    folded = [
        (ord(_canonical(chr(low))),) * 2 if low == high else (low, high)
        for low, high in ranges
    ]

    def accepts_any_case(char: str) -> bool:
        codes = [ord(variant) for variant in _variants(char)]
        hit = any(low <= code <= high for low, high in folded for code in codes)
        return hit != negated

    return accepts_any_case


def _canonical(char: str) -> str:
    """The character that stands for all cases (ECMA-262, Canonicalize)."""
    upper = char.upper()
    if len(upper) != 1 or (upper.isascii() and not char.isascii()):
        return char
    return upper


def _variants(char: str) -> set[str]:
    canonical = _canonical(char)
    lower = canonical.lower()
    same = {lower} if len(lower) == 1 and _canonical(lower) == canonical else set()
    return {char, canonical} | same
