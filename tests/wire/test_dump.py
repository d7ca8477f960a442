"""How a Logger shows what passes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from l7mp.wire.dump import hexdump, text


def test_text_with_and_without_prefix() -> None:
    """Text is data as it is, behind the prefix if there is one."""
    assert text(b"\xffa", "") == b"\xffa"
    assert text(b"\xffa", "in") == b"in: \xffa"


def test_hexdump() -> None:
    """A line has the offset, the codes and what can be printed."""
    first = "in: 00000000  61 62 63 64 65 66 67 68 69 6a 6b 6c 6d 6e 6f 70"
    second = "in: 00000010  ff 20" + " " * 42
    expected = f"{first}  |abcdefghijklmnop|\n{second}  |. |\n"
    assert hexdump(b"abcdefghijklmnop\xff ", "in").decode() == expected


@given(st.binary(max_size=70))
def test_hexdump_keeps_everything(data: bytes) -> None:
    """Every byte is in the dump, in order."""
    lines = hexdump(data, "").decode().splitlines()
    assert bytes.fromhex("".join(line[10:57] for line in lines)) == data
    assert len(lines) == -(-len(data) // 16)
