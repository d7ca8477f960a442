"""
SCTP in user space: the binding to libusrsctp (BSD's SCTP stack as a library).

The only file that knows the library.  The library is one for a process, by its own
design, and cannot be unloaded while an association lives, so it is started once and
stays; what changes while we run is owned by a ``Stack``.  It runs without threads: time
and packets are handed to it, and it calls back from within.  Nothing is raised through
it: a callback that fails is counted in ``Engine.faults``.
"""

from __future__ import annotations

import ctypes as c
import errno
import os
import socket
import struct
from functools import cache
from typing import NamedTuple, Protocol

from l7mp.errors import LocalError
from l7mp.wire.sctp import AF_CONN, USRSCTP

NAMES = ("libusrsctp.so.2", "libusrsctp.so.1", "libusrsctp.so")

READ, WRITE = 1, 2
"""Events of a socket, which may stand together."""

MAX_MESSAGE = 1 << 20
"""Bytes that wait in each direction: no longer message can be sent."""

_SPACE = 1 << 17

_IPPROTO_SCTP = 132
_NOTIFICATION, _END_OF_RECORD = 0x2000, 0x80
_UNORDERED = 0x400
_SNDINFO = 1
_RTOINFO, _ASSOCINFO, _INITMSG, _NODELAY, _PEER_ADDR_PARAMS = 1, 2, 3, 4, 10
_EVENT, _RECVRCVINFO, _STATUS = 0x1E, 0x1F, 0x100
_HB_ENABLE, _HB_DISABLE = 1, 2

_RTO_INITIAL, _RTO_MIN = 1000, 200
"""Milliseconds: the first as RFC 9260 has it, the least as Linux has for TCP."""

_FOREVER = 0xFFFFFFFF

_SWITCHES = {
    # Paths are numbers to the library: there are no addresses to add or to leave.
    "auto_asconf": 0,
    "asconf_enable": 0,
    # The marks of ECN are in the header of IP, which the library does not see.
    "ecn_enable": 0,
    # Linux checks the sum also of what never left the machine.
    "no_csum_on_loopback": 0,
    # A window that is not opened to a held session for long is normal here.
    "sendspace": MAX_MESSAGE,
    "recvspace": MAX_MESSAGE,
}


class _Sockaddr(c.Structure):
    _fields_ = (
        ("family", c.c_uint16),
        ("port", c.c_uint16),
        ("path", c.c_void_p),
    )


class _Rcvinfo(c.Structure):
    _fields_ = (
        ("sid", c.c_uint16),
        ("ssn", c.c_uint16),
        ("flags", c.c_uint16),
        ("ppid", c.c_uint32),
        ("tsn", c.c_uint32),
        ("cumtsn", c.c_uint32),
        ("context", c.c_uint32),
        ("association", c.c_uint32),
    )


_SENDINFO = struct.Struct("=HH4sII")
_OUTPUT = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p, c.c_size_t, c.c_uint8, c.c_uint8)
_UPCALL = c.CFUNCTYPE(None, c.c_void_p, c.c_void_p, c.c_int)

_PROTOTYPES: dict[str, tuple[object, tuple[object, ...]]] = {
    "init_nothreads": (None, (c.c_uint16, _OUTPUT, c.c_void_p)),
    "socket": (
        c.c_void_p,
        (c.c_int, c.c_int, c.c_int, c.c_void_p, c.c_void_p, c.c_uint32, c.c_void_p),
    ),
    "setsockopt": (c.c_int, (c.c_void_p, c.c_int, c.c_int, c.c_char_p, c.c_uint32)),
    "getsockopt": (c.c_int, (c.c_void_p, c.c_int, c.c_int, c.c_void_p, c.c_void_p)),
    "bind": (c.c_int, (c.c_void_p, c.c_void_p, c.c_uint32)),
    "listen": (c.c_int, (c.c_void_p, c.c_int)),
    "accept": (c.c_void_p, (c.c_void_p, c.c_void_p, c.c_void_p)),
    "connect": (c.c_int, (c.c_void_p, c.c_void_p, c.c_uint32)),
    "sendv": (
        c.c_ssize_t,
        (
            *(c.c_void_p, c.c_char_p, c.c_size_t, c.c_void_p, c.c_int),
            *(c.c_char_p, c.c_uint32, c.c_uint, c.c_int),
        ),
    ),
    "recvv": (
        c.c_ssize_t,
        (c.c_void_p, c.c_void_p, c.c_size_t, *(c.c_void_p,) * 6),
    ),
    "close": (None, (c.c_void_p,)),
    "shutdown": (c.c_int, (c.c_void_p, c.c_int)),
    "conninput": (None, (c.c_void_p, c.c_char_p, c.c_size_t, c.c_uint8)),
    "register_address": (None, (c.c_void_p,)),
    "deregister_address": (None, (c.c_void_p,)),
    "set_non_blocking": (c.c_int, (c.c_void_p, c.c_int)),
    "set_upcall": (c.c_int, (c.c_void_p, _UPCALL, c.c_void_p)),
    "get_events": (c.c_int, (c.c_void_p,)),
    "handle_timers": (None, (c.c_uint32,)),
}


