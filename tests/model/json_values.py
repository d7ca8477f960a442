"""JSON values and documents for property tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from l7mp.model.document import Document
from l7mp.model.problem import pointer_to

# No lone surrogates: they are no characters and are refused.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)

json_values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
    ),
    max_leaves=15,
)


def pointers(value: Any, *walked: str | int) -> list[str]:
    """The JSON Pointers of ``value`` and of everything in it."""
    found = [pointer_to(walked)]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += pointers(inner, *walked, key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += pointers(inner, *walked, index)
    return found


def offset_of(document: Document, text: str, pointer: str) -> int:
    """Where in ``text`` the thing is that ``pointer`` names."""
    line, column = document.locate(pointer)
    begin = 0
    for _ in range(line - 1):
        begin = text.index("\n", begin) + 1
    return begin + column - 1


def nested(depth: int) -> str:
    """A list in a list in a list, as JSON."""
    return "[" * depth + "]" * depth
