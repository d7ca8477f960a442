"""
Packet sockets (packet(7)): frames, or what is in them, straight from an interface.

The numbers that Python lacks are Linux's.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from dataclasses import dataclass

from l7mp.errors import Loss, Reason
from l7mp.streams.pcapfilter import Program
from l7mp.wire.ethernet import ALL

BUFFER = 4 << 20
"""Bytes that may wait in the kernel for one socket."""

_SO_ATTACH_FILTER = 26
_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP = 1
_PACKET_STATISTICS = 6
_PACKET_AUXDATA = 8
_PACKET_VNET_HDR = 15
_PACKET_IGNORE_OUTGOING = 23
_MR_PROMISC = 1
_ARPHRD_ETHER = 1
_ARPHRD_LOOPBACK = 772

# A little of classic BPF, see the kernel's Documentation/networking/filter.rst.
_LOAD_HALF = 0x28
_JUMP_IF_EQUAL = 0x15
_RETURN = 0x06
_PROTOCOL = 0xFFFFF000  # where a program finds the type of the frame
_EVERYTHING = 1 << 18

_MEMBERSHIP = struct.Struct("@iHH8s")  # struct packet_mreq
_PROGRAM = struct.Struct("@HP")  # struct sock_fprog
_INSTRUCTION = struct.Struct("@HBBI")  # struct sock_filter

_STATISTICS = struct.Struct("@II")  # packets, those of them that were dropped

AUXILIARY = struct.Struct("@IIIHHHH")
"""Status, length, captured length, two offsets, VLAN tag and its type."""
AUXILIARY_SPACE = socket.CMSG_SPACE(AUXILIARY.size)

VLAN_VALID = 1 << 4
"""In the status: there was a VLAN tag, which the interface took out."""
VLAN_TPID_VALID = 1 << 6

OFFLOAD = struct.Struct("@BBHHHH")
"""
What an interface leaves to others, in front of every raw frame.

Flags, kind and size of segments, length of headers, and where to begin a checksum and
to put it (struct virtio_net_hdr).
"""
NEEDS_CHECKSUM = 1
TCP_LUMPS = frozenset({1, 4})
"""Kinds of segments: TCP over IPv4 and over IPv6."""
LUMP_ECN = 0x80
"""A flag beside the kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which packets a socket is for."""

    interface: str
    cooked: bool = False
    """Payloads without the header of the link, instead of whole frames."""
    ethertype: int
    program: Program | None = None
    promiscuous: bool = False
    """Also frames for other machines."""
    outgoing: bool = False
    """Also what this machine sends."""


class NoEthernet(OSError):
    """Raw frames of this interface have no Ethernet header."""


def open_packet_socket(wanted: Wanted) -> socket.socket:
    """
    A socket that hears what is wanted, and nothing else, not even at the beginning.

    Raises ``OSError``, see ``why_not``.
    """
    if "\0" in wanted.interface:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    kind = socket.SOCK_DGRAM if wanted.cooked else socket.SOCK_RAW
    # Of type 0 nothing comes, so that there is time to say what should.
    sock = socket.socket(socket.AF_PACKET, kind, 0)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        sock.bind((wanted.interface, _prepared(sock, wanted)))
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        _check_hardware(sock, wanted)
        if wanted.promiscuous:
            index = socket.if_nametoindex(wanted.interface)
            member = _MEMBERSHIP.pack(index, _MR_PROMISC, 0, bytes(8))
            sock.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, member)
    except BaseException:
        sock.close()
        raise
    return sock


def _prepared(sock: socket.socket, wanted: Wanted) -> int:
    """Say what is wanted, but for the type to bind, which is returned."""
    ethertype, program = wanted.ethertype, wanted.program
    if wanted.outgoing and ethertype != ALL:
        # What goes out is shown only to those who hear every type.
        ethertype, program = ALL, _of_type(ethertype, program)
    if program is not None:
        _attach(sock, program)
    if not wanted.cooked:
        sock.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        sock.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    if not wanted.outgoing:
        sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    return ethertype


def lost_by_kernel(sock: socket.socket) -> int:
    """How many packets found no room at a socket since it was asked last."""
    told = sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
    dropped: int = _STATISTICS.unpack(told)[1]
    return dropped


def _of_type(ethertype: int, program: Program | None) -> Program:
    """The program, for frames of one type."""
    return (
        (_LOAD_HALF, 0, 0, _PROTOCOL),
        (_JUMP_IF_EQUAL, 1, 0, ethertype),
        (_RETURN, 0, 0, 0),
        *(program or ((_RETURN, 0, 0, _EVERYTHING),)),
    )


def _check_hardware(sock: socket.socket, wanted: Wanted) -> None:
    hardware = sock.getsockname()[3]
    if not wanted.cooked and hardware not in (_ARPHRD_ETHER, _ARPHRD_LOOPBACK):
        raise NoEthernet(errno.EPROTOTYPE, f"hardware type {hardware}")


def _attach(sock: socket.socket, program: Program) -> None:
    instructions = b"".join(_INSTRUCTION.pack(*one) for one in program)
    buffer = ctypes.create_string_buffer(instructions, max(len(instructions), 1))
    where = _PROGRAM.pack(len(program), ctypes.addressof(buffer))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, where)
    except OSError as error:
        raise OSError(errno.EBADMSG, f"the filter, {error.strerror}") from error


_TROUBLES = {
    errno.EPERM: "packet sockets need privileges: run as root or with CAP_NET_RAW",
    errno.EACCES: "packet sockets need privileges: run as root or with CAP_NET_RAW",
    errno.ENODEV: "there is no such interface; see ip link",
    errno.ENXIO: "there is no such interface; see ip link",
    errno.ENETDOWN: "it is down; bring it up, as with ip link set dev … up",
    errno.EBADMSG: "the kernel refuses these instructions",
    errno.EPROTOTYPE: "its frames have no Ethernet header; say type: cooked",
}
_GONE = frozenset({errno.ENODEV, errno.ENXIO, errno.ENETDOWN})


def why_not(error: OSError, interface: str) -> Loss:
    """What an error of a packet socket means, for whoever needs the interface."""
    code = error.errno or 0
    reason = Reason.UNREACHABLE if code in _GONE else Reason.LOCAL
    told = _TROUBLES.get(code, "")
    if code not in _TROUBLES or isinstance(error, NoEthernet) or code == errno.EBADMSG:
        told = f"{error.strerror or error}{'; ' if told else ''}{told}"
    return Loss(reason, f"interface {interface}: {told}")
