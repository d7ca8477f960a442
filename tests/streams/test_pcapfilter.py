"""Filters in the words of tcpdump."""

from __future__ import annotations

import ctypes

import pytest

from l7mp.errors import LocalError
from l7mp.streams import pcapfilter
from l7mp.streams.pcapfilter import ETHERNET, IP, compile_filter


def test_a_filter_is_compiled() -> None:
    """A filter becomes instructions that look at the EtherType and return."""
    program = compile_filter("arp", ETHERNET)
    load, compare, taken, refused = program
    assert load == (0x28, 0, 0, 12)  # ldh [12]
    assert compare == (0x15, 0, 1, 0x0806)  # jeq #0x806 jt 0 jf 1
    assert taken[0] == refused[0] == 0x06  # ret
    assert taken[3] > 65535
    assert refused[3] == 0


def test_it_begins_where_the_packet_does() -> None:
    """For payloads the same filter looks at the IP header at their start."""
    ethernet, ip = (compile_filter("udp", begins) for begins in (ETHERNET, IP))
    assert ethernet != ip
    assert ethernet[0] == (0x28, 0, 0, 12)
    assert ip[0] == (0x30, 0, 0, 0)  # ldb [0]


def test_no_filter_takes_everything() -> None:
    """Nothing said is nothing asked for."""
    ((code, _, _, taken),) = compile_filter("", ETHERNET)
    assert code == 0x06
    assert taken > 65535


@pytest.mark.parametrize("text", ["tcp port", "nonsense nonsense", "port 99999", "("])
def test_what_is_no_filter(text: str) -> None:
    """What libpcap does not understand is told in its words."""
    with pytest.raises(LocalError) as info:
        compile_filter(text, ETHERNET)
    told = str(info.value)
    assert told.startswith(f'no filter of packets: "{text}": ')
    assert len(told) > len(text) + 50
    assert told.endswith("; see pcap-filter(7)")


def test_a_filter_with_a_nul() -> None:
    """C would read only what is before it, which is another filter."""
    with pytest.raises(LocalError, match="NUL"):
        compile_filter("tcp\0 or udp", ETHERNET)


def test_a_filter_that_can_take_nothing() -> None:
    """A filter that could never match is refused."""
    with pytest.raises(LocalError, match="rejects all packets"):
        compile_filter("arp", IP)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where libpcap is missing one is told what to do."""

    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    pcapfilter._library.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(LocalError, match=r"install it, or give .* filter_bytes"):
        compile_filter("arp", ETHERNET)


def test_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that has no memory is no crash."""
    monkeypatch.setattr(pcapfilter._library(), "pcap_open_dead", lambda *_: None)
    with pytest.raises(LocalError, match="no memory"):
        compile_filter("arp", ETHERNET)