class Received(NamedTuple):
    """A message, a part of one, or a notification."""

    data: bytes
    stream: int
    ppid: int
    is_whole: bool
    """Whether it is, or ends, a message."""
    is_notification: bool


class Tuning(NamedTuple):
    """What is asked of an association."""

    streams: int
    """How many streams there are to be in each direction, if the peer wants to."""
    heartbeat: float
    """Seconds of silence on a path after which it is tried; 0: never."""
    retransmissions: int
    """How many times in a row a peer may not answer."""

    @property
    def path_tries(self) -> int:
        """The same for one of its addresses; half, as by default in RFC 9260."""
        return (self.retransmissions + 1) // 2


class Clients(Protocol):
    """Whom the library calls."""

    def output(self, path: int, packet: bytes) -> None:
        """Send a packet to the peer of a path."""

    def touched(self, sock: int) -> None:
        """Something happened to a socket; look at it, but not from within."""


class Engine:
    """The library, started.  Sockets and paths are numbers that it knows."""

    def __init__(self, library: c.CDLL) -> None:
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(library, f"usrsctp_{name}")
            function.restype, function.argtypes = result, arguments
        self._lib = library
        self._sockets: dict[int, Clients] = {}
        self._paths: dict[int, Clients] = {}
        self._space = c.create_string_buffer(_SPACE)
        # Where the library writes what it tells of a message: the same for all.
        self._about, self._flags = _Rcvinfo(), c.c_int(0)
        self._source_size, self._about_size = c.c_uint32(0), c.c_uint32(0)
        self._answers = tuple(
            c.byref(one)
            for one in (
                *(_Sockaddr(), self._source_size, self._about, self._about_size),
                *(c.c_uint(0), self._flags),
            )
        )
        self.clocks: list[object] = []
        """Who could tell the time; the first of them does."""
        self.faults = 0
        """How many times a callback failed, which nobody else would hear of."""
        # The library keeps their addresses for as long as the process lives.
        self._on_output, self._on_upcall = _OUTPUT(self._output), _UPCALL(self._upcall)
        library.usrsctp_init_nothreads(0, self._on_output, None)
        for name, value in _SWITCHES.items():
            switch = getattr(library, f"usrsctp_sysctl_set_sctp_{name}")
            switch.argtypes = (c.c_uint32,)
            switch(value)

    # -- called by the library ----------------------------------------------------

    def _output(self, path: int, packet: int, size: int, tos: int, df: int) -> int:
        try:
            client = self._paths.get(path)
            if client is None:
                return errno.ENOTCONN
            client.output(path, c.string_at(packet, size))
        except Exception:  # noqa: BLE001  # nothing may be raised through C
            self.faults += 1
            return errno.EIO
        return 0

    def _upcall(self, sock: int, argument: int, flags: int) -> None:
        try:
            client = self._sockets.get(sock)
            if client is not None:
                client.touched(sock)
        except Exception:  # noqa: BLE001  # nothing may be raised through C
            self.faults += 1

    # -- time and packets -----------------------------------------------------------

    def advance(self, milliseconds: int) -> None:
        """So much time has passed."""
        self._lib.usrsctp_handle_timers(milliseconds)

    def add_path(self, path: int, client: Clients) -> None:
        """From now on a pair of addresses has a number."""
        self._paths[path] = client
        self._lib.usrsctp_register_address(path)

    def forget_path(self, path: int) -> None:
        """Nothing comes or goes there any more."""
        self._lib.usrsctp_deregister_address(path)
        del self._paths[path]

    def input(self, path: int, packet: bytes) -> None:
        """A packet came."""
        self._lib.usrsctp_conninput(path, packet, len(packet), 0)

    # -- sockets ----------------------------------------------------------------------

    def open(self, client: Clients, tuning: Tuning) -> int:
        """A fresh socket of the one-to-one style (RFC 6458, section 4)."""
        sock: int | None = self._lib.usrsctp_socket(
            AF_CONN, socket.SOCK_STREAM, _IPPROTO_SCTP, None, None, 0, None
        )
        if not sock:
            raise _error()
        self._sockets[sock] = client
        try:
            self._prepare(sock)
            self._tune(sock, tuning)
        except OSError:
            self.close(sock)
            raise
        return sock

    def _prepare(self, sock: int) -> None:
        self._lib.usrsctp_set_non_blocking(sock, 1)
        self._lib.usrsctp_set_upcall(sock, self._on_upcall, None)
        for option in (_NODELAY, _RECVRCVINFO):
            self._set(sock, _IPPROTO_SCTP, option, struct.pack("=i", 1))
        for kind in USRSCTP.types:
            event = struct.pack("=IHBx", 0, kind, 1)
            self._set(sock, _IPPROTO_SCTP, _EVENT, event)

    def _tune(self, sock: int, tuning: Tuning) -> None:
        streams, tries = tuning.streams, tuning.retransmissions
        initial = struct.pack("=HHHH", streams, streams, 0, 0)
        beat = min(round(tuning.heartbeat * 1000), _FOREVER)
        flags = _HB_ENABLE if beat else _HB_DISABLE
        path = struct.pack("=128xIIIIIHBx", 0, beat, 0, flags, 0, tuning.path_tries, 0)
        rto = struct.pack("=IIII", 0, _RTO_INITIAL, 0, _RTO_MIN)
        association = struct.pack("=IIIIHH", 0, 0, 0, 0, tries, 0)
        for option, value in (
            (_INITMSG, initial),
            (_RTOINFO, rto),
            (_PEER_ADDR_PARAMS, path),
            (_ASSOCINFO, association),
        ):
            self._set(sock, _IPPROTO_SCTP, option, value)

    def _set(self, sock: int, level: int, option: int, value: bytes) -> None:
        _check(self._lib.usrsctp_setsockopt(sock, level, option, value, len(value)))

    def bind(self, sock: int, port: int, path: int = 0) -> None:
        """Have a port, 0 for any, of all paths or of one."""
        address = _Sockaddr(AF_CONN, socket.htons(port), path)
        _check(self._lib.usrsctp_bind(sock, c.byref(address), c.sizeof(address)))

    def listen(self, sock: int, backlog: int) -> None:
        """Let peers come."""
        _check(self._lib.usrsctp_listen(sock, backlog))

    def accept(self, sock: int, client: Clients) -> tuple[int, int, int] | None:
        """The next association that a peer made: socket, path, the peer's port."""
        address, size = _Sockaddr(), c.c_uint32(c.sizeof(_Sockaddr))
        fresh: int | None = self._lib.usrsctp_accept(
            sock, c.byref(address), c.byref(size)
        )
        if not fresh:
            return None
        self._sockets[fresh] = client
        self._prepare(fresh)
        return fresh, address.path or 0, socket.ntohs(address.port)

    def connect(self, sock: int, path: int, port: int) -> None:
        """Begin to make an association."""
        address = _Sockaddr(AF_CONN, socket.htons(port), path)
        done = self._lib.usrsctp_connect(sock, c.byref(address), c.sizeof(address))
        if done < 0 and c.get_errno() != errno.EINPROGRESS:
            raise _error()

    def events(self, sock: int) -> int:
        """``READ`` if there is something to read, or an end; ``WRITE`` for space."""
        found: int = self._lib.usrsctp_get_events(sock)
        return found

    def streams(self, sock: int) -> tuple[int, int]:
        """How many streams an association has: in, out; 0 if there is none."""
        status, size = c.create_string_buffer(512), c.c_uint32(512)
        if self._lib.usrsctp_getsockopt(
            sock, _IPPROTO_SCTP, _STATUS, status, c.byref(size)
        ):
            return 0, 0
        incoming, outgoing = struct.unpack_from("=HH", status.raw, 16)
        return incoming, outgoing

    def send(
        self, sock: int, data: bytes, stream: int, ppid: int, unordered: bool
    ) -> None:
        """
        Take a message; raises ``OSError``.

        ``EAGAIN`` means that there is no space yet, ``EMSGSIZE`` that there never is.
        """
        flags = _UNORDERED if unordered else 0
        about = _SENDINFO.pack(stream, flags, ppid.to_bytes(4, "big"), 0, 0)
        _check(
            self._lib.usrsctp_sendv(
                sock, data, len(data), None, 0, about, len(about), _SNDINFO, 0
            )
        )

    def receive(self, sock: int) -> Received | None:
        """What comes next, None at the end; raises ``OSError``."""
        self._source_size.value = c.sizeof(_Sockaddr)
        self._about_size.value = c.sizeof(_Rcvinfo)
        self._flags.value = 0
        size = self._lib.usrsctp_recvv(sock, self._space, _SPACE, *self._answers)
        _check(size)
        if not size:
            return None
        return Received(
            c.string_at(self._space, size),
            self._about.sid,
            socket.ntohl(self._about.ppid),
            bool(self._flags.value & _END_OF_RECORD),
            bool(self._flags.value & _NOTIFICATION),
        )

    def shutdown(self, sock: int) -> None:
        """Send what waits, then SHUTDOWN."""
        self._lib.usrsctp_shutdown(sock, socket.SHUT_WR)

    def abort(self, sock: int) -> None:
        """Send ABORT, and be rid of the socket."""
        try:
            never = struct.pack("=ii", 1, 0)
            self._set(sock, socket.SOL_SOCKET, socket.SO_LINGER, never)
        finally:
            self.close(sock)

    def close(self, sock: int) -> None:
        """Be rid of a socket whose association is over."""
        del self._sockets[sock]
        self._lib.usrsctp_close(sock)


def _check(result: int) -> None:
    if result < 0:
        raise _error()


def _error() -> OSError:
    code = c.get_errno()
    return OSError(code, os.strerror(code))


@cache
def engine() -> Engine:
    """The one of this process; raises ``LocalError`` if there is no library."""
    for name in NAMES:
        try:
            return Engine(c.CDLL(name, use_errno=True))
        except (OSError, AttributeError):  # not there, or too old
            continue
    raise LocalError(
        "SCTP in user space needs libusrsctp, which is not installed, or too old:"
        " apt-get install libusrsctp2"
    )
