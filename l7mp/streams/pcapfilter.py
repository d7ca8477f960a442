"""
Filters in the words of tcpdump, made into programs of the kernel by libpcap.

The one place that knows libpcap. Nothing is captured with it: it only compiles, see
pcap-filter(7).
"""

from __future__ import annotations

import ctypes
from functools import cache

from l7mp.errors import LocalError

Program = tuple[tuple[int, int, int, int], ...]
"""Instructions of the classic BPF: code, jump if true, jump if false, operand."""

ETHERNET = 1
"""What the filter sees begins with an Ethernet header (DLT_EN10MB)."""
IP = 12
"""What the filter sees begins with an IP header (DLT_RAW)."""

_LIBRARIES = ("libpcap.so.0.8", "libpcap.so.1")
_LONGEST = 1 << 18  # bytes of a packet that a program lets through
_UNKNOWN_MASK = 0xFFFFFFFF


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (
        ("length", ctypes.c_uint),
        ("instructions", ctypes.POINTER(_Instruction)),
    )


def compile_filter(text: str, begins_with: int) -> Program:
    """
    The program of a filter for packets that begin with ETHERNET or IP headers.

    It may look host names up, and blocks for as long. Raises ``LocalError`` for what is
    no filter, in the words of libpcap, and where that library is missing.
    """
    if "\0" in text:
        raise LocalError("no filter of packets: it has a NUL in it")
    pcap = _library()
    handle = pcap.pcap_open_dead(begins_with, _LONGEST)
    if not handle:
        raise LocalError("libpcap has no memory to compile a filter in")
    program = _Program()
    try:
        found = pcap.pcap_compile(
            handle,
            ctypes.byref(program),
            text.encode(errors="replace"),
            1,
            _UNKNOWN_MASK,
        )
        if found != 0:
            why = pcap.pcap_geterr(handle).decode(errors="replace")
            hint = "see pcap-filter(7)"
            raise LocalError(f'no filter of packets: "{text}": {why}; {hint}')
        made = program.instructions[: program.length]
        instructions = tuple((one.code, one.jt, one.jf, one.k) for one in made)
        pcap.pcap_freecode(ctypes.byref(program))
    finally:
        pcap.pcap_close(handle)
    return instructions


@cache
def _library() -> ctypes.CDLL:
    for name in _LIBRARIES:
        try:
            pcap = ctypes.CDLL(name)
        except OSError:
            continue
        pcap.pcap_open_dead.restype = ctypes.c_void_p
        pcap.pcap_open_dead.argtypes = [ctypes.c_int, ctypes.c_int]
        pcap.pcap_compile.argtypes = [
            ctypes.c_void_p,
            ctypes.POINTER(_Program),
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.c_uint32,
        ]
        pcap.pcap_geterr.restype = ctypes.c_char_p
        pcap.pcap_geterr.argtypes = [ctypes.c_void_p]
        pcap.pcap_freecode.argtypes = [ctypes.POINTER(_Program)]
        pcap.pcap_close.argtypes = [ctypes.c_void_p]
        return pcap
    raise LocalError(
        "filters in the words of tcpdump need libpcap (Debian: libpcap0.8); install"
        " it, or give the instructions in filter_bytes"
    )
