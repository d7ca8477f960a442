"""Ethernet frames, and the words for their parts."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from l7mp.wire.ethernet import (
    ALL,
    BROADCAST,
    HEADER,
    NAMES,
    TAGS,
    BadFrame,
    Frame,
    ethertype,
    mac,
    parse,
    shown,
    summed,
    tagged,
)

A, B = bytes(range(6)), bytes(range(10, 16))

macs = st.binary(min_size=6, max_size=6)
plain_types = st.integers(0, 0xFFFF).filter(lambda number: number not in TAGS)
tags = st.lists(
    st.tuples(st.sampled_from(sorted(TAGS)), st.integers(0, 0xFFFF)), max_size=2
)


@given(macs, macs, tags, plain_types, st.binary(max_size=50))
def test_a_frame_is_read_as_it_was_written(
    destination: bytes,
    source: bytes,
    outside_in: list[tuple[int, int]],
    kind: int,
    payload: bytes,
) -> None:
    """Addresses, the type, the outer VLAN and the payload are found behind any tags."""
    between = b"".join(struct.pack("!HH", *tag) for tag in outside_in)
    data = destination + source + between + struct.pack("!H", kind) + payload
    frame = parse(data)
    vlan = outside_in[0][1] & 0x0FFF if outside_in else None
    start = len(data) - len(payload)
    assert frame == Frame(destination, source, kind, vlan, start)


@given(st.binary(max_size=40))
@example(bytes(12) + b"\x81\x00")
@example(bytes(12) + b"\x81\x00\x00\x01")
@example(bytes(12) + b"\x81\x00\x00\x01\x81\x00\x00\x02\x81\x00")
def test_any_bytes(data: bytes) -> None:
    """Anything is either a frame, whose header is in it, or told to be none."""
    try:
        frame = parse(data)
    except BadFrame:
        assert len(data) < HEADER + 8
        return
    assert HEADER <= frame.start <= len(data)


def test_tags_have_an_end() -> None:
    """A third tag is left alone: it is the payload of the second."""
    data = A + B + b"\x81\x00\x00\x01\x81\x00\x00\x02\x81\x00\x00\x03\x08\x00"
    assert parse(data) == Frame(A, B, 0x8100, 1, HEADER + 8)


@given(st.integers(0, 0xFFFF), st.sampled_from(sorted(TAGS)), plain_types)
def test_a_tag_is_put_back(tci: int, tpid: int, kind: int) -> None:
    """A frame whose tag was taken out looks as it did."""
    data = A + B + struct.pack("!H", kind) + b"payload"
    whole = tagged(data, tci, tpid)
    assert parse(whole) == Frame(A, B, kind, tci & 0x0FFF, HEADER + 4)
    assert whole[:12] + whole[16:] == data


@given(macs)
def test_addresses(address: bytes) -> None:
    """An address is read as it is shown, with dashes, and in capitals."""
    text = shown(address)
    for spelling in (text, text.upper(), text.replace(":", "-")):
        assert mac(spelling) == address


def test_broadcast() -> None:
    """Everybody has an address, too."""
    assert shown(BROADCAST) == "ff:ff:ff:ff:ff:ff"


@pytest.mark.parametrize(
    "text",
    ["", "02:00:5e:10:00", "02:00:5e:10:00:00:00", "2:0:5e:1:0:0", "02:00:5e-10:00:00",
     "02005e100000", "02:00:5e:10:00:0g", "eth0", "02:00:5e:10:00:00\n"],
)  # fmt: skip
def test_no_address(text: str) -> None:
    """Anything else is none."""
    with pytest.raises(ValueError, match="is no MAC address"):
        mac(text)


@given(st.text(max_size=20))
def test_any_text(text: str) -> None:
    """No text does harm."""
    with suppress(ValueError):
        assert len(mac(text)) == 6
    with suppress(ValueError):
        assert 0 < ethertype(text) <= 0xFFFF


@pytest.mark.parametrize(
    ("said", "number"),
    [(0x0800, 0x0800), ("IPv4", 0x0800), ("ipv6", 0x86DD), ("0x88b5", 0x88B5),
     ("34997", 0x88B5), ("all", ALL), (0xFFFF, 0xFFFF)],
)  # fmt: skip
def test_types(said: int | str, number: int) -> None:
    """A type is a number, in any spelling, or a name in any case."""
    assert ethertype(said) == number


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_a_type(name: str) -> None:
    """The names stand for numbers that are types themselves."""
    assert ethertype(NAMES[name]) == ethertype(name)


@pytest.mark.parametrize("said", [0, 1, 0x05FF, 0x10000, -5, "IPX9", "", "0x", "0x5"])
def test_no_type(said: int | str) -> None:
    """What is a length, too large or unknown is no type."""
    with pytest.raises(ValueError, match="EtherType"):
        ethertype(said)


def total(data: bytes) -> int:
    """The sum of RFC 1071, word by word."""
    data += bytes(len(data) % 2)
    found = 0
    for (word,) in struct.iter_unpack("!H", data):
        found += word
        found = (found & 0xFFFF) + (found >> 16)
    return found


@given(st.binary(min_size=20, max_size=60), st.integers(0, 9), st.integers(0, 4))
def test_a_checksum_is_right(data: bytes, start: int, half: int) -> None:
    """With the checksum put in, everything adds up to ones; nothing else changes."""
    offset = 2 * half
    made = summed(data, start, offset)
    at = start + offset
    assert made[:at] + data[at : at + 2] + made[at + 2 :] == data
    seeded = total(data[start:])
    field = total(made[at : at + 2])
    assert field != 0
    assert total(struct.pack("!HH", seeded, field)) in (0xFFFF, 0)


@given(st.binary(max_size=20), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_a_checksum_that_has_no_place(data: bytes, start: int, offset: int) -> None:
    """A frame that ends before its checksum is left alone; none gets longer."""
    made = summed(data, start, offset)
    assert len(made) == len(data)
    assert made == data or start + offset + 2 <= len(data)
